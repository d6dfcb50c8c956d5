package flow_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/flowkit-go/flow"
)

// once copies what it reads, exactly once.
func (k *kafkaRig) once(fn func(context.Context, int) (int, error), options ...flow.ConsumerOption) *flow.Processor {
	return flow.NewConsumer("p", k.in(), k.out(), fn, append([]flow.ConsumerOption{flow.ExactlyOnce()}, options...)...)
}

// ongoing are the transactional ids with a transaction that has begun and not ended.
func (k *kafkaRig) ongoing() (ids []string) {
	k.t.Helper()
	list, err := k.admin.ListTransactions(k.context(), nil, []string{"Ongoing"})
	if err != nil {
		k.t.Fatal(err)
	}
	for _, id := range list.TransactionalIDs() {
		if len(id) > len(k.prefix) && id[:len(k.prefix)] == k.prefix {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// id is the transactional id of a partition of "in".
func (k *kafkaRig) id(partition int) string {
	return fmt.Sprintf("%s/%s/%d", k.name("g"), k.name("in"), partition)
}

// Outputs and progress are seen together, and neither before.
func TestDelivery_126_kafka(t *testing.T) {
	onKafka(t, func(t *testing.T, k *kafkaRig) {
		k.create(1, "in", "out")
		k.fill(0, 0, 5)
		f := k.launch(1, k.once(unchanged, flow.CommitEvery(time.Hour, 0)))
		k.until("five are written", func() bool { return k.stored("out") == 5 })
		equal(t, "seen before the commit", k.values("out"), nil)
		equal(t, "committed before", k.committed(0), -1)
		f.stopped() // commits
		k.seen(numbers(0, 5))
		k.settled(5)
	})
}

// Many transactions, several partitions, crashes in between: each output is seen once.
func TestDelivery_126_kafka_crashes(t *testing.T) {
	onKafka(t, func(t *testing.T, k *kafkaRig) {
		const partitions, n = 3, 200
		k.create(partitions, "in")
		k.create(2, "out")
		for p := range int32(partitions) {
			k.fill(p, 0, n)
		}
		slow := func(_ context.Context, v int) (int, error) {
			if v%10 == 0 {
				<-time.After(5 * time.Millisecond)
			}
			return v, nil
		}
		for range 3 {
			f := k.launch(partitions, k.once(slow, flow.CommitEvery(50*time.Millisecond, 0)))
			before := k.committed(0)
			k.until("something is committed", func() bool { return k.committed(0) > before || k.committed(0) == n })
			f.hard()
			f.cancel()
			_ = f.wait()
		}
		f := k.launch(partitions, k.once(slow, flow.CommitEvery(50*time.Millisecond, 0)))
		k.settled(n, n, n)
		f.stopped()
		k.seen(numbers(0, n), numbers(1000, 1000+n), numbers(2000, 2000+n))
	})
}

func TestDelivery_127_kafka(t *testing.T) {
	onKafka(t, func(t *testing.T, k *kafkaRig) {
		k.create(1, "in", "out")
		k.fill(0, 0, 3)
		var g gates
		g.let(0, 1, 2)
		broken := errors.New("broken")
		f := k.launch(1, k.once(func(ctx context.Context, v int) (int, error) {
			if v == 3 {
				return 0, broken
			}
			return v, nil
		}, flow.CommitEvery(time.Hour, 0)))
		k.until("three are written", func() bool { return k.stored("out") == 3 })
		k.fill(0, 3, 5)
		if err := f.wait(); !errors.Is(err, broken) {
			t.Errorf("Run returned %v", err)
		}
		equal(t, "seen after the failure", k.values("out"), nil)
		equal(t, "committed after the failure", k.committed(0), -1)
		equal(t, "transactions that are open", k.ongoing(), nil)
		f = k.launch(1, k.once(unchanged))
		k.settled(5)
		f.stopped()
		k.seen(numbers(0, 5))
	})
}

// Somebody else claims one partition while its transaction is open: what was written
// there is void, and that partition ends; the other one goes on in its transaction.
func TestDelivery_128_kafka_one_partition(t *testing.T) {
	onKafka(t, func(t *testing.T, k *kafkaRig) {
		k.create(2, "in")
		k.create(1, "out")
		k.fill(0, 0, 5)
		k.fill(1, 0, 5)
		f := k.launch(2, k.once(unchanged, flow.CommitEvery(time.Hour, 0), flow.ConcurrentTasks(2)))
		k.until("ten are written", func() bool { return k.stored("out") == 10 })

		thief, err := kgo.NewClient(kgo.SeedBrokers(k.cluster.Brokers...), kgo.TransactionalID(k.id(0)))
		if err != nil {
			t.Fatal(err)
		}
		defer thief.Close()
		if _, _, err := thief.ProducerID(k.context()); err != nil {
			t.Fatal(err)
		}
		k.until("its transaction is void", func() bool { return slices.Equal(k.ongoing(), []string{k.id(1)}) })
		equal(t, "seen after that", k.values("out"), nil)
		k.fill(0, 5, 6) // its write is refused, so that the partition is begun anew
		k.until("all of partition 0 is written again", func() bool {
			return k.stored("out") >= 16 && f.processor().Errors.Voided == 1
		})
		equal(t, "transactions", k.ongoing(), []string{k.id(0), k.id(1)})
		f.stopped()
		k.seen(numbers(0, 6), numbers(1000, 1005))
		k.settled(6, 5)
	})
}

// A process dies between the two requests of a commit, so that its offsets are part of a
// transaction that is open: the next one does not wait until that runs out.
func TestDelivery_128_kafka_dies_in_commit(t *testing.T) {
	onFake(t, func(t *testing.T, k *kafkaRig) {
		k.create(1, "in", "out")
		k.fill(0, 0, 5)
		var dying atomic.Bool
		var lost atomic.Int32
		var epoch atomic.Int32 // of the one that dies
		epoch.Store(-1)
		k.fake.ControlKey(int16(kmsg.EndTxn), func(req kmsg.Request) (kmsg.Response, error, bool) {
			k.fake.KeepControl()
			of := int32(req.(*kmsg.EndTxnRequest).ProducerEpoch)
			if !dying.Load() || !epoch.CompareAndSwap(-1, of) && epoch.Load() != of {
				return nil, nil, false
			}
			lost.Add(1)
			return nil, errors.New("lost"), true
		})
		f := k.launch(1, k.once(unchanged, flow.CommitEvery(50*time.Millisecond, 0)))
		k.settled(5)
		dying.Store(true)
		k.fill(0, 5, 10)
		k.until("the commit has begun", func() bool { return lost.Load() > 0 })
		f.hard()
		f.cancel()
		_ = f.wait()
		f = k.launch(1, k.once(unchanged))
		k.settled(10) // well before the minute that a transaction may be open
		f.stopped()
		k.seen(numbers(0, 10))
	})
}

// Each partition has a transactional id of its own, by group, topic and number. None is
// begun where there is nothing to write, and none after a commit without more to do.
func TestDelivery_129_kafka_ids(t *testing.T) {
	onKafka(t, func(t *testing.T, k *kafkaRig) {
		k.create(4, "in")
		k.create(1, "out")
		for _, p := range []int32{0, 1, 3} {
			k.fill(p, 0, 2)
		}
		f := k.launch(4, k.once(unchanged, flow.CommitEvery(time.Hour, 0)))
		k.until("six are written", func() bool { return k.stored("out") == 6 })
		equal(t, "begun", k.ongoing(), []string{k.id(0), k.id(1), k.id(3)})
		f.stopped()
		equal(t, "begun after the last commit", k.ongoing(), nil)
	})
}

// One of two partitions moves: its transaction is committed before, and who keeps the
// other one goes on with it.
func TestDelivery_130_kafka_revoke(t *testing.T) {
	onKafka(t, func(t *testing.T, k *kafkaRig) {
		k.create(2, "in")
		k.create(1, "out")
		k.fill(0, 0, 3)
		k.fill(1, 0, 3)
		a := k.launch(2, k.once(unchanged, flow.CommitEvery(time.Hour, 0)))
		k.until("six are written", func() bool { return k.stored("out") == 6 })
		equal(t, "begun", k.ongoing(), []string{k.id(0), k.id(1)})
		b := k.launch(1, k.once(unchanged, flow.CommitEvery(time.Hour, 0)))
		moved := b.processor().Lanes[0].Partition
		equal(t, "held by the first", len(a.processor().Lanes), 1)
		k.until("what moved is committed", func() bool { return k.committed(moved) == 3 })
		if slices.Contains(k.ongoing(), k.id(int(moved))) {
			t.Errorf("the transaction of partition %d is open after it has moved", moved)
		}

		k.fill(0, 3, 4)
		k.fill(1, 3, 4)
		k.until("two more are written", func() bool { return k.stored("out") == 8 })
		equal(t, "begun by both", k.ongoing(), []string{k.id(0), k.id(1)})
		a.stopped()
		b.stopped()
		k.seen(numbers(0, 4), numbers(1000, 1004))
		for _, f := range []*running{a, b} {
			equal(t, "transactions that failed", f.app.Snapshot().Processors[0].Errors.Voided, 0)
		}
	})
}

// Two programs copy the same topic to the same topic, each as a group of its own.
func TestDelivery_131_kafka_two_apps(t *testing.T) {
	onKafka(t, func(t *testing.T, k *kafkaRig) {
		const n = 50
		k.create(2, "in")
		k.create(1, "out")
		apps := make([]*running, 2)
		for i := range apps {
			in := k.in()
			in.Group = "" // the flow's and the processor's name
			apps[i] = k.launch(2, flow.NewConsumer(k.name(fmt.Sprintf("p%d", i)), in, k.out(), unchanged, flow.ExactlyOnce(), flow.CommitEvery(20*time.Millisecond, 0)))
		}
		for i := range n { // many transactions of both, at the same time
			k.fill(0, i, i+1)
			k.fill(1, i, i+1)
		}
		k.until("all is seen twice", func() bool { return len(k.values("out")) >= 4*n })
		for _, f := range apps {
			f.stopped()
			equal(t, "transactions that failed", f.app.Snapshot().Processors[0].Errors.Voided, 0)
		}
		times := map[int]int{}
		for _, v := range k.values("out") {
			times[v]++
		}
		equal(t, "numbers seen", len(times), 2*n)
		for v, got := range times {
			if got != 2 {
				t.Errorf("%d is seen %d times, want once of each program", v, got)
			}
		}
	})
}

// Dead letters, and outputs of every sink of the consumer, are in the transaction.
func TestDelivery_132_kafka_all_outputs(t *testing.T) {
	onKafka(t, func(t *testing.T, k *kafkaRig) {
		k.create(1, "in", "out", "dead")
		k.fill(0, 0, 6)
		fn := func(stop int) func(context.Context, int) (int, error) {
			return func(_ context.Context, v int) (int, error) {
				switch {
				case v == stop:
					return 0, flow.Permanent(errors.New("stop"))
				case v%3 == 0:
					return 0, flow.Permanent(errors.New("not this one"))
				}
				return v, nil
			}
		}
		// The second dead letter in a row is one too many.
		f := k.launch(1, k.once(fn(7), flow.DeadLetter(k.dead()), flow.DeadLetterLimit(1, 0), flow.CommitEvery(time.Hour, 0)))
		k.until("all is written", func() bool {
			return k.stored("out") == 4 && k.stored("dead") == 2
		})
		k.fill(0, 6, 9)
		if err := f.wait(); !errors.Is(err, flow.ErrDeadLetterLimit) {
			t.Errorf("Run returned %v", err)
		}
		equal(t, "seen after the abort", k.values("out"), nil)
		equal(t, "dead after the abort", k.values("dead"), nil)
		equal(t, "committed after the abort", k.committed(0), -1)
		f = k.launch(1, k.once(fn(-1), flow.DeadLetter(k.dead())))
		k.settled(9)
		f.stopped()
		k.seen([]int{1, 2, 4, 5, 7, 8})
		k.until("the dead letters are seen", func() bool { return len(k.values("dead")) == 3 })
		equal(t, "dead", k.values("dead"), []int{0, 3, 6})
	})
}

// The commit of one partition's transaction fails, another's does not. What may pass is
// tried again; where the transaction is lost, its records are handled again.
func TestDelivery_133_kafka_one_commit_fails(t *testing.T) {
	for _, tc := range []struct {
		name          string
		err           *kerr.Error
		handled, void int
	}{
		{"for a moment", kerr.CoordinatorLoadInProgress, 5, 0},
		{"for good", kerr.InvalidTxnState, 10, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			onFake(t, func(t *testing.T, k *kafkaRig) {
				k.create(2, "in")
				k.create(1, "out")
				refused := k.fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.EndTxn}, TxnID: k.id(0), Err: tc.err})
				k.fill(0, 0, 5)
				k.fill(1, 0, 5)
				var got seen[int]
				f := k.launch(2, k.once(func(_ context.Context, v int) (int, error) {
					got.add(v)
					return v, nil
				}, flow.ConcurrentTasks(2), flow.CommitEvery(500*time.Millisecond, 0)))
				k.settled(5, 5)
				f.stopped()
				equal(t, "commits refused", refused.Hits(), 1)
				times := map[int]int{}
				for _, v := range got.all() {
					times[v/1000]++
				}
				equal(t, "handled, by partition", times, map[int]int{0: tc.handled, 1: 5})
				k.seen(numbers(0, 5), numbers(1000, 1005))
				equal(t, "transactions that failed", f.app.Snapshot().Processors[0].Errors.Voided, int64(tc.void))
			})
		})
	}
}
