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
	a.r.mu.Lock()
	defer a.r.mu.Unlock()
	if a.leaving || a.lane != old || ctx.Err() != nil {
		return primitives.ErrReleased
	}
	a.lane = a.r.intake.Assign(a.p, next)
	a.next, a.committed = next, next
	return nil
}

// startError is one that trying again does not mend.
type startError struct{ error }

// startsOf returns where partitions are to be read from.
func (r *reader) startsOf(ctx context.Context, ps []primitives.Partition) ([]int64, error) {
	starts, err := r.consumer.Committed(ctx, r.with.Group, ps)
	if err != nil {
		return nil, err
	}
	var fresh []primitives.Partition
	var at []int
	for i, offset := range starts {
		if offset < 0 {
			fresh, at = append(fresh, ps[i]), append(at, i)
		}
	}
	if len(fresh) == 0 {
		return starts, nil
	}
	if err := r.startsOfDelayed(ctx, fresh, at, starts); err != nil {
		return nil, err
	}
	fresh, at = slices.DeleteFunc(fresh, r.isDelay), slices.DeleteFunc(at, func(i int) bool { return r.isDelay(ps[i]) })
	if len(fresh) == 0 {
		return starts, nil
	}
	if r.cfg.start == Stop {
		return nil, &startError{fmt.Errorf("%s: group %s has committed no offset: set Start to Earliest, Latest or At, or commit one", fresh[0], r.with.Group)}
	}
	found, err := r.consumer.Offsets(ctx, fresh, r.cfg.start.position())
	if err != nil {
		return nil, err
	}
	offsets := make([]driver.Offset, len(fresh))
	for i, offset := range found {
		starts[at[i]] = offset
		offsets[i] = driver.Offset{Partition: fresh[i], Next: offset}
	}
	if r.cfg.start != Earliest {
		// A crash before the first commit would lose what was written meanwhile.
		if err := errors.Join(r.consumer.Commit(ctx, offsets)...); err != nil {
			r.log.Warn("first position not committed", "group", r.with.Group, "error", err)
		}
	}
	return starts, nil
}

// startsOfDelayed fills in where delay topics are read from when nothing is committed: all
// that is in them counts, whatever Start says.
func (r *reader) startsOfDelayed(ctx context.Context, fresh []primitives.Partition, at []int, starts []int64) error {
	var delayed []primitives.Partition
	var indices []int
	for j, p := range fresh {
		if r.isDelay(p) {
			delayed, indices = append(delayed, p), append(indices, at[j])
		}
	}
	found, err := r.consumer.Offsets(ctx, delayed, driver.Earliest)
	if err != nil {
		return err
	}
	for j, offset := range found {
		starts[indices[j]] = offset
	}
	return nil
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
