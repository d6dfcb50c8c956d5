package flowotel

import (
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/flowkit-go/flow"
)

// An Option configures tracing.
type Option func(*settings)

type settings struct {
	provider   trace.TracerProvider
	propagator propagation.TextMapPropagator
	messaging  []attribute.KeyValue
	system     string // as given by System
	public     bool

	tracer trace.Tracer
	fields []string // headers that the propagator writes
}

// TracerProvider is where spans go. Default: what otel.GetTracerProvider returns, also
// when that is set later.
func TracerProvider(p trace.TracerProvider) Option { return func(s *settings) { s.provider = p } }

// Propagator reads and writes contexts in headers. Default: W3C trace context and
// baggage.
func Propagator(p propagation.TextMapPropagator) Option {
	return func(s *settings) { s.propagator = p }
}

// System is the messaging system that consumers read from, as "kafka" or "nats", for
// the attribute messaging.system. Default: what the source's name begins with, as that
// of "kafka:orders"; samplers do not see it then.
func System(name string) Option {
	return func(s *settings) {
		s.system = name
		s.messaging = append(s.messaging, keySystem.String(name))
	}
}

// ConsumerGroup is the group that consumers belong to, for the attribute
// messaging.consumer.group.name. Default: the attribute is left out.
func ConsumerGroup(name string) Option {
	return func(s *settings) { s.messaging = append(s.messaging, keyConsumerGroup.String(name)) }
}

// PublicEndpoint makes each request begin a trace of its own, with a link to the one
// that the client sent: for servers whose clients are not to be trusted with ids and
// sampling. Default: the client's trace goes on.
func PublicEndpoint() Option { return func(s *settings) { s.public = true } }

const scope = "github.com/flowkit-go/flow/otel"

func settle(opts []Option) *settings {
	s := &settings{}
	for _, o := range opts {
		if o != nil {
			o(s)
		}
	}
	if s.provider == nil {
		s.provider = otel.GetTracerProvider()
	}
	if s.propagator == nil {
		s.propagator = propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{})
	}
	s.tracer = s.provider.Tracer(scope, trace.WithSchemaURL(schemaURL))
	s.fields = s.propagator.Fields()
	return s
}

// Tracing traces all consumers, collectors, endpoints and handlers of a flow.
func Tracing(opts ...Option) flow.Option {
	return both(flow.UseAll(Consumer(opts...)), flow.UseHTTP(HTTP(opts...)))
}

// both applies two options as one.
func both[F ~func(O), O any](a, b F) F {
	return func(o O) {
		a(o)
		b(o)
	}
}
