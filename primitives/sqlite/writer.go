package sqlite

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"github.com/flowkit-go/flow/primitives"
)

// A writer is one processor's way into a table.
type writer struct {
	db       *database
	release  func() error
	inserter *inserter
	noSync   bool

	// abandoned is set when Close has run out of time: batches of this writer that
	// have not been started are refused.
	abandoned atomic.Bool

	mu      sync.Mutex
	pending int           // batches that were taken and not reported
	closed  bool          // no more are taken
	idle    chan struct{} // closed when closed is set and pending is zero
	closing sync.Once
	err     error // of the first Close
}

var _ primitives.Writer = (*writer)(nil)

// openWriter opens or joins the database at path and prepares the table.
func openWriter(ctx context.Context, env *primitives.Env, path string, s *schema, noSync bool) (*writer, error) {
	db, release, err := primitives.Share(env.Shared, "sqlite:"+path, func() (*database, error) {
		return openDatabase(ctx, path)
	})
	if err != nil {
		return nil, err
	}
	w := &writer{db: db, release: release, noSync: noSync, idle: make(chan struct{})}
	err = db.onConnection(ctx, func() error {
		if err := db.conn.migrate(s, ended(ctx)); err != nil {
			return err
		}
		w.inserter, err = newInserter(db.conn, s)
		return err
	})
	if err != nil {
		return nil, errors.Join(err, release())
	}
	return w, nil
}

// Write queues the batch for the next transaction. It calls done on the
// connection's goroutine, which writes nothing until done returns.
func (w *writer) Write(ctx context.Context, batch []primitives.Record, done func(error)) {
	w.mu.Lock()
	if w.closed {
		w.mu.Unlock()
		done(primitives.ErrClosed)
		return
	}
	w.pending++
	w.mu.Unlock()

	j := job{w: w, batch: batch, done: done}
	if err := ctx.Err(); err != nil {
		j.finish(err)
		return
	}
	select {
	case w.db.jobs <- j:
	case <-ctx.Done():
		j.finish(ctx.Err())
	}
}

// finished counts a batch off.
func (w *writer) finished() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pending--
	if w.closed && w.pending == 0 {
		close(w.idle)
	}
}

// Close waits until every batch is reported. When ctx ends before, those that
// have not been started are refused, and only the transaction under way is
// waited for.
func (w *writer) Close(ctx context.Context) error {
	w.closing.Do(func() { w.err = w.close(ctx) })
	return w.err
}

func (w *writer) close(ctx context.Context) error {
	w.mu.Lock()
	w.closed = true
	if w.pending == 0 {
		close(w.idle)
	}
	w.mu.Unlock()

	var late error
	select {
	case <-w.idle:
	case <-ctx.Done():
		late = ctx.Err()
		w.abandoned.Store(true)
		<-w.idle
	}
	err := w.db.onConnection(context.WithoutCancel(ctx), w.inserter.close)
	return errors.Join(late, err, w.release())
}
