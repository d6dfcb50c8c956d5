package memory

import (
	"context"
	"fmt"
	"sync"

	"github.com/flowkit-go/flow/primitives"
)

var _ primitives.Writer = (*writer)(nil)

// A store keeps batches: a topic or a queue.
type store interface {
	// write stores a copy of the batch. Its error is one for Writer.Write's done.
	write(ctx context.Context, batch []primitives.Record) error
	String() string
}

// A writer stores batches in the order in which they come: in Write itself, or
// in a goroutine of its own when async is above zero.
type writer struct {
	store   store
	release func() error
	async   int
	ctx     context.Context // of the goroutine; ends when Close has waited long enough
	abort   context.CancelFunc
	ended   chan struct{} // closed when nothing is under way after Close

	mu      sync.Mutex
	queue   []write
	running int // calls of Write that store by themselves
	closed  bool
	over    bool // ended is closed
	changed signal
}

type write struct {
	batch []primitives.Record
	done  func(error)
}

func newWriter(s store, release func() error, async int) *writer {
	w := &writer{store: s, release: release, async: async, ended: make(chan struct{})}
	w.ctx, w.abort = context.WithCancel(context.Background())
	if async > 0 {
		go w.loop()
	}
	return w
}

// Write stores a copy of the batch.
func (w *writer) Write(ctx context.Context, batch []primitives.Record, done func(error)) {
	if err := ctx.Err(); err != nil {
		done(err)
		return
	}
	w.mu.Lock()
	for {
		if w.closed {
			w.mu.Unlock()
			done(primitives.ErrClosed)
			return
		}
		if w.async == 0 || len(w.queue) < w.async {
			break
		}
		wake := w.changed.wait()
		w.mu.Unlock()
		select {
		case <-wake:
		case <-ctx.Done():
			done(ctx.Err())
			return
		}
		w.mu.Lock()
	}
	if w.async > 0 {
		w.queue = append(w.queue, write{batch, done})
		w.changed.broadcast()
		w.mu.Unlock()
		return
	}
	w.running++
	w.mu.Unlock()
	done(w.store.write(ctx, batch))
	w.mu.Lock()
	w.running--
	w.endIfIdle()
	w.mu.Unlock()
}

// loop stores what is queued until the writer is closed and the queue empty.
func (w *writer) loop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for {
		if len(w.queue) == 0 {
			if w.closed {
				w.endIfIdle()
				return
			}
			wake := w.changed.wait()
			w.mu.Unlock()
			<-wake
			w.mu.Lock()
			continue
		}
		next := w.queue[0]
		w.mu.Unlock()
		err := w.ctx.Err()
		if err == nil {
			err = w.store.write(w.ctx, next.batch)
		}
		next.done(err)
		w.mu.Lock()
		w.queue = w.queue[1:] // only now: what is under way counts against async
		w.changed.broadcast()
	}
}

// endIfIdle tells Close that nothing is under way. The caller holds mu.
func (w *writer) endIfIdle() {
	if w.closed && !w.over && w.running == 0 && len(w.queue) == 0 {
		w.over = true
		close(w.ended)
	}
}

// Close waits for what is under way. When ctx ends first it refuses the rest.
func (w *writer) Close(ctx context.Context) error {
	w.mu.Lock()
	first := !w.closed
	w.closed = true
	w.changed.broadcast()
	if w.async == 0 {
		w.endIfIdle()
	}
	w.mu.Unlock()
	select {
	case <-w.ended:
	case <-ctx.Done():
		w.abort()
		if first {
			return fmt.Errorf("memory: close writer of %s: %w", w.store, ctx.Err())
		}
		return ctx.Err()
	}
	w.abort()
	return w.release()
}
