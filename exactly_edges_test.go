package flow_test

import (
	"context"
	"errors"
	"iter"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/flowkit-go/flow"
	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/primitives/memory"
)

// A dead letter is not committed before the records that come before it in its
// partition: else it would be there twice when they are handled again.
func TestExactlyOnceLetterBeforeItsTurn(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		const warm, n = 200, 300
		r.fill(0, 0, n)
		var hold atomic.Bool
		release := make(chan struct{})
		var refuse atomic.Bool
		r.broker.Control(func(op memory.Op) error {
			switch {
			case op.Kind == memory.OpWrite && op.Name == "out" && hold.Load():
				<-release
			case op.Kind == memory.OpCommit && refuse.Load():
				return errors.New("coordinator is away")
			case op.Kind == memory.OpCommit && hold.CompareAndSwap(true, false):
				refuse.Store(true)
			}
			return nil
		})
		var once atomic.Bool
		slow := make(chan struct{})
		f := r.start(copier(r, func(_ context.Context, v int) (int, error) {
			switch {
			case v == warm && once.CompareAndSwap(false, true):
				hold.Store(true)
				<-slow
			case v == n-1:
				return 0, flow.Permanent(errors.New("not this one"))
			}
			return v, nil
		}, flow.DeadLetter(r.dead()), flow.CommitEvery(10*time.Second, 0)))
		time.Sleep(time.Second)
		close(slow) // the records before it are being written
		time.Sleep(10 * time.Second)
		close(release) // a commit waits for that write
		time.Sleep(10 * time.Second)
		refuse.Store(false)
		time.Sleep(time.Minute)
		equal(t, "dead", texts(r.broker.Records("dead", 0)), words([]int{n - 1}))
		equal(t, "seen", r.written(), words(numbers(0, n-1)))
		f.stopped()
	})
}

// What a failed write has left in a transaction is not committed.
func TestExactlyOncePartOfAWrite(t *testing.T) {
	for range 20 {
		inBubble(t, func(t *testing.T, r *rig) {
			r.fill(0, 0, 1)
			var failed atomic.Bool
			r.broker.Control(func(op memory.Op) error {
				if op.Kind == memory.OpWrite && failed.CompareAndSwap(false, true) {
					time.Sleep(2 * time.Second) // a commit waits for it
					return &primitives.BatchError{Failed: []primitives.RecordError{{Index: 1, Err: errors.New("not now")}}}
				}
				return nil
			})
			f := r.start(flow.NewConsumer("p", r.in(1), flow.Each(r.out()), func(_ context.Context, v int) ([]int, error) {
				return []int{v * 10, v*10 + 1}, nil
			}, flow.ExactlyOnce()))
			time.Sleep(time.Minute)
			equal(t, "seen", r.written(), words([]int{0, 1}))
			f.stopped()
		})
		if t.Failed() {
			return
		}
	}
}

// A partition whose sink hangs does not keep others from committing.
func TestExactlyOnceBlockedPartition(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.fill(0, 0, 1)
		r.fill(1, 100, 110)
		release := make(chan struct{})
		r.broker.Control(func(op memory.Op) error {
			if op.Kind == memory.OpWrite && slices.ContainsFunc(op.Records, func(rec primitives.Record) bool { return string(rec.Value) == "0" }) {
				<-release
			}
			return nil
		})
		f := r.start(flow.NewConsumer("p", r.in(2), r.out(), unchanged, flow.ExactlyOnce(), flow.ConcurrentTasks(2)))
		time.Sleep(time.Second)
		r.fill(1, 110, 120)
		time.Sleep(5 * time.Second)
		equal(t, "committed beside the blocked one", r.committed(1), 20)
		close(release)
		time.Sleep(5 * time.Second)
		equal(t, "committed", r.committed(0), 1)
		f.stopped()
	})
}

// What cannot keep the promise of a mode is refused, and nothing is read.
func TestModesRefuse(t *testing.T) {
	r := newRig(t)
	r.fill(0, 0, 1)
	for _, tc := range []struct {
		p     *flow.Processor
		names string
	}{
		{flow.NewConsumer("p", flow.Batches(r.in(1), 7, time.Second), flow.Each(r.out()), func(_ context.Context, vs []int) ([]int, error) { return vs, nil },
			flow.ExactlyOnce()), "Batches"},
		{flow.NewConsumer("p", flow.Batches(r.in(1), 7, time.Second), flow.Discard, flow.Do(func(context.Context, []int) error { return nil }),
			flow.CommitEach()), "Batches"},
		{flow.NewConsumer("p", r.in(1), flow.Stream(r.out()), func(context.Context, int) (iter.Seq2[int, error], error) { return nil, nil },
			flow.ExactlyOnce()), "Stream"},
		{copier(r, unchanged, flow.DeadLetter(memory.Queue[flow.Raw]{Broker: r.broker, Name: "dead"})), "dead letters"},
	} {
		app := flow.New("test", flow.AdminAddr("off"))
		app.Add(tc.p)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := app.Run(ctx); err == nil || !strings.Contains(err.Error(), tc.names) {
			t.Errorf("%s: Run returned %v", tc.names, err)
		}
	}
	equal(t, "committed", r.committed(0), -1)
}

// Dead letters that can never be in the transaction stop the flow: beginning anew does not
// help.
func TestExactlyOnceForeignLetters(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.fill(0, 0, 1)
		dead := memory.Topic[flow.Raw]{Broker: memory.NewBroker(), Name: "dead"}
		f := r.start(copier(r, func(context.Context, int) (int, error) {
			return 0, flow.Permanent(errors.New("not this one"))
		}, flow.DeadLetter(dead)))
		late := time.AfterFunc(time.Hour, f.cancel)
		defer late.Stop()
		if err := f.wait(); err == nil {
			t.Error("the flow goes on")
		} else {
			stoppedAt(t, err, 0, 0)
		}
	})
}

// A sink that never answers keeps a drain from committing its partition, and no other.
func TestExactlyOnceDrainBesideHungSink(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.fill(0, 0, 1)
		r.fill(1, 100, 110)
		r.broker.Control(func(op memory.Op) error {
			if op.Kind == memory.OpWrite && string(op.Records[0].Value) == "0" {
				<-op.Context.Done() // and half of it was taken
				return &primitives.BatchError{Failed: []primitives.RecordError{{Index: 1, Err: op.Context.Err()}}}
			}
			return nil
		})
		r.options = append(r.options, flow.DrainTimeout(10*time.Second))
		f := r.start(flow.NewConsumer("p", r.in(2), flow.Each(r.out()), func(_ context.Context, v int) ([]int, error) {
			return []int{v, v + 1000}, nil
		}, flow.ExactlyOnce(), flow.ConcurrentTasks(2), flow.CommitEvery(time.Hour, 0)))
		time.Sleep(time.Second)
		began := time.Now()
		if err := f.stop(); !errors.Is(err, flow.ErrDrainTimeout) {
			t.Errorf("Run returned %v, want that work was abandoned", err)
		}
		if took := time.Since(began); took > 9500*time.Millisecond {
			t.Errorf("the drain took %v", took)
		}
		equal(t, "committed", []int64{r.committed(0), r.committed(1)}, []int64{-1, 10})
		equal(t, "seen", len(r.written()), 20)
	})
}
