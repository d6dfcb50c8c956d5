package runtime

import (
	"context"
	"net/http"

	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/runtime/web"
)

// RequestHooks tell HTTP middleware, which stands outside of the routes, what
// becomes of one request: see WithRequestHooks. What is nil is not called. They are
// called while the request is handled, one after the other.
type RequestHooks struct {
	// Route is called when the route is known, before anything else is done, with
	// the processor's name and the pattern's method and path, as "POST" and
	// "/orders/{id}". The method is empty for a handler of all methods. It is not
	// called for a request that no route takes.
	Route func(processor, method, path string)

	// Outputs is called with what a collector is about to write. It may replace the
	// headers of the records; the bytes and headers that are there must not be
	// changed, they may belong to others.
	Outputs func(outputs []primitives.Record)
}

type requestHooksKey struct{}

// WithRequestHooks returns a context for the request that middleware hands on. Hooks
// that are in ctx already, of middleware further out, are called first.
func WithRequestHooks(ctx context.Context, h *RequestHooks) context.Context {
	if outer := hooksOf(ctx); outer != nil && h != nil {
		inner := h
		h = &RequestHooks{
			Route: func(processor, method, path string) {
				outer.route(processor, method, path)
				inner.route(processor, method, path)
			},
			Outputs: func(outputs []primitives.Record) {
				outer.outputs(outputs)
				inner.outputs(outputs)
			},
		}
	}
	return context.WithValue(ctx, requestHooksKey{}, h)
}

func hooksOf(ctx context.Context) *RequestHooks {
	h, _ := ctx.Value(requestHooksKey{}).(*RequestHooks)
	return h
}

func (h *RequestHooks) route(processor, method, path string) {
	if h != nil && h.Route != nil {
		h.Route(processor, method, path)
	}
}

func (h *RequestHooks) outputs(recs []primitives.Record) {
	if h != nil && h.Outputs != nil {
		h.Outputs(recs)
	}
}

// begin returns what is called before a request of a route. Nobody can have put hooks
// into its context where there is no middleware.
func (f *frontend) begin(processor string, route *web.Route) func(*http.Request) {
	if len(f.cfg.Middleware) == 0 {
		return nil
	}
	return func(r *http.Request) {
		hooksOf(r.Context()).route(processor, route.Pattern.Method, route.Pattern.Path)
	}
}
