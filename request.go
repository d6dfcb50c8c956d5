package flow

import (
	"context"

	"github.com/flowkit-go/flow/runtime"
)

// RequestHooks tell HTTP middleware what becomes of a request: its route, which is
// found further in, and what a collector writes for it.
type RequestHooks = runtime.RequestHooks

// WithRequestHooks returns a context with hooks, for the request that middleware
// given to UseHTTP hands on. Hooks of middleware further out are called first.
func WithRequestHooks(ctx context.Context, h *RequestHooks) context.Context {
	return runtime.WithRequestHooks(ctx, h)
}
