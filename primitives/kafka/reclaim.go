package kafka

import (
	"context"
	"errors"

	"github.com/flowkit-go/flow/primitives"
)

var _ primitives.Reclaimer = (*reader)(nil)

// Reclaim gives up the lane of a partition as lost, and begins the partition anew
// at what is committed. The group does not notice.
func (r *reader) Reclaim(p primitives.Partition, epoch int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	a := r.held[p]
	if r.closed || a == nil || a.leaving || a.lane == nil || a.lane.Epoch() != epoch || r.running.Err() != nil {
		return
	}
	lane := a.lane
	a.lane = nil // nothing of it is committed any longer
	r.tasks.Go(func() {
		r.intake.Lose(lane)
		r.consumer.Stop(p)
		r.beginAnew(r.running, a)
	})
}

// beginAnew assigns a partition that is held and has no lane.
func (r *reader) beginAnew(ctx context.Context, a *assignment) {
	one := []primitives.Partition{a.p}
	starts, err := r.startsOf(ctx, one)
	for err != nil {
		var fatal *startError
		if errors.As(err, &fatal) {
			r.log.Error("partition not begun anew", "topic", a.p.Topic, "partition", a.p.ID, "error", err)
			return
		}
		if err := r.Retry(ctx, err); err != nil {
			return
		}
		starts, err = r.startsOf(ctx, one)
	}
	r.begin(a, starts[0])
}

// begin starts a lane and the reading for it, unless the partition is being given up.
func (r *reader) begin(a *assignment, start int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if a.leaving || r.held[a.p] != a || r.running.Err() != nil {
		return
	}
	a.next, a.committed = start, start
	a.lane = r.intake.Assign(a.p, start)
	r.consumer.Read(a.p, start, a)
}
