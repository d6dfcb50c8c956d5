package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/primitives/kafka/driver"
)

var (
	_ primitives.Reclaimer = (*reader)(nil)
	_ primitives.Seeker    = (*reader)(nil)
)

// Reclaim gives up the lane of a partition as lost, and begins the partition anew
// at what is committed. The group does not notice.
func (r *reader) Reclaim(p primitives.Partition, epoch int64) {
	r.begins.Lock() // the lane may be known to who calls, and not yet be in place
	defer r.begins.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	a := r.held[p]
	if !r.mayReplace(a) || a.lane.Epoch() != epoch {
		return
	}
	lane, ctx := a.lane, r.running
	a.lane = nil // nothing of it is committed any longer
	r.tasks.Go(func() {
		r.intake.Lose(lane)
		r.consumer.Stop(p)
		r.beginAnew(ctx, a)
	})
}

// mayReplace reports whether the lane of an assignment may be replaced by another one.
// The caller holds mu.
func (r *reader) mayReplace(a *assignment) bool {
	return !r.closed && a != nil && !a.leaving && a.lane != nil && r.running.Err() == nil
}

// Seek gives up the lane of a partition as lost, commits next, and begins the
// partition anew there. When the commit fails it begins at what is committed.
func (r *reader) Seek(ctx context.Context, p primitives.Partition, next int64) error {
	if next < 0 {
		return fmt.Errorf("kafka: seek %s: offset %d: give one from 0 on", p, next)
	}
	who := r.consumer.Member() // before it is looked whether the partition is held
	done, err := r.startSeek(ctx, who, p, next)
	if err != nil {
		return err
	}
	if err := <-done; err != nil {
		return fmt.Errorf("kafka: seek %s to %d: %w", p, next, err)
	}
	return nil
}

// startSeek begins a seek, whose commit done tells of.
func (r *reader) startSeek(ctx context.Context, who driver.Member, p primitives.Partition, next int64) (done <-chan error, err error) {
	r.begins.Lock() // as in Reclaim
	defer r.begins.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, primitives.ErrClosed
	}
	a := r.held[p]
	if !r.mayReplace(a) {
		return nil, fmt.Errorf("kafka: seek %s: %w", p, primitives.ErrNotAssigned)
	}
	lane, running := a.lane, r.running
	a.lane = nil
	committed := make(chan error, 1)
	r.tasks.Go(func() {
		r.intake.Lose(lane)
		r.consumer.Stop(p)
		err := errors.Join(r.consumer.Commit(ctx, who, []driver.Offset{{Partition: p, Next: next}})...)
		committed <- err
		if err != nil {
			r.beginAnew(running, a)
			return
		}
		r.begin(a, next)
	})
	return committed, nil
}

// beginAnew assigns a partition that is held and has no lane. An error that does not pass
// ends Run, as in Assigned: the partition would stay unread without a word.
func (r *reader) beginAnew(ctx context.Context, a *assignment) {
	who := r.consumer.Member()
	one := []primitives.Partition{a.p}
	starts, err := r.committed(ctx, one)
	for err != nil {
		if !r.waits(a) {
			return
		}
		var fatal *startError
		if errors.As(err, &fatal) {
			r.fail(fmt.Errorf("kafka: %w", err))
			return
		}
		if !r.again(ctx, err) {
			return
		}
		who = r.consumer.Member()
		starts, err = r.committed(ctx, one)
	}
	if starts[0] < 0 {
		r.beginFirst(ctx, who, []*assignment{a})
		return
	}
	r.begin(a, starts[0])
}

// beginFirst assigns partitions for which nothing is committed, as soon as it is known
// where they begin.
func (r *reader) beginFirst(ctx context.Context, who driver.Member, as []*assignment) {
	for {
		as = slices.DeleteFunc(as, func(a *assignment) bool { return !r.waits(a) })
		if len(as) == 0 {
			return
		}
		starts, err := r.firstPositions(ctx, who, as)
		var left []*assignment
		for i, a := range as {
			if starts[i] < 0 {
				left = append(left, a)
				continue
			}
			r.begin(a, starts[i])
		}
		if as = left; err == nil {
			continue
		}
		if !r.again(ctx, err) {
			return
		}
		who = r.consumer.Member()
	}
}

// again reports an error of a task and waits. It reports whether to try again; where that
// is neither because of a drain nor of the end, it ends Run.
func (r *reader) again(ctx context.Context, reason error) bool {
	err := r.Retry(ctx, reason)
	if err != nil && ctx.Err() == nil && !errors.Is(err, primitives.ErrDraining) {
		r.fail(err)
	}
	return err == nil
}

// fail ends Run with an error, the first that counts.
func (r *reader) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failure == nil && r.running.Err() == nil {
		r.failure = err
		r.end()
	}
}

// waits reports whether a partition is held and has no lane.
func (r *reader) waits(a *assignment) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.held[a.p] == a && !a.leaving && a.lane == nil
}

// begin starts a lane and the reading for it, unless the partition is being given up.
func (r *reader) begin(a *assignment, start int64) {
	r.begins.Lock()
	defer r.begins.Unlock()
	r.mu.Lock()
	over := a.leaving || r.held[a.p] != a || r.running.Err() != nil
	if !over {
		a.next, a.committed = start, start
	}
	r.mu.Unlock()
	if over {
		return
	}
	lane := r.intake.Assign(a.p, start)
	r.mu.Lock()
	defer r.mu.Unlock() // also while reading begins, so that it heeds each Pause
	a.lane = lane
	r.consumer.Read(a.p, start, a.paused, a)
}
