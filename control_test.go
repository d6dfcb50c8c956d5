package flow_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flowkit-go/flow"
	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/primitives/memory"
)

func TestPauseAndResume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker := memory.NewBroker()
		var handled atomic.Int32
		app := flow.New("shop", quiet())
		flow.Consumer(app, "bill", memory.Topic[string]{Broker: broker, Name: "in"}, flow.Discard,
			flow.Do(func(context.Context, string) error { handled.Add(1); return nil }), flow.StallAfter(time.Minute))
		if err := app.Pause("bill"); err == nil {
			t.Error("Pause before Run: no error")
		}
		serving(t, app)
		if err := app.Pause("other"); err == nil {
			t.Error("Pause of an unknown consumer: no error")
		}
		if err := app.Pause("bill"); err != nil {
			t.Fatal(err)
		}
		broker.Append("in", 0, primitives.Record{Value: []byte("a")})
		time.Sleep(time.Hour)
		p := app.Snapshot().Processors[0]
		if handled.Load() != 0 || !p.Paused || p.Errors.Stalls != 0 {
			t.Errorf("while paused: %d handled, %+v", handled.Load(), p)
		}
		if err := app.Resume("bill"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if handled.Load() != 1 {
			t.Errorf("%d handled after Resume", handled.Load())
		}
	})
}

func TestResizeWhileRunning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker := memory.NewBroker()
		const n = 1000
		for range n {
			broker.Append("in", 0, primitives.Record{Value: []byte("a")})
		}
		var handled, running, most atomic.Int32
		var setups, teardowns atomic.Int32
		app := flow.New("shop", quiet())
		flow.Consumer(app, "bill", memory.Topic[string]{Broker: broker, Name: "in", StopAtEnd: true}, flow.Discard,
			flow.Do(func(context.Context, string) error {
				now := running.Add(1)
				for have := most.Load(); now > have && !most.CompareAndSwap(have, now); have = most.Load() {
				}
				time.Sleep(10 * time.Millisecond)
				running.Add(-1)
				handled.Add(1)
				return nil
			}), flow.Ordered(flow.Unordered), flow.Replicas(1, 16),
			flow.Setup(func(ctx context.Context) (context.Context, error) { setups.Add(1); return ctx, nil }),
			flow.Teardown(func(context.Context) error { teardowns.Add(1); return nil }))
		ended := make(chan error, 1)
		t.Setenv("FLOW_ADMIN", "off")
		go func() { ended <- app.Run(t.Context()) }()
		for _, step := range []int{1, 16, 3, 8, 1, 5} {
			synctest.Wait()
			if err := app.Resize("bill", step); err != nil {
				t.Fatal(err)
			}
			time.Sleep(35 * time.Millisecond)
			if now := running.Load(); now > int32(step) {
				t.Errorf("%d records at a time with %d replicas", now, step)
			}
		}
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
		if handled.Load() != n || most.Load() != 16 {
			t.Errorf("%d of %d records handled, %d at a time at most", handled.Load(), n, most.Load())
		}
		if setups.Load() != teardowns.Load() || setups.Load() != 1+15+5+4 {
			t.Errorf("%d setups, %d teardowns", setups.Load(), teardowns.Load())
		}
	})
}
