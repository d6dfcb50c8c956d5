package flow_test

import (
	"context"
	"errors"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flowkit-go/flow"
	"github.com/flowkit-go/flow/primitives/pulse"
)

// An endpoint has as many replicas as its requests in progress need, and fewer when they
// are gone.
func TestScaleOfAnEndpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		app := flow.New("shop", quiet(), flow.CPUs(16))
		flow.Endpoint(app, "GET /slow", func(context.Context, flow.None) (string, error) { <-gate; return "", nil },
			flow.Replicas(1, 8), flow.TargetOngoingRequests(4), flow.AutoscaleFrequency(10*time.Second), flow.Timeout(time.Hour), flow.Name("slow"))
		h := serving(t, app)
		var requests sync.WaitGroup
		for range 20 {
			requests.Go(func() { h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/slow", nil)) })
		}
		time.Sleep(25 * time.Second)
		equal(t, "replicas for 20 requests, 4 each", app.Snapshot().Processors[0].Replicas, 5)
		close(gate)
		requests.Wait()
		time.Sleep(time.Hour)
		equal(t, "replicas without requests", app.Snapshot().Processors[0].Replicas, 1)
	})
}

// A Setup that fails while the flow runs does not end it: it is tried again.
func TestScaleGoesOnWhenSetupFails(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.fill(0, 0, 1000)
		var setups, handled atomic.Int32
		f := r.start(flow.NewConsumer("p", r.in(1), flow.Discard, flow.Do(func(context.Context, int) error {
			time.Sleep(time.Second)
			handled.Add(1)
			return nil
		}), flow.Replicas(1, 2), flow.NumCPUs(0.1), flow.Ordered(flow.Unordered), flow.AutoscaleFrequency(10*time.Second),
			flow.Setup(func(ctx context.Context) (context.Context, error) {
				if n := setups.Add(1); n > 1 && n < 4 {
					return ctx, errors.New("no connection")
				}
				return ctx, nil
			})))
		time.Sleep(10*time.Second + time.Millisecond)
		_, d := sizes(t, f.app, "p")
		if f.processor().Replicas != 1 || !strings.Contains(d.Reason, "no connection") {
			t.Errorf("%d replicas, %+v", f.processor().Replicas, d)
		}
		time.Sleep(10 * time.Minute)
		equal(t, "replicas when Setup works again", f.processor().Replicas, 2)
		time.Sleep(10 * time.Minute)
		equal(t, "handled", handled.Load(), 1000)
		f.stopped()
	})
}

// A Setup that hangs does not keep the flow from ending, nor is a replica added after.
func TestScaleEndsWhileSetupRuns(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.fill(0, 0, 10_000)
		var setups, teardowns atomic.Int32
		f := r.start(flow.NewConsumer("p", r.in(1), flow.Discard, flow.Do(func(context.Context, int) error { time.Sleep(time.Second); return nil }),
			flow.Replicas(1, 4), flow.NumCPUs(0.1), flow.Ordered(flow.Unordered), flow.AutoscaleFrequency(10*time.Second),
			flow.Setup(func(ctx context.Context) (context.Context, error) {
				if setups.Add(1) > 1 {
					<-ctx.Done()
					return ctx, ctx.Err()
				}
				return ctx, nil
			}), flow.Teardown(func(context.Context) error { teardowns.Add(1); return nil })))
		time.Sleep(15 * time.Second)
		equal(t, "setups", setups.Load(), 2)
		began := time.Now()
		f.stopped()
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("the drain took %v", took)
		}
		equal(t, "setups at the end", setups.Load(), 2)
		equal(t, "teardowns", teardowns.Load(), 1)
	})
}

// A consumer that is paused handles nothing, which is no reason to grow or to shrink.
func TestScaleHoldsWhilePaused(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		f := r.start(flow.NewConsumer("p", r.in(4), flow.Discard, flow.Do(func(context.Context, int) error { return nil }),
			flow.Replicas(1, 4), flow.NumReplicas(3), flow.NumCPUs(0.1), flow.AutoscaleFrequency(10*time.Second), flow.ScaleDownWindow(0)))
		<-f.ready
		if err := f.app.Pause("p"); err != nil {
			t.Fatal(err)
		}
		r.fill(0, 0, 1000)
		time.Sleep(time.Hour)
		_, d := sizes(t, f.app, "p")
		equal(t, "replicas while paused", f.processor().Replicas, 3)
		equal(t, "reason", d.Reason, "held: the processor is paused")
		if err := f.app.Resume("p"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		equal(t, "replicas with nothing to do", f.processor().Replicas, 1)
		f.stopped()
	})
}

// What the autoscaler may add is bounded by the CPUs; what always runs is not, and one
// warning says so.
func TestScaleWithTooFewCPUs(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		t.Setenv("FLOW_CPUS", "2")
		r.fill(0, 0, 1000)
		slow := flow.Do(func(context.Context, int) error { time.Sleep(time.Second); return nil })
		f := r.start(
			flow.NewConsumer("a", r.in(1), flow.Discard, slow, flow.Replicas(3, 8), flow.Ordered(flow.Unordered), flow.AutoscaleFrequency(10*time.Second)),
		)
		time.Sleep(time.Minute)
		p := f.processor()
		if p.Replicas != 3 || p.Autoscale.WantedCPU != 6 {
			t.Errorf("%d replicas, %+v", p.Replicas, p.Autoscale)
		}
		warnings := 0
		for _, l := range r.logs.lines.all() {
			if strings.HasPrefix(l.Text, "the replicas that always run are counted with 3 CPUs, and there are 2: ") {
				warnings++
			}
		}
		equal(t, "warnings", warnings, 1)
		f.stopped()
	})
}

// A source that does not tell its backlog gives nothing to decide by. It is said once, of
// those that should scale.
func TestScaleWithoutABacklog(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		items := []int{1}
		slow := flow.Do(func(context.Context, int) error { time.Sleep(time.Second); return nil })
		f := r.start(
			flow.NewConsumer("p", pulse.Items[int]{Items: items}, flow.Discard, slow, flow.Replicas(2, 8), flow.NumCPUs(0.1), flow.AutoscaleFrequency(10*time.Second)),
			flow.NewConsumer("tells", r.in(1), flow.Discard, slow, flow.Replicas(1, 8), flow.NumCPUs(0.1)),
			flow.NewConsumer("fixed", pulse.Items[int]{Items: items}, flow.Discard, slow),
		)
		<-f.ready
		time.Sleep(time.Minute)
		_, d := sizes(t, f.app, "p")
		equal(t, "replicas", d.Replicas, 2)
		equal(t, "reason", d.Reason, "held: backlog not known")
		equal(t, "warnings", len(r.logs.find("replicas are added by hand only: the source does not tell its backlog; set num_replicas")), 1)
		f.stopped()
	})
}
