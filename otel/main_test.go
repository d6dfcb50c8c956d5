package flowotel_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/goleak"

	"github.com/flowkit-go/flow"
	"github.com/flowkit-go/flow/primitives"
)

// The metrics library of Kafka's client starts one goroutine that never ends.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/rcrowley/go-metrics.(*meterArbiter).tick"))
}

// tracer returns a recorder of spans and the option to use it.
func tracer(t testing.TB, opts ...sdktrace.TracerProviderOption) (*tracetest.SpanRecorder, *sdktrace.TracerProvider) {
	t.Helper()
	spans := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(append(opts, sdktrace.WithSpanProcessor(spans))...)
	t.Cleanup(func() {
		if err := provider.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return spans, provider
}

// running starts an app without a network and returns what answers its requests,
// and what stops it.
func running(t *testing.T, app *flow.Flow) (http.Handler, func()) {
	t.Helper()
	t.Setenv("FLOW_HTTP", "off")
	t.Setenv("FLOW_ADMIN", "off")
	ctx, cancel := context.WithCancel(t.Context())
	ready, ended := make(chan struct{}), make(chan error, 1)
	app.AddReady(func(flow.Addresses) { close(ready) })
	go func() { ended <- app.Run(ctx) }()
	select {
	case <-ready:
	case err := <-ended:
		t.Fatal(err)
	}
	stop := func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		ended <- nil
	}
	t.Cleanup(stop)
	return app.Handler(), stop
}

// runs runs an app until its input has ended.
func runs(t *testing.T, app *flow.Flow) error {
	t.Helper()
	t.Setenv("FLOW_HTTP", "off")
	t.Setenv("FLOW_ADMIN", "off")
	return app.Run(t.Context())
}

func quiet() flow.Option { return flow.Logger(slog.New(slog.DiscardHandler)) }

func request(h http.Handler, method, path, body string, headers ...string) *http.Response {
	req := httptest.NewRequest(method, path, strings.NewReader(body))
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, req)
	return rec.Result()
}

// named returns the ended spans of a name.
func named(spans *tracetest.SpanRecorder, name string) (found []sdktrace.ReadOnlySpan) {
	for _, s := range spans.Ended() {
		if s.Name() == name {
			found = append(found, s)
		}
	}
	return found
}

func only(t *testing.T, spans *tracetest.SpanRecorder, name string) sdktrace.ReadOnlySpan {
	t.Helper()
	found := named(spans, name)
	if len(found) != 1 {
		var all []string
		for _, s := range spans.Ended() {
			all = append(all, s.Name())
		}
		t.Fatalf("%d spans named %q among %q, want one", len(found), name, all)
	}
	return found[0]
}

// attributes are those of a span as text.
func attributes(s sdktrace.ReadOnlySpan) map[string]string {
	m := map[string]string{}
	for _, kv := range s.Attributes() {
		m[string(kv.Key)] = text(kv.Value)
	}
	return m
}

func text(v attribute.Value) string { return v.String() }

// parent is the traceparent header of a span.
func parent(sc trace.SpanContext) string {
	return "00-" + sc.TraceID().String() + "-" + sc.SpanID().String() + "-" + sc.TraceFlags().String()
}

func header(r primitives.Record, name string) string {
	v, _ := r.Header(name)
	return string(v)
}
