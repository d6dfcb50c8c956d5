package flow_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/flowkit-go/flow"
	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/primitives/memory"
)

// What was committed as it was read is handled before its partition is given back.
func TestOnReadRevoked(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.fill(0, 0, 20)
		var got seen[int]
		f := r.start(flow.NewConsumer("p", r.in(1), flow.Discard, flow.Do(func(_ context.Context, v int) error {
			time.Sleep(time.Second)
			got.add(v)
			return nil
		}), flow.LossyCommitOnRead(time.Second)))
		time.Sleep(2500 * time.Millisecond)
		r.broker.Revoke("g", "in", 0)
		time.Sleep(time.Minute)
		r.broker.Assign("g", "in", 0)
		time.Sleep(time.Minute)
		equal(t, "handled", len(unique(got.all())), 20)
		f.stopped()
	})
}

// A stop in good order handles what was committed as it was read, also while it is paused.
func TestOnReadPausedAndStopped(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.fill(0, 0, 20)
		var got seen[int]
		f := r.start(flow.NewConsumer("p", r.in(1), flow.Discard, flow.Do(func(_ context.Context, v int) error {
			time.Sleep(time.Second)
			got.add(v)
			return nil
		}), flow.LossyCommitOnRead(time.Second)))
		time.Sleep(2500 * time.Millisecond)
		if err := f.app.Pause("p"); err != nil {
			t.Error(err)
		}
		time.Sleep(2500 * time.Millisecond)
		f.stopped()
		equal(t, "handled", len(unique(got.all())), 20)
	})
}

// A process that has lost its partitions at a commit has nothing to commit any more, and
// is not stuck.
func TestFencedIdleIsReady(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.fill(0, 0, 2)
		r.broker.Control(func(op memory.Op) error {
			if op.Kind == memory.OpCommit {
				r.broker.Lose("g", "in", 0)
			}
			return nil
		})
		f := r.start(copier(r, unchanged))
		time.Sleep(time.Hour)
		equal(t, "stalls", f.processor().Stalls, map[string]int64{"assignment": 1})
		f.stopped()
	})
}

// The same for a commit that failed and whose partition was then lost.
func TestLostWhileCommitFails(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.fill(0, 0, 2)
		r.fail(memory.OpCommit, 1)
		f := r.start(flow.NewConsumer("p", r.in(1), flow.Discard, flow.Do(func(_ context.Context, v int) error { return nil })))
		time.Sleep(1500 * time.Millisecond)
		r.broker.Lose("g", "in", 0)
		time.Sleep(time.Hour)
		equal(t, "stalls", f.processor().Stalls, map[string]int64{"assignment": 1})
		f.stopped()
	})
}

// Leases that were not acknowledged yet fill the buffer: they are before it is full.
func TestLeasesSmallBuffer(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		q := memory.Queue[int]{Broker: r.broker, Name: "q", Visibility: 30 * time.Second}
		r.fill(0, 0, 100)
		src := r.in(1)
		src.StopAtEnd = true
		if err := r.start(flow.NewConsumer("fill", src, q, flow.Pass[int])).wait(); err != nil {
			r.t.Fatal(err)
		}
		var got seen[int]
		f := r.start(flow.NewConsumer("p", q, flow.Discard, flow.Do(func(_ context.Context, v int) error { got.add(v); return nil }), flow.Buffer(10, 1<<20)))
		time.Sleep(2 * time.Second)
		equal(t, "handled in two seconds", got.len(), 100)
		f.stopped()
	})
}

// Records that wait in the source for their next attempt are not stuck.
func TestLongDelayIsNoStall(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.fill(0, 0, 1)
		src := r.in(1)
		src.RetryDelays = []time.Duration{time.Hour}
		var n atomic.Int32
		f := r.start(flow.NewConsumer("p", src, flow.Discard, flow.Do(func(_ context.Context, v int) error {
			if n.Add(1) == 1 {
				return errors.New("later")
			}
			return nil
		}), flow.RetryLater(3, flow.Constant(time.Hour))))
		time.Sleep(30 * time.Minute)
		equal(t, "stalls", f.processor().Errors.Stalls, 0)
		time.Sleep(31 * time.Minute)
		equal(t, "handled", n.Load(), 2)
		f.stopped()
	})
}

// Where each record waits for its commit, one that failed is made again soon, whatever
// the time between commits.
func TestCommitEachFailingCommits(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.fill(0, 0, 3)
		r.fail(memory.OpCommit, 3)
		f := r.start(flow.NewConsumer("p", r.in(1), flow.Discard, flow.Do(func(_ context.Context, v int) error { return nil }),
			flow.CommitEach(), flow.CommitEvery(time.Hour, 0)))
		time.Sleep(time.Minute)
		equal(t, "committed", r.committed(0), 3)
		f.stopped()
	})
}

// Without a replica nobody can handle what is left: the drain waits for it in vain, at rest.
func TestOnReadWithoutReplicas(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.fill(0, 0, 20)
		f := r.start(flow.NewConsumer("p", r.in(1), flow.Discard, flow.Do(func(_ context.Context, v int) error {
			time.Sleep(time.Second)
			return nil
		}), flow.LossyCommitOnRead(time.Second), flow.Ordered(flow.Unordered)))
		time.Sleep(2500 * time.Millisecond)
		if err := f.app.Resize("p", 0); err != nil {
			t.Error(err)
		}
		time.Sleep(2500 * time.Millisecond)
		if err := f.stop(); !errors.Is(err, flow.ErrDrainTimeout) {
			t.Errorf("Run returned %v, want that work was abandoned", err)
		}
	})
}

// Middleware may put a copy in the place of what the handler returned: what is handed over
// while a record takes long is the copy.
func TestHandoverOfReplacedOutputs(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		const warm, n = 500, 800
		r.fill(0, 0, n)
		replace := func(next flow.Next) flow.Next {
			return func(ctx context.Context, d *flow.Delivery) error {
				mark := len(d.Outputs.Records)
				if err := next(ctx, d); err != nil {
					return err
				}
				all := make([]primitives.Record, len(d.Outputs.Records), cap(d.Outputs.Records))
				copy(all, d.Outputs.Records)
				for i := range all[mark:] {
					all[mark+i].Value = append([]byte("1"), all[mark+i].Value...)
				}
				d.Outputs.Records = all
				return nil
			}
		}
		f := r.start(flow.NewConsumer("p", r.in(1), r.out(), func(_ context.Context, v int) (int, error) {
			if v > warm && v%50 == 0 {
				time.Sleep(30 * time.Millisecond)
			}
			return v, nil
		}, flow.Use(replace)))
		time.Sleep(10 * time.Second)
		var want []string
		for _, w := range words(numbers(0, n)) {
			want = append(want, "1"+w)
		}
		equal(t, "seen", r.written(), want)
		f.stopped()
	})
}
