package flow_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flowkit-go/flow"
	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/primitives/memory"
	"github.com/flowkit-go/flow/runtime"
)

// Leaving the group is closing the reader; Teardown is the factory's shutdown.
func TestDelivery_115_order_of_the_end(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.fill(0, 0, 5)
		events := &seen[string]{}
		f := r.start(flow.NewConsumer("p", spy{Source: r.in(1), events: events}, flow.Discard, flow.Do(func(context.Context, int) error {
			time.Sleep(time.Second)
			events.add("handled")
			return nil
		}), flow.Buffer(2, 1<<20), flow.CommitEvery(time.Hour, 0),
			flow.Teardown(func(context.Context) error {
				members := 0
				r.broker.Look(func(s *memory.State) { members = s.Members("g", "in") })
				events.add(fmt.Sprintf("teardown with %d members", members))
				return nil
			})))
		time.Sleep(500 * time.Millisecond)
		f.stopped()
		equal(t, "events", events.all(), []string{
			"fetching ended", "handled", "commit", "reader ended", "reader closed", "teardown with 0 members",
		})
		equal(t, "committed", r.committed(0), 1)
	})
}

func TestDelivery_116_one_budget(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		// Three steps take no notice of anything: handlers, a sink, the dead letters.
		r.fill(0, 0, 1)
		r.broker.Append("bad", 0, primitives.Record{Value: []byte("{bad")})
		release := make(chan struct{})
		r.broker.Control(func(op memory.Op) error {
			if op.Kind == memory.OpWrite {
				<-release
			}
			return nil
		})
		stuck := func(context.Context, int) (int, error) { <-release; return 0, nil }
		pass := func(_ context.Context, v int) (int, error) { return v, nil }
		in := func(group string) memory.Topic[int] { s := r.in(1); s.Group = group; return s }
		out := r.out()
		out.Async = 1
		r.options = []flow.Option{flow.DrainTimeout(3 * time.Second)}
		f := r.start(
			flow.NewConsumer("a", in("a"), flow.Discard, flow.Do(func(ctx context.Context, v int) error { _, err := stuck(ctx, v); return err })),
			flow.NewConsumer("b", in("b"), out, pass),
			flow.NewConsumer("c", memory.Topic[int]{Broker: r.broker, Name: "bad"}, r.out(), pass, flow.DeadLetter(r.dead())),
		)
		synctest.Wait()
		began := time.Now()
		err := f.stop()
		if took := time.Since(began); took > 3500*time.Millisecond {
			t.Errorf("the drain took %v, want 3 s for all steps together", took)
		}
		if !errors.Is(err, flow.ErrDrainTimeout) {
			t.Errorf("Run returned %v, want ErrDrainTimeout", err)
		}
		for _, group := range []string{"a", "b"} {
			equal(t, "committed", r.broker.Committed(group, "in", 0), -1)
		}
		close(release)
	})
}

func TestDelivery_117_abandoned_work(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) { // one long task
		r.fill(0, 0, 1)
		r.options = []flow.Option{flow.DrainTimeout(3 * time.Second)}
		f := r.start(flow.NewConsumer("p", r.in(1), r.out(), func(_ context.Context, v int) (int, error) {
			time.Sleep(10 * time.Second)
			return v, nil
		}))
		synctest.Wait()
		began := time.Now()
		err := f.stop()
		if took := time.Since(began); took >= 4*time.Second || !errors.Is(err, flow.ErrDrainTimeout) {
			t.Errorf("the drain took %v and ended with %v, want less than 4 s and ErrDrainTimeout", took, err)
		}
		time.Sleep(time.Minute)
		equal(t, "written", len(r.written()), 0)
		equal(t, "committed", r.committed(0), -1)
	})
	inBubble(t, func(t *testing.T, r *rig) { // ten short ones, and a sink that refuses
		r.fill(0, 0, 10)
		r.refuse("out", 1000)
		r.options = []flow.Option{flow.DrainTimeout(3 * time.Second)}
		f := r.start(flow.NewConsumer("p", r.in(1), r.out(), func(_ context.Context, v int) (int, error) {
			time.Sleep(100 * time.Millisecond)
			return v, nil
		}, flow.Ordered(flow.Unordered), flow.ConcurrentTasks(10), flow.Retry(1000, flow.Constant(100*time.Millisecond))))
		synctest.Wait()
		began := time.Now()
		err := f.stop()
		if took := time.Since(began); took < 2*time.Second || took > 4*time.Second || !errors.Is(err, flow.ErrDrainTimeout) {
			t.Errorf("the drain took %v and ended with %v, want 2 to 4 s and ErrDrainTimeout", took, err)
		}
		equal(t, "written", len(r.written()), 0)
		equal(t, "committed", r.committed(0), -1)
	})
}

// The pool of replicas goes on when a partition is taken away and comes back.
func TestDelivery_118_no_stale_result(t *testing.T) {
	for _, lose := range []bool{false, true} {
		inBubble(t, func(t *testing.T, r *rig) {
			r.fill(0, 0, 1)
			var calls atomic.Int32
			var causes seen[error]
			src := r.in(1)
			src.RevokeTimeout = time.Second
			f := r.start(flow.NewConsumer("p", src, r.out(), func(ctx context.Context, v int) (int, error) {
				if calls.Add(1) == 1 {
					time.Sleep(time.Minute) // takes no notice of its context
					causes.add(context.Cause(ctx))
					return 100, nil
				}
				return v, nil
			}, flow.ConcurrentTasks(2)))
			synctest.Wait()
			want := error(primitives.ErrReleased)
			if lose {
				want = flow.ErrLost
				r.broker.Lose("g", "in")
			} else {
				r.broker.Revoke("g", "in")
			}
			time.Sleep(2 * time.Second)
			r.broker.Assign("g", "in")
			time.Sleep(2 * time.Second)
			equal(t, "written by the second call", r.written(), []string{"0"})
			equal(t, "committed by it", r.committed(0), 1)
			time.Sleep(2 * time.Minute)
			equal(t, "written when the first has ended", r.written(), []string{"0"})
			equal(t, "committed", r.committed(0), 1)
			if all := causes.all(); len(all) != 1 || !errors.Is(all[0], want) {
				t.Errorf("the first call was cancelled with %v, want %v", all, want)
			}
			r.fill(0, 1, 2)
			time.Sleep(2 * time.Second)
			equal(t, "written", r.written(), []string{"0", "1"})
			f.stopped()
		})
	}
}

func TestDelivery_119_failure_during_drain(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.fill(0, 0, 3)
		var ended atomic.Int32
		f := r.start(flow.NewConsumer("p", r.in(1), flow.Discard, flow.Do(func(_ context.Context, v int) error {
			time.Sleep(time.Second)
			ended.Add(1)
			if v == 0 {
				return context.DeadlineExceeded
			}
			return nil
		}), flow.Ordered(flow.Unordered), flow.ConcurrentTasks(3)))
		synctest.Wait()
		err := f.stop()
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Run returned %v, want the handler's error", err)
		}
		equal(t, "handlers that have ended", ended.Load(), 3)
		equal(t, "committed", r.committed(0), -1)
	})
}

func TestDelivery_120_step_fails(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.fill(0, 0, 1)
		broken := errors.New("broken")
		events := &seen[string]{}
		f := r.start(flow.NewConsumer("p", spy{Source: r.in(1), events: events}, flow.Discard, flow.Do(func(context.Context, int) error {
			return broken
		}), flow.Teardown(func(context.Context) error { events.add("teardown"); return nil })))
		err := f.wait()
		if !errors.Is(err, broken) {
			t.Errorf("Run returned %v, want the handler's error", err)
		}
		equal(t, "events, without a commit", events.all(), []string{"reader ended", "reader closed", "teardown"})
	})
}

// panicking is a sink, or a source, that panics where it is told to.
type panicking struct {
	memory.Topic[int]
	where string
}

func (p panicking) OpenSource(ctx context.Context, env *primitives.Env) (primitives.Reader, error) {
	p.at("open source")
	r, err := p.Topic.OpenSource(ctx, env)
	return panickingReader{r, p}, err
}

func (p panicking) OpenSink(ctx context.Context, env *primitives.Env) (primitives.Writer, error) {
	p.at("open sink")
	w, err := p.Topic.OpenSink(ctx, env)
	return panickingWriter{w, p}, err
}

func (p panicking) at(where string) {
	if p.where == where {
		panic("panic in " + where)
	}
}

type panickingReader struct {
	primitives.Reader
	p panicking
}

func (r panickingReader) Run(ctx context.Context, in primitives.Intake) error {
	r.p.at("poll")
	return r.Reader.Run(ctx, in)
}

func (r panickingReader) Commit(ctx context.Context, commits []primitives.Commit) error {
	r.p.at("commit")
	return r.Reader.Commit(ctx, commits)
}

func (r panickingReader) Close(ctx context.Context) error {
	_ = r.Reader.Close(ctx)
	r.p.at("close source")
	return nil
}

type panickingWriter struct {
	primitives.Writer
	p panicking
}

func (w panickingWriter) Write(ctx context.Context, batch []primitives.Record, done func(error)) {
	w.p.at("submit")
	w.Writer.Write(ctx, batch, done)
}

func (w panickingWriter) Close(ctx context.Context) error {
	_ = w.Writer.Close(ctx)
	w.p.at("drain")
	return nil
}

func TestDelivery_121_panics(t *testing.T) {
	for _, where := range []string{"open source", "open sink", "poll", "submit", "commit", "drain", "close source", "handler", "setup", "teardown"} {
		t.Run(strings.ReplaceAll(where, " ", "_"), func(t *testing.T) {
			inBubble(t, func(t *testing.T, r *rig) {
				r.fill(0, 0, 2)
				src, sink := panicking{r.in(1), where}, panicking{r.out(), where}
				hook := func(name string) func(context.Context) error {
					return func(context.Context) error { src.at(name); return nil }
				}
				f := r.start(flow.NewConsumer("p", src, sink, func(_ context.Context, v int) (int, error) {
					src.at("handler")
					return v, nil
				}, flow.Setup(func(ctx context.Context) (context.Context, error) { return ctx, hook("setup")(ctx) }), flow.Teardown(hook("teardown"))))
				time.Sleep(time.Minute)
				err := f.stop()
				var p *runtime.PanicError
				if !errors.As(err, &p) || p.Value != "panic in "+where {
					t.Errorf("Run returned %v, want the panic", err)
				}
				want := int64(2)
				switch where {
				case "drain", "close source", "teardown":
				default:
					want = -1
				}
				equal(t, "committed", r.committed(0), want)
			})
		})
	}
}

func TestDelivery_122_stop_and_start_out_of_order(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.fill(0, 0, 1)
		newFlow := func() (*flow.Flow, *atomic.Int32) {
			var calls atomic.Int32
			app := flow.New("test", flow.AdminAddr("off"), flow.Logger(slog.New(r.logs)))
			flow.Consumer(app, "p", r.in(1), flow.Discard, flow.Do(func(context.Context, int) error { calls.Add(1); return nil }))
			return app, &calls
		}
		over, cancel := context.WithCancel(context.Background())
		cancel()
		app, calls := newFlow()
		if err := app.Run(over); err != nil {
			t.Errorf("a flow stopped before its start ended with %v", err)
		}
		equal(t, "handled by a flow stopped before its start", calls.Load(), 0)
		if err := app.Run(context.Background()); !errors.Is(err, runtime.ErrStarted) {
			t.Errorf("a second Run returned %v, want ErrStarted", err)
		}

		app, calls = newFlow()
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- app.Run(ctx) }()
		synctest.Wait()
		if err := app.Run(context.Background()); !errors.Is(err, runtime.ErrStarted) {
			t.Errorf("a second Run beside the first returned %v, want ErrStarted", err)
		}
		cancel()
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		equal(t, "handled", calls.Load(), 1)
	})
}

func TestDelivery_123_stop_with_records_fetched(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.fill(0, 0, 11)
		testTakeOver(t, r, r.in(1))
		equal(t, "committed", r.committed(0), 11)
	})
	inBubble(t, func(t *testing.T, r *rig) { // leases are given back at once, not when they run out
		queue := memory.Queue[int]{Broker: r.broker, Name: "queue", Visibility: time.Hour}
		w, err := queue.OpenSink(context.Background(), nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, word := range words(numbers(0, 11)) {
			w.Write(context.Background(), []primitives.Record{{Value: []byte(word)}}, func(err error) {
				if err != nil {
					t.Error(err)
				}
			})
		}
		if err := w.Close(context.Background()); err != nil {
			t.Error(err)
		}
		testTakeOver(t, r, queue)
		left := -1
		r.broker.Look(func(s *memory.State) { left = s.Queued("queue") })
		equal(t, "left in the queue", left, 0)
	})
}

// testTakeOver stops a flow that has one of 11 records in its handler; another
// that has been waiting takes the others over.
func testTakeOver(t *testing.T, r *rig, src flow.Source[int]) {
	began := time.Now()
	type handled struct {
		by, value int
		at        time.Duration
	}
	var got seen[handled]
	consumer := func(by int, takes time.Duration) *flow.Processor {
		return flow.NewConsumer("p", src, flow.Discard, flow.Do(func(_ context.Context, v int) error {
			time.Sleep(takes)
			got.add(handled{by, v, time.Since(began)})
			return nil
		}))
	}
	first := r.start(consumer(1, 2*time.Second))
	synctest.Wait()
	second := r.start(consumer(2, 0))
	time.Sleep(time.Second)
	equal(t, "read by the first", first.lane(0).Read, 11)
	equal(t, "handled", got.len(), 0)
	first.stopped()
	equal(t, "the first has ended after", time.Since(began), 2*time.Second)
	time.Sleep(time.Second)
	second.stopped()
	all := got.all()
	if len(all) != 11 {
		t.Fatalf("handled %v, want all 11 once", all)
	}
	for i, h := range all {
		want := 2
		if i == 0 {
			want = 1
		}
		if h.by != want || h.value != i || h.at > 3*time.Second {
			t.Errorf("%d was handled by flow %d after %v, want %d by %d, within a second of the stop", h.value, h.by, h.at, i, want)
		}
	}
}

// A turn may have taken many records of the partition when it is revoked.
func TestRevokeStartsNothing(t *testing.T) {
	for _, order := range []flow.Order{flow.ByPartition, flow.Unordered} {
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
			}), flow.Ordered(order)))
			time.Sleep(500 * time.Millisecond)
			r.broker.Revoke("g", "in")
			time.Sleep(time.Second)
			holder := "nobody yet"
			r.broker.Look(func(s *memory.State) { holder = s.Holder("g", "in", 0) })
			equal(t, "records started", started.Load(), 1)
			equal(t, "holder a second later", holder, "")
			equal(t, "committed", r.committed(0), slow+1)
			f.stopped()
		})
	}
}

// A batch that is in the handler when its partition is lost is cancelled, and what
// its handler returns stops nothing.
func TestLostBatchIsCancelled(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.fill(0, 0, 3)
		var causes seen[error]
		var calls atomic.Int32
		f := r.start(flow.NewConsumer("p", flow.Batches(r.in(1), 3, time.Hour), r.outs(), func(ctx context.Context, vs []int) ([]int, error) {
			if calls.Add(1) > 1 {
				return vs, nil
			}
			<-ctx.Done()
			causes.add(context.Cause(ctx))
			return nil, ctx.Err()
		}))
		synctest.Wait()
		r.broker.Lose("g", "in")
		synctest.Wait()
		if all := causes.all(); len(all) != 1 || !errors.Is(all[0], flow.ErrLost) {
			t.Errorf("the handler was cancelled with %v, want ErrLost", all)
		}
		r.broker.Assign("g", "in")
		time.Sleep(2 * time.Second)
		equal(t, "written", r.written(), []string{"[0,1,2]"})
		equal(t, "committed", r.committed(0), 3)
		f.stopped()
	})
}
