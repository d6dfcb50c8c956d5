package flow_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flowkit-go/flow"
	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/primitives/memory"
)

// batch is one call of a handler of batches.
type batch struct {
	Values []int
	At     time.Duration
}

func values(batches []batch) [][]int {
	var all [][]int
	for _, b := range batches {
		all = append(all, b.Values)
	}
	return all
}

// batches notes the batches that it gets.
func (r *rig) batches(got *seen[batch], src flow.Source[int], n int, wait time.Duration, opts ...flow.ConsumerOption) *flow.Processor {
	return flow.NewConsumer("p", flow.Batches(src, n, wait), flow.Discard, flow.Do(func(_ context.Context, vs []int) error {
		got.add(batch{append([]int(nil), vs...), time.Since(r.began)})
		return nil
	}), opts...)
}

// The filter gives what it drops no weight.
func TestDelivery_052_batch_after_filter_holds(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.fill(0, 0, 4)
		var got seen[batch]
		commits := r.commits()
		f := r.start(r.batches(&got, r.in(1), 5, time.Hour, flow.CommitEvery(time.Second, 1),
			flow.BatchWeight(func(rec flow.Raw) int { return 1 - int(rec.Offset%2) })))
		time.Sleep(time.Minute)
		equal(t, "batches", got.len(), 0)
		equal(t, "commits that a crash would leave", commits.len(), 0)
		f.stopped()
		equal(t, "batches of the drain", values(got.all()), [][]int{{0, 1, 2, 3}})
		equal(t, "committed", r.committed(0), 4)
	})
}

func TestDelivery_053_expanded_to_nothing(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.fill(0, 0, 3)
		f := r.start(flow.NewConsumer("p", r.in(1), flow.Each(r.out()), func(_ context.Context, v int) ([]int, error) {
			return [][]int{{7, 8}, nil, {}}[v], nil
		}))
		synctest.Wait()
		f.stopped()
		equal(t, "written", r.written(), []string{"7", "8"})
		equal(t, "committed", r.committed(0), 3)
	})
}

func TestDelivery_056_batches_by_size(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.fill(0, 0, 6)
		var got seen[batch]
		commits := r.commits()
		f := r.start(flow.NewConsumer("p", flow.Batches(r.in(1), 3, time.Hour), flow.Discard, flow.Do(func(_ context.Context, vs []int) error {
			got.add(batch{Values: append([]int(nil), vs...)})
			time.Sleep(time.Second)
			return nil
		}), flow.CommitEvery(0, 1)))
		time.Sleep(time.Minute)
		equal(t, "batches", values(got.all()), [][]int{{0, 1, 2}, {3, 4, 5}})
		equal(t, "commits", commits.all(), []commit{{0, 3, time.Second}, {0, 6, 2 * time.Second}})
		f.stopped()
	})
}

func TestDelivery_057_batch_spans_partitions(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.at(0, 1)
		r.at(1, 2)
		r.at(2, 3)
		var got seen[batch]
		f := r.start(r.batches(&got, r.in(3), 5, 10*time.Second, flow.CommitEvery(0, 1)))
		time.Sleep(9 * time.Second)
		equal(t, "batches after 9 s", got.len(), 0)
		time.Sleep(2 * time.Second)
		if all := got.all(); len(all) != 1 || len(all[0].Values) != 3 || all[0].At != 10*time.Second {
			t.Errorf("batches %v, want one of three records after 10 s", all)
		}
		committed := func() []int64 { return []int64{r.committed(0), r.committed(1), r.committed(2)} }
		equal(t, "committed", committed(), []int64{2, 3, 4})
		r.at(2, 6)
		time.Sleep(11 * time.Second)
		equal(t, "committed after a record behind a hole", committed(), []int64{2, 3, 7})
		f.stopped()
	})
}

func TestDelivery_058_batch_age_from_first(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		var got seen[batch]
		f := r.start(r.batches(&got, r.in(1), 100, 5*time.Second))
		time.Sleep(time.Minute)
		r.fill(0, 0, 1)
		time.Sleep(time.Second)
		r.fill(0, 1, 2)
		time.Sleep(time.Minute)
		equal(t, "batches", got.all(), []batch{{[]int{0, 1}, 65 * time.Second}})
		r.fill(0, 2, 3)
		time.Sleep(time.Minute)
		equal(t, "the next batch", got.all()[1:], []batch{{[]int{2}, 126 * time.Second}})
		f.stopped()
	})
}

func TestDelivery_059_drain_flushes_batch(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.fill(0, 1, 2)
		r.fill(0, 2, 3)
		r.fill(0, 3, 4)
		var got seen[batch]
		var down seen[string]
		f := r.start(r.batches(&got, r.in(1), 5, time.Hour, flow.Teardown(func(context.Context) error { down.add("down"); return nil })))
		synctest.Wait()
		equal(t, "batches", got.len(), 0)
		f.stopped()
		equal(t, "batches of the drain", values(got.all()), [][]int{{1, 2, 3}})
		equal(t, "committed", r.committed(0), 3)
		equal(t, "teardowns", down.len(), 1)
	})
}

func TestDelivery_060_batches_by_weight(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		for p, sizes := range [][]int{{1, 2, 3}, {2, 3}} {
			for i, size := range sizes {
				r.broker.Append("in", int32(p), primitives.Record{Offset: int64(i + 1), Value: []byte(strings.Repeat("1", size))})
			}
		}
		var got [2]seen[string]
		commits := r.commits()
		f := r.start(flow.NewConsumer("p", flow.Batches(flow.Messages(r.in(2)), 3, time.Hour), flow.Discard,
			flow.Do(func(_ context.Context, ms []flow.Msg[int]) error {
				sizes := ""
				for _, m := range ms {
					sizes += words([]int{len(words([]int{m.Value})[0])})[0]
				}
				got[ms[0].Partition.ID].add(sizes)
				time.Sleep(time.Second)
				return nil
			}), flow.CommitEvery(0, 1), flow.BatchWeight(func(rec flow.Raw) int { return len(rec.Value) })))
		time.Sleep(time.Minute)
		f.stopped()
		equal(t, "batches", [][]string{got[0].all(), got[1].all()}, [][]string{{"12", "3"}, {"23"}})
		var steps [2][]int64
		for _, c := range commits.all() {
			steps[c.Partition] = append(steps[c.Partition], c.Next)
		}
		equal(t, "commits", steps, [2][]int64{{3, 4}, {3}})
	})
}

func TestDelivery_061_batch_without_weight(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.fill(0, 0, 10)
		var got seen[batch]
		f := r.start(r.batches(&got, r.in(1), 1, time.Hour, flow.BatchWeight(func(flow.Raw) int { return 0 })))
		time.Sleep(time.Minute)
		equal(t, "batches by size", got.len(), 0)
		f.stopped()
		equal(t, "batches of the drain", values(got.all()), [][]int{numbers(0, 10)})
		equal(t, "committed", r.committed(0), 10)
	})
}

func TestDelivery_062_batch_sink_fails(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.fill(0, 0, 9)
		remove := r.broker.Control(func(op memory.Op) error {
			if op.Kind == memory.OpWrite && string(op.Records[0].Value) == "3" {
				return errors.New("disk full")
			}
			return nil
		})
		run := func() (*seen[batch], *running) {
			got := &seen[batch]{}
			return got, r.start(flow.NewConsumer("p", flow.Batches(r.in(1), 3, time.Hour), flow.Each(r.out()), func(_ context.Context, vs []int) ([]int, error) {
				got.add(batch{Values: append([]int(nil), vs...)})
				return vs, nil
			}, flow.ConcurrentTasks(3)))
		}
		got, f := run()
		stoppedAt(t, f.wait(), 0, 3)
		equal(t, "batches of the first run", values(got.all()), [][]int{{0, 1, 2}, {3, 4, 5}})
		equal(t, "committed by the first run", r.committed(0), 3)
		remove()
		got, f = run()
		synctest.Wait()
		f.stopped()
		equal(t, "batches of the second run", values(got.all()), [][]int{{3, 4, 5}, {6, 7, 8}})
		equal(t, "committed", r.committed(0), 9)
		equal(t, "written", r.written(), words(numbers(0, 9)))
	})
}

func TestDelivery_064_batch_never_too_large(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		var got seen[batch]
		f := r.start(r.batches(&got, r.in(1), 10, 10*time.Second))
		r.fill(0, 0, 9)
		time.Sleep(time.Second)
		equal(t, "batches of nine", got.len(), 0)
		r.fill(0, 9, 20)
		time.Sleep(time.Minute)
		equal(t, "batches", got.all(), []batch{{numbers(0, 10), time.Second}, {numbers(10, 20), time.Second}})
		f.stopped()
	})
}

func TestDelivery_065_stop_with_batch_held(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.fill(0, 0, 1)
		var got seen[batch]
		f := r.start(r.batches(&got, r.in(1), 10, 10*time.Hour))
		time.Sleep(time.Minute)
		began := time.Now()
		f.stopped()
		equal(t, "the drain took", time.Since(began), 0)
		equal(t, "batches", values(got.all()), [][]int{{0}})
		equal(t, "committed", r.committed(0), 1)
	})
}

func TestDelivery_104_invalid_within_batch(t *testing.T) {
	refused := errors.New("refused")
	for _, tt := range []struct {
		name    string
		bad     []int
		codec   primitives.Codec[int]
		handler func(vs []int) error
		dead    []string
	}{
		{"undecodable", []int{1}, nil, func([]int) error { return nil }, []string{"{bad"}},
		{"decoder panics", []int{1}, panicky{}, func([]int) error { return nil }, []string{"{bad"}},
		{"refused by the handler", nil, nil, func([]int) error {
			return &flow.BatchError{Failed: []flow.RecordError{{Index: 2, Err: flow.Permanent(refused)}}}
		}, []string{"2"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, r *rig) {
				r.mixed(4, tt.bad...)
				var got seen[int]
				src := r.in(1)
				src.Codec = tt.codec
				f := r.start(flow.NewConsumer("p", flow.Batches(src, 4, time.Hour), flow.Discard, flow.Do(func(_ context.Context, vs []int) error {
					for _, v := range vs {
						got.add(v)
					}
					return tt.handler(vs)
				}), flow.DeadLetter(r.dead())))
				synctest.Wait()
				f.stopped()
				want := numbers(0, 4)
				for _, b := range tt.bad {
					want = without(want, b)
				}
				equal(t, "given to the handler, once", got.all(), want)
				equal(t, "dead letters", texts(r.broker.Records("dead", 0)), tt.dead)
				equal(t, "committed", r.committed(0), 4)
			})
		})
	}
	inBubble(t, func(t *testing.T, r *rig) { // a batch as a whole
		r.mixed(4)
		f := r.start(flow.NewConsumer("p", flow.Batches(r.in(1), 4, time.Hour), flow.Discard, flow.Do(func(context.Context, []int) error {
			return flow.Permanent(refused)
		}), flow.DeadLetter(r.dead())))
		err := f.wait()
		if !errors.Is(err, refused) || !strings.Contains(err.Error(), "flow.BatchError") {
			t.Errorf("Run returned %v, want the handler's error and what to return in its place", err)
		}
		equal(t, "dead letters", len(r.broker.Records("dead", 0)), 0)
		equal(t, "committed", r.committed(0), -1)
	})
}
