package flow_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flowkit-go/flow"
	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/primitives/memory"
)

// hold makes writes to a topic wait until release is called.
func (r *rig) hold(topic string) (release func()) {
	open := make(chan struct{})
	r.broker.Control(func(op memory.Op) error {
		if op.Kind != memory.OpWrite || op.Name != topic {
			return nil
		}
		select {
		case <-open:
			return nil
		case <-op.Context.Done():
			return op.Context.Err()
		}
	})
	return func() { close(open) }
}

// refuse makes the next n writes to a topic fail.
func (r *rig) refuse(topic string, n int) {
	var left atomic.Int32
	left.Store(int32(n))
	r.broker.Control(func(op memory.Op) error {
		if op.Kind == memory.OpWrite && op.Name == topic && left.Add(-1) >= 0 {
			return errors.New("try again later")
		}
		return nil
	})
}

// An input with several outputs is the batch that is taken apart.
func TestDelivery_063_expanded_and_refused(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.fill(0, 0, 2)
		r.refuse("out", 4)
		var got seen[int]
		f := r.start(flow.NewConsumer("p", r.in(1), flow.Each(r.out()), func(_ context.Context, v int) ([]int, error) {
			got.add(v)
			return []int{10*v + 1, 10*v + 2, 10*v + 3}, nil
		}, flow.Retry(10, flow.Constant(time.Second))))
		time.Sleep(3500 * time.Millisecond)
		equal(t, "written while it is refused", len(r.written()), 0)
		equal(t, "committed", r.committed(0), -1)
		time.Sleep(time.Minute)
		equal(t, "written", r.written(), []string{"1", "2", "3", "11", "12", "13"})
		equal(t, "handled", got.all(), []int{0, 1})
		f.stopped()
	})
}

func TestDelivery_066_held_batch_is_kept(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.fill(0, 0, 4)
		r.refuse("out", 3)
		f := r.start(flow.NewConsumer("p", flow.Batches(r.in(1), 2, time.Hour), r.outs(), func(_ context.Context, vs []int) ([]int, error) {
			return append([]int(nil), vs...), nil
		}, flow.ConcurrentTasks(2), flow.Retry(10, flow.Constant(time.Second))))
		time.Sleep(time.Minute)
		equal(t, "written", r.written(), []string{"[0,1]", "[2,3]"})
		equal(t, "committed", r.committed(0), 4)
		f.stopped()
	})
}

// outs is the topic "out" with a slice in each record.
func (r *rig) outs() memory.Topic[[]int] { return memory.Topic[[]int]{Broker: r.broker, Name: "out"} }

func TestDelivery_069_handler_runs_once(t *testing.T) {
	for _, blocked := range []bool{true, false} { // the writer blocks, or it refuses each second
		inBubble(t, func(t *testing.T, r *rig) {
			r.fill(0, 0, 1)
			release := func() {}
			if blocked {
				release = r.hold("out")
			} else {
				r.refuse("out", 20)
			}
			var got seen[int]
			f := r.start(flow.NewConsumer("p", r.in(1), r.out(), func(_ context.Context, v int) (int, error) {
				got.add(v)
				return v, nil
			}, flow.Retry(100, flow.Constant(time.Second))))
			time.Sleep(19500 * time.Millisecond)
			equal(t, "written", len(r.written()), 0)
			release()
			time.Sleep(time.Minute)
			equal(t, "calls of the handler", got.len(), 1)
			equal(t, "written", r.written(), []string{"0"})
			equal(t, "committed", r.committed(0), 1)
			f.stopped()
		})
	}
}

func TestDelivery_070_finished_results_are_refused(t *testing.T) {
	for _, async := range []int{0, 8} {
		inBubble(t, func(t *testing.T, r *rig) {
			r.refuse("out", 10)
			out := r.out()
			out.Async = async
			var got seen[int]
			f := r.start(flow.NewConsumer("p", r.in(1), out, func(_ context.Context, v int) (int, error) {
				got.add(v)
				return v, nil
			}, flow.Retry(20, flow.Constant(time.Second)), flow.ConcurrentTasks(2)))
			for v := range 5 {
				r.fill(0, v, v+1)
				synctest.Wait()
			}
			equal(t, "handled while the first is refused", got.len(), 5)
			time.Sleep(time.Minute)
			equal(t, "written", r.written(), words(numbers(0, 5)))
			equal(t, "handled", got.all(), numbers(0, 5))
			equal(t, "committed", r.committed(0), 5)
			f.stopped()
		})
	}
}

func TestDelivery_071_pending_at_most(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.fill(0, 0, 5)
		var g gates
		f := r.start(flow.NewConsumer("p", r.in(1), flow.Discard, flow.Do(g.pass),
			flow.Ordered(flow.Unordered), flow.ConcurrentTasks(2), flow.Buffer(4, 1<<20)))
		time.Sleep(time.Minute)
		equal(t, "accepted", f.lane(0).Read, 4)
		equal(t, "in the handler", f.processor().InFlight, 2)
		g.let(numbers(0, 5)...)
		synctest.Wait()
		f.stopped()
		equal(t, "committed", r.committed(0), 5)
	})
}

func TestDelivery_073_water_marks(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		const n, limit = 40_000, 4096
		r.fill(0, 0, n)
		var handled, most, stops atomic.Int64
		// A push that had to wait is one after the high mark: how many are held then?
		var last atomic.Int64 // time of the last read
		r.broker.Control(func(op memory.Op) error {
			if op.Kind != memory.OpRead {
				return nil
			}
			now := int64(time.Since(r.began))
			held := op.Records[0].Offset - handled.Load()
			most.Store(max(most.Load(), held))
			if waited := now - last.Swap(now); waited > int64(100*time.Millisecond) {
				stops.Add(1)
				// the record that waited is in, and this is the next one
				if low := int64(limit * 40 / 100); held < low-1 || held > low+2 {
					t.Errorf("reading went on with %d records held, want %d", held, low)
				}
			}
			return nil
		})
		src := r.in(1)
		src.Burst = 1
		f := r.start(flow.NewConsumer("p", src, flow.Discard, flow.Do(func(context.Context, int) error {
			time.Sleep(time.Millisecond)
			handled.Add(1)
			return nil
		}), flow.Buffer(limit, 64<<20)))
		time.Sleep(time.Minute)
		if high := int64(limit * 80 / 100); most.Load() < high || most.Load() > high+2 {
			t.Errorf("at most %d records held, want %d", most.Load(), high)
		}
		if stops.Load() < 20 {
			t.Errorf("reading stopped %d times, want about %d", stops.Load(), n/(limit*40/100))
		}
		equal(t, "handled", handled.Load(), n)
		equal(t, "committed", r.committed(0), n)
		f.stopped()
	})
}

func TestDelivery_074_slow_partition(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.fill(0, 0, 100)
		r.fill(1, 0, 100)
		var fast atomic.Int64
		f := r.start(flow.NewConsumer("p", flow.Messages(r.in(2)), flow.Discard, flow.Do(func(_ context.Context, m flow.Msg[int]) error {
			if m.Partition.ID == 0 {
				time.Sleep(time.Second)
			} else if m.Value == 99 {
				fast.Store(int64(time.Since(r.began)))
			}
			return nil
		}), flow.ConcurrentTasks(2)))
		time.Sleep(2 * time.Minute)
		if took := time.Duration(fast.Load()); took >= 5*time.Second {
			t.Errorf("the fast partition was done after %v", took)
		}
		equal(t, "committed", []int64{r.committed(0), r.committed(1)}, []int64{100, 100})
		f.stopped()
	})
}

func TestDelivery_075_turns(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		for p, letters := range []string{"ABC", "DEFG"} {
			for _, l := range letters {
				r.broker.Append("in", int32(p), primitives.Record{Value: []byte(string(l))})
			}
		}
		var got seen[string]
		src := memory.Topic[string]{Broker: r.broker, Name: "in", Group: "g", Partitions: 3}
		f := r.start(flow.NewConsumer("p", src, flow.Discard, flow.Do(func(_ context.Context, v string) error {
			got.add(v)
			time.Sleep(time.Second) // with the first, both partitions are there
			return nil
		})))
		time.Sleep(time.Minute)
		order := ""
		for _, v := range got.all() {
			order += v
		}
		if order != "ADBECFG" && order != "DAEBFCG" {
			t.Errorf("handled in the order %s, want turns of both partitions", order)
		}
		f.stopped()
	})
}

func TestDelivery_076_sink_queue_full(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		for p := range int32(3) {
			r.fill(p, 0, 1)
		}
		release := r.hold("out")
		out := r.out()
		out.Async = 2
		f := r.start(flow.NewConsumer("p", r.in(3), out, func(_ context.Context, v int) (int, error) { return v, nil }, flow.ConcurrentTasks(3)))
		time.Sleep(time.Minute)
		p := f.processor()
		equal(t, "ok and failed while the queue is full", []int64{p.Messages.OK, p.Messages.Failed}, []int64{0, 0})
		release()
		time.Sleep(time.Minute)
		equal(t, "written", len(r.written()), 3)
		equal(t, "retried", f.processor().Errors.Sink, 0)
		f.stopped()
		equal(t, "committed", []int64{r.committed(0), r.committed(1), r.committed(2)}, []int64{1, 1, 1})
	})
}

// Without retries a refused write stops the flow, and what comes after it in its
// partition is not written: the sink has no gap that a restart fills out of order.
func TestDelivery_111_refused_write_stops_in_order(t *testing.T) {
	for _, async := range []int{0, 8} {
		for _, tasks := range []int{1, 4} {
			inBubble(t, func(t *testing.T, r *rig) {
				refuse := r.broker.Control(func(op memory.Op) error {
					if op.Kind == memory.OpWrite && string(op.Records[0].Value) == "3" {
						time.Sleep(10 * time.Millisecond)
						return errors.New("refused")
					}
					return nil
				})
				run := func() *running {
					out := r.out()
					out.Async = async
					return r.start(flow.NewConsumer("p", r.in(1), out, func(_ context.Context, v int) (int, error) {
						time.Sleep(time.Millisecond)
						return v, nil
					}, flow.ConcurrentTasks(tasks)))
				}
				f := run()
				r.fill(0, 0, 8)
				stoppedAt(t, f.wait(), 0, 3)
				equal(t, "committed", r.committed(0), 3)
				equal(t, "written", r.written(), words(numbers(0, 3)))
				refuse()
				f = run()
				time.Sleep(time.Minute)
				f.stopped()
				equal(t, "written after the restart", r.written(), words(numbers(0, 8)))
			})
		}
	}
}
