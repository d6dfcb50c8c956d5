package flow_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flowkit-go/flow"
	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/primitives/memory"
	"github.com/flowkit-go/flow/primitives/primitivetest"
)

// There are no manual acknowledgements: what can be forgotten is a write that the
// sink never answers.
func TestDelivery_035_unresolved_is_reported(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.broker.Append("in", 2, primitives.Record{Offset: 41, Value: []byte("41")}, primitives.Record{Value: []byte("42")})
		release := r.hold("out")
		out := r.out()
		out.Async = 8
		f := r.start(flow.NewConsumer("p", r.in(3), out, func(_ context.Context, v int) (int, error) { return v, nil },
			flow.StallAfter(time.Minute)))
		time.Sleep(59 * time.Second)
		equal(t, "reports after 59 s", len(r.logs.find("partition does not advance")), 0)
		time.Sleep(time.Hour)
		found := r.logs.find("partition does not advance")
		if len(found) != 1 {
			t.Fatalf("%d reports, want one", len(found))
		}
		equal(t, "reported", []any{found[0].Attrs["source"], found[0].Attrs["partition"], found[0].Attrs["offset"], found[0].Attrs["held"]},
			[]any{"memory:in", "in/2", int64(41), int64(2)})
		equal(t, "stalled", f.lane(2).Stalled, true)
		equal(t, "committed", r.committed(2), -1)
		release()
		time.Sleep(time.Minute)
		equal(t, "stalled after all", f.lane(2).Stalled, false)
		equal(t, "committed after all", r.committed(2), 43)
		f.stopped()
	})
}

func TestDelivery_135_stuck(t *testing.T) {
	for _, tt := range []struct {
		takes   time.Duration
		reports int
	}{{5 * time.Second, 1}, {1900 * time.Millisecond, 0}} {
		inBubble(t, func(t *testing.T, r *rig) {
			r.fill(0, 0, 3)
			f := r.start(flow.NewConsumer("p", r.in(1), flow.Discard, flow.Do(func(_ context.Context, v int) error {
				if v == 1 {
					stuckHere(tt.takes)
				}
				return nil
			}), flow.StallAfter(2*time.Second)))
			time.Sleep(time.Minute)
			found := r.logs.find("partition does not advance")
			if len(found) != tt.reports {
				t.Fatalf("%d reports when it takes %v, want %d", len(found), tt.takes, tt.reports)
			}
			equal(t, "counted", f.processor().Errors.Stalls, int64(tt.reports))
			for _, l := range found {
				stacks, _ := l.Attrs["stacks"].(string)
				if !strings.Contains(stacks, "stuckHere") || strings.Count(stacks, "goroutine ") < 3 {
					t.Error("the report does not show the stacks of all goroutines")
				}
			}
			f.stopped()
		})
	}
}

//go:noinline
func stuckHere(d time.Duration) { time.Sleep(d) }

func TestDelivery_136_heartbeat(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		file := filepath.Join(t.TempDir(), "alive")
		r.options = []flow.Option{flow.HeartbeatFile(file)}
		r.fill(0, 0, 2)
		touched := func() time.Time {
			info, err := os.Stat(file)
			if err != nil {
				t.Fatal(err)
			}
			return info.ModTime()
		}
		f := r.start(flow.NewConsumer("p", r.in(1), flow.Discard, flow.Do(func(_ context.Context, v int) error {
			if v == 1 {
				time.Sleep(time.Minute)
			}
			return nil
		}), flow.StallAfter(20*time.Second)))
		<-f.ready
		times := map[time.Time]bool{}
		for range 100 {
			time.Sleep(100 * time.Millisecond)
			times[touched()] = true
		}
		if n := len(times); n < 9 || n > 12 {
			t.Errorf("touched %d times in 10 s, want once a second", n)
		}
		time.Sleep(20 * time.Second) // now the handler counts as stuck
		stale := touched()
		time.Sleep(10 * time.Second)
		equal(t, "touched while a handler is stuck", touched(), stale)
		time.Sleep(40 * time.Second)
		if !touched().After(stale) {
			t.Error("not touched after the handler has come back")
		}
		f.stopped()
	})
}

// Each way to get stuck is silent before the limit and reported with its own cause after it.
func TestDelivery_137_causes(t *testing.T) {
	const limit = 300 * time.Second
	away := errors.New("away")
	for _, tc := range []struct {
		cause   string
		setup   func(r *rig)
		consume func(r *rig) *flow.Processor
	}{
		{"handler", nil, func(r *rig) *flow.Processor {
			return flow.NewConsumer("p", r.in(1), flow.Discard, flow.Do(func(ctx context.Context, _ int) error { <-ctx.Done(); return ctx.Err() }), flow.StallAfter(limit))
		}},
		{"sink", func(r *rig) { r.hold("out") }, func(r *rig) *flow.Processor {
			out := r.out()
			out.Async = 1
			return flow.NewConsumer("p", r.in(1), out, unchanged, flow.StallAfter(limit))
		}},
		{"retry", nil, func(r *rig) *flow.Processor {
			return flow.NewConsumer("p", r.in(1), flow.Discard, flow.Do(func(context.Context, int) error { return away }),
				flow.Retry(1000, flow.Constant(time.Hour)), flow.StallAfter(limit))
		}},
		{"task", nil, func(r *rig) *flow.Processor {
			return flow.NewConsumer("p", r.in(1), flow.Discard, flow.Do(func(context.Context, int) error { return nil }), flow.StallAfter(limit))
		}},
		{"commit", func(r *rig) { r.fail(memory.OpCommit, 1<<30) }, func(r *rig) *flow.Processor {
			return flow.NewConsumer("p", r.in(1), flow.Discard, flow.Do(func(context.Context, int) error { return nil }), flow.StallAfter(limit))
		}},
		{"claim", func(r *rig) { r.fail(memory.OpClaim, 1<<30) }, func(r *rig) *flow.Processor {
			return flow.NewConsumer("p", r.in(1), r.out(), unchanged, flow.ExactlyOnce(), flow.StallAfter(limit))
		}},
		{"backlog", func(r *rig) { r.fail(memory.OpBacklog, 1<<30) }, func(r *rig) *flow.Processor {
			return flow.NewConsumer("p", r.in(1), r.out(), unchanged, flow.StallAfter(limit))
		}},
		{"assignment", func(r *rig) { r.broker.Revoke("g", "in") }, func(r *rig) *flow.Processor {
			return flow.NewConsumer("p", r.in(1), r.out(), unchanged, flow.StallAfter(limit))
		}},
		{"", nil, func(r *rig) *flow.Processor {
			return flow.NewConsumer("p", r.in(1), r.out(), unchanged, flow.StallAfter(limit))
		}},
	} {
		t.Run("cause "+tc.cause, func(t *testing.T) {
			inBubble(t, func(t *testing.T, r *rig) {
				r.options = []flow.Option{flow.DrainTimeout(time.Second)}
				r.fill(0, 0, 3)
				if tc.setup != nil {
					tc.setup(r)
				}
				f := r.start(tc.consume(r))
				<-f.ready
				if tc.cause == "task" {
					if err := f.app.Resize("p", 0); err != nil {
						t.Error(err)
					}
					r.fill(0, 3, 6)
				}
				time.Sleep(limit - 2*time.Second)
				equal(t, "reports before the limit", f.processor().Errors.Stalls, 0)
				time.Sleep(12 * time.Second)
				p := f.processor()
				want := int64(1)
				if tc.cause == "" {
					want = 0
				}
				equal(t, "reports after it", p.Errors.Stalls, want)
				for cause, n := range p.Stalls {
					if (cause == tc.cause) != (n == 1) {
						t.Errorf("%d reports of cause %s, want those of %s", n, cause, tc.cause)
					}
				}
				time.Sleep(10 * limit)
				equal(t, "reports later on", f.processor().Errors.Stalls, want)
				f.cancel()
				_ = f.wait()
			})
		})
	}
}

// A reader that stops reading although there is more begins anew by itself.
func TestDelivery_137_fetch(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		const limit = time.Minute
		r.fill(0, 0, 3)
		var stuck atomic.Bool
		r.broker.Control(func(op memory.Op) error {
			if op.Kind == memory.OpRead && stuck.CompareAndSwap(true, false) {
				<-op.Context.Done() // this read never ends; that of a new beginning does
			}
			return nil
		})
		var got seen[int]
		f := r.start(flow.NewConsumer("p", r.in(1), flow.Discard, flow.Do(func(_ context.Context, v int) error { got.add(v); return nil }), flow.StallAfter(limit)))
		time.Sleep(10 * limit) // an idle source is not a stalled one
		stuck.Store(true)
		r.fill(0, 3, 6)
		time.Sleep(limit - 5*time.Second)
		equal(t, "handled while nothing is read", got.len(), 3)
		time.Sleep(25 * time.Second)
		equal(t, "reports", f.processor().Stalls["fetch"], 1)
		equal(t, "handled after a new beginning", got.all(), numbers(0, 6))
		f.stopped()
	})
}

func TestDelivery_138_clock(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.fill(0, 0, 3)
		var g gates
		f := r.start(flow.NewConsumer("p", r.in(1), flow.Discard, flow.Do(g.pass), flow.StallAfter(time.Minute)))
		for range 5 { // each time just before the limit the partition moves
			time.Sleep(55 * time.Second)
			r.broker.Lose("g", "in", 0)
			r.broker.Assign("g", "in", 0)
		}
		equal(t, "reports although the partition was assigned anew each time", f.processor().Errors.Stalls, 0)
		time.Sleep(70 * time.Second)
		equal(t, "reports", f.processor().Errors.Stalls, 1)
		g.let(0, 1, 2)
		f.stopped()
	})
}

// This one talks HTTP, so it runs in real time.
func TestDelivery_140_health(t *testing.T) {
	answer := make(chan error, 1)
	for _, tt := range []struct {
		name   string
		option flow.Option
		check  error
		status int
	}{
		{"no callback", nil, nil, http.StatusOK},
		{"healthy", flow.HealthCheck(func(context.Context) error { return <-answer }), nil, http.StatusOK},
		{"not healthy", flow.HealthCheck(func(context.Context) error { return <-answer }), errors.New("no disk"), http.StatusServiceUnavailable},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t)
			r.fill(0, 0, 2)
			var g gates
			ready := make(chan flow.Addresses, 1)
			r.options = []flow.Option{flow.AdminAddr("127.0.0.1:0"), flow.OnReady(func(a flow.Addresses) { ready <- a })}
			if tt.option != nil {
				r.options = append(r.options, tt.option)
			}
			entered := make(chan struct{})
			draining := make(chan struct{})
			src := spy{Source: r.in(1), ended: func() { close(draining) }}
			f := r.start(flow.NewConsumer("p", src, flow.Discard, flow.Do(func(ctx context.Context, v int) error {
				close(entered)
				return g.pass(ctx, v)
			}), flow.Buffer(1, 1<<20)))
			admin := "http://" + (<-ready).Admin
			get := func(path string) int {
				t.Helper()
				if tt.option != nil {
					answer <- tt.check
				}
				resp, err := http.Get(admin + path)
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				if _, err := io.Copy(io.Discard, resp.Body); err != nil {
					t.Error(err)
				}
				select { // /readyz does not ask the callback while it drains
				case <-answer:
				default:
				}
				return resp.StatusCode
			}
			equal(t, "live", get("/livez"), tt.status)
			equal(t, "ready", get("/readyz"), tt.status)
			<-entered
			f.cancel() // a record is in the handler, so the drain waits
			<-draining
			equal(t, "live while stopping", get("/livez"), tt.status)
			equal(t, "ready while stopping", get("/readyz"), http.StatusServiceUnavailable)
			g.let(0)
			if err := f.wait(); err != nil {
				t.Error(err)
			}
			http.DefaultClient.CloseIdleConnections()
		})
	}
}

func TestDelivery_141_closed_reader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker := memory.NewBroker()
		env := &primitives.Env{Logger: slog.New(slog.DiscardHandler), Shared: &primitives.Shared{}}
		for _, src := range []flow.Source[int]{
			memory.Topic[int]{Broker: broker, Name: "in"},
			memory.Queue[int]{Broker: broker, Name: "queue"},
		} {
			ctx := context.Background()
			r, err := src.OpenSource(ctx, env)
			if err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if err := r.Close(ctx); err != nil {
					t.Errorf("%s: Close: %v", src, err)
				}
			}
			calls := map[string]error{
				"Run":    r.Run(ctx, primitivetest.NewIntake(10)),
				"Commit": r.Commit(ctx, []primitives.Commit{{Partition: primitives.Partition{Topic: "in"}, Next: 1}}),
			}
			if b, ok := r.(primitives.Backlogger); ok {
				_, calls["Backlog"] = b.Backlog(ctx)
			}
			if p, ok := r.(primitives.Partitioned); ok {
				_, calls["Partitions"] = p.Partitions(ctx)
			}
			if l, ok := r.(primitives.Leaser); ok {
				calls["Extend"] = l.Extend(ctx, []any{nil})
				calls["Release"] = l.Release(ctx, []any{nil}, 0)
			}
			for call, err := range calls {
				if !errors.Is(err, primitives.ErrClosed) {
					t.Errorf("%s: %s after Close returned %v, want ErrClosed", src, call, err)
				}
			}
			if len(calls) < 4 {
				t.Errorf("%s: only %d calls", src, len(calls))
			}
		}
	})
}
