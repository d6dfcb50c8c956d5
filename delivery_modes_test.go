package flow_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flowkit-go/flow"
	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/primitives/memory"
)

// The next record of a partition starts when the one before it is committed, and
// partitions that wait share a commit.
func TestDelivery_001_commit_each(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		const partitions, n, roundTrip = 6, 50, 6 * time.Millisecond
		for p := range int32(partitions) {
			r.fill(p, 0, n)
		}
		var commits atomic.Int64
		r.broker.Control(func(op memory.Op) error {
			if op.Kind == memory.OpCommit && op.Partition == 0 {
				time.Sleep(roundTrip)
				commits.Add(1)
			}
			return nil
		})
		ahead := 0
		f := r.start(flow.NewConsumer("p", flow.Messages(r.in(partitions)), flow.Discard, flow.Do(func(_ context.Context, m flow.Msg[int]) error {
			if c := max(r.committed(m.Partition.ID), 0); c != int64(m.Value) {
				ahead++
			}
			time.Sleep(500 * time.Microsecond)
			return nil
		}), flow.CommitEach(), flow.CommitEvery(time.Hour, 0), flow.Replicas(partitions, partitions)))
		start := time.Now()
		for r.committed(0) < n {
			time.Sleep(time.Millisecond)
		}
		took := time.Since(start)
		equal(t, "records started before the one before them was committed", ahead, 0)
		for p := range int32(partitions) {
			if c := r.committed(p); c < n-1 {
				t.Errorf("partition %d is committed up to %d when the first is done", p, c)
			}
		}
		if most := n * 2 * roundTrip; took > most {
			t.Errorf("%d records of %d partitions took %v, want %v at most: they share commits", n, partitions, took, most)
		}
		f.stopped()
	})
}

func TestDelivery_005_mode_against_concurrency(t *testing.T) {
	r := newRig(t)
	for _, tc := range []struct {
		options []flow.ConsumerOption
		names   string
	}{
		{[]flow.ConsumerOption{flow.CommitEach(), flow.ConcurrentTasks(2)}, "num_concurrent_tasks"},
		{[]flow.ConsumerOption{flow.CommitEach(), flow.Ordered(flow.ByKey)}, "order"},
		{[]flow.ConsumerOption{flow.ExactlyOnce(), flow.Ordered(flow.Unordered)}, "order"},
		{[]flow.ConsumerOption{flow.ExactlyOnce(), flow.RetryParked(3, flow.Constant(time.Second))}, "RetryParked"},
		{[]flow.ConsumerOption{flow.DeadLetterLimit(3, 0)}, "DeadLetter"},
	} {
		app := flow.New("test")
		called := false
		flow.Consumer(app, "p", r.in(1), r.out(), func(context.Context, int) (int, error) { called = true; return 0, nil }, tc.options...)
		r.fill(0, 0, 1)
		err := app.Run(t.Context())
		if err == nil || called {
			t.Errorf("%s: err %v, handler called: %v", tc.names, err, called)
			continue
		}
		if !strings.Contains(err.Error(), tc.names) {
			t.Errorf("%v: want that it names %s", err, tc.names)
		}
	}
}

// Commit on read may lose what was read when the process dies, and nothing else.
func TestDelivery_021_commit_on_read(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		const n, buffer = 1000, 64
		r.fill(0, 0, n)
		var got seen[int]
		handle := flow.Do(func(_ context.Context, v int) error {
			time.Sleep(100 * time.Millisecond)
			got.add(v)
			return nil
		})
		options := []flow.ConsumerOption{flow.LossyCommitOnRead(5 * time.Second), flow.Buffer(buffer, 1<<20), flow.ConcurrentTasks(2), flow.Ordered(flow.Unordered)}
		f := r.start(flow.NewConsumer("p", r.in(1), flow.Discard, handle, options...))
		time.Sleep(5500 * time.Millisecond)
		committed := r.committed(0)
		if committed <= int64(got.len()) {
			t.Errorf("%d committed with %d handled: want what was read", committed, got.len())
		}
		f.hard()
		f.cancel()
		if err := f.wait(); err == nil {
			t.Error("a stop at once returned nil")
		}
		before := got.len()

		f = r.start(flow.NewConsumer("p", r.in(1), flow.Discard, handle, options...))
		time.Sleep(2 * time.Minute)
		f.stopped()
		lost := n - len(unique(got.all()))
		if lost == 0 || lost > buffer+2 {
			t.Errorf("%d records lost, want some and at most the buffer of %d and what was in a handler; %d were handled before the crash", lost, buffer, before)
		}
	})
}

// A stop in good order loses nothing, although what is queued was committed.
func TestDelivery_022_commit_on_read_stopped(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.fill(0, 0, 20)
		var got seen[int]
		f := r.start(flow.NewConsumer("p", r.in(1), flow.Discard, flow.Do(func(_ context.Context, v int) error {
			time.Sleep(time.Second)
			got.add(v)
			return nil
		}), flow.LossyCommitOnRead(5*time.Second), flow.ConcurrentTasks(2), flow.Ordered(flow.Unordered)))
		time.Sleep(6500 * time.Millisecond)
		equal(t, "committed", r.committed(0), 20)
		f.stopped()
		equal(t, "handled", len(unique(got.all())), 20)
	})
}

func unique(all []int) map[int]bool {
	set := map[int]bool{}
	for _, v := range all {
		set[v] = true
	}
	return set
}

// copier copies what it reads, exactly once.
func copier(r *rig, fn func(context.Context, int) (int, error), options ...flow.ConsumerOption) *flow.Processor {
	return flow.NewConsumer("p", r.in(1), r.out(), fn, append([]flow.ConsumerOption{flow.ExactlyOnce()}, options...)...)
}

func unchanged(_ context.Context, v int) (int, error) { return v, nil }

func TestDelivery_126_exactly_once(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.fill(0, 0, 5)
		f := r.start(copier(r, unchanged, flow.CommitEvery(time.Second, 0)))
		time.Sleep(900 * time.Millisecond)
		equal(t, "seen before the commit", len(r.written()), 0)
		equal(t, "committed before", r.committed(0), -1)
		time.Sleep(200 * time.Millisecond)
		equal(t, "seen", r.written(), words(numbers(0, 5)))
		equal(t, "committed", r.committed(0), 5)
		f.stopped()
	})
}

// A failure that stops the flow makes void what its transaction has written.
func TestDelivery_127_abort(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.fill(0, 0, 5)
		broken := errors.New("broken")
		f := r.start(copier(r, func(_ context.Context, v int) (int, error) {
			if v == 3 {
				return 0, broken
			}
			return v, nil
		}))
		if err := f.wait(); !errors.Is(err, broken) {
			t.Errorf("Run returned %v", err)
		}
		equal(t, "seen after the failure", len(r.written()), 0)
		equal(t, "committed after the failure", r.committed(0), -1)
		f = r.start(copier(r, unchanged))
		time.Sleep(time.Second)
		equal(t, "seen", r.written(), words(numbers(0, 5)))
		equal(t, "committed", r.committed(0), 5)
		f.stopped()
	})
}

// Who is overtaken writes nothing more, and only that partition ends.
func TestDelivery_128_fenced(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.fill(0, 0, 2)
		r.fill(1, 100, 102)
		var g gates
		f := r.start(flow.NewConsumer("p", r.in(2), r.out(), func(ctx context.Context, v int) (int, error) { return v, g.pass(ctx, v) },
			flow.ExactlyOnce(), flow.ConcurrentTasks(2)))
		g.let(0, 100)
		time.Sleep(time.Second)
		equal(t, "committed before", []int64{r.committed(0), r.committed(1)}, []int64{1, 1})

		// partition 0 goes to somebody else while its next record is handled
		r.broker.Revoke("g", "in", 0)
		r.broker.Lose("g", "in", 0)
		r.broker.Append("in", 1, primitives.Record{Value: []byte("102")})
		g.let(1, 101, 102)
		time.Sleep(time.Second)
		equal(t, "committed by who was overtaken", r.committed(0), 1)
		equal(t, "committed of the other partition", r.committed(1), 3)
		equal(t, "seen", unique(ints(r.written())), unique([]int{0, 100, 101, 102}))
		f.stopped()
	})
}

func ints(words []string) (all []int) {
	for _, w := range words {
		n, _ := strconv.Atoi(w)
		all = append(all, n)
	}
	return all
}

// Dead letters are part of the transaction.
func TestDelivery_132_dead_letters_within(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.fill(0, 0, 10)
		f := r.start(copier(r, func(_ context.Context, v int) (int, error) {
			if v%3 == 0 {
				return 0, flow.Permanent(errors.New("not this one"))
			}
			return v, nil
		}, flow.DeadLetter(r.dead()), flow.CommitEvery(time.Second, 0)))
		time.Sleep(900 * time.Millisecond)
		equal(t, "dead before the commit", len(r.broker.Records("dead", 0)), 0)
		time.Sleep(200 * time.Millisecond)
		equal(t, "dead", texts(r.broker.Records("dead", 0)), words([]int{0, 3, 6, 9}))
		equal(t, "seen", r.written(), words([]int{1, 2, 4, 5, 7, 8}))
		f.stopped()
	})
}

// One partition's transaction fails, another's does not: the first is done again,
// the second not.
func TestDelivery_133_one_transaction_fails(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.fill(0, 0, 5)
		r.fill(1, 100, 105)
		var failed atomic.Bool
		r.broker.Control(func(op memory.Op) error {
			if op.Kind == memory.OpCommit && op.Partition == 0 && failed.CompareAndSwap(false, true) {
				return errors.New("coordinator is away")
			}
			return nil
		})
		var got seen[int]
		f := r.start(flow.NewConsumer("p", r.in(2), r.out(), func(_ context.Context, v int) (int, error) {
			got.add(v)
			return v, nil
		}, flow.ExactlyOnce()))
		time.Sleep(5 * time.Second)
		equal(t, "handled", got.len(), 15)
		written := ints(r.written())
		equal(t, "seen", len(written), 10)
		equal(t, "seen, each once", len(unique(written)), 10)
		equal(t, "committed", []int64{r.committed(0), r.committed(1)}, []int64{5, 5})
		equal(t, "transactions that failed", f.processor().Errors.Voided, 1)
		f.stopped()
	})
}

// Whatever fails, each output is seen once and in order.
func TestDelivery_126_exactly_once_property(t *testing.T) {
	for seed := range uint64(60) {
		inBubble(t, func(t *testing.T, r *rig) {
			const partitions, n = 3, 120
			rnd := rand.New(rand.NewPCG(seed, 1))
			for p := range int32(partitions) {
				r.fill(p, int(p)*1000, int(p)*1000+n)
			}
			var calm atomic.Bool
			r.broker.Control(func(op memory.Op) error {
				if calm.Load() {
					return nil
				}
				switch op.Kind {
				case memory.OpCommit, memory.OpWrite, memory.OpClaim:
					if rand.IntN(6) == 0 {
						return fmt.Errorf("%v fails", op.Kind)
					}
					time.Sleep(rand.N(20 * time.Millisecond))
				}
				return nil
			})
			poison := func(_ context.Context, v int) (int, error) {
				if v%40 == 7 {
					return 0, flow.Permanent(errors.New("poison"))
				}
				time.Sleep(rand.N(5 * time.Millisecond))
				if rand.IntN(30) == 0 {
					return 0, errors.New("not now")
				}
				return v, nil
			}
			for round := 0; ; round++ {
				calm.Store(round >= 6)
				f := r.start(flow.NewConsumer("p", r.in(partitions), r.out(), poison, flow.ExactlyOnce(), flow.ConcurrentTasks(2), flow.Replicas(1, 4),
					flow.Retry(50, flow.Constant(time.Millisecond)), flow.DeadLetter(r.dead())))
				<-f.ready
				for range 1 + rnd.IntN(5) {
					time.Sleep(time.Duration(rnd.IntN(400)) * time.Millisecond)
					if p := int32(rnd.IntN(partitions)); rnd.IntN(2) == 0 && !calm.Load() {
						r.broker.Lose("g", "in", p)
						time.Sleep(time.Duration(rnd.IntN(20)) * time.Millisecond)
						r.broker.Assign("g", "in", p)
					}
				}
				if calm.Load() {
					time.Sleep(5 * time.Minute) // after failures in a row the pauses are long
					f.stopped()
					break
				}
				if rnd.IntN(2) == 0 {
					f.hard()
				}
				f.cancel()
				_ = f.wait()
				synctest.Wait()
			}
			last := map[int]int{}
			all := append(ints(r.written()), ints(texts(r.broker.Records("dead", 0)))...)
			equal(t, "seen", len(all), partitions*n)
			equal(t, "seen, each once", len(unique(all)), partitions*n)
			for _, v := range ints(r.written()) {
				if was, ok := last[v/1000]; ok && was > v {
					t.Fatalf("seed %d: %d is seen after %d", seed, v, was)
				}
				last[v/1000] = v
			}
			if t.Failed() {
				t.Logf("seed %d", seed)
			}
		})
		if t.Failed() {
			return
		}
	}
}

// The third dead letter in a row passes, the next one stops the flow and is met again.
func TestDelivery_098_limit_in_a_row(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.fill(0, 0, 20)
		fn := func(_ context.Context, v int) (int, error) {
			if v == 2 || v >= 4 && v <= 9 {
				return 0, flow.Permanent(errors.New("poison"))
			}
			return v, nil
		}
		options := []flow.ConsumerOption{flow.DeadLetter(r.dead()), flow.DeadLetterLimit(5, 0)}
		f := r.start(flow.NewConsumer("p", r.in(1), r.out(), fn, options...))
		err := f.wait()
		if !errors.Is(err, flow.ErrDeadLetterLimit) {
			t.Errorf("Run returned %v, want that the limit is reached", err)
		}
		stoppedAt(t, err, 0, 9)
		equal(t, "dead", texts(r.broker.Records("dead", 0)), words([]int{2, 4, 5, 6, 7, 8}))
		equal(t, "committed", r.committed(0), 9)
		var first atomic.Int64
		first.Store(-1)
		f = r.start(flow.NewConsumer("p", r.in(1), r.out(), func(_ context.Context, v int) (int, error) {
			first.CompareAndSwap(-1, int64(v))
			return v, nil
		}, options...))
		time.Sleep(2 * time.Second)
		equal(t, "met first after the restart", first.Load(), 9)
		equal(t, "committed", r.committed(0), 20)
		f.stopped()
	})
}

// Parked records fail late and in any order: what counts is how they lie.
func TestDelivery_098_limit_of_parked(t *testing.T) {
	for _, tc := range []struct {
		name        string
		atOnce, far []int // fail for good at once, or after an attempt more
		stop        int   // -1: not at all
	}{
		{"apart", []int{9}, []int{2, 5, 7}, -1},
		{"as many as may be", []int{3, 6, 9}, []int{2, 4, 8, 12}, -1},
		{"one more, that comes last", []int{2, 4}, []int{3, 5}, 5},
		{"one more, between two rows", []int{2, 3, 5}, []int{4}, 4},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, r *rig) {
				r.fill(0, 0, 20)
				f := r.start(flow.NewConsumer("p", r.in(1), r.out(), func(_ context.Context, v int) (int, error) {
					switch {
					case slices.Contains(tc.atOnce, v):
						return 0, flow.Permanent(errors.New("poison"))
					case slices.Contains(tc.far, v):
						return 0, flow.RetryAfter(time.Duration(v)*time.Second, errors.New("poison, it seems"))
					}
					return v, nil
				}, flow.RetryParked(2, flow.Constant(time.Second)), flow.DeadLetter(r.dead()), flow.DeadLetterLimit(3, 0)))
				if tc.stop < 0 {
					time.Sleep(time.Minute)
					equal(t, "dead", len(r.broker.Records("dead", 0)), len(tc.atOnce)+len(tc.far))
					equal(t, "committed", r.committed(0), 20)
					f.stopped()
					return
				}
				time.Sleep(time.Minute)
				err := f.stop()
				if !errors.Is(err, flow.ErrDeadLetterLimit) {
					t.Errorf("Run returned %v, want that the limit is reached", err)
				}
				stoppedAt(t, err, 0, int64(tc.stop))
				equal(t, "committed", r.committed(0), int64(tc.stop))
			})
		})
	}
}

func TestDelivery_099_limit_by_ratio(t *testing.T) {
	for _, tc := range []struct {
		name string
		bad  func(v int) bool
		stop int // -1: not at all
	}{
		{"9 of 1000", func(v int) bool { return v%110 == 109 }, -1},
		{"11 of 1000", func(v int) bool { return v%110 == 109 || v == 500 || v == 501 }, 500},
		{"nothing handled well", func(v int) bool { return v == 0 }, 0},
	} {
		inBubble(t, func(t *testing.T, r *rig) {
			r.fill(0, 0, 1000)
			f := r.start(flow.NewConsumer("p", r.in(1), r.out(), func(_ context.Context, v int) (int, error) {
				if tc.bad(v) {
					return 0, flow.Permanent(errors.New("poison"))
				}
				return v, nil
			}, flow.DeadLetter(r.dead()), flow.DeadLetterLimit(0, .01)))
			if tc.stop < 0 {
				time.Sleep(2 * time.Second)
				equal(t, tc.name+": committed", r.committed(0), 1000)
				f.stopped()
				return
			}
			err := f.wait()
			if !errors.Is(err, flow.ErrDeadLetterLimit) {
				t.Errorf("%s: Run returned %v", tc.name, err)
			}
			stoppedAt(t, err, 0, int64(tc.stop))
		})
	}
}

// With a sink the next record starts only when the output of the one before it is durable
// and its progress committed.
func TestDelivery_001_commit_each_with_a_sink(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		const n = 30
		r.fill(0, 0, n)
		r.broker.Control(func(op memory.Op) error {
			if op.Kind == memory.OpWrite || op.Kind == memory.OpCommit {
				time.Sleep(3 * time.Millisecond)
			}
			return nil
		})
		out := r.out()
		out.Async = 16
		f := r.start(flow.NewConsumer("p", r.in(1), out, func(_ context.Context, v int) (int, error) {
			if written, committed := len(r.written()), max(r.committed(0), 0); written != v || committed != int64(v) {
				t.Errorf("%d starts with %d written and %d committed", v, written, committed)
			}
			return v, nil
		}, flow.CommitEach(), flow.Replicas(2, 2)))
		time.Sleep(time.Second)
		equal(t, "written", r.written(), words(numbers(0, n)))
		f.stopped()
	})
}

// A commit that fails at the end is tried again while the drain has time.
func TestLastCommitIsTriedAgain(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.fill(0, 0, 3)
		f := r.start(flow.NewConsumer("p", r.in(1), r.out(), unchanged))
		synctest.Wait()
		r.fail(memory.OpCommit, 8) // some 10 s
		f.stopped()
		equal(t, "committed", r.committed(0), 3)
	})
}

// Callers that meet the same trouble at the same time do not make each other wait longer, and
// after a quiet while the first wait is short again.
func TestSourceRetriesAreShared(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		const partitions = 8
		for p := range int32(partitions) {
			r.fill(p, 0, 1)
		}
		var away atomic.Bool
		away.Store(true)
		r.broker.Control(func(op memory.Op) error {
			if op.Kind == memory.OpRead && away.Load() {
				return errors.New("away")
			}
			return nil
		})
		var got seen[int]
		f := r.start(flow.NewConsumer("p", r.in(partitions), flow.Discard, flow.Do(func(_ context.Context, v int) error { got.add(v); return nil })))
		time.Sleep(time.Second)
		longest := time.Duration(0)
		for _, l := range r.logs.find("reading failed, trying again") {
			longest = max(longest, l.Attrs["in"].(time.Duration))
		}
		if longest > 2*time.Second {
			t.Errorf("after a second of trouble a wait of %v, want what one caller alone would wait", longest)
		}
		synctest.Wait()
		away.Store(false)
		time.Sleep(5 * time.Second)
		equal(t, "handled", got.len(), partitions)
		f.stopped()
	})
}
