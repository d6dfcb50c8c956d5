// Package flowotel traces flows with OpenTelemetry. A trace that begins with a
// request, or with a record that another system wrote, goes on through collectors,
// topics and queues, consumers and their outputs: its context travels in the
// headers of records, as W3C traceparent, tracestate and baggage.
//
//	app := flow.New("shop", flowotel.Tracing())
//
// traces everything that a flow does; Consumer and HTTP are its parts, for flow.Use,
// flow.UseAll and flow.UseHTTP. Handlers find their span in the context, as usual.
//
// Spans go to the tracer provider that otel.GetTracerProvider returns, or the one
// given by TracerProvider; the program sets one up and shuts it down. Without one
// no span is recorded, and contexts are still handed on. A flow that does not use
// this package does not link OpenTelemetry and pays nothing.
//
// The names of attributes are in semconv.go: those for messaging are not stable yet.
package flowotel
