package web

import (
	"context"
	"sync"
	"time"

	"github.com/go-chi/chi/v5"
)

// A deadlineContext is context.WithDeadline that makes its timer when somebody
// first waits for it. Most handlers are done long before and never do.
type deadlineContext struct {
	context.Context // the request's
	deadline        time.Time
	params          *chi.RouteParams // of a direct route, until its Handler returns

	mu      sync.Mutex
	inner   context.Context // nil until it is needed
	cancel  context.CancelFunc
	watched bool // the request's context ends when its client has gone
	over    bool
}

func withDeadline(ctx context.Context, deadline time.Time) *deadlineContext {
	if earlier, ok := ctx.Deadline(); ok && earlier.Before(deadline) {
		deadline = earlier
	}
	return &deadlineContext{Context: ctx, deadline: deadline}
}

// Deadline returns the time at which the context ends.
func (c *deadlineContext) Deadline() (time.Time, bool) { return c.deadline, true }

// Done makes the timer.
func (c *deadlineContext) Done() <-chan struct{} { return c.arm().Done() }

// Err is nil until the deadline, the end of the request, or its cancellation.
func (c *deadlineContext) Err() error {
	c.watch()
	if inner := c.armed(); inner != nil {
		return inner.Err()
	}
	if c.Context.Err() == nil && time.Now().Before(c.deadline) {
		return nil
	}
	return c.arm().Err() // which stays the same from here on
}

// Value finds the inner context too, so that children of this one attach to it
// without a goroutine.
func (c *deadlineContext) Value(key any) any {
	if _, ok := key.(paramsKey); ok {
		return c.params
	}
	if inner := c.armed(); inner != nil {
		return inner.Value(key)
	}
	return c.Context.Value(key)
}

// watch has the client's going noticed from now on.
func (c *deadlineContext) watch() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.watched {
		c.watched = true
		watch(c.Context)
	}
}

func (c *deadlineContext) armed() context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.inner
}

func (c *deadlineContext) arm() context.Context {
	c.watch()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.inner == nil {
		c.inner, c.cancel = context.WithDeadline(c.Context, c.deadline)
		if c.over {
			c.cancel()
		}
	}
	return c.inner
}

// stop ends the context and its timer.
func (c *deadlineContext) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = true
	if c.cancel != nil {
		c.cancel()
	}
}
