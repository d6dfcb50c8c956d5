package flow

import (
	"context"
	"fmt"
	"net/http"

	"github.com/flowkit-go/flow/runtime"
	"github.com/flowkit-go/flow/runtime/web"
)

// Endpoint adds a processor that takes HTTP requests, as "GET /orders/{id}", calls
// fn for each and answers with what it returns.
//
// Fields of In are bound from the request by their tags: `path:"id"`,
// `query:"limit"`, `header:"X-Tenant"`; the others come from the JSON body. What
// cannot be bound is answered with a problem document that names the field. See
// package runtime/web for the types, defaults and answers.
//
// An error made by HTTPError decides the status; the text of any other error is
// logged and never sent.
func Endpoint[In, Out any](app *Flow, pattern string,
	fn func(context.Context, In) (Out, error), opts ...EndpointOption) {
	app.add(newEndpoint(callSite(1), pattern, fn, opts))
}

// NewEndpoint makes a processor like Endpoint does, for Flow.Add.
func NewEndpoint[In, Out any](pattern string,
	fn func(context.Context, In) (Out, error), opts ...EndpointOption) *Processor {
	return newEndpoint(callSite(1), pattern, fn, opts)
}

func newEndpoint[In, Out any](at, pattern string,
	fn func(context.Context, In) (Out, error), opts []EndpointOption) *Processor {
	p := newProcessor(KindEndpoint, pattern, at)
	p.pattern = pattern
	for i, o := range opts {
		if o == nil {
			p.fail(fmt.Errorf("option %d is nil", i+1))
			continue
		}
		o.endpoint(p.settings)
	}
	p.setRoute(func() (*web.Route, error) { return web.Endpoint(pattern, fn) }, func(*runtime.Route) {})
	return p
}

// HTTPError makes an error that an Endpoint or Collector answers with that status
// and text, as in flow.HTTPError(http.StatusNotFound, "no such order"). The fields,
// if any, name what is wrong with the request. In a Consumer it is an error like
// any other.
func HTTPError(status int, detail string, fields ...FieldError) error {
	return &web.Error{Status: status, Detail: detail, Fields: fields}
}

// A FieldError says what is wrong with one part of a request.
type FieldError = web.FieldError

// Handle adds a handler of net/http for what an Endpoint cannot do, such as
// streaming. The pattern is a method and a path, or a path for all methods. No
// limit of time, size or number applies to its requests: the handler sets its own.
func Handle(app *Flow, pattern string, h http.Handler) {
	app.handlers = append(app.handlers, plainHandler{callSite(1), pattern, h})
}

type plainHandler struct {
	at      string
	pattern string
	handler http.Handler
}

func (h plainHandler) route() *runtime.Route {
	return &runtime.Route{Name: h.pattern, Kind: "handler", At: h.at, Plain: h.handler, Pattern: h.pattern}
}

// routeConflicts reports routes that take the same requests.
func (f *Flow) routeConflicts() []error {
	var errs []error
	for i, p := range f.processors {
		for _, other := range f.processors[:i] {
			if p.shape != nil && other.shape != nil && web.Conflicts(*p.shape, *other.shape) {
				errs = append(errs, &RegistrationError{p.at, p.kind, p.name(),
					fmt.Errorf("it takes the same requests as %q at %s", other.pattern, other.at)})
			}
		}
	}
	for _, h := range f.handlers {
		if h.handler == nil {
			errs = append(errs, &RegistrationError{h.at, "handler", h.pattern, fmt.Errorf("the handler is nil")})
		}
	}
	return errs
}
