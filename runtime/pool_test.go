package runtime

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

func TestPoolStoppedStaysStopped(t *testing.T) {
	var setups, teardowns atomic.Int32
	p := newPool(Processor{ConcurrentTasks: 2,
		Setup:    []func(context.Context) (context.Context, error){func(ctx context.Context) (context.Context, error) { setups.Add(1); return ctx, nil }},
		Teardown: []func(context.Context) error{func(ctx context.Context) error { teardowns.Add(1); return ctx.Err() }},
	}, func(r *replica) { <-r.stop }, func() {})
	if err := p.Resize(3); err != nil {
		t.Fatal(err)
	}
	if err := p.stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := p.Resize(2); !errors.Is(err, errPoolStopped) {
		t.Errorf("Resize after stop: %v", err)
	}
	if p.Replicas() != 0 || setups.Load() != 3 || teardowns.Load() != 3 {
		t.Errorf("%d replicas, %d setups, %d teardowns", p.Replicas(), setups.Load(), teardowns.Load())
	}
}

// A Setup that takes no notice of the end does not make a replica that outlives it.
func TestPoolStopsWhileSetupRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		var worked, teardowns atomic.Int32
		p := newPool(Processor{ConcurrentTasks: 1,
			Setup:    []func(context.Context) (context.Context, error){func(ctx context.Context) (context.Context, error) { <-gate; return ctx, nil }},
			Teardown: []func(context.Context) error{func(context.Context) error { teardowns.Add(1); return nil }},
		}, func(r *replica) { worked.Add(1); <-r.stop }, func() {})
		resized := make(chan error, 1)
		go func() { resized <- p.Resize(2) }()
		synctest.Wait()
		stopped := make(chan error, 1)
		go func() { stopped <- p.stop(t.Context()) }()
		synctest.Wait()
		select {
		case <-stopped:
			t.Error("stop did not wait for the Setup")
		default:
		}
		close(gate)
		if err := <-stopped; err != nil {
			t.Error(err)
		}
		if err := <-resized; !errors.Is(err, errPoolStopped) {
			t.Errorf("Resize returned %v", err)
		}
		if worked.Load() != 0 || teardowns.Load() != 1 {
			t.Errorf("%d tasks worked, %d teardowns", worked.Load(), teardowns.Load())
		}
	})
}
