package flowotel_test

import (
	"context"
	"errors"
	"iter"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/flowkit-go/flow"
	flowotel "github.com/flowkit-go/flow/otel"
	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/primitives/memory"
)

func headers(pairs ...string) []primitives.Header {
	var all []primitives.Header
	for i := 0; i < len(pairs); i += 2 {
		all = append(all, primitives.Header{Name: pairs[i], Value: []byte(pairs[i+1])})
	}
	return all
}

func TestBatchLinksToItsRecords(t *testing.T) {
	spans, provider := tracer(t)
	broker := memory.NewBroker()
	other := strings.Replace(clientParent, clientSpan, "1111111111111111", 1)
	for _, parent := range []string{clientParent, other, clientParent, ""} {
		r := flow.Raw{Value: []byte(`{}`)}
		if parent != "" {
			r.Headers = headers("traceparent", parent)
		}
		broker.Append("in", 0, r)
	}
	app := flow.New("shop", quiet(), flowotel.Tracing(flowotel.TracerProvider(provider)))
	in := memory.Topic[order]{Broker: broker, Name: "in", StopAtEnd: true}
	out := memory.Topic[order]{Broker: broker, Name: "out"}
	flow.Consumer(app, "load", flow.Batches(in, 4, time.Minute), flow.Each(out), flow.Pass[[]order])
	if err := runs(t, app); err != nil {
		t.Fatal(err)
	}
	s := only(t, spans, "load process")
	var links []string
	for _, l := range s.Links() {
		links = append(links, parent(l.SpanContext))
	}
	if diff := cmp.Diff([]string{clientParent, other}, links); diff != "" {
		t.Errorf("links (-want +got):\n%s", diff)
	}
	if s.Parent().IsValid() {
		t.Errorf("the batch has the parent %v, want none", s.Parent().SpanID())
	}
	if got := attributes(s)["messaging.batch.message_count"]; got != "4" {
		t.Errorf("message count %q", got)
	}
	for i, r := range broker.Records("out", 0) {
		if got := header(r, "traceparent"); got != parent(s.SpanContext()) {
			t.Errorf("output %d has %q, want the batch's", i, got)
		}
	}
}

func TestBatchOfOneGoesOnWithTheTrace(t *testing.T) {
	spans, provider := tracer(t)
	broker := memory.NewBroker()
	broker.Append("in", 0, flow.Raw{Value: []byte(`{}`), Headers: headers("traceparent", clientParent)})
	app := flow.New("shop", quiet(), flowotel.Tracing(flowotel.TracerProvider(provider)))
	in := memory.Topic[order]{Broker: broker, Name: "in", StopAtEnd: true}
	flow.Consumer(app, "load", flow.Batches(in, 4, time.Minute), flow.Discard, flow.Do(func(context.Context, []order) error { return nil }))
	if err := runs(t, app); err != nil {
		t.Fatal(err)
	}
	if got := parent(only(t, spans, "load process").Parent()); got != clientParent {
		t.Errorf("parent %q, want the record's", got)
	}
}

func TestOutcomesOfHandlers(t *testing.T) {
	broken := errors.New("broken")
	for name, c := range map[string]struct {
		handler func(order) (order, error)
		status  codes.Code
		attr    string // key=value
	}{
		"ok":    {func(o order) (order, error) { return o, nil }, codes.Unset, "flow.outputs=1"},
		"skip":  {func(o order) (order, error) { return o, flow.Skip }, codes.Unset, "flow.outcome=skipped"},
		"error": {func(o order) (order, error) { return o, broken }, codes.Error, "error.type=*errors.errorString"},
		"panic": {func(order) (order, error) { panic("x") }, codes.Error, "error.type=panic"},
	} {
		t.Run(name, func(t *testing.T) {
			spans, provider := tracer(t)
			broker := memory.NewBroker()
			broker.Append("in", 0, flow.Raw{Value: []byte(`{}`)})
			app := flow.New("shop", quiet(), flowotel.Tracing(flowotel.TracerProvider(provider)))
			flow.Consumer(app, "p", memory.Topic[order]{Broker: broker, Name: "in", StopAtEnd: true}, memory.Topic[order]{Broker: broker, Name: "out"},
				func(_ context.Context, o order) (order, error) { return c.handler(o) }, flow.SkipFailed())
			if err := runs(t, app); err != nil {
				t.Fatal(err)
			}
			s := only(t, spans, "p process")
			if s.Status().Code != c.status {
				t.Errorf("status %v, want %v", s.Status(), c.status)
			}
			key, value, _ := strings.Cut(c.attr, "=")
			if got := attributes(s)[key]; got != value {
				t.Errorf("%s is %q, want %q", key, got, value)
			}
			if events := len(s.Events()); (events == 1) != (name == "error") {
				t.Errorf("%d events", events)
			}
		})
	}
}

func TestEachAttemptIsASpan(t *testing.T) {
	spans, provider := tracer(t)
	broker := memory.NewBroker()
	broker.Append("in", 0, flow.Raw{Value: []byte(`{}`), Headers: headers("traceparent", clientParent)})
	app := flow.New("shop", quiet(), flowotel.Tracing(flowotel.TracerProvider(provider)))
	tries := 0
	flow.Consumer(app, "p", memory.Topic[order]{Broker: broker, Name: "in", StopAtEnd: true}, flow.Discard,
		flow.Do(func(context.Context, order) error {
			if tries++; tries < 3 {
				return errors.New("not yet")
			}
			return nil
		}), flow.Retry(3, flow.Constant(time.Millisecond)))
	if err := runs(t, app); err != nil {
		t.Fatal(err)
	}
	var attempts []string
	for _, s := range named(spans, "p process") {
		attempts = append(attempts, attributes(s)["flow.attempt"]+" "+s.Status().Code.String())
		if parent(s.Parent()) != clientParent {
			t.Errorf("attempt has the parent %v, want the record's", s.Parent().SpanID())
		}
	}
	if diff := cmp.Diff([]string{"1 Error", "2 Error", "3 Unset"}, attempts); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// A record that is passed on as it is shares its headers with the input: those of
// the input stay, the output gets the new context in place of the old one.
func TestHeadersOfTheInputAreNotChanged(t *testing.T) {
	spans, provider := tracer(t)
	all := headers("a", "1", "Traceparent", clientParent, "b", "2", "tracestate", "x=y", "spare", "s")
	in := all[:4] // with room behind, as buffers of clients have
	var out primitives.Outputs
	out.Add(flow.Raw{Value: []byte("of an earlier record"), Headers: in})
	d := &flow.Delivery{Processor: "p", Records: []flow.Raw{{Headers: in}}, Outputs: &out}
	err := flowotel.Consumer(flowotel.TracerProvider(provider))(func(_ context.Context, d *flow.Delivery) error {
		for range 2 {
			d.Outputs.Add(flow.Raw{Headers: d.Records[0].Headers})
		}
		d.Outputs.AddValue([]byte("new"))
		d.Outputs.AddValue([]byte("new"))
		return nil
	})(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(headers("a", "1", "Traceparent", clientParent, "b", "2", "tracestate", "x=y", "spare", "s"), all); diff != "" {
		t.Errorf("input (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(in, out.Records[0].Headers); diff != "" {
		t.Errorf("the earlier record's output (-want +got):\n%s", diff)
	}
	context := headers("tracestate", "x=y", "traceparent", parent(only(t, spans, "p process").SpanContext()))
	passed := append(headers("a", "1", "b", "2"), context...)
	for i, want := range [][]primitives.Header{passed, passed, context, context} {
		got := out.Records[i+1].Headers
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("output %d (-want +got):\n%s", i, diff)
		}
		if i > 1 && cap(got) != len(got) {
			t.Errorf("output %d: whoever appends a header would write over another output's", i)
		}
	}
}

func TestStreamedOutputsHaveTheContext(t *testing.T) {
	spans, provider := tracer(t)
	broker := memory.NewBroker()
	broker.Append("in", 0, flow.Raw{Value: []byte(`{}`)})
	app := flow.New("shop", quiet(), flowotel.Tracing(flowotel.TracerProvider(provider)))
	big := strings.Repeat("x", 300<<10)
	flow.Consumer(app, "p", memory.Topic[order]{Broker: broker, Name: "in", StopAtEnd: true}, flow.Stream(memory.Topic[order]{Broker: broker, Name: "out"}),
		func(context.Context, order) (iter.Seq2[order, error], error) {
			return func(yield func(order, error) bool) {
				for range 10 {
					if !yield(order{ID: big}, nil) {
						return
					}
				}
			}, nil
		})
	if err := runs(t, app); err != nil {
		t.Fatal(err)
	}
	want := parent(only(t, spans, "p process").SpanContext())
	out := broker.Records("out", 0)
	if len(out) != 10 {
		t.Fatalf("%d outputs, want 10", len(out))
	}
	for i, r := range out {
		if got := header(r, "traceparent"); got != want {
			t.Errorf("output %d has %q, want %q", i, got, want)
		}
	}
}

// Without a provider nothing is recorded, and the context goes on all the same.
func TestWithoutProviderTheContextGoesOn(t *testing.T) {
	broker := memory.NewBroker()
	broker.Append("in", 0, flow.Raw{Value: []byte(`{}`), Headers: headers("traceparent", clientParent)}, flow.Raw{Value: []byte(`{}`)})
	app := flow.New("shop", quiet(), flowotel.Tracing(flowotel.TracerProvider(noop.NewTracerProvider())))
	flow.Consumer(app, "p", memory.Topic[order]{Broker: broker, Name: "in", StopAtEnd: true}, memory.Topic[order]{Broker: broker, Name: "out"}, flow.Pass[order])
	if err := runs(t, app); err != nil {
		t.Fatal(err)
	}
	out := broker.Records("out", 0)
	if got := header(out[0], "traceparent"); got != clientParent {
		t.Errorf("got %q, want the input's", got)
	}
	if out[1].Headers != nil {
		t.Errorf("headers %v of a record without a trace", out[1].Headers)
	}
}

func TestOtherPropagators(t *testing.T) {
	spans, provider := tracer(t)
	broker := memory.NewBroker()
	broker.Append("in", 0, flow.Raw{Value: []byte(`{}`), Headers: headers("traceparent", clientParent)})
	app := flow.New("shop", quiet(), flowotel.Tracing(flowotel.TracerProvider(provider), flowotel.Propagator(propagation.Baggage{})))
	flow.Consumer(app, "p", memory.Topic[order]{Broker: broker, Name: "in", StopAtEnd: true}, flow.Discard, flow.Do(func(context.Context, order) error { return nil }))
	if err := runs(t, app); err != nil {
		t.Fatal(err)
	}
	if only(t, spans, "p process").Parent().IsValid() {
		t.Error("a context was taken that the propagator does not know")
	}
}

func TestBadHeadersDoNoHarm(t *testing.T) {
	spans, provider := tracer(t)
	broker := memory.NewBroker()
	for _, bad := range []string{"", "00", "zz-" + clientTrace, clientParent + "-x", strings.Repeat("0", 55)} {
		broker.Append("in", 0, flow.Raw{Value: []byte(`{}`), Headers: headers("traceparent", bad, "baggage", "\x00=;,")})
	}
	app := flow.New("shop", quiet(), flowotel.Tracing(flowotel.TracerProvider(provider)))
	flow.Consumer(app, "p", memory.Topic[order]{Broker: broker, Name: "in", StopAtEnd: true}, flow.Discard, flow.Do(func(context.Context, order) error { return nil }))
	if err := runs(t, app); err != nil {
		t.Fatal(err)
	}
	for _, s := range named(spans, "p process") {
		if s.Parent().IsValid() {
			t.Errorf("parent %v from a header that is none", s.Parent())
		}
	}
}

// What tracing adds to one delivery: a handler that does nothing, one record in and out.
func BenchmarkConsumer(b *testing.B) {
	_, always := tracer(b)
	_, never := tracer(b, sdktrace.WithSampler(sdktrace.NeverSample()))
	with := func(opts ...flowotel.Option) flow.Middleware { return flowotel.Consumer(opts...) }
	for name, mw := range map[string]flow.Middleware{
		"none":    func(next flow.Next) flow.Next { return next },
		"noop":    with(flowotel.TracerProvider(noop.NewTracerProvider())),
		"dropped": with(flowotel.TracerProvider(never)),
		"sampled": with(flowotel.TracerProvider(always)),
	} {
		b.Run(name, func(b *testing.B) {
			var out primitives.Outputs
			handle := mw(func(_ context.Context, d *flow.Delivery) error {
				d.Outputs.AddValue(d.Records[0].Value)
				return nil
			})
			d := &flow.Delivery{Processor: "p", Outputs: &out, Records: []flow.Raw{{
				Value: []byte("x"), Partition: &primitives.Partition{Topic: "in"}, Headers: headers("traceparent", clientParent),
			}}}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if err := handle(context.Background(), d); err != nil {
					b.Fatal(err)
				}
				out.Reset()
			}
		})
	}
}
