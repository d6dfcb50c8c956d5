package primitivetest

import (
	"context"

	"github.com/flowkit-go/flow/primitives"
)

// Epoch counts the lanes of the intake.
func (l *Lane) Epoch() int64 { return l.epoch }

// Push queues records as far as there is room and waits for room for the rest.
func (l *Lane) Push(ctx context.Context, burst []primitives.Record) (int, error) {
	total := 0
	for {
		l.in.mu.Lock()
		err := l.refusal(ctx)
		if err == nil {
			n := min(l.in.capacity-len(l.queue), len(burst))
			l.add(burst[:n])
			burst, total = burst[n:], total+n
			if n > 0 {
				l.in.change()
			}
		}
		changed := l.in.changed
		if err != nil || len(burst) == 0 {
			l.in.mu.Unlock()
			return total, err
		}
		l.wait(ctx, changed)
	}
}

// wait releases the intake's mu, which the caller holds, and waits.
func (l *Lane) wait(ctx context.Context, changed <-chan struct{}) {
	l.waiting++
	l.in.mu.Unlock()
	select {
	case <-changed:
	case <-ctx.Done():
	}
	l.in.mu.Lock()
	l.waiting--
	l.in.mu.Unlock()
}

// maxRefused is how many calls a reader may have under way for one lane when it
// learns that it must stop.
const maxRefused = 5

// refusal is the error of a Push now. The caller holds the intake's mu.
func (l *Lane) refusal(ctx context.Context) error {
	err := ctx.Err()
	switch {
	case l.gone:
		err = primitives.ErrReleased
	case l.in.draining:
		err = primitives.ErrDraining
	}
	if err != nil && ctx.Err() == nil {
		if l.refused++; l.refused == maxRefused {
			l.in.stray("%s: %d calls of Push or WaitFree went on after %q", l.Partition, maxRefused, err)
		}
	}
	return err
}

// add queues records. The caller holds the intake's mu.
func (l *Lane) add(burst []primitives.Record) {
	for _, r := range burst {
		if r.Offset <= l.last {
			l.in.stray("%s@%d pushed after %s@%d", l.Partition, r.Offset, l.Partition, l.last)
		}
		if l.pushed == 0 && r.Offset < l.Start {
			l.in.stray("%s@%d pushed to a lane that starts at %d", l.Partition, r.Offset, l.Start)
		}
		l.last = r.Offset
		l.pushed++
		l.queue = append(l.queue, Delivery{Lane: l, Record: r, sum: l.in.sum(&r)})
	}
}

// Advance records the end of the log.
func (l *Lane) Advance(next int64) {
	l.in.mu.Lock()
	defer l.in.mu.Unlock()
	if next <= l.last {
		l.in.stray("Advance of %s to %d after record %d", l.Partition, next, l.last)
	}
	l.next = max(l.next, next)
	l.last = max(l.last, next-1)
	l.in.change()
}

// Advanced is the highest position that Advance was called with.
func (l *Lane) Advanced() int64 {
	l.in.mu.Lock()
	defer l.in.mu.Unlock()
	return l.next
}

// Released tells whether the lane was revoked or lost, and which of the two.
func (l *Lane) Released() (gone, lost bool) {
	l.in.mu.Lock()
	defer l.in.mu.Unlock()
	return l.gone, l.lost
}

// Free is the room for records.
func (l *Lane) Free() int {
	l.in.mu.Lock()
	defer l.in.mu.Unlock()
	return l.in.capacity - len(l.queue)
}

// WaitFree waits for room.
func (l *Lane) WaitFree(ctx context.Context) (int, error) {
	for {
		l.in.mu.Lock()
		if err := l.refusal(ctx); err != nil {
			l.in.mu.Unlock()
			return 0, err
		}
		if free := l.in.capacity - len(l.queue); free > 0 {
			l.in.mu.Unlock()
			return free, nil
		}
		l.wait(ctx, l.in.changed)
	}
}
