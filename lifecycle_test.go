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
	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/primitives/memory"
)

// A replica is not torn down under a request that uses what its Setup made.
func TestTeardownWaitsForRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var down atomic.Int32
		gate := make(chan struct{})
		app := flow.New("shop", quiet())
		flow.Endpoint(app, "GET /slow", func(ctx context.Context, _ flow.None) (string, error) {
			<-gate
			return "ok", nil
		}, flow.Replicas(2, 2),
			flow.Setup(func(ctx context.Context) (context.Context, error) { return ctx, nil }),
			flow.Teardown(func(ctx context.Context) error { down.Add(1); return ctx.Err() }))
		serving(t, app)
		var requests sync.WaitGroup
		for range 2 {
			requests.Go(func() {
				rec := httptest.NewRecorder()
				app.Handler().ServeHTTP(rec, httptest.NewRequest("GET", "/slow", nil))
				equal(t, "status", rec.Code, 200)
			})
		}
		synctest.Wait()
		if err := app.Resize("GET /slow", 1); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		equal(t, "torn down while its request is in progress", down.Load(), 0)
		close(gate)
		requests.Wait()
		synctest.Wait()
		equal(t, "torn down", down.Load(), 1)
	})
}

func TestOnReadyPanics(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		var events seen[string]
		app := flow.New("test", flow.AdminAddr("off"), flow.OnReady(func(flow.Addresses) { panic("not ready") }))
		flow.Consumer(app, "p", spy{Source: r.in(1), events: &events}, flow.Discard, flow.Do(func(context.Context, int) error { return nil }))
		err := app.Run(t.Context())
		if err == nil || !strings.Contains(err.Error(), "not ready") {
			t.Errorf("Run returned %v", err)
		}
		equal(t, "events", events.all(), []string{"reader ended", "reader closed"})
	})
}

// lingering is a source whose Run takes a second to end.
type lingering struct{ flow.Source[int] }

func (s lingering) OpenSource(ctx context.Context, env *primitives.Env) (primitives.Reader, error) {
	r, err := s.Source.OpenSource(ctx, env)
	return lingeringReader{r}, err
}

type lingeringReader struct{ primitives.Reader }

func (r lingeringReader) Run(ctx context.Context, in primitives.Intake) error {
	err := r.Reader.Run(ctx, in)
	time.Sleep(time.Second)
	return err
}

// A reader is closed after its Run has returned, also when another processor
// could not start.
func TestStartFailsHalfWay(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		var events seen[string]
		nothing := flow.Do(func(context.Context, int) error { return nil })
		broken := errors.New("no database")
		f := r.start(
			flow.NewConsumer("first", spy{Source: lingering{r.in(1)}, events: &events}, flow.Discard, nothing),
			flow.NewConsumer("second", memory.Topic[int]{Broker: r.broker, Name: "other"}, flow.Discard, nothing,
				flow.Setup(func(ctx context.Context) (context.Context, error) { time.Sleep(time.Second); return ctx, broken })))
		if err := f.wait(); !errors.Is(err, broken) {
			t.Errorf("Run returned %v", err)
		}
		equal(t, "events", events.all(), []string{"reader ended", "reader closed"})
	})
}

// A Setup that hangs does not hold up the end, and is told of it.
func TestSetupHangsWhileResized(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		var setups atomic.Int32
		f := r.start(flow.NewConsumer("p", r.in(1), flow.Discard, flow.Do(func(context.Context, int) error { return nil }),
			flow.Setup(func(ctx context.Context) (context.Context, error) {
				if setups.Add(1) == 1 {
					return ctx, nil
				}
				<-ctx.Done()
				return nil, context.Cause(ctx)
			})))
		<-f.ready
		resized := make(chan error, 1)
		go func() { resized <- f.app.Resize("p", 2) }()
		synctest.Wait()
		began := time.Now()
		f.cancel()
		synctest.Wait()
		select {
		case err := <-f.ended:
			if err != nil {
				t.Error(err)
			}
			if err := <-resized; err == nil {
				t.Error("Resize returned no error")
			}
		default:
			t.Fatal("Run does not return")
		}
		equal(t, "the end took", time.Since(began), 0)
	})
}

func TestSetupHangsAtStart(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		f := r.start(flow.NewConsumer("p", r.in(1), flow.Discard, flow.Do(func(context.Context, int) error { return nil }),
			flow.Setup(func(ctx context.Context) (context.Context, error) {
				<-ctx.Done()
				return nil, context.Cause(ctx)
			})))
		synctest.Wait()
		f.cancel()
		synctest.Wait()
		select {
		case err := <-f.ended:
			equal(t, "Run returned", err, nil)
		default:
			t.Fatal("Run does not return")
		}
	})
}

// A sink that takes nothing any more is cancelled at the end of the drain, so that
// the replica is torn down before Run returns.
func TestDrainCancelsBlockedWrite(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.options = []flow.Option{flow.DrainTimeout(10 * time.Second)}
		r.fill(0, 0, 3)
		r.hold("out")
		var down atomic.Bool
		f := r.start(flow.NewConsumer("p", r.in(1), r.out(), func(_ context.Context, v int) (int, error) { return v, nil },
			flow.Teardown(func(context.Context) error { down.Store(true); return nil })))
		synctest.Wait()
		began := time.Now()
		err := f.stop()
		if !errors.Is(err, flow.ErrDrainTimeout) || strings.Contains(err.Error(), "handler") {
			t.Errorf("Run returned %v", err)
		}
		equal(t, "torn down", down.Load(), true)
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("the drain took %v", took)
		}
		equal(t, "committed", r.committed(0), -1)
	})
}

// Without replicas the drain still writes what was handled.
func TestDrainWithoutReplicas(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.fill(0, 0, 1)
		release := r.hold("out")
		out := r.out()
		out.Async = 4
		f := r.start(flow.NewConsumer("p", r.in(1), out, func(_ context.Context, v int) (int, error) { return v, nil }))
		synctest.Wait()
		r.fill(0, 1, 10)
		synctest.Wait()
		if err := f.app.Resize("p", 0); err != nil {
			t.Fatal(err)
		}
		release()
		synctest.Wait()
		began := time.Now()
		f.stopped()
		equal(t, "the drain took", time.Since(began), 0)
		equal(t, "committed", r.committed(0), 10)
	})
}

// OnStop runs whatever the reason of the end, after everything is closed.
func TestOnStop(t *testing.T) {
	broken := errors.New("broken")
	for _, fail := range []bool{false, true} {
		inBubble(t, func(t *testing.T, r *rig) {
			r.fill(0, 0, 1)
			var order seen[string]
			flush := errors.New("not flushed")
			r.options = []flow.Option{flow.OnStop(func(ctx context.Context) error {
				if _, bounded := ctx.Deadline(); !bounded || ctx.Err() != nil {
					t.Error("the context has ended, or never does")
				}
				order.add("stopped")
				return flush
			})}
			f := r.start(flow.NewConsumer("p", r.in(1), flow.Discard, flow.Do(func(context.Context, int) error {
				if fail {
					return broken
				}
				return nil
			}), flow.Teardown(func(context.Context) error { order.add("torn down"); return nil })))
			if !fail {
				time.Sleep(time.Second)
				f.cancel()
			}
			err := f.wait()
			if !errors.Is(err, flush) || errors.Is(err, broken) != fail {
				t.Errorf("Run returned %v", err)
			}
			equal(t, "order", order.all(), []string{"torn down", "stopped"})
		})
	}
}
