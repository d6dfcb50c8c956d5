package flow_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flowkit-go/flow"
	"github.com/flowkit-go/flow/primitives"
)

func TestBatchWeightPanics(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.fill(0, 0, 4)
		var got seen[batch]
		f := r.start(r.batches(&got, r.in(1), 3, time.Second, flow.DeadLetter(r.dead()), flow.BatchWeight(func(rec flow.Raw) int {
			if rec.Offset == 1 {
				panic("no weight")
			}
			return 1
		})))
		time.Sleep(5 * time.Second)
		equal(t, "batches", values(got.all()), [][]int{{0, 2, 3}})
		equal(t, "dead letters", texts(r.broker.Records("dead", 0)), []string{"1"})
		equal(t, "committed", r.committed(0), 4)
		f.stopped()
	})
}

// Two partitions are given back at the same time, one sooner than the other: the
// records of both that wait in a batch are handled.
func TestTwoRevokesFlushTheBatch(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		in := r.in(2)
		gate := make(chan struct{})
		var calls atomic.Int32
		f := r.start(flow.NewConsumer("p", flow.Batches(in, 100, time.Hour), flow.Discard, flow.Do(func(context.Context, []int) error {
			if calls.Add(1) == 1 {
				<-gate
			}
			return nil
		}), flow.ConcurrentTasks(2)))
		synctest.Wait()
		r.broker.Append("in", 0, primitives.Record{Value: []byte("0")})
		synctest.Wait()
		r.broker.Revoke("g", "in", 0) // its batch is in the handler
		synctest.Wait()
		r.broker.Append("in", 1, primitives.Record{Value: []byte("1")})
		synctest.Wait()
		r.broker.Revoke("g", "in", 1)
		synctest.Wait()
		began := time.Now()
		close(gate)
		synctest.Wait()
		equal(t, "committed", []int64{r.committed(0), r.committed(1)}, []int64{1, 1})
		equal(t, "took", time.Since(began), 0)
		f.stopped()
	})
}
