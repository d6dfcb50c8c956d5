package flow_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flowkit-go/flow"
	"github.com/flowkit-go/flow/primitives/memory"
)

// lent is a queue whose leases run out after 30 s, with the values 0, 1 and 2.
func (r *rig) lent() memory.Queue[int] {
	q := memory.Queue[int]{Broker: r.broker, Name: "q", Visibility: 30 * time.Second}
	r.fill(0, 0, 3)
	src := r.in(1)
	src.StopAtEnd = true
	if err := r.start(flow.NewConsumer("fill", src, q, flow.Pass[int])).wait(); err != nil {
		r.t.Fatal(err)
	}
	return q
}

// fail makes the next n operations of a kind fail.
func (r *rig) fail(kind memory.OpKind, n int32) {
	var left atomic.Int32
	left.Store(n)
	r.broker.Control(func(op memory.Op) error {
		if op.Kind == kind && left.Add(-1) >= 0 {
			return errors.New("no answer")
		}
		return nil
	})
}

// Leases of a commit that failed are committed with the next one.
func TestFailedCommitKeepsLeases(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		q := r.lent()
		r.fail(memory.OpCommit, 4)
		var got seen[int]
		f := r.start(flow.NewConsumer("p", q, flow.Discard, flow.Do(func(_ context.Context, v int) error { got.add(v); return nil })))
		time.Sleep(10 * time.Minute)
		equal(t, "handled", got.all(), []int{0, 1, 2})
		f.stopped()
	})
}

// A lease is extended early enough that one failed call does not lose it.
func TestLeaseOutlivesFailedExtend(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		q := r.lent()
		r.fail(memory.OpExtend, 1)
		var got seen[int]
		f := r.start(flow.NewConsumer("p", q, flow.Discard, flow.Do(func(_ context.Context, v int) error {
			got.add(v)
			time.Sleep(10 * time.Minute)
			return nil
		})))
		time.Sleep(time.Hour)
		equal(t, "handled", got.all(), []int{0, 1, 2})
		f.stopped()
	})
}

// A handler that gives up because its partition was lost has not failed.
func TestLostRecordIsNoFailure(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.fill(0, 0, 1)
		var calls atomic.Int32
		f := r.start(flow.NewConsumer("p", r.in(1), r.out(), func(ctx context.Context, v int) (int, error) {
			if calls.Add(1) == 1 {
				<-ctx.Done()
				return 0, ctx.Err()
			}
			return v, nil
		}))
		synctest.Wait()
		r.broker.Lose("g", "in")
		synctest.Wait()
		r.broker.Assign("g", "in")
		time.Sleep(5 * time.Second)
		equal(t, "written", r.written(), []string{"0"})
		f.stopped()
	})
}

// What waits behind a write that takes long is bounded by bytes: then no further
// record is handled.
func TestOutputsThatWaitAreBounded(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.fill(0, 0, 1)
		release := r.hold("out")
		out := memory.Topic[[]byte]{Broker: r.broker, Name: "out", Async: 4}
		var handled atomic.Int32
		f := r.start(flow.NewConsumer("p", r.in(1), out, func(context.Context, int) ([]byte, error) {
			handled.Add(1)
			return make([]byte, 100<<10), nil
		}))
		synctest.Wait()
		r.fill(0, 1, 200)
		time.Sleep(time.Minute)
		if n := handled.Load(); n < 5 || n > 30 {
			t.Errorf("%d outputs of 100 KiB are held, want about 12", n)
		}
		release()
		time.Sleep(time.Minute)
		equal(t, "handled", handled.Load(), 200)
		f.stopped()
	})
}

// While acknowledgements do not get through, what waits for them counts against the buffer.
func TestUnacknowledgedCountsAgainstTheBuffer(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		q := memory.Queue[int]{Broker: r.broker, Name: "q", Visibility: 30 * time.Minute}
		r.fill(0, 0, 200)
		src := r.in(1)
		src.StopAtEnd = true
		if err := r.start(flow.NewConsumer("fill", src, q, flow.Pass[int])).wait(); err != nil {
			t.Fatal(err)
		}
		r.fail(memory.OpCommit, 600)
		var got seen[int]
		f := r.start(flow.NewConsumer("p", q, flow.Discard, flow.Do(func(_ context.Context, v int) error { got.add(v); return nil }), flow.Buffer(10, 1<<20)))
		time.Sleep(time.Minute)
		if n := got.len(); n < 8 || n > 20 {
			t.Errorf("%d handled while nothing is acknowledged, want about the buffer of 10", n)
		}
		time.Sleep(time.Hour)
		equal(t, "handled after all", len(unique(got.all())), 200)
		f.stopped()
	})
}
