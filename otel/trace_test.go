package flowotel_test

import (
	"context"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/trace"

	"github.com/flowkit-go/flow"
	flowotel "github.com/flowkit-go/flow/otel"
	"github.com/flowkit-go/flow/primitives/memory"
)

type order struct {
	ID    string `json:"id"`
	Cents int64  `json:"cents"`
}

const (
	clientTrace  = "4bf92f3577b34da6a3ce929d0e0e4736"
	clientSpan   = "00f067aa0ba902b7"
	clientParent = "00-" + clientTrace + "-" + clientSpan + "-01"
)

// From a client's request to the output of the second consumer it is one trace, and
// each span is the child of the one before.
func TestOneTraceFromRequestToSink(t *testing.T) {
	spans, provider := tracer(t)
	broker := memory.NewBroker()
	orders := memory.Topic[order]{Broker: broker, Name: "orders", Group: "g", Key: func(o order) string { return o.ID }}
	lines := memory.Topic[order]{Broker: broker, Name: "lines", Group: "g"}
	done := memory.Topic[order]{Broker: broker, Name: "done"}
	handled := make(chan trace.SpanContext, 1)
	carried := make(chan string, 1)
	arrived := make(chan struct{})

	app := flow.New("shop", quiet(), flowotel.Tracing(flowotel.TracerProvider(provider)))
	flow.Collector(app, "POST /orders", orders, flow.Pass[order])
	flow.Consumer(app, "split", orders, flow.Each(lines), func(ctx context.Context, o order) ([]order, error) {
		handled <- trace.SpanContextFromContext(ctx)
		carried <- baggage.FromContext(ctx).Member("tenant").Value()
		return []order{o}, nil
	})
	flow.Consumer(app, "bill", lines, done, func(_ context.Context, o order) (order, error) {
		defer close(arrived)
		return o, nil
	})
	h, stop := running(t, app)
	res := request(h, http.MethodPost, "/orders", `{"id":"o-1","cents":5}`,
		"traceparent", clientParent, "tracestate", "vendor=x", "baggage", "tenant=acme")
	if res.StatusCode != http.StatusOK {
		t.Fatalf("status %d", res.StatusCode)
	}
	<-arrived
	stop()

	server := only(t, spans, "POST /orders")
	split := only(t, spans, "split process")
	bill := only(t, spans, "bill process")
	if got := server.Parent(); got.SpanID().String() != clientSpan || !got.IsRemote() {
		t.Errorf("the server's span has the parent %v, want the client's", got.SpanID())
	}
	for _, pair := range []struct {
		name      string
		got, want trace.SpanContext
	}{{"split", split.Parent(), server.SpanContext()}, {"bill", bill.Parent(), split.SpanContext()}} {
		if pair.got.SpanID() != pair.want.SpanID() || !pair.got.IsRemote() {
			t.Errorf("%s has the parent %v, want %v", pair.name, pair.got.SpanID(), pair.want.SpanID())
		}
	}
	for _, s := range spans.Ended() {
		if s.SpanContext().TraceID().String() != clientTrace {
			t.Errorf("%s is of trace %v, want the client's", s.Name(), s.SpanContext().TraceID())
		}
		if s.SpanContext().TraceState().Get("vendor") != "x" {
			t.Errorf("%s has lost the trace state", s.Name())
		}
	}
	if got := (<-handled).SpanID(); got != split.SpanContext().SpanID() {
		t.Errorf("the handler's context has span %v, want that of its processor", got)
	}
	if got := <-carried; got != "acme" {
		t.Errorf("baggage %q, want acme", got)
	}
	final := broker.Records("done", 0)[0]
	want := map[string]string{"traceparent": parent(bill.SpanContext()), "tracestate": "vendor=x", "baggage": "tenant=acme"}
	for name, value := range want {
		if got := header(final, name); got != value {
			t.Errorf("the last output has %s %q, want %q", name, got, value)
		}
	}
}

func TestSpansSayWhatTheyAreAbout(t *testing.T) {
	spans, provider := tracer(t)
	broker := memory.NewBroker()
	in := memory.Topic[order]{Broker: broker, Name: "orders", Group: "g", StopAtEnd: true}
	broker.Append("orders", 0, flow.Raw{Value: []byte(`{"id":"a"}`)}, flow.Raw{Value: []byte(`{"id":"b"}`)})
	app := flow.New("shop", quiet())
	flow.Consumer(app, "bill", in, memory.Topic[order]{Broker: broker, Name: "out"}, flow.Pass[order],
		flow.Use(flowotel.Consumer(flowotel.TracerProvider(provider), flowotel.System("kafka"), flowotel.ConsumerGroup("billing"))))
	if err := runs(t, app); err != nil {
		t.Fatal(err)
	}
	found := named(spans, "bill process")
	if len(found) != 2 {
		t.Fatalf("%d spans, want 2", len(found))
	}
	want := map[string]string{
		"messaging.system": "kafka", "messaging.consumer.group.name": "billing", "messaging.destination.name": "orders",
		"messaging.destination.partition.id": "0", "messaging.kafka.offset": "1", "messaging.operation.type": "process",
		"messaging.operation.name": "process", "messaging.message.body.size": "10",
		"flow.processor": "bill", "flow.attempt": "1", "flow.outputs": "1",
	}
	if diff := cmp.Diff(want, attributes(found[1])); diff != "" {
		t.Errorf("attributes (-want +got):\n%s", diff)
	}
	if kind := found[0].SpanKind(); kind != trace.SpanKindConsumer {
		t.Errorf("kind %v", kind)
	}
	if found[0].SpanContext().TraceID() == found[1].SpanContext().TraceID() {
		t.Error("records that came without a trace share one")
	}
}
