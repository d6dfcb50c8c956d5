// Package flow builds event-driven services out of ordinary functions.
//
// A [Flow] has three kinds of processors:
//
//   - a [Consumer] reads records from a source, calls a function for each and
//     writes what it returns to a sink;
//   - a [Collector] takes an HTTP request, calls a function, writes what it
//     returns to a sink, and answers when the sink has confirmed;
//   - an [Endpoint] takes an HTTP request, calls a function and answers with what
//     it returns.
//
// Sources and sinks are primitives: values that name a topic, a queue, a table or
// a file, from the packages below primitives. They do nothing until the flow runs.
//
//	func main() {
//		app := flow.New("billing")
//		flow.Collector(app, "POST /orders", orders, accept)
//		flow.Consumer(app, "bill", orders, flow.Each(lines), bill, flow.Ordered(flow.ByKey))
//		flow.Endpoint(app, "GET /orders/{id}", find)
//		flow.Main(app)
//	}
//
// Handlers are functions func(context.Context, In) (Out, error). Types are
// checked by the compiler at the line that wires them. Everything else that is
// wrong, such as an empty name or an option out of range, is collected with the
// place of the registration and reported together by [Flow.Validate], [Flow.Run]
// and [Main]; nothing starts then.
//
// # Outcomes
//
// A handler that returns nil has its output written; the record is acknowledged
// when the sink has confirmed it. [Skip] acknowledges without output.
// [Permanent] sends the record to the dead letters without another attempt, and
// [RetryAfter] asks for another attempt after a given time. Any other error
// follows the processor's options: [Retry], then [DeadLetter], [SkipFailed], or,
// without these, the flow stops: nothing is dropped in silence.
//
// This package is generic, and only this one: what it registers is erased to the
// functions that package runtime drives.
package flow
