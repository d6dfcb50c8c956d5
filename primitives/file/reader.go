package file

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"

	"github.com/flowkit-go/flow/primitives"
)

// rows reads the records of one open file.
type rows interface {
	// read appends records to dst, up to its capacity, and returns it. It returns
	// io.EOF, without records, after the last.
	read(dst []primitives.Record) ([]primitives.Record, error)
	Close() error
}

// A reader reads one file after the other, each in a lane of its own.
type reader struct {
	env    *primitives.Env
	name   string
	fsys   fs.FS
	paths  []string
	open   func(path string, next int64) (rows, error)
	ledger *ledger // nil without a checkpoint

	mu     sync.Mutex
	files  map[string]*progress // those that were assigned
	closed bool
}

// progress of one file. Offsets count lines from 1.
type progress struct {
	lane      primitives.Lane
	size      int64 // of the file when it was opened
	last      int64 // offset of its last record, once done
	committed int64
	done      bool
}

var (
	_ primitives.Reader      = (*reader)(nil)
	_ primitives.Partitioned = (*reader)(nil)
)

const burstSize = 512

// Run implements primitives.Reader.
func (r *reader) Run(ctx context.Context, intake primitives.Intake) error {
	if r.isClosed() {
		return primitives.ErrClosed
	}
	burst := make([]primitives.Record, 0, burstSize)
	for _, path := range r.paths {
		if err := r.retire(ctx, intake); err != nil {
			return err
		}
		switch err := r.readFile(ctx, intake, path, burst); {
		case err == nil, errors.Is(err, primitives.ErrReleased):
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, primitives.ErrDraining):
			<-ctx.Done() // commits of what is in flight are still to come
			return nil
		default:
			return err
		}
	}
	return nil
}

func (r *reader) readFile(ctx context.Context, intake primitives.Intake, path string, burst []primitives.Record) error {
	info, err := fs.Stat(r.fsys, path)
	if err != nil {
		return fmt.Errorf("file: %w", err)
	}
	next := int64(1)
	if r.ledger != nil {
		if e, found := r.ledger.get(path); found && e.Next > 0 {
			if info.Size() >= e.Size {
				next = e.Next
			} else {
				r.env.Logger.Warn("file is shorter than when it was read before: reading it from the start", "path", path, "size", info.Size(), "before", e.Size)
			}
		}
	}
	in, err := r.open(path, next)
	if err != nil {
		return err
	}
	defer in.Close()

	p := primitives.Partition{Topic: path}
	state := &progress{size: info.Size(), committed: next}
	r.mu.Lock()
	r.files[path] = state // before Assign: a commit may follow at once
	r.mu.Unlock()
	lane := intake.Assign(p, next)
	last := next - 1
	for {
		burst, err = in.read(burst[:0])
		if len(burst) > 0 {
			last = burst[len(burst)-1].Offset
			if _, err := lane.Push(ctx, burst); err != nil {
				return err
			}
			clear(burst)
		}
		if errors.Is(err, io.EOF) {
			r.mu.Lock()
			state.lane, state.last, state.done = lane, last, true
			r.mu.Unlock()
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// retire gives back the lanes of files that are read and committed as a whole,
// so that a pattern with very many files does not pile lanes up.
func (r *reader) retire(ctx context.Context, intake primitives.Intake) error {
	var lanes []primitives.Lane
	r.mu.Lock()
	for path, p := range r.files {
		if p.done && p.committed > p.last {
			lanes = append(lanes, p.lane)
			delete(r.files, path)
		}
	}
	r.mu.Unlock()
	if len(lanes) == 0 {
		return nil
	}
	return intake.Revoke(ctx, lanes...)
}

// Commit implements primitives.Reader. Without a checkpoint there is nothing to
// make durable: the next run starts anew.
func (r *reader) Commit(_ context.Context, commits []primitives.Commit) error {
	errs := make([]error, len(commits))
	failed := false
	var entries []entry
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return primitives.ErrClosed
	}
	for i, c := range commits {
		p, found := r.files[c.Partition.Topic]
		if !found || c.Partition.ID != 0 {
			errs[i], failed = primitives.ErrNotAssigned, true
			continue
		}
		entries = append(entries, entry{Path: c.Partition.Topic, Next: c.Next, Size: p.size})
	}
	r.mu.Unlock()

	if r.ledger != nil && len(entries) > 0 {
		if err := r.ledger.append(entries); err != nil {
			return fmt.Errorf("file: checkpoint of %s: %w", r.name, err)
		}
	}
	r.mu.Lock()
	for _, e := range entries {
		if p, found := r.files[e.Path]; found {
			p.committed = max(p.committed, e.Next)
		}
	}
	r.mu.Unlock()
	if failed {
		return &primitives.CommitError{Errs: errs}
	}
	return nil
}

// Partitions implements primitives.Partitioned: one per file.
func (r *reader) Partitions(context.Context) ([]primitives.Partition, error) {
	if r.isClosed() {
		return nil, primitives.ErrClosed
	}
	out := make([]primitives.Partition, len(r.paths))
	for i, path := range r.paths {
		out[i].Topic = path
	}
	return out, nil
}

// Close implements primitives.Reader.
func (r *reader) Close(context.Context) error {
	r.mu.Lock()
	closed := r.closed
	r.closed = true
	r.mu.Unlock()
	if closed || r.ledger == nil {
		return nil
	}
	return r.ledger.close()
}

func (r *reader) isClosed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.closed
}
