package flow_test

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flowkit-go/flow"
	"github.com/flowkit-go/flow/primitives/memory"
)

// Leases of what is resolved are acknowledged before they run out, whatever the
// commit policy.
func TestLeasesAreCommittedInTime(t *testing.T) {
	for name, policy := range map[string]flow.ConsumerOption{
		"seldom": flow.CommitEvery(time.Hour, 0), "by number": flow.CommitEvery(0, 1000),
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, r *rig) {
				q := memory.Queue[int]{Broker: r.broker, Name: "in", Visibility: 30 * time.Second}
				r.fill(0, 0, 3)
				r.broker.Append("in", 0)
				var got seen[int]
				f := r.start(flow.NewConsumer("send", memory.Topic[int]{Broker: r.broker, Name: "in"}, q, func(_ context.Context, v int) (int, error) { return v, nil }),
					flow.NewConsumer("p", q, flow.Discard, flow.Do(func(_ context.Context, v int) error { got.add(v); return nil }), policy))
				time.Sleep(10 * time.Minute)
				equal(t, "handled", got.all(), []int{0, 1, 2})
				f.stopped()
			})
		})
	}
}

// A handler that ends its goroutine, as t.FailNow does, stops the flow and says so.
func TestHandlerEndsItsGoroutine(t *testing.T) {
	for _, n := range []int{0, 2} {
		inBubble(t, func(t *testing.T, r *rig) {
			r.fill(0, 0, 2)
			leave := func(bool) error { runtime.Goexit(); return nil }
			var p *flow.Processor
			if n == 0 {
				p = flow.NewConsumer("p", r.in(1), flow.Discard, flow.Do(func(context.Context, int) error { return leave(true) }))
			} else {
				p = flow.NewConsumer("p", flow.Batches(r.in(1), n, time.Hour), flow.Discard, flow.Do(func(context.Context, []int) error { return leave(true) }))
			}
			f := r.start(p)
			synctest.Wait()
			select {
			case err := <-f.ended:
				stoppedAt(t, err, 0, 0)
				equal(t, "committed", r.committed(0), -1)
			default:
				t.Error("the flow goes on")
				f.stop()
			}
		})
	}
}

// A commit that does not return is seen like a partition that does not advance.
func TestStuckCommitIsSeen(t *testing.T) {
	for _, failing := range []bool{false, true} {
		inBubble(t, func(t *testing.T, r *rig) {
			r.fill(0, 0, 3)
			mend := r.broker.Control(func(op memory.Op) error {
				if op.Kind != memory.OpCommit {
					return nil
				}
				if failing {
					return errors.New("coordinator is away")
				}
				<-op.Context.Done()
				return op.Context.Err()
			})
			f := r.start(flow.NewConsumer("p", r.in(1), flow.Discard, flow.Do(func(context.Context, int) error { return nil }), flow.StallAfter(time.Minute)))
			time.Sleep(10 * time.Minute)
			lines := r.logs.find("commits do not get through")
			if len(lines) != 1 {
				t.Errorf("%d log lines", len(lines))
			}
			equal(t, "stalls", f.processor().Errors.Stalls, 1)
			mend()
			f.stop()
		})
	}
}

// A record that took too long has failed, also when its handler skips it.
func TestSkipAfterTimeout(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.fill(0, 0, 1)
		f := r.start(flow.NewConsumer("p", r.in(1), flow.Discard, flow.Do(func(context.Context, int) error {
			time.Sleep(2 * time.Second)
			return flow.Skip
		}), flow.Timeout(time.Second)))
		time.Sleep(5 * time.Second)
		select {
		case err := <-f.ended:
			if !errors.Is(err, flow.ErrHandlerTimeout) {
				t.Errorf("Run returned %v", err)
			}
		default:
			t.Error("the flow goes on")
			f.stop()
		}
	})
}

// Checks and graphs may be asked for while the flow runs.
func TestGraphWhileRunning(t *testing.T) {
	r := newRig(t)
	f := r.start(flow.NewConsumer("p", r.in(1), flow.Discard, flow.Do(func(context.Context, int) error { return nil })))
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 20 {
				_ = f.app.Graph()
				if err := f.app.Validate(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	f.stopped()
}
