package primitivetest

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"slices"
	"sync"
	"time"

	"github.com/flowkit-go/flow/primitives"
)

var (
	_ primitives.Intake = (*Intake)(nil)
	_ primitives.Lane   = (*Lane)(nil)
)

// An Intake stands in for the runtime: it records what a Reader does to it and
// gives records out when the test asks for them. Make one with NewIntake.
type Intake struct {
	// OnRevoke, when set before Run, is called by Revoke with the lanes that are
	// given back and before they are released: the place for a last commit. Its
	// error is Revoke's.
	OnRevoke func(ctx context.Context, lanes []*Lane) error

	// RetryDelay is how long Retry waits. Default 10 ms.
	RetryDelay time.Duration

	capacity int
	seed     maphash.Seed

	mu       sync.Mutex
	changed  chan struct{} // closed and replaced by each change
	lanes    []*Lane
	retries  []error
	draining bool
	strays   []error // what the Reader did wrong
}

// A Lane is one partition of an Intake. Its fields do not change.
type Lane struct {
	Partition primitives.Partition
	Start     int64

	in      *Intake
	epoch   int64
	queue   []Delivery // pushed and not yet taken
	taken   []Delivery
	pushed  int
	last    int64 // offset of the last record pushed
	next    int64 // as told by Advance
	gone    bool  // revoked or lost
	lost    bool
	waiting int // calls of Push and WaitFree that wait
	refused int // calls that were told to stop
}

// A Delivery is a record as it was pushed.
type Delivery struct {
	Lane   *Lane
	Record primitives.Record
	sum    uint64 // of its bytes when it was pushed
}

// NewIntake returns an Intake whose lanes hold up to capacity records that the
// test has not taken.
func NewIntake(capacity int) *Intake {
	return &Intake{capacity: capacity, seed: maphash.MakeSeed(), changed: make(chan struct{}), RetryDelay: 10 * time.Millisecond}
}

// change wakes all that wait. The caller holds mu.
func (in *Intake) change() {
	close(in.changed)
	in.changed = make(chan struct{})
}

// Assign starts a lane.
func (in *Intake) Assign(p primitives.Partition, start int64) primitives.Lane {
	in.mu.Lock()
	defer in.mu.Unlock()
	for _, l := range in.lanes {
		if l.Partition == p && !l.gone {
			in.stray("Assign of %s, which has a lane already", p)
		}
	}
	l := &Lane{Partition: p, Start: start, in: in, last: -1, epoch: int64(len(in.lanes) + 1)}
	in.lanes = append(in.lanes, l)
	in.change()
	return l
}

// Revoke calls OnRevoke and releases the lanes.
func (in *Intake) Revoke(ctx context.Context, lanes ...primitives.Lane) error {
	own := in.own("Revoke", lanes)
	var err error
	if in.OnRevoke != nil {
		err = in.OnRevoke(ctx, own)
	}
	in.end(own, false)
	return err
}

// Lose drops the lanes.
func (in *Intake) Lose(lanes ...primitives.Lane) { in.end(in.own("Lose", lanes), true) }

func (in *Intake) own(call string, lanes []primitives.Lane) []*Lane {
	in.mu.Lock()
	defer in.mu.Unlock()
	var own []*Lane
	for _, l := range lanes {
		o, ok := l.(*Lane)
		if !ok || o == nil || o.in != in {
			in.stray("%s of a lane that Assign did not return: %T", call, l)
			continue
		}
		own = append(own, o)
	}
	return own
}

func (in *Intake) end(lanes []*Lane, lost bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	for _, l := range lanes {
		l.gone, l.lost = true, l.lost || lost
	}
	in.change()
}

// Retry records the error and waits RetryDelay. While the intake drains it
// returns ErrDraining at once.
func (in *Intake) Retry(ctx context.Context, err error) error {
	in.mu.Lock()
	if err == nil {
		in.stray("Retry without an error")
	}
	in.retries = append(in.retries, err)
	draining := in.draining
	in.change()
	in.mu.Unlock()
	if draining {
		return primitives.ErrDraining
	}
	timer := time.NewTimer(in.RetryDelay)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Drain makes each Push and WaitFree, also those that wait, return ErrDraining.
func (in *Intake) Drain() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.draining = true
	in.change()
}

// stray notes something that a Reader must not do. The caller holds mu.
func (in *Intake) stray(format string, args ...any) {
	if len(in.strays) < 20 {
		in.strays = append(in.strays, fmt.Errorf(format, args...))
	}
}

// Lanes returns the lanes that were assigned and are neither revoked nor lost.
func (in *Intake) Lanes() []*Lane {
	in.mu.Lock()
	defer in.mu.Unlock()
	var out []*Lane
	for _, l := range in.lanes {
		if !l.gone {
			out = append(out, l)
		}
	}
	return out
}

// Retries returns the errors that were given to Retry.
func (in *Intake) Retries() []error {
	in.mu.Lock()
	defer in.mu.Unlock()
	return slices.Clone(in.retries)
}

// Pushed is the number of records that all lanes took, and waiting the number
// of calls that wait for room.
func (in *Intake) Pushed() (pushed, waiting int) {
	in.mu.Lock()
	defer in.mu.Unlock()
	for _, l := range in.lanes {
		pushed += l.pushed
		waiting += l.waiting
	}
	return pushed, waiting
}

// Wait waits until ok returns true, which is asked after each change, or ctx ends.
func (in *Intake) Wait(ctx context.Context, ok func() bool) error {
	for {
		in.mu.Lock()
		changed := in.changed
		in.mu.Unlock()
		if ok() {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Take waits until records are queued and takes up to limit of them, in the
// order of each lane. It returns the context's error when there are none until
// ctx ends.
func (in *Intake) Take(ctx context.Context, limit int) ([]Delivery, error) {
	return in.take(ctx, limit, func(*Lane) bool { return true })
}

// Take does what Intake.Take does, for one lane.
func (l *Lane) Take(ctx context.Context, limit int) ([]Delivery, error) {
	return l.in.take(ctx, limit, func(other *Lane) bool { return other == l })
}

func (in *Intake) take(ctx context.Context, limit int, from func(*Lane) bool) ([]Delivery, error) {
	var out []Delivery
	err := in.Wait(ctx, func() bool {
		in.mu.Lock()
		defer in.mu.Unlock()
		for _, l := range in.lanes {
			if !from(l) {
				continue
			}
			n := min(len(l.queue), limit-len(out))
			out = append(out, l.queue[:n]...)
			l.taken = append(l.taken, l.queue[:n]...)
			l.queue = slices.Delete(l.queue, 0, n)
		}
		if len(out) > 0 {
			in.change()
		}
		return len(out) > 0
	})
	return out, err
}

// deliveries returns everything that was pushed.
func (in *Intake) deliveries() []Delivery {
	in.mu.Lock()
	defer in.mu.Unlock()
	var out []Delivery
	for _, l := range in.lanes {
		out = append(out, l.taken...)
		out = append(out, l.queue...)
	}
	return out
}

// Check says what the Reader did that a runtime cannot live with: a lane
// assigned twice, offsets that do not grow, bytes that changed after Push, no
// end of Push after ErrDraining or ErrReleased.
func (in *Intake) Check() error {
	in.mu.Lock()
	defer in.mu.Unlock()
	errs := slices.Clone(in.strays)
	for _, l := range in.lanes {
		for _, d := range slices.Concat(l.taken, l.queue) {
			if in.sum(&d.Record) != d.sum {
				errs = append(errs, fmt.Errorf("the bytes of %s@%d changed after it was pushed", l.Partition, d.Record.Offset))
				break
			}
		}
	}
	return errors.Join(errs...)
}

// sum hashes all bytes of a record.
func (in *Intake) sum(r *primitives.Record) uint64 {
	var h maphash.Hash
	h.SetSeed(in.seed)
	add := func(b []byte) {
		fmt.Fprintf(&h, "%d:", len(b))
		h.Write(b)
	}
	add(r.Key)
	add(r.Value)
	for _, head := range r.Headers {
		add([]byte(head.Name))
		add(head.Value)
	}
	return h.Sum64()
}
