package flow_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flowkit-go/flow"
	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/primitives/memory"
)

// The work queue of the case is the window of a partition: Buffer.
func TestDelivery_010_queue_capacity(t *testing.T) {
	for _, tt := range []struct{ tasks, capacity int }{{5, 7}, {1, 1}} {
		inBubble(t, func(t *testing.T, r *rig) {
			r.fill(0, 0, 20)
			var g gates
			var got seen[int]
			f := r.start(flow.NewConsumer("p", r.in(1), flow.Discard, flow.Do(func(ctx context.Context, v int) error {
				got.add(v)
				return g.pass(ctx, v)
			}), flow.Ordered(flow.Unordered), flow.ConcurrentTasks(tt.tasks), flow.Buffer(tt.capacity, 1<<20)))
			time.Sleep(time.Minute)
			equal(t, "records held", f.lane(0).Read, int64(tt.capacity))
			equal(t, "records in the handler", f.processor().InFlight, int64(tt.tasks))
			g.let(numbers(0, 20)...)
			synctest.Wait()
			equal(t, "handled", got.len(), 20)
			f.stopped()
			equal(t, "committed", r.committed(0), 20)
		})
	}
}

// spy is a source whose bursts, commits and close are noted.
type spy struct {
	flow.Source[int]
	pushed func(n int)
	events *seen[string]
	ended  func() // called when fetching has ended because of a drain
}

func (s spy) OpenSource(ctx context.Context, env *primitives.Env) (primitives.Reader, error) {
	r, err := s.Source.OpenSource(ctx, env)
	return &spyReader{r, s}, err
}

type spyReader struct {
	primitives.Reader
	spy spy
}

func (r *spyReader) note(event string) {
	if r.spy.events != nil {
		r.spy.events.add(event)
	}
}

func (r *spyReader) Run(ctx context.Context, in primitives.Intake) error {
	defer r.note("reader ended")
	return r.Reader.Run(ctx, spyIntake{in, r})
}

func (r *spyReader) Commit(ctx context.Context, commits []primitives.Commit) error {
	defer r.note("commit")
	return r.Reader.Commit(ctx, commits)
}

func (r *spyReader) Close(ctx context.Context) error {
	defer r.note("reader closed")
	return r.Reader.Close(ctx)
}

type spyIntake struct {
	primitives.Intake
	r *spyReader
}

func (in spyIntake) Assign(p primitives.Partition, start int64) primitives.Lane {
	return spyLane{in.Intake.Assign(p, start), in.r}
}

type spyLane struct {
	primitives.Lane
	r *spyReader
}

func (l spyLane) Push(ctx context.Context, burst []primitives.Record) (int, error) {
	if l.r.spy.pushed != nil {
		l.r.spy.pushed(len(burst))
	}
	n, err := l.Lane.Push(ctx, burst)
	if errors.Is(err, primitives.ErrDraining) {
		l.r.note("fetching ended")
		if l.r.spy.ended != nil {
			l.r.spy.ended()
		}
	}
	return n, err
}

func TestDelivery_011_fetch_sizes(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		var recs []primitives.Record
		for _, w := range words(numbers(0, 25)) {
			recs = append(recs, primitives.Record{Value: []byte(w)})
		}
		var sizes, got seen[int]
		src := spy{Source: memory.Replay[int]{Records: recs, Count: 25, Burst: 10}, pushed: sizes.add}
		f := r.start(flow.NewConsumer("p", src, flow.Discard, flow.Do(func(_ context.Context, v int) error {
			got.add(v)
			return nil
		})))
		synctest.Wait()
		equal(t, "sizes of bursts", sizes.all(), []int{10, 10, 5})
		equal(t, "handled", got.all(), numbers(0, 25))
		f.stopped()
	})
}

func TestDelivery_012_idle_topic(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		var reads atomic.Int32
		r.broker.Control(func(op memory.Op) error {
			if op.Kind == memory.OpRead {
				reads.Add(1)
			}
			return nil
		})
		var at atomic.Int64
		f := r.start(flow.NewConsumer("p", r.in(1), flow.Discard, flow.Do(func(context.Context, int) error {
			at.Store(int64(time.Since(r.began)))
			return nil
		})))
		time.Sleep(time.Hour)
		equal(t, "reads while idle", reads.Load(), 0)
		r.fill(0, 0, 1)
		time.Sleep(time.Minute)
		if took := time.Duration(at.Load()) - time.Hour; took < 0 || took > 1100*time.Millisecond {
			t.Errorf("handled %v after it was written", took)
		}
		f.stopped()
	})
}

func TestDelivery_015_source_error(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.fill(0, 0, 3)
		fail := atomic.Int32{}
		fail.Store(2)
		r.broker.Control(func(op memory.Op) error {
			if op.Kind == memory.OpRead && fail.Add(-1) >= 0 {
				return errors.New("not leader for partition")
			}
			return nil
		})
		var got seen[int]
		f := r.start(flow.NewConsumer("p", r.in(1), flow.Discard, flow.Do(func(_ context.Context, v int) error {
			got.add(v)
			return nil
		})))
		synctest.Wait()
		equal(t, "handled before the first attempt again", got.len(), 0)
		time.Sleep(time.Minute)
		equal(t, "handled", got.all(), numbers(0, 3))
		equal(t, "source errors counted", f.processor().Errors.Source, 2)
		f.stopped()
	})
	inBubble(t, func(t *testing.T, r *rig) {
		r.fill(0, 0, 3)
		fatal := errors.New("topic authorization failed")
		r.broker.Control(func(op memory.Op) error {
			if op.Kind == memory.OpRead {
				return primitives.Permanent(fatal)
			}
			return nil
		})
		f := r.start(flow.NewConsumer("p", r.in(1), flow.Discard, flow.Do(func(context.Context, int) error {
			t.Error("the handler was called")
			return nil
		})))
		if err := f.wait(); !errors.Is(err, fatal) {
			t.Errorf("Run returned %v, want the source's error", err)
		}
	})
}

// brokenSource fails, or panics, after it has pushed n records.
type brokenSource struct {
	flow.Source[int]
	fail func() error
}

func (s brokenSource) OpenSource(context.Context, *primitives.Env) (primitives.Reader, error) {
	return brokenReader(s), nil
}

type brokenReader brokenSource

func (r brokenReader) Run(ctx context.Context, in primitives.Intake) error {
	l := in.Assign(primitives.Partition{Topic: "in"}, 0)
	if _, err := l.Push(ctx, []primitives.Record{{Value: []byte("0")}}); err != nil {
		return err
	}
	return r.fail()
}

func (r brokenReader) Commit(context.Context, []primitives.Commit) error { return nil }
func (r brokenReader) Close(context.Context) error                       { return nil }

func TestDelivery_018_source_fails(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		broken := errors.New("connection lost for good")
		var done atomic.Bool
		begun := make(chan struct{})
		fail := func() error { <-begun; return broken }
		f := r.start(flow.NewConsumer("p", brokenSource{r.in(1), fail}, flow.Discard,
			flow.Do(func(context.Context, int) error {
				close(begun)
				time.Sleep(time.Second)
				done.Store(true)
				return nil
			})))
		if err := f.wait(); !errors.Is(err, broken) {
			t.Errorf("Run returned %v, want the source's error", err)
		}
		equal(t, "the handler has ended", done.Load(), true)
	})
}

func TestDelivery_019_measures(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		rec := primitives.Record{Offset: 33, Value: []byte("33"), Time: time.Now()}
		time.Sleep(time.Second)
		r.broker.Append("in", 3, rec)
		var g gates
		f := r.start(flow.NewConsumer("p", r.in(4), flow.Discard, flow.Do(g.pass)))
		synctest.Wait()
		inside := f.processor().InFlight
		g.let(33, 34)
		synctest.Wait()
		p := f.processor()
		equal(t, "in flight while it was handled, and after", []int64{inside, p.InFlight}, []int64{1, 0})
		equal(t, "handled", p.Messages.OK, 1)
		equal(t, "position: the offset and one", f.lane(3).Position, 34)
		equal(t, "ages seen", p.Age.Count, 1)
		if p.Age.P50 < 1 || p.Age.P50 > 1.12 {
			t.Errorf("age %v s, want 1 s within 12 %%", p.Age.P50)
		}
		r.broker.Append("in", 3, primitives.Record{Value: []byte("34")}) // has no time
		synctest.Wait()
		p = f.processor()
		equal(t, "handled", p.Messages.OK, 2)
		equal(t, "ages seen", p.Age.Count, 1)
		f.stopped()
	})
}
