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

// counted commits by number only; counts are those after each record.
func counted(t *testing.T, r *rig, every int, steps []func()) []int {
	t.Helper()
	commits := r.commits()
	f := r.start(flow.NewConsumer("p", r.in(2), flow.Discard, flow.Do(func(context.Context, int) error { return nil }),
		flow.CommitEvery(0, every)))
	synctest.Wait()
	before := map[time.Duration]bool{}
	var counts []int
	for _, step := range steps {
		step()
		time.Sleep(time.Second)
		for _, c := range commits.all() { // one commit of both partitions counts once
			before[c.At] = true
		}
		counts = append(counts, len(before))
	}
	f.stopped()
	return counts
}

func TestDelivery_039_commit_by_number(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		var steps []func()
		for _, offset := range []int{0, 1, 2, 5, 10} {
			steps = append(steps, func() { r.at(0, offset) })
		}
		equal(t, "commits after each", counted(t, r, 2, steps), []int{0, 1, 1, 2, 3})
		equal(t, "committed", r.committed(0), 11)
	})
}

// A log does not deliver 1@400 twice: the second one is 401.
func TestDelivery_040_commit_by_number_of_each_partition(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.at(0, 200)
		r.at(1, 400)
		equal(t, "commits after each", counted(t, r, 2, []func(){
			func() {}, func() {}, func() { r.at(0, 400) }, func() { r.at(1, 401) },
		})[:3], []int{0, 0, 1})
	})
	inBubble(t, func(t *testing.T, r *rig) {
		commits := r.commits()
		r.at(0, 200)
		r.at(1, 400)
		f := r.start(flow.NewConsumer("p", r.in(2), flow.Discard, flow.Do(func(context.Context, int) error { return nil }),
			flow.CommitEvery(0, 2)))
		synctest.Wait()
		equal(t, "commits of one record each", commits.len(), 0)
		r.at(0, 400)
		synctest.Wait()
		equal(t, "commits", commits.all(), []commit{{0, 401, 0}, {1, 401, 0}})
		r.at(1, 401)
		synctest.Wait()
		equal(t, "commits after one more", commits.len(), 2)
		f.stopped()
		equal(t, "commits with the last", commits.all()[2:], []commit{{1, 402, 0}})
	})
}

func TestDelivery_041_commit_at_once(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.at(0, 200)
		commits := r.commits()
		f := r.start(flow.NewConsumer("p", r.in(1), flow.Discard, flow.Do(func(context.Context, int) error { return nil }),
			flow.CommitEvery(0, 1)))
		time.Sleep(time.Minute)
		equal(t, "commits", commits.all(), []commit{{0, 201, 0}})
		f.stopped()
	})
}

func TestDelivery_042_commit_by_time(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.at(0, 0)
		time.Sleep(time.Millisecond) // the first commit is due 2 s after the start, not 2 s after the first record
		commits := r.commits()
		f := r.start(flow.NewConsumer("p", r.in(1), flow.Discard, flow.Do(func(context.Context, int) error { return nil }),
			flow.CommitEvery(2*time.Second, 0)))
		synctest.Wait()
		counts := []int{commits.len()}
		time.Sleep(time.Second - time.Millisecond)
		for i := 1; i <= 6; i++ {
			r.at(0, i)
			synctest.Wait()
			counts = append(counts, commits.len())
			time.Sleep(time.Second)
		}
		equal(t, "commits after the record of each second", counts, []int{0, 0, 0, 1, 1, 2, 2})
		f.stopped()
	})
}

func TestDelivery_043_commit_by_time_or_number(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		commits := r.commits()
		f := r.start(flow.NewConsumer("p", r.in(1), flow.Discard, flow.Do(func(context.Context, int) error { return nil }),
			flow.CommitEvery(2*time.Second, 100)))
		synctest.Wait()
		r.fill(0, 0, 99)
		time.Sleep(time.Second)
		equal(t, "commits after 99 records and 1 s", commits.len(), 0)
		time.Sleep(2 * time.Second)
		equal(t, "commits after 3 s", commits.all(), []commit{{0, 99, 2 * time.Second}})
		r.fill(0, 99, 200)
		synctest.Wait()
		equal(t, "committed after 101 more", r.committed(0), 200)
		f.stopped()
	})
}

func TestDelivery_044_commit_in_silence(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		commits := r.commits()
		f := r.start(flow.NewConsumer("p", r.in(1), flow.Discard, flow.Do(func(context.Context, int) error { return nil }),
			flow.CommitEvery(time.Second, 0)))
		time.Sleep(10*time.Second + 300*time.Millisecond)
		r.fill(0, 0, 1)
		time.Sleep(time.Minute)
		equal(t, "commits", commits.all(), []commit{{0, 1, 11 * time.Second}})
		f.stopped()
	})
}

func TestDelivery_045_commit_never_is_refused(t *testing.T) {
	r := newRig(t)
	app := flow.New("test")
	flow.Consumer(app, "p", r.in(1), flow.Discard, flow.Do(func(context.Context, int) error { return nil }), flow.CommitEvery(0, 0))
	err := app.Validate()
	var mistake *flow.RegistrationError
	if !errors.As(err, &mistake) || !strings.Contains(err.Error(), "commit_every and commit_records") {
		t.Errorf("Validate returned %v, want a mistake that names both options", err)
	}
}

func TestDelivery_046_commit_under_load(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		const n, every = 25_000, 2800 * time.Millisecond
		r.fill(0, 0, n)
		commits := r.commits()
		f := r.start(flow.NewConsumer("p", r.in(1), flow.Discard, flow.Do(func(context.Context, int) error {
			time.Sleep(200 * time.Microsecond)
			return nil
		}), flow.CommitEvery(every, 10_000)))
		time.Sleep(3 * every)
		last := commit{}
		for _, c := range commits.all() {
			if c.Next-last.Next > 10_000 || c.At-last.At > every {
				t.Errorf("commit %v follows %v: want at most 10000 records and %v in between", c, last, every)
			}
			last = c
		}
		equal(t, "committed", r.committed(0), n)
		f.stopped()
	})
}

// failCommits makes the next n commits fail.
func (r *rig) failCommits(n int) {
	r.broker.Control(func(op memory.Op) error {
		if op.Kind != memory.OpCommit || n == 0 {
			return nil
		}
		n--
		return errors.New("the coordinator is loading")
	})
}

func TestDelivery_036_failed_commit_stays_pending(t *testing.T) {
	for _, tt := range []struct {
		name    string
		fail    int
		policy  flow.ConsumerOption
		want    []time.Duration // of the attempts
		retried int
	}{
		{"once", 1, flow.CommitEvery(5*time.Second, 0), []time.Duration{5 * time.Second, 6 * time.Second}, 1},
		{"three times", 3, flow.CommitEvery(10*time.Second, 0),
			[]time.Duration{10 * time.Second, 11 * time.Second, 12 * time.Second, 20 * time.Second}, 3},
		{"three times, by number only", 3, flow.CommitEvery(0, 1),
			[]time.Duration{0, time.Second, 2 * time.Second, 3 * time.Second}, 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, r *rig) {
				r.fill(0, 0, 1)
				commits := r.commits()
				r.failCommits(tt.fail)
				f := r.start(flow.NewConsumer("p", r.in(1), flow.Discard, flow.Do(func(context.Context, int) error { return nil }), tt.policy))
				time.Sleep(time.Minute) // no new traffic
				var want []commit
				for _, at := range tt.want {
					want = append(want, commit{0, 1, at})
				}
				equal(t, "attempts", commits.all(), want)
				equal(t, "committed", r.committed(0), 1)
				equal(t, "failed commits counted", f.processor().Errors.Commit, int64(tt.retried))
				f.stopped()
			})
		})
	}
}

func TestDelivery_038_commit_of_partition_not_assigned(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		for p := range int32(3) {
			r.fill(p, 0, 2)
		}
		commits := r.commits()
		r.broker.Control(func(op memory.Op) error {
			if op.Kind == memory.OpCommit && op.Partition == 2 {
				return primitives.ErrNotAssigned
			}
			return nil
		})
		f := r.start(flow.NewConsumer("p", r.in(3), flow.Discard, flow.Do(func(context.Context, int) error { return nil })))
		time.Sleep(10 * time.Second)
		equal(t, "committed", []int64{r.committed(0), r.committed(1), r.committed(2)}, []int64{2, 2, -1})
		equal(t, "commits, none tried again", commits.len(), 3)
		found := r.logs.find("commit discarded")
		if len(found) != 1 || found[0].Attrs["partition"] != "in/2" || found[0].Attrs["offset"] != int64(2) {
			t.Errorf("reported %v, want one line about in/2@2", found)
		}
		f.stopped()
	})
}

// Two subscribers of one record are two sinks of one consumer.
func TestDelivery_034_all_sinks_confirm(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		const n, ways = 200, 32
		r.fill(0, 0, n)
		var g gates
		var sinks []flow.Sink[int]
		for i := range ways {
			sinks = append(sinks, memory.Topic[int]{Broker: r.broker, Name: "out" + words([]int{i})[0], Async: 1})
		}
		r.broker.Control(func(op memory.Op) error {
			if op.Kind == memory.OpWrite && op.Name == "out7" {
				return g.pass(op.Context, 7)
			}
			return nil
		})
		commits := r.commits()
		f := r.start(flow.NewConsumer("p", r.in(1), flow.Tee(sinks...), func(_ context.Context, v int) (int, error) { return v, nil },
			flow.Ordered(flow.Unordered), flow.ConcurrentTasks(8)))
		time.Sleep(1500 * time.Millisecond)
		equal(t, "commits while one of the sinks has not confirmed", commits.len(), 0)
		g.let(7)
		time.Sleep(time.Second)
		equal(t, "committed", r.committed(0), n)
		for i := range ways {
			equal(t, "records in each sink", len(r.broker.Records("out"+words([]int{i})[0], 0)), n)
		}
		equal(t, "counted as handled", f.processor().Messages.OK, n)
		f.stopped()
		if lines := r.logs.find("writer called done twice"); len(lines) > 0 {
			t.Error("a batch was confirmed more than once")
		}
	})
}
