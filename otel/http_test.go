package flowotel_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/flowkit-go/flow"
	flowotel "github.com/flowkit-go/flow/otel"
	"github.com/flowkit-go/flow/primitives/memory"
)

func TestServerSpans(t *testing.T) {
	spans, provider := tracer(t)
	type find struct {
		ID string `path:"id"`
	}
	app := flow.New("shop", quiet(), flowotel.Tracing(flowotel.TracerProvider(provider)))
	flow.Endpoint(app, "GET /orders/{id}", func(ctx context.Context, in find) (order, error) {
		switch in.ID {
		case "none":
			return order{}, flow.HTTPError(http.StatusNotFound, "no such order")
		case "broken":
			return order{}, errors.New("broken")
		case "panic":
			panic("x")
		}
		if !trace.SpanContextFromContext(ctx).IsValid() {
			return order{}, errors.New("no span in the context")
		}
		return order{ID: in.ID}, nil
	}, flow.Name("find"))
	flow.Handle(app, "/files/*", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.(http.Flusher).Flush()
		_, _ = io.WriteString(w, "text")
	}))
	flow.Handle(app, "GET /cut", http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	h, _ := running(t, app)
	cut := func(path string) {
		defer func() { _ = recover() }() // net/http does
		request(h, http.MethodGet, path, "")
	}
	for _, path := range []string{"/orders/7", "/orders/none", "/orders/broken", "/orders/panic", "/files/a.txt", "/nowhere"} {
		request(h, http.MethodGet, path, "", "User-Agent", "test/1")
	}
	request(h, "BREW", "/files/pot", "")
	cut("/cut")

	type span struct {
		Name, Path, Status string
		Code               codes.Code
	}
	var got []span
	for _, s := range spans.Ended() {
		a := attributes(s)
		got = append(got, span{s.Name(), a["url.path"], a["http.response.status_code"], s.Status().Code})
		if s.SpanKind() != trace.SpanKindServer {
			t.Errorf("%s is of kind %v", s.Name(), s.SpanKind())
		}
	}
	want := []span{
		{"GET /orders/{id}", "/orders/7", "200", codes.Unset},
		{"GET /orders/{id}", "/orders/none", "404", codes.Unset},
		{"GET /orders/{id}", "/orders/broken", "500", codes.Error},
		{"GET /orders/{id}", "/orders/panic", "500", codes.Error},
		{"GET /files/*", "/files/a.txt", "200", codes.Unset},
		{"GET", "/nowhere", "404", codes.Unset},
		{"HTTP", "/files/pot", "405", codes.Unset},
		{"GET /cut", "/cut", "", codes.Error},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("spans (-want +got):\n%s", diff)
	}
	wantAttributes := map[string]string{
		"http.request.method": "GET", "http.route": "/orders/{id}", "url.path": "/orders/7", "url.scheme": "http",
		"http.response.status_code": "200", "server.address": "example.com", "user_agent.original": "test/1",
		"network.protocol.version": "1.1", "flow.processor": "find",
	}
	if diff := cmp.Diff(wantAttributes, attributes(spans.Ended()[0])); diff != "" {
		t.Errorf("attributes (-want +got):\n%s", diff)
	}
}

func TestPublicEndpointBeginsATrace(t *testing.T) {
	spans, provider := tracer(t)
	broker := memory.NewBroker()
	app := flow.New("shop", quiet(), flowotel.Tracing(flowotel.TracerProvider(provider), flowotel.PublicEndpoint()))
	flow.Collector(app, "POST /orders", memory.Topic[order]{Broker: broker, Name: "orders"}, flow.Pass[order])
	h, _ := running(t, app)
	request(h, http.MethodPost, "/orders", `{"id":"1"}`, "traceparent", clientParent, "baggage", "admin=true")
	s := only(t, spans, "POST /orders")
	if s.Parent().IsValid() || s.SpanContext().TraceID().String() == clientTrace {
		t.Errorf("the client's trace goes on: parent %v", s.Parent())
	}
	if len(s.Links()) != 1 || parent(s.Links()[0].SpanContext) != clientParent {
		t.Errorf("links %v, want the client's span", s.Links())
	}
	out := broker.Records("orders", 0)[0]
	if got := header(out, "traceparent"); got != parent(s.SpanContext()) {
		t.Errorf("the output has %q, want the server's span", got)
	}
	if got := header(out, "baggage"); got != "" {
		t.Errorf("the client's baggage %q was taken", got)
	}
}
