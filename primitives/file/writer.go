package file

import (
	"context"
	"sync"

	"github.com/flowkit-go/flow/primitives"
)

// A writer is one processor's use of an appender.
type writer struct {
	appender *appender
	release  func() error

	mu       sync.Mutex
	closed   bool
	inFlight int
	idle     chan struct{} // closed when closed and nothing is in flight
}

var _ primitives.Writer = (*writer)(nil)

func newWriter(a *appender, release func() error) *writer {
	return &writer{appender: a, release: release, idle: make(chan struct{})}
}

// Write implements primitives.Writer.
func (w *writer) Write(ctx context.Context, batch []primitives.Record, done func(error)) {
	w.mu.Lock()
	if w.closed {
		w.mu.Unlock()
		done(primitives.ErrClosed)
		return
	}
	w.inFlight++
	w.mu.Unlock()

	r := request{batch, done, w}
	if ctx.Err() != nil {
		r.finish(ctx.Err())
		return
	}
	select {
	case w.appender.requests <- r:
	case <-ctx.Done():
		r.finish(ctx.Err())
	}
}

// leave says that a Write is over.
func (w *writer) leave() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.inFlight--
	if w.closed && w.inFlight == 0 {
		close(w.idle)
	}
}

// Close implements primitives.Writer. The file is closed with the last writer of
// its path. When ctx ends first, nothing is given up: the file stays open, and a
// further Close goes on waiting.
func (w *writer) Close(ctx context.Context) error {
	w.mu.Lock()
	if !w.closed {
		w.closed = true
		if w.inFlight == 0 {
			close(w.idle)
		}
	}
	w.mu.Unlock()
	select {
	case <-w.idle:
		return w.release()
	default:
	}
	select {
	case <-w.idle:
		return w.release()
	case <-ctx.Done():
		return ctx.Err()
	}
}
