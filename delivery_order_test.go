package flow_test

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flowkit-go/flow"
)

func TestDelivery_001_in_order(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.fill(0, 0, 10)
		var got seen[int]
		var inside atomic.Int32
		f := r.start(flow.NewConsumer("p", r.in(1), flow.Discard, flow.Do(func(_ context.Context, v int) error {
			if inside.Add(1) > 1 {
				t.Error("two records of a partition are handled at the same time")
			}
			time.Sleep(time.Millisecond)
			got.add(v)
			inside.Add(-1)
			return nil
		}), flow.ConcurrentTasks(4)))
		time.Sleep(time.Second + time.Millisecond)
		equal(t, "handled", got.all(), numbers(0, 10))
		equal(t, "committed after one commit interval", r.committed(0), 10)
		f.stopped()
	})
}

func TestDelivery_002_stop_at_failure(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.fill(0, 0, 6)
		broken := errors.New("broken")
		run := func(fail int) (*seen[int], *running) {
			var got seen[int]
			return &got, r.start(flow.NewConsumer("p", r.in(1), r.out(), func(_ context.Context, v int) (int, error) {
				got.add(v)
				if v == fail {
					return 0, broken
				}
				return v, nil
			}))
		}
		got, f := run(3)
		err := f.wait()
		if !errors.Is(err, broken) {
			t.Errorf("Run returned %v, want the handler's error", err)
		}
		stoppedAt(t, err, 0, 3)
		equal(t, "handled by the first run", got.all(), numbers(0, 4))
		equal(t, "committed by the first run", r.committed(0), 3)

		got, f = run(-1)
		synctest.Wait()
		f.stopped()
		equal(t, "handled by the second run", got.all(), numbers(3, 6))
		equal(t, "committed by the second run", r.committed(0), 6)
		equal(t, "written", r.written(), words(numbers(0, 6)))
	})
}

// The invariant is sampled from outside while handlers take random times.
func TestDelivery_004_committed_below_finished(t *testing.T) {
	for _, order := range []flow.Order{flow.ByPartition, flow.ByKey, flow.Unordered} {
		inBubble(t, func(t *testing.T, r *rig) {
			const n = 300
			r.fill(0, 0, n)
			var finished [n]atomic.Bool
			f := r.start(flow.NewConsumer("p", r.in(1), flow.Discard, flow.Do(func(_ context.Context, v int) error {
				time.Sleep(rand.N(200 * time.Millisecond))
				finished[v].Store(true)
				return nil
			}), flow.Ordered(order), flow.ConcurrentTasks(8), flow.CommitEvery(50*time.Millisecond, 0)))
			moved := 0
			for last := int64(-1); last < n; {
				time.Sleep(100 * time.Millisecond)
				c := r.committed(0)
				if c < last {
					t.Fatalf("committed went back from %d to %d", last, c)
				}
				if c > last {
					moved++
				}
				last = c
				for o := range max(c, 0) {
					if !finished[o].Load() {
						t.Fatalf("committed %d, and %d is not finished", c, o)
					}
				}
			}
			if moved < 10 {
				t.Errorf("only %d samples saw progress", moved)
			}
			f.stopped()
		})
	}
}

func TestDelivery_020_slow_first(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.fill(0, 0, 10)
		var got seen[int]
		f := r.start(flow.NewConsumer("p", r.in(1), flow.Discard, flow.Do(func(_ context.Context, v int) error {
			if v == 0 {
				time.Sleep(2 * time.Second)
			} else {
				time.Sleep(10 * time.Millisecond)
			}
			got.add(v)
			return nil
		}), flow.Ordered(flow.Unordered), flow.ConcurrentTasks(4), flow.CommitEvery(100*time.Millisecond, 0)))
		time.Sleep(1990 * time.Millisecond)
		equal(t, "handled beside the slow one", got.len(), 9)
		equal(t, "committed while the first is handled", r.committed(0), -1)
		time.Sleep(200 * time.Millisecond)
		equal(t, "handled", got.len(), 10)
		equal(t, "handled last", got.all()[9], 0)
		equal(t, "committed", r.committed(0), 10)
		f.stopped()
	})
}

func TestDelivery_022_stop_commits_what_was_handled(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.fill(0, 0, 20)
		var got seen[int]
		f := r.start(flow.NewConsumer("p", r.in(1), flow.Discard, flow.Do(func(_ context.Context, v int) error {
			time.Sleep(time.Second)
			got.add(v)
			return nil
		}), flow.Ordered(flow.Unordered), flow.ConcurrentTasks(2)))
		time.Sleep(6500 * time.Millisecond)
		f.stopped()
		equal(t, "handled", got.len(), 14) // those under way at 6.5 s finish
		equal(t, "committed", r.committed(0), int64(got.len()))
	})
}

func TestDelivery_024_bounded_behind_slow(t *testing.T) {
	for _, each := range []time.Duration{time.Millisecond, 0} {
		inBubble(t, func(t *testing.T, r *rig) {
			const n, window = 100_000, 4096
			r.fill(0, 0, n)
			var handled atomic.Int64
			f := r.start(flow.NewConsumer("p", r.in(1), flow.Discard, flow.Do(func(_ context.Context, v int) error {
				if v == 500 {
					time.Sleep(10 * time.Second)
				} else if each > 0 {
					time.Sleep(each)
				}
				handled.Add(1)
				return nil
			}), flow.Ordered(flow.Unordered), flow.ConcurrentTasks(32), flow.Buffer(window, 64<<20)))
			for range 9 {
				time.Sleep(time.Second)
				lane := f.lane(0)
				if held := lane.Read - lane.Position; held > window {
					t.Errorf("%d records in the window, want %d at most", held, window)
				}
			}
			equal(t, "committed while 500 is handled", r.committed(0), 500)
			time.Sleep(6 * time.Second)
			equal(t, "handled", handled.Load(), n)
			equal(t, "committed", r.committed(0), n)
			f.stopped()
		})
	}
}

// A fast handler's task takes many records in a turn and writes their outputs
// together. What was handled before a record that suddenly takes long is written
// and committed all the same, also when there is no other task; by partition all
// behind it waits, else all other records are handled meanwhile.
func TestDelivery_024_slow_within_a_turn(t *testing.T) {
	for _, order := range []flow.Order{flow.ByPartition, flow.ByKey, flow.Unordered} {
		for _, tasks := range []int{1, 4} {
			inBubble(t, func(t *testing.T, r *rig) {
				const n, slow = 5000, 3333
				r.fill(0, 0, n)
				var late atomic.Int64
				f := r.start(flow.NewConsumer("p", r.in(1), r.out(), func(_ context.Context, v int) (int, error) {
					switch {
					case v == slow:
						time.Sleep(time.Minute)
					case v%7 == 0:
						return 0, flow.Skip
					case v > slow:
						late.Add(1)
					}
					return v, nil
				}, flow.Ordered(order), flow.ConcurrentTasks(tasks)))
				time.Sleep(30 * time.Second)
				var before []int
				for v := range slow {
					if v%7 != 0 {
						before = append(before, v)
					}
				}
				sorted := func() []string {
					all := r.written()
					slices.SortFunc(all, func(a, b string) int { return cmp.Or(len(a)-len(b), strings.Compare(a, b)) })
					return all
				}
				equal(t, "committed while the slow one is handled", r.committed(0), slow)
				if written := sorted(); tasks > 1 && order != flow.ByPartition {
					equal(t, "written meanwhile, of those before it", written[:len(before)], words(before))
					if late.Load() == 0 {
						t.Error("nothing behind it was handled meanwhile")
					}
				} else {
					equal(t, "written meanwhile", written, words(before))
				}
				time.Sleep(time.Minute)
				equal(t, "committed", r.committed(0), n)
				var all []int
				for v := range n {
					if v%7 != 0 {
						all = append(all, v)
					}
				}
				if order == flow.ByPartition {
					equal(t, "written in order", r.written(), words(all))
				}
				equal(t, "written", sorted(), words(all))
				f.stopped()
			})
		}
	}
}

func TestDelivery_025_ack_gap(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.fill(0, 0, 6)
		var g gates
		commits := r.commits()
		f := r.start(gated(r, &g, 6))
		g.let(0, 1, 2, 4, 5)
		time.Sleep(3500 * time.Millisecond)
		equal(t, "commits in three ticks", commits.all(), []commit{{0, 3, time.Second}})
		g.let(3)
		time.Sleep(time.Second)
		equal(t, "commits", commits.all(), []commit{{0, 3, time.Second}, {0, 6, 4 * time.Second}})
		f.stopped()
		equal(t, "commits after the stop", commits.len(), 2)
	})
}

// gated handles records at the same time, each when its gate is opened.
func gated(r *rig, g *gates, tasks int) *flow.Processor {
	return flow.NewConsumer("p", r.in(1), flow.Discard, flow.Do(g.pass), flow.Ordered(flow.Unordered), flow.ConcurrentTasks(tasks))
}

func TestDelivery_027_ack_above_committed(t *testing.T) {
	for distance := 1; distance <= 3; distance++ {
		inBubble(t, func(t *testing.T, r *rig) {
			r.fill(0, 0, 10)
			var g gates
			g.let(numbers(0, 10)...)
			f := r.start(gated(r, &g, 8))
			time.Sleep(1500 * time.Millisecond)
			f.stopped()
			equal(t, "committed at the start", r.committed(0), 10)

			r.fill(0, 10, 15)
			commits := r.commits()
			f = r.start(gated(r, &g, 8))
			g.let(10 + distance)
			time.Sleep(3500 * time.Millisecond)
			equal(t, "commits while 10 is not done", commits.len(), 0)
			g.let(10)
			time.Sleep(time.Second)
			want := int64(11)
			if distance == 1 {
				want = 12
			}
			equal(t, "committed once it is", r.committed(0), want)
			f.cancel()
			g.let(without(numbers(11, 15), 10+distance)...)
			if err := f.wait(); err != nil {
				t.Error(err)
			}
			equal(t, "committed at the end", r.committed(0), 15)
		})
	}
}

func without(all []int, n int) []int {
	var rest []int
	for _, v := range all {
		if v != n {
			rest = append(rest, v)
		}
	}
	return rest
}

func TestDelivery_028_nothing_below_done(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.fill(0, 0, 2)
		var g gates
		commits := r.commits()
		f := r.start(gated(r, &g, 2))
		g.let(1)
		time.Sleep(3500 * time.Millisecond)
		equal(t, "commits", commits.len(), 0)
		g.let(0)
		f.stopped()
		equal(t, "committed", r.committed(0), 2)
	})
}

func TestDelivery_031_two_partitions(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.at(0, numbers(1, 9)...)
		r.at(1, numbers(30, 41)...)
		var g gates
		f := r.start(flow.NewConsumer("p", r.in(2), flow.Discard, flow.Do(g.pass),
			flow.Ordered(flow.Unordered), flow.ConcurrentTasks(19)))
		g.let(1, 2, 3, 4, 7, 8)
		g.let(30, 31, 32, 33, 34, 35, 36, 40)
		time.Sleep(1500 * time.Millisecond)
		equal(t, "committed", []int64{r.committed(0), r.committed(1)}, []int64{5, 37})
		g.let(5, 6, 37, 38, 39)
		f.stopped()
		equal(t, "committed at the end", []int64{r.committed(0), r.committed(1)}, []int64{9, 41})
	})
}
