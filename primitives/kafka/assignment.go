package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/primitives/kafka/driver"
)

// assignment is a partition while the reader holds it: the driver's stream on one
// side, a lane on the other.
type assignment struct {
	r     *reader
	p     primitives.Partition
	delay bool  // of a delay topic
	next  int64 // to push; of the stream

	// Guarded by the reader's mu.
	lane      primitives.Lane // nil while it is replaced
	committed int64
	leaving   bool // being given up
	paused    bool
}

var _ driver.Stream = (*assignment)(nil)

// may reports whether a commit belongs to the lane, and not to one before it. The
// caller holds the reader's mu.
func (a *assignment) may(c primitives.Commit) bool {
	return a != nil && a.lane != nil && (c.Epoch == 0 || c.Epoch == a.lane.Epoch())
}

// Records pushes a burst, and tells the lane of holes behind it.
func (a *assignment) Records(ctx context.Context, burst []primitives.Record, next int64) error {
	a.r.mu.Lock()
	lane := a.lane
	a.r.mu.Unlock()
	if lane == nil {
		return primitives.ErrReleased
	}
	if n := len(burst); n > 0 {
		var err error
		if a.delay {
			err = a.delayed(ctx, lane, burst)
		} else {
			_, err = lane.Push(ctx, burst)
		}
		if err != nil {
			return err
		}
		a.next = burst[n-1].Offset + 1
	}
	if next > a.next {
		lane.Advance(next)
		a.next = next
	}
	return nil
}

// OutOfRange goes on where the option says.
func (a *assignment) OutOfRange(ctx context.Context, at int64) (int64, error) {
	first, last, err := a.bounds(ctx)
	for err != nil {
		if err := a.r.Retry(ctx, err); err != nil {
			return 0, err
		}
		first, last, err = a.bounds(ctx)
	}
	if at >= first && at <= last { // it has changed meanwhile
		return at, nil
	}
	next := first
	switch a.r.cfg.outOfRange {
	case StopOutOfRange:
		return 0, fmt.Errorf("%s: offset %d is out of range, the log has %d to %d: records are missing, or the topic was made anew; set OutOfRange to FromEarliest or FromLatest to go on, or the offset of group %s",
			a.p, at, first, last, a.r.with.Group)
	case FromLatest:
		next = last
	}
	a.r.log.Warn("offset out of range", "topic", a.p.Topic, "partition", a.p.ID, "offset", at, "first", first, "last", last, "from", next)
	if next >= a.next {
		return next, a.Records(ctx, nil, next)
	}
	return next, a.goBack(ctx, next)
}

func (a *assignment) bounds(ctx context.Context) (first, last int64, err error) {
	one := []primitives.Partition{a.p}
	low, err := a.r.consumer.Offsets(ctx, one, driver.Earliest)
	if err != nil {
		return 0, 0, err
	}
	high, err := a.r.consumer.Offsets(ctx, one, driver.Latest)
	if err != nil {
		return 0, 0, err
	}
	return low[0], high[0], nil
}

// goBack replaces the lane by one that starts before it: positions of a lane
// only grow.
func (a *assignment) goBack(ctx context.Context, next int64) error {
	a.r.mu.Lock()
	old := a.lane
	a.r.mu.Unlock()
	if old == nil {
		return primitives.ErrReleased
	}
	if err := a.r.intake.Revoke(ctx, old); err != nil {
		a.r.log.Warn("last commit before going back failed", "topic", a.p.Topic, "partition", a.p.ID, "error", err)
	}
	a.r.begins.Lock()
	defer a.r.begins.Unlock()
	a.r.mu.Lock()
	over := a.leaving || a.lane != old || ctx.Err() != nil
	if !over {
		a.lane = nil
	}
	a.r.mu.Unlock()
	if over {
		return primitives.ErrReleased
	}
	lane := a.r.intake.Assign(a.p, next)
	a.r.mu.Lock()
	defer a.r.mu.Unlock()
	a.lane = lane
	a.next, a.committed = next, next
	return nil
}

// startError is one that trying again does not mend.
type startError struct{ error }

// committed returns what the group has committed, -1 where it has nothing. What is in a
// transaction that stays open does not count: it may be one that a process has left
// behind, and who needs to know how it ends claims the partition.
func (r *reader) committed(ctx context.Context, ps []primitives.Partition) ([]int64, error) {
	starts, err := r.consumer.Committed(ctx, r.with.Group, ps, true)
	if errors.Is(err, driver.ErrUnstable) {
		starts, err = r.consumer.Committed(ctx, r.with.Group, ps, false)
	}
	if err != nil {
		return nil, err
	}
	for i, p := range ps {
		if starts[i] < 0 && r.cfg.start == Stop && !r.isDelay(p) {
			return nil, &startError{fmt.Errorf("%s: group %s has committed no offset: set Start to Earliest, Latest or At, or commit one", p, r.with.Group)}
		}
	}
	return starts, nil
}

// firstPositions returns where partitions without a committed offset are read from, -1
// where that could not be found out, with the reason. All that is in a delay topic
// counts, whatever Start says. who was the member before it was looked whether they are
// held.
func (r *reader) firstPositions(ctx context.Context, who driver.Member, as []*assignment) ([]int64, error) {
	starts := make([]int64, len(as))
	var errs []error
	for _, delay := range []bool{false, true} {
		position := driver.Earliest
		if !delay {
			position = r.cfg.start.position()
		}
		var some []primitives.Partition
		var at []int // index of each in as
		for i, a := range as {
			if a.delay == delay {
				some, at = append(some, a.p), append(at, i)
			}
		}
		if len(some) == 0 {
			continue
		}
		found, err := r.consumer.Offsets(ctx, some, position)
		errs = append(errs, err)
		for j, i := range at {
			starts[i] = -1
			if found != nil {
				starts[i] = found[j]
			}
		}
	}
	if r.cfg.start != Earliest {
		r.commitFirst(ctx, who, as, starts)
	}
	return starts, errors.Join(errs...)
}

// commitFirst commits where partitions begin: a crash before their first commit would
// lose what was written meanwhile.
func (r *reader) commitFirst(ctx context.Context, who driver.Member, as []*assignment, starts []int64) {
	for attempt := 1; ; attempt++ {
		var offsets []driver.Offset
		for i, a := range as {
			if !a.delay && starts[i] >= 0 && r.waits(a) {
				offsets = append(offsets, driver.Offset{Partition: a.p, Next: starts[i]})
			}
		}
		err := errors.Join(r.consumer.Commit(ctx, who, offsets)...)
		if err == nil {
			return
		}
		refused := errors.Is(err, primitives.ErrNotAssigned) || errors.Is(err, driver.ErrRebalancing)
		if !refused || !r.mayCommitAgain(ctx, who, attempt, err) {
			r.log.Warn("first position not committed", "group", r.with.Group, "error", err)
			return
		}
		who = r.consumer.Member()
	}
}

// isDelay reports whether a partition is one of a delay topic.
func (r *reader) isDelay(p primitives.Partition) bool {
	return slices.ContainsFunc(r.tiers, func(t *tier) bool { return t.topic == p.Topic })
}

func (s Start) position() driver.Position {
	switch s {
	case Latest:
		return driver.Latest
	case Earliest:
		return driver.Earliest
	}
	return driver.At(time.UnixMilli(int64(s)))
}
