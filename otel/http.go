package flowotel

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/flowkit-go/flow"
	"github.com/flowkit-go/flow/primitives"
)

// HTTP returns middleware that makes a span of each request, named by method and
// route, as "POST /orders/{id}". Its parent is the span that the client sent. What a
// collector writes goes on with the span's context in its headers.
func HTTP(opts ...Option) func(http.Handler) http.Handler {
	s := settle(opts)
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			ctx, span, method := s.startRequest(r)
			hooks := &flow.RequestHooks{
				Route: func(processor, _, path string) {
					span.SetName(method + " " + path)
					span.SetAttributes(keyRoute.String(path), keyProcessor.String(processor))
				},
				Outputs: func(outputs []primitives.Record) { s.inject(ctx, outputs) },
			}
			answer := &recorder{ResponseWriter: w}
			returned := false
			defer func() { endRequest(ctx, span, answer, returned) }()
			next.ServeHTTP(answer, r.WithContext(flow.WithRequestHooks(ctx, hooks)))
			returned = true
		})
	}
}

// known are the methods that the conventions have values for.
var known = []string{
	http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete,
	http.MethodHead, http.MethodOptions, http.MethodConnect, http.MethodTrace,
}

// startRequest begins the span of a request. The method is as span names have it.
func (s *settings) startRequest(r *http.Request) (ctx context.Context, span trace.Span, method string) {
	ctx = s.propagator.Extract(r.Context(), propagation.HeaderCarrier(r.Header))
	theirs := trace.SpanContextFromContext(ctx)
	if s.public {
		ctx = r.Context() // nor is their baggage taken
	}
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	attrs := make([]attribute.KeyValue, 0, 8)
	attrs = append(attrs, keyPath.String(r.URL.Path), keyScheme.String(scheme),
		keyVersion.String(fmt.Sprintf("%d.%d", r.ProtoMajor, r.ProtoMinor)))
	method = r.Method
	if slices.Contains(known, method) {
		attrs = append(attrs, keyMethod.String(method))
	} else {
		attrs = append(attrs, keyMethod.String("_OTHER"), keyMethodOriginal.String(method))
		method = "HTTP"
	}
	if host, port, err := net.SplitHostPort(r.Host); err == nil {
		attrs = append(attrs, keyAddress.String(host))
		if n, err := strconv.Atoi(port); err == nil {
			attrs = append(attrs, keyPort.Int(n))
		}
	} else if r.Host != "" {
		attrs = append(attrs, keyAddress.String(r.Host))
	}
	if agent := r.UserAgent(); agent != "" {
		attrs = append(attrs, keyUserAgent.String(agent))
	}
	opts := []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(attrs...)}
	if s.public {
		opts = append(opts, trace.WithNewRoot())
		if theirs.IsValid() {
			opts = append(opts, trace.WithLinks(trace.Link{SpanContext: theirs}))
		}
	}
	ctx, span = s.tracer.Start(ctx, method, opts...)
	return ctx, span, method
}

// endRequest ends the span by the answer. Only what is the server's fault is an error.
func endRequest(ctx context.Context, span trace.Span, answer *recorder, returned bool) {
	status := answer.status
	if status == 0 && returned && ctx.Err() == nil {
		status = http.StatusOK // net/http sends it
	}
	if status != 0 {
		span.SetAttributes(keyStatus.Int(status))
	}
	switch {
	case !returned:
		span.SetStatus(codes.Error, "the handler panicked, or had the connection cut")
		span.SetAttributes(keyErrorType.String("panic"))
	case status >= 500:
		span.SetStatus(codes.Error, "")
		span.SetAttributes(keyErrorType.String(strconv.Itoa(status)))
	}
	span.End()
}

// recorder keeps the status of an answer.
type recorder struct {
	http.ResponseWriter
	status int
}

// WriteHeader implements http.ResponseWriter.
func (r *recorder) WriteHeader(status int) {
	if r.status == 0 && (status >= 200 || status == http.StatusSwitchingProtocols) {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (r *recorder) Write(p []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	return r.ResponseWriter.Write(p)
}

// ReadFrom keeps net/http's way of sending a file without copying it.
func (r *recorder) ReadFrom(from io.Reader) (int64, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	return io.Copy(r.ResponseWriter, from)
}

// Flush is here for handlers that ask for an http.Flusher.
func (r *recorder) Flush() {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	_ = http.NewResponseController(r.ResponseWriter).Flush() // not supported: nothing to flush
}

// Unwrap is here for http.ResponseController.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }
