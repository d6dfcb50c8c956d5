package flow_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flowkit-go/flow"
)

// What was handled is written while the consumer is paused, and a turn under way
// starts no further record.
func TestPauseWritesWhatWasHandled(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.fill(0, 0, 1)
		release := r.hold("out")
		out := r.out()
		out.Async = 4
		f := r.start(flow.NewConsumer("p", r.in(1), out, func(_ context.Context, v int) (int, error) { return v, nil }))
		synctest.Wait()
		r.fill(0, 1, 10)
		synctest.Wait()
		if err := f.app.Pause("p"); err != nil {
			t.Fatal(err)
		}
		release()
		time.Sleep(time.Minute)
		equal(t, "written", r.written(), words(numbers(0, 10)))
		began := time.Now()
		f.stopped()
		equal(t, "the drain took", time.Since(began), 0)
		equal(t, "committed", r.committed(0), 10)
	})
}

func TestPauseStartsNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		const slow = 19_000
		r.fill(0, 0, slow+1000)
		var started atomic.Int32
		f := r.start(flow.NewConsumer("p", r.in(1), flow.Discard, flow.Do(func(_ context.Context, v int) error {
			if v >= slow {
				started.Add(1)
				time.Sleep(time.Second)
			}
			return nil
		})))
		time.Sleep(500 * time.Millisecond)
		if err := f.app.Pause("p"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		equal(t, "started", started.Load(), 1)
		if err := f.app.Resume("p"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		equal(t, "started after Resume", started.Load(), 1000)
		f.stopped()
	})
}
