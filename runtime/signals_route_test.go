package runtime

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flowkit-go/flow/autoscale"
	"github.com/flowkit-go/flow/autoscale/cpu"
	"github.com/flowkit-go/flow/runtime/web"
)

// serveRoute starts a route that nothing listens for, in a bubble.
func serveRoute(t *testing.T, most int) *routeState {
	t.Helper()
	limits := autoscale.Defaults()
	limits.Max, limits.MaxConcurrency = 10, most
	route := &Route{Name: "quote", Kind: "endpoint", Web: &web.Route{}, Processor: Processor{Replicas: limits, ConcurrentTasks: 1, NumCPUs: 1}}
	f := newFrontend(Config{HTTP: HTTPConfig{Addr: AddrOff}, Routes: []*Route{route}}, slog.New(slog.DiscardHandler))
	if err := f.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return f.routes[0]
}

// lookAt takes a route's signals after d.
func lookAt(t *testing.T, r *routeState, d time.Duration) autoscale.Signals {
	t.Helper()
	time.Sleep(d)
	s, err := r.signals(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestRouteSignalsCountOngoing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := serveRoute(t, 2) // two at a time, and as many that wait
		var all sync.WaitGroup
		request := func(d time.Duration) {
			all.Go(func() {
				began := time.Now()
				if err := r.limiter.Acquire(t.Context()); err != nil {
					t.Error(err)
					return
				}
				time.Sleep(d)
				r.limiter.Release()
				r.counts.observe(web.Observation{Status: 200, Began: began, Took: time.Since(began)})
			})
		}
		time.Sleep(50 * time.Millisecond) // between two samples
		for range 4 {
			request(30 * time.Second)
		}
		s := lookAt(t, r, 10*time.Second)
		if s.Elapsed != 0 {
			t.Errorf("first: elapsed %v", s.Elapsed)
		}
		about(t, "two at work and two that wait", s.Ongoing, 4, 0.01)
		exact(t, "waiting", s.Backlog, 2)
		exact(t, "throughput", s.Throughput, 0)

		s = lookAt(t, r, 30*time.Second) // 20 s with 4, then 10 s with 2
		about(t, "after two have ended", s.Ongoing, (20*4+10*2)/30.0, 0.01)
		about(t, "throughput", s.Throughput, 2.0/30, 0.001)
		if s.Elapsed != 30*time.Second || s.PrevBacklog != 2 {
			t.Errorf("elapsed %v, %v waited before", s.Elapsed, s.PrevBacklog)
		}
		all.Wait()
		lookAt(t, r, time.Second)
		s = lookAt(t, r, time.Minute)
		exact(t, "idle", s.Ongoing, 0)
		exact(t, "idle: throughput", s.Throughput, 0)
		if !math.IsNaN(s.CPU) {
			t.Errorf("CPU %v without a meter", s.CPU)
		}
	})
}

// The goroutine of a request has its processor's label as long as it is handled, and
// then its own again.
func TestRequestsCarryTheirLabel(t *testing.T) {
	r := &routeState{Route: &Route{Name: "quote"}, labels: cpu.With(context.Background(), "quote")}
	var during string
	h := r.wrap(func(context.Context, http.ResponseWriter, *http.Request) (int, error) {
		during = labelsOfThis(t)
		return 200, nil
	})
	mine := cpu.With(t.Context(), "mine")
	cpu.Mark(mine)
	defer cpu.Mark(context.Background())
	if _, err := h(mine, nil, nil); err != nil {
		t.Fatal(err)
	}
	if after := labelsOfThis(t); during != "quote" || after != "mine" {
		t.Errorf("label %q during the request, %q after it", during, after)
	}
}

// A resize of which only a part succeeds admits the requests of that part.
func TestRouteResizeThatFailsHalfway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := serveRoute(t, 2)
		const most = 3
		started := 1
		r.pool.spec.Setup = []func(context.Context) (context.Context, error){func(ctx context.Context) (context.Context, error) {
			if started++; started > most {
				return nil, errors.New("no connection")
			}
			return ctx, nil
		}}
		if err := (routePool{r}).Resize(5); err == nil || r.pool.Replicas() != most {
			t.Fatalf("%v, %d replicas", err, r.pool.Replicas())
		}
		if _, _, limit := r.limiter.Stats(); limit != most*2 {
			t.Errorf("%d requests at a time for %d replicas", limit, most)
		}
		if err := (routePool{r}).Resize(1); err != nil {
			t.Fatal(err)
		}
		if _, _, limit := r.limiter.Stats(); limit != 2 {
			t.Errorf("%d requests at a time for one replica", limit)
		}
	})
}
