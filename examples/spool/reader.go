package spool

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/flowkit-go/flow/primitives"
)

const (
	every      = 50 * time.Millisecond // between two looks at a folder that has nothing new
	burstFiles = 256                   // per Push at most
	burstBytes = 1 << 20               // from which a burst is full
)

// reader pushes the files of a folder and removes those that are committed. It
// numbers them in the order in which it finds them.
type reader struct {
	dir       string
	partition primitives.Partition

	mu     sync.Mutex
	seen   map[string]bool // names in pushed
	pushed []string        // not committed, in order
	first  int64           // offset of the first of them
	closed bool
}

var (
	_ primitives.Reader     = (*reader)(nil)
	_ primitives.Backlogger = (*reader)(nil)
)

// Run pushes what is in the folder, and then what comes.
func (r *reader) Run(ctx context.Context, intake primitives.Intake) error {
	lane := intake.Assign(r.partition, 0)
	for {
		recs, err := r.next()
		switch {
		case errors.Is(err, primitives.ErrClosed):
			return err
		case err != nil:
			err = intake.Retry(ctx, err) // counts, logs and waits
		case len(recs) == 0:
			wait(ctx, every)
		default:
			_, err = lane.Push(ctx, recs)
		}
		if errors.Is(err, primitives.ErrDraining) || errors.Is(err, primitives.ErrReleased) {
			<-ctx.Done() // commits of what is in flight are still to come
		}
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// next reads the next files that were not pushed yet.
func (r *reader) next() ([]primitives.Record, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	names, err := r.names()
	if err != nil {
		return nil, err
	}
	var recs []primitives.Record
	size := 0
	for _, name := range names {
		if r.seen[name] {
			continue
		}
		value, err := os.ReadFile(filepath.Join(r.dir, name))
		if err != nil && len(recs) > 0 {
			break // push those before it first; the next call meets the error again
		}
		if err != nil {
			return nil, fmt.Errorf("spool: %w", err)
		}
		recs = append(recs, primitives.Record{Value: value, Offset: r.first + int64(len(r.pushed))})
		r.pushed = append(r.pushed, name)
		r.seen[name] = true
		if size += len(value); len(recs) == burstFiles || size >= burstBytes {
			break
		}
	}
	return recs, nil
}

// names are the files with records, in the order of their names.
func (r *reader) names() ([]string, error) {
	if r.closed {
		return nil, primitives.ErrClosed
	}
	entries, err := os.ReadDir(r.dir)
	if err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	var names []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".rec") {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// Commit removes the files of all records below Next.
func (r *reader) Commit(_ context.Context, commits []primitives.Commit) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return primitives.ErrClosed
	}
	for _, c := range commits {
		if c.Partition != r.partition {
			return fmt.Errorf("spool: commit %s: %w", c.Partition, primitives.ErrNotAssigned)
		}
		for r.first < c.Next && len(r.pushed) > 0 {
			name := r.pushed[0]
			if err := os.Remove(filepath.Join(r.dir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
				return fmt.Errorf("spool: commit up to %d: %w", c.Next, err)
			}
			delete(r.seen, name)
			r.pushed = r.pushed[1:]
			r.first++
		}
	}
	return nil
}

// Backlog counts the files that are not committed.
func (r *reader) Backlog(context.Context) ([]primitives.Backlog, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	names, err := r.names()
	if err != nil {
		return nil, err
	}
	return []primitives.Backlog{{Partition: r.partition, Records: int64(len(names))}}, nil
}

// Close ends the use of the reader. There is no connection to give back.
func (r *reader) Close(context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	return nil
}
