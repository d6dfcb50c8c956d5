package flow_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/flowkit-go/flow"
	"github.com/flowkit-go/flow/primitives"
)

func part(id int32) flow.Partition { return flow.Partition{Topic: "in", ID: id} }

func TestDelivery_085_seek(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.fill(0, 0, 5)
		var got seen[int]
		f := r.start(flow.NewConsumer("p", r.in(1), flow.Discard, flow.Do(func(_ context.Context, v int) error { got.add(v); return nil })))
		time.Sleep(2 * time.Second)
		equal(t, "committed", r.committed(0), 5)
		if err := f.app.Seek(t.Context(), "p", part(0), 1); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		equal(t, "handled", got.all(), []int{0, 1, 2, 3, 4, 1, 2, 3, 4})
		equal(t, "committed after all", r.committed(0), 5)
		f.stopped()
	})
}

func TestDelivery_086_seek_refused(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.fill(0, 0, 5)
		var got seen[int]
		f := r.start(flow.NewConsumer("p", r.in(1), flow.Discard, flow.Do(func(_ context.Context, v int) error { got.add(v); return nil })))
		time.Sleep(2 * time.Second)
		if err := f.app.Seek(t.Context(), "p", part(7), 1); !errors.Is(err, primitives.ErrNotAssigned) {
			t.Errorf("seek of a partition that is not held: %v", err)
		}
		if err := f.app.Seek(t.Context(), "p", part(0), -1); err == nil {
			t.Error("seek to a negative position is accepted")
		}
		if err := f.app.Seek(t.Context(), "q", part(0), 1); err == nil {
			t.Error("seek of a consumer that does not exist is accepted")
		}
		time.Sleep(2 * time.Second)
		equal(t, "handled", got.all(), numbers(0, 5))
		equal(t, "committed", r.committed(0), 5)
		if err := f.app.Seek(t.Context(), "p", part(0), 100); err != nil {
			t.Errorf("seek beyond the end: %v", err)
		}
		f.stopped()
	})
}

func TestDelivery_088_pause_partitions(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		var got seen[int]
		f := r.start(flow.NewConsumer("p", r.in(2), flow.Discard, flow.Do(func(_ context.Context, v int) error { got.add(v); return nil })))
		<-f.ready
		time.Sleep(time.Second)
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := f.app.Pause("p", part(0), part(7)); !errors.Is(err, primitives.ErrNotAssigned) {
			t.Errorf("pause of what is not held: %v", err)
		}
		equal(t, "paused by that", f.lane(0).Paused, false)

		must(f.app.Pause("p", part(0)))
		r.fill(0, 0, 3)
		r.fill(1, 100, 103)
		time.Sleep(2 * time.Second)
		equal(t, "handled while 0 is paused", got.all(), numbers(100, 103))
		r.broker.Lose("g", "in", 0) // it stays paused when it comes back
		r.broker.Assign("g", "in", 0)
		time.Sleep(2 * time.Second)
		equal(t, "handled after it came back", got.len(), 3)
		must(f.app.Seek(t.Context(), "p", part(0), 1))
		must(f.app.Resume("p", part(0)))
		time.Sleep(2 * time.Second)
		equal(t, "handled", got.all(), append(numbers(100, 103), 1, 2))
		must(f.app.Pause("p"))
		must(f.app.Resume("p", part(1)))
		r.fill(1, 103, 104)
		time.Sleep(2 * time.Second)
		equal(t, "handled while all is paused", got.len(), 5)
		must(f.app.Resume("p"))
		time.Sleep(2 * time.Second)
		equal(t, "handled after all", got.len(), 6)
		f.stopped()
	})
}
