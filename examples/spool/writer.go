package spool

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/flowkit-go/flow/primitives"
)

// writer stores each record as a file. Names sort by the time at which the writer
// was opened and then by number, so that the files of one writer are in order.
type writer struct {
	dir    string
	prefix string

	mu     sync.Mutex // makes the order of batches that of the calls
	n      int
	closed bool
}

var _ primitives.Writer = (*writer)(nil)

func newWriter(dir string) *writer {
	return &writer{dir: dir, prefix: fmt.Sprintf("%020d", time.Now().UnixNano())}
}

// Write stores the batch before it returns.
func (w *writer) Write(ctx context.Context, batch []primitives.Record, done func(error)) {
	done(w.write(ctx, batch))
}

func (w *writer) write(ctx context.Context, batch []primitives.Record) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return primitives.ErrClosed
	}
	var failed []primitives.RecordError
	for i := range batch {
		err := ctx.Err()
		if err == nil {
			err = w.store(batch[i].Value)
		}
		if err != nil {
			failed = append(failed, primitives.RecordError{Index: i, Err: err})
		}
	}
	if len(failed) > 0 {
		return &primitives.BatchError{Failed: failed}
	}
	return nil
}

// store writes a file under a name that readers do not look at, and renames it
// when all of it is on the disk: a reader never sees half a record.
func (w *writer) store(value []byte) error {
	w.n++
	name := filepath.Join(w.dir, fmt.Sprintf("%s-%010d", w.prefix, w.n))
	file, err := os.Create(name + ".tmp")
	if err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	_, err = file.Write(value)
	if err == nil {
		err = file.Sync()
	}
	if closing := file.Close(); err == nil {
		err = closing
	}
	if err == nil {
		err = os.Rename(name+".tmp", name+".rec")
	}
	if err != nil {
		return fmt.Errorf("spool: store a record: %w", err)
	}
	return nil
}

// Close has nothing to wait for: what was written is stored.
func (w *writer) Close(context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	return nil
}
