// Package web is Flow's HTTP layer: route patterns, the binding of requests to
// Go values, replies, problem documents, a limit of requests in flight, and the
// server itself, which is chi on net/http.
//
// A [Route] is a pattern and a [Handler] that has no type parameter. [Endpoint]
// and [Collector] make one from an ordinary function; package runtime wraps the
// Handler with what a processor needs and adds the route to a [Server].
//
// A request's way:
//
//	net/http -> middleware -> chi -> Route: limiter, deadline -> Binder -> function -> Reply
//
// chi finds all routes, but those of Endpoint and Collector are called directly,
// and connections are wrapped: both spare what net/http and chi do for handlers
// that may ask for more.
//
// An error at any point ends in one place, which turns it into an RFC 9457
// problem document: an [Error] says its status itself, anything else is a 500
// with an id that is also in the log, and nothing of the error's text.
//
// The package knows nothing of processors, sources and sinks, and never imports
// the packages that do. It starts no goroutines of its own.
package web
