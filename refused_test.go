package flow_test

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flowkit-go/flow"
	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/primitives/memory"
)

// refuseValue makes the sink "out" refuse the record with that value while refused is set.
func (r *rig) refuseValue(value string, reason error) *atomic.Bool {
	refused := &atomic.Bool{}
	refused.Store(true)
	r.broker.Control(func(op memory.Op) error {
		if op.Kind != memory.OpWrite || op.Name != "out" || !refused.Load() {
			return nil
		}
		for i, rec := range op.Records {
			if string(rec.Value) == value {
				return &primitives.BatchError{Failed: []primitives.RecordError{{Index: i, Err: reason}}}
			}
		}
		return nil
	})
	return refused
}

func passAll(_ context.Context, vs []int) ([]int, error) { return vs, nil }

// Which inputs of a batch an output came from is not known: none of them is
// resolved while one output is not durable.
func TestRefusedOutputOfBatch(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		in := r.in(2)
		r.broker.Append("in", 0, primitives.Record{Value: []byte("0")}, primitives.Record{Value: []byte("10")})
		refused := r.refuseValue("1", errors.New("try again"))
		f := r.start(flow.NewConsumer("p", flow.Batches(in, 4, time.Hour), flow.Each(r.out()), passAll,
			flow.Retry(100, flow.Constant(time.Second)), flow.CommitEvery(100*time.Millisecond, 0)))
		synctest.Wait()
		r.broker.Append("in", 1, primitives.Record{Value: []byte("1")}, primitives.Record{Value: []byte("11")})
		time.Sleep(5 * time.Second)
		equal(t, "committed of the first partition", r.committed(0), -1)
		equal(t, "committed of the second partition", r.committed(1), -1)
		refused.Store(false)
		time.Sleep(5 * time.Second)
		equal(t, "committed of the first partition", r.committed(0), 2)
		equal(t, "committed of the second partition", r.committed(1), 2)
		got := r.written()
		slices.Sort(got)
		equal(t, "written", got, []string{"0", "1", "10", "11"})
		f.stopped()
	})
}

func TestRefusedForGoodOutputOfBatch(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.fill(0, 0, 4)
		r.refuseValue("2", primitives.Permanent(errors.New("no such column")))
		f := r.start(flow.NewConsumer("p", flow.Batches(r.in(1), 4, time.Hour), flow.Each(r.out()), passAll, flow.DeadLetter(r.dead())))
		time.Sleep(5 * time.Second)
		equal(t, "dead letters", texts(r.broker.Records("dead", 0)), []string{"0", "1", "2", "3"})
		equal(t, "committed", r.committed(0), 4)
		f.stopped()
	})
}

// A BatchError says which records failed, and every one of them is answered.
func TestBatchErrorNamesRecords(t *testing.T) {
	bad := errors.New("bad")
	for _, tt := range []struct {
		name   string
		failed []flow.RecordError
		dead   []string
	}{
		{"skip besides a failure", []flow.RecordError{{Index: 0, Err: flow.Skip}, {Index: 2, Err: bad}}, []string{"2"}},
		{"no reason", []flow.RecordError{{Index: 1}}, []string{"1"}},
		{"an index that is none", []flow.RecordError{{Index: 3, Err: bad}}, []string{"0", "1", "2"}},
		{"a negative index", []flow.RecordError{{Index: -1, Err: bad}}, []string{"0", "1", "2"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, r *rig) {
				r.fill(0, 0, 3)
				f := r.start(flow.NewConsumer("p", flow.Batches(r.in(1), 3, time.Hour), flow.Discard,
					flow.Do(func(context.Context, []int) error { return &flow.BatchError{Failed: tt.failed} }), flow.DeadLetter(r.dead())))
				time.Sleep(5 * time.Second)
				equal(t, "dead letters", texts(r.broker.Records("dead", 0)), tt.dead)
				equal(t, "committed", r.committed(0), 3)
				f.stopped()
			})
		})
	}
}

// A sink that says that it refused something, but not what or why, has made nothing durable.
func TestSinkRefusesWithoutReason(t *testing.T) {
	for _, failed := range []primitives.RecordError{{Index: 0}, {Index: 7, Err: errors.New("what?")}} {
		inBubble(t, func(t *testing.T, r *rig) {
			r.fill(0, 0, 1)
			r.broker.Control(func(op memory.Op) error {
				if op.Kind == memory.OpWrite && op.Name == "out" {
					return &primitives.BatchError{Failed: []primitives.RecordError{failed}}
				}
				return nil
			})
			writer := refusing{r.out(), failed}
			f := r.start(flow.NewConsumer[int, int]("p", r.in(1), writer, func(_ context.Context, v int) (int, error) { return v, nil }))
			time.Sleep(5 * time.Second)
			select {
			case err := <-f.ended:
				stoppedAt(t, err, 0, 0)
			default:
				t.Error("the flow goes on")
				f.stop()
			}
			equal(t, "committed", r.committed(0), -1)
		})
	}
}

// refusing is a sink that answers each write with one refused record.
type refusing struct {
	flow.Sink[int]
	failed primitives.RecordError
}

func (s refusing) OpenSink(context.Context, *primitives.Env) (primitives.Writer, error) {
	return refusingWriter{s.failed}, nil
}

type refusingWriter struct{ failed primitives.RecordError }

func (w refusingWriter) Write(_ context.Context, _ []primitives.Record, done func(error)) {
	done(&primitives.BatchError{Failed: []primitives.RecordError{w.failed}})
}
func (w refusingWriter) Close(context.Context) error { return nil }

// A batch may hold records of a partition that is lost while one of them is on
// its way to the dead letters; those of others are handled.
func TestBatchLosesOnePartition(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		in := r.in(2)
		r.broker.Append("in", 0, primitives.Record{Value: []byte("bad")})
		var blocked atomic.Bool
		blocked.Store(true)
		r.broker.Control(func(op memory.Op) error {
			if op.Kind == memory.OpWrite && op.Name == "dead" && blocked.Load() {
				return errors.New("dead letters are away")
			}
			return nil
		})
		var got seen[batch]
		f := r.start(r.batches(&got, in, 2, time.Hour, flow.DeadLetter(r.dead())))
		synctest.Wait()
		r.broker.Append("in", 1, primitives.Record{Value: []byte("1")})
		time.Sleep(time.Second)
		r.broker.Lose("g", "in", 0)
		time.Sleep(time.Minute)
		equal(t, "batches", values(got.all()), [][]int{{1}})
		equal(t, "committed of the partition that stayed", r.committed(1), 1)
		blocked.Store(false)
		f.stopped()
	})
}

// A write that fails after its partition was lost is nobody's failure here.
func TestWriteOfLostPartitionFails(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.fill(0, 0, 1)
		var writes atomic.Int32
		fail := make(chan struct{})
		r.broker.Control(func(op memory.Op) error {
			if op.Kind == memory.OpWrite && op.Name == "out" && writes.Add(1) == 1 {
				<-fail
				return errors.New("connection reset")
			}
			return nil
		})
		f := r.start(flow.NewConsumer("p", r.in(1), r.out(), func(_ context.Context, v int) (int, error) { return v, nil }))
		synctest.Wait()
		r.broker.Lose("g", "in")
		synctest.Wait()
		close(fail)
		synctest.Wait()
		r.broker.Assign("g", "in")
		time.Sleep(5 * time.Second)
		equal(t, "written", r.written(), []string{"0"})
		f.stopped()
	})
}

// The outputs of records before one that stops the flow are written.
func TestStopWritesWhatWasHandled(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.fill(0, 0, 1)
		release := r.hold("out")
		out := r.out()
		out.Async = 4
		f := r.start(flow.NewConsumer("p", r.in(1), out, func(_ context.Context, v int) (int, error) {
			if v == 3 {
				return 0, errors.New("no")
			}
			return v, nil
		}))
		synctest.Wait()
		r.fill(0, 1, 5)
		synctest.Wait()
		release()
		stoppedAt(t, f.wait(), 0, 3)
		equal(t, "written", r.written(), []string{"0", "1", "2"})
		equal(t, "committed", r.committed(0), 3)
	})
}
