package memory

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/flowkit-go/flow/primitives"
)

var (
	_ primitives.Reader     = (*queueReader)(nil)
	_ primitives.Backlogger = (*queueReader)(nil)
	_ primitives.Leaser     = (*queueReader)(nil)
)

// A queueReader borrows from a queue as much as its lane has room for.
type queueReader struct {
	broker     *Broker
	queue      *queue
	release    func() error
	visibility time.Duration
	limit      int32
	burst      int
	bounded    bool

	closed bool // guarded by broker.mu
}

func (r *queueReader) partition() primitives.Partition {
	return primitives.Partition{Topic: r.queue.name}
}

// Run lends records to the lane until ctx ends, or the queue is empty when it is
// bounded.
func (r *queueReader) Run(ctx context.Context, intake primitives.Intake) error {
	if r.isClosed() {
		return primitives.ErrClosed
	}
	lane := intake.Assign(r.partition(), 0)
	err := r.feed(ctx, intake, lane)
	if ctx.Err() != nil {
		return nil
	}
	if errors.Is(err, primitives.ErrDraining) || errors.Is(err, primitives.ErrReleased) {
		<-ctx.Done() // the leases stay good until then
		return nil
	}
	return err
}

func (r *queueReader) feed(ctx context.Context, intake primitives.Intake, lane primitives.Lane) error {
	var offset int64
	var recs []primitives.Record
	for {
		free, err := lane.WaitFree(ctx)
		if err != nil {
			return err
		}
		clear(recs)
		r.broker.mu.Lock()
		now := time.Now()
		r.queue.mature(now, r.limit)
		recs = r.queue.lend(recs[:0], min(free, r.burst), now.Add(r.visibility))
		if len(recs) == 0 && r.bounded && r.queue.size() == 0 {
			r.broker.mu.Unlock()
			return nil
		}
		wake := r.queue.changed.wait()
		next := time.Duration(-1)
		if r.queue.later.Len() > 0 {
			next = r.queue.later.list[0].back.Sub(now)
		}
		r.broker.changed.broadcast()
		r.broker.mu.Unlock()

		if len(recs) == 0 {
			if err := sleep(ctx, wake, next); err != nil {
				return err
			}
			continue
		}
		for i := range recs {
			recs[i].Offset = offset + int64(i)
		}
		n, err := r.push(ctx, intake, lane, recs)
		offset += int64(n)
		if err != nil {
			return err
		}
	}
}

// push hands over what was lent, once the control functions agree, and takes
// back what the lane did not take.
func (r *queueReader) push(ctx context.Context, intake primitives.Intake, lane primitives.Lane, recs []primitives.Record) (n int, err error) {
	if err = r.broker.control(ctx, Op{Kind: OpRead, Name: r.queue.name, Records: recs}); err != nil {
		err = fmt.Errorf("memory: read %s: %w", r.queue.name, err)
		if !primitives.IsPermanent(err) {
			r.unlend(recs)
			return 0, intake.Retry(ctx, err)
		}
	}
	for err == nil && n < len(recs) {
		var k int
		k, err = lane.Push(ctx, recs[n:])
		n += k
	}
	r.unlend(recs[n:])
	return n, err
}

func (r *queueReader) unlend(recs []primitives.Record) {
	if len(recs) == 0 {
		return
	}
	r.broker.mu.Lock()
	defer r.broker.mu.Unlock()
	r.queue.unlend(recs)
	r.broker.changed.broadcast()
}

// sleep waits for wake, for d when it is not negative, or for the end of ctx.
func sleep(ctx context.Context, wake <-chan struct{}, d time.Duration) error {
	var after <-chan time.Time
	if d >= 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		after = timer.C
	}
	select {
	case <-wake:
	case <-after:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// LeaseTime is the queue's Visibility.
func (r *queueReader) LeaseTime() time.Duration { return r.visibility }

// Extend errs when one of the records was lent to someone else or is gone; the
// others are extended.
func (r *queueReader) Extend(ctx context.Context, leases []any) error {
	return r.change(ctx, OpExtend, leases, func(l *lease) error {
		if !l.good() {
			return errors.New("a lease has run out: the record is delivered again")
		}
		l.m.back = time.Now().Add(r.visibility)
		heap.Fix(l.m.in, l.m.index)
		return nil
	})
}

// Release gives records back. Those that are not ours any more are left as they are.
func (r *queueReader) Release(ctx context.Context, leases []any, delay time.Duration) error {
	return r.change(ctx, OpRelease, leases, func(l *lease) error {
		if !l.good() {
			return nil
		}
		l.m.back = time.Now().Add(delay)
		heap.Fix(l.m.in, l.m.index)
		return nil
	})
}

// Commit removes records. A lease that has run out still counts as long as the
// record was not delivered again; after that it is ignored, and so is Next.
func (r *queueReader) Commit(ctx context.Context, commits []primitives.Commit) error {
	if r.isClosed() {
		return primitives.ErrClosed
	}
	errs := make([]error, len(commits))
	failed := false
	for i, c := range commits {
		if c.Partition != r.partition() {
			errs[i] = fmt.Errorf("memory: commit %s: %w", c.Partition, primitives.ErrNotAssigned)
		} else {
			errs[i] = r.change(ctx, OpCommit, c.Leases, func(l *lease) error {
				if l.m.in != nil && l.m.deliveries == l.delivery {
					r.queue.move(l.m, nil)
				}
				return nil
			})
		}
		failed = failed || errs[i] != nil
	}
	if failed {
		return &primitives.CommitError{Errs: errs}
	}
	return nil
}

// change applies f to leases. Its error joins those of f.
func (r *queueReader) change(ctx context.Context, kind OpKind, leases []any, f func(*lease) error) error {
	if r.isClosed() {
		return primitives.ErrClosed
	}
	err := r.broker.control(ctx, Op{Kind: kind, Name: r.queue.name, Leases: len(leases)})
	if err == nil {
		r.broker.mu.Lock()
		defer r.broker.mu.Unlock()
		var errs []error
		for _, x := range leases {
			l, ok := x.(*lease)
			if !ok {
				errs = append(errs, fmt.Errorf("%T is no lease of this queue", x))
				continue
			}
			errs = append(errs, f(l))
		}
		r.queue.changed.broadcast()
		r.broker.changed.broadcast()
		err = errors.Join(errs...)
	}
	if err != nil {
		return fmt.Errorf("memory: %s %s: %w", kind, r.queue.name, err)
	}
	return nil
}

// Backlog is the number of records that are not committed, lent or not.
func (r *queueReader) Backlog(ctx context.Context) ([]primitives.Backlog, error) {
	if r.isClosed() {
		return nil, primitives.ErrClosed
	}
	if err := r.broker.control(ctx, Op{Kind: OpBacklog, Name: r.queue.name}); err != nil {
		return nil, fmt.Errorf("memory: backlog of %s: %w", r.queue.name, err)
	}
	r.broker.mu.Lock()
	defer r.broker.mu.Unlock()
	return []primitives.Backlog{{Partition: r.partition(), Records: int64(r.queue.size())}}, nil
}

func (r *queueReader) isClosed() bool {
	r.broker.mu.Lock()
	defer r.broker.mu.Unlock()
	return r.closed
}

// Close ends the reader. What it has borrowed comes back when its time is up.
func (r *queueReader) Close(context.Context) error {
	r.broker.mu.Lock()
	if r.closed {
		r.broker.mu.Unlock()
		return nil
	}
	r.closed = true
	r.broker.mu.Unlock()
	return r.release()
}
