package flow_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/flowkit-go/flow"
	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/primitives/kafka"
)

// What is committed is below all that is not finished, whenever one looks.
func TestDelivery_004_kafka_sampled(t *testing.T) {
	onKafka(t, func(t *testing.T, k *kafkaRig) {
		const partitions, n = 3, 150
		k.create(partitions, "in")
		k.create(1, "out")
		var mu sync.Mutex
		finished := map[int]bool{}
		wrong := func(p int32, next int64) (missing []int) {
			mu.Lock()
			defer mu.Unlock()
			for o := range max(int(next), 0) {
				if v := int(p)*1000 + o; !finished[v] {
					missing = append(missing, v)
				}
			}
			return missing
		}
		if k.fake != nil { // it can be asked at the very moment
			k.commits(func(p int32, next int64) {
				if missing := wrong(p, next); missing != nil {
					t.Errorf("a commit of %d/%d, while %v are not finished", p, next, missing)
				}
			})
		}
		for p := range int32(partitions) {
			k.fill(p, 0, n)
		}
		f := k.launch(partitions, k.copy(func(_ context.Context, v int) (int, error) {
			<-time.After(rand.N(40 * time.Millisecond))
			mu.Lock()
			finished[v] = true
			mu.Unlock()
			return v, nil
		}, flow.ConcurrentTasks(16), flow.Ordered(flow.Unordered)))
		between := map[int64]bool{} // positions seen besides the first and the last
		k.until("all is committed", func() bool {
			done := 0
			for p := range int32(partitions) {
				next := k.committed(p)
				if missing := wrong(p, next); missing != nil {
					t.Fatalf("%d/%d is committed, while %v are not finished", p, next, missing)
				}
				if next == n {
					done++
				} else if next > 0 {
					between[next] = true
				}
			}
			return done == partitions
		})
		f.stopped()
		if len(between) < 5 {
			t.Errorf("only %d positions were seen on the way", len(between))
		}
	})
}

// The handler drops everything: progress is committed all the same, so that little is
// read again.
func TestDelivery_050_kafka_all_dropped(t *testing.T) {
	onKafka(t, func(t *testing.T, k *kafkaRig) {
		const batch, batches = 25, 100 // in two seconds and a half
		const every, most = 200 * time.Millisecond, batch * batches / 3
		k.create(1, "in", "out")
		var dropped atomic.Int64
		drop := func(context.Context, int) (int, error) {
			dropped.Add(1)
			return 0, flow.Skip
		}
		f := k.launch(1, k.copy(drop, flow.CommitEvery(every, 0)))
		tick := time.NewTicker(batch * time.Millisecond)
		defer tick.Stop()
		lag := int64(0)
		for i := range batches {
			<-tick.C
			k.fill(0, i*batch, (i+1)*batch)
			lag = max(lag, int64((i+1)*batch)-max(k.committed(0), 0))
		}
		if lag > most {
			t.Errorf("%d records were not committed at a time, want less than a third of all", lag)
		}
		k.until("all is dropped", func() bool { return dropped.Load() == batch*batches })
		f.hard() // not even a last commit
		f.cancel()
		_ = f.wait()
		c := k.committed(0)
		if c < batch*batches-most {
			t.Errorf("%d of %d are committed at the end", c, batch*batches)
		}
		dropped.Store(0)
		f = k.launch(1, k.copy(drop))
		k.settled(batch * batches)
		f.stopped()
		equal(t, "read again", dropped.Load(), batch*batches-c)
		equal(t, "written", k.stored("out"), 0)
	})
}

// A handler takes longer than the session lasts: the member stays who it is, and nothing
// comes again.
func TestDelivery_068_kafka_slow_handler(t *testing.T) {
	onKafka(t, func(t *testing.T, k *kafkaRig) {
		k.create(2, "in")
		k.create(1, "out")
		in := k.in() // with a session of a second
		in.RebalanceTimeout = time.Second
		var handled atomic.Int32
		f := k.launch(2, flow.NewConsumer("p", in, k.out(), func(_ context.Context, v int) (int, error) {
			handled.Add(1)
			if v == 0 {
				<-time.After(2500 * time.Millisecond)
			}
			return v, nil
		}, flow.CommitEvery(20*time.Millisecond, 0), flow.Buffer(5, 1<<20)))
		member, generation := k.member()
		k.fill(0, 0, 20) // more than the buffer: reading is held up meanwhile
		k.fill(1, 0, 20)
		k.settled(20, 20)
		m, g := k.member()
		equal(t, "member", m, member)
		equal(t, "generation", g, generation)
		equal(t, "handled", handled.Load(), 40)
		for _, l := range f.processor().Lanes {
			equal(t, "paused", l.Paused, false)
		}
		f.stopped()
	})
}

// member is the one member of group "g", and its generation where that can be asked for.
func (k *kafkaRig) member() (id string, generation int32) {
	k.t.Helper()
	groups, err := k.admin.DescribeGroups(k.context(), k.name("g"))
	if err != nil {
		k.t.Fatal(err)
	}
	members := groups[k.name("g")].Members
	if len(members) != 1 {
		k.t.Fatalf("%d members", len(members))
	}
	if k.fake != nil {
		generation = k.fake.GroupInfo(k.name("g")).Epoch
	}
	return members[0].MemberID, generation
}

// A partition comes to a consumer that is paused: nothing of it is handled before it goes
// on, and then all of it, in order.
func TestDelivery_077_kafka_assigned_while_paused(t *testing.T) {
	onKafka(t, func(t *testing.T, k *kafkaRig) {
		k.create(2, "in")
		k.create(1, "out")
		var got seen[int]
		note := func(_ context.Context, v int) (int, error) {
			got.add(v)
			return v, nil
		}
		b := k.launch(2, k.copy(unchanged))
		a := k.launch(1, k.copy(note))
		kept, comes := a.processor().Lanes[0].Partition, 1-a.processor().Lanes[0].Partition
		k.fill(kept, 0, 1)
		k.until("the first record is handled", func() bool { return got.len() == 1 })
		if err := a.app.Pause("p"); err != nil {
			t.Fatal(err)
		}
		b.stopped()
		k.until("both partitions are held", func() bool { return len(a.processor().Lanes) == 2 })
		k.fill(comes, 0, 50)
		k.fill(kept, 1, 50)
		k.never("a record is handled while the consumer is paused", 300*time.Millisecond, func() bool { return got.len() > 1 })
		if err := a.app.Resume("p"); err != nil {
			t.Fatal(err)
		}
		k.settled(50, 50)
		a.stopped()
		for p := range 2 {
			var of []int
			for _, v := range got.all() {
				if v/1000 == p {
					of = append(of, v)
				}
			}
			equal(t, "handled of a partition", of, numbers(p*1000, p*1000+50))
		}
	})
}

// Nothing is read of a partition although there is room: that is told, and the partition
// is begun anew, which mends it.
func TestDelivery_139_kafka_healed(t *testing.T) {
	onFake(t, func(t *testing.T, k *kafkaRig) {
		const n = 50
		k.create(2, "in")
		k.create(1, "out")
		// Partition 0 seems to have nothing until its position is asked for once more,
		// which is what beginning it anew does.
		var stuck, asked atomic.Bool
		var vain atomic.Int32
		k.fake.ControlKey(int16(kmsg.Fetch), func(req kmsg.Request) (kmsg.Response, error, bool) {
			k.fake.KeepControl()
			for _, topic := range req.(*kmsg.FetchRequest).Topics {
				for i := range topic.Partitions {
					if p := &topic.Partitions[i]; topic.Topic == k.name("in") && p.Partition == 0 && stuck.Load() && !asked.Load() {
						p.FetchOffset = n
						vain.Add(1)
					}
				}
			}
			return nil, nil, false
		})
		k.fake.ControlKey(int16(kmsg.OffsetFetch), func(req kmsg.Request) (kmsg.Response, error, bool) {
			k.fake.KeepControl()
			of := func(ps []int32) { asked.Store(asked.Load() || stuck.Load() && slices.Equal(ps, []int32{0})) }
			for _, topic := range req.(*kmsg.OffsetFetchRequest).Topics {
				of(topic.Partitions)
			}
			for _, g := range req.(*kmsg.OffsetFetchRequest).Groups {
				for _, topic := range g.Topics {
					of(topic.Partitions)
				}
			}
			return nil, nil, false
		})
		f := k.launch(2, k.copy(unchanged, flow.StallAfter(time.Second)))
		k.fill(1, 0, 1) // ends a fetch that waits
		stuck.Store(true)
		k.until("the fetches are in vain", func() bool { return vain.Load() > 1 })
		k.fill(0, 0, n)
		k.fill(1, 1, n)
		k.until("the other partition is committed", func() bool { return k.committed(1) == n })
		equal(t, "committed of the one that is stuck", k.committed(0), -1)
		k.settled(n, n)
		f.stopped()
		told := k.logs.find("partition does not advance")
		if len(told) != 1 || told[0].Attrs["partition"] != (primitives.Partition{Topic: k.name("in"), ID: 0}).String() {
			t.Errorf("told: %v", told)
		}
		equal(t, "begun anew", len(k.logs.find("partition is begun anew, as nothing is read")), 1)
		k.seen(numbers(0, n), numbers(1000, 1000+n))
	})
}

// What is committed when a member leaves is where the next one begins: after the records
// that are done, at the first that is not.
func TestDelivery_143_kafka_next_member(t *testing.T) {
	onKafka(t, func(t *testing.T, k *kafkaRig) {
		k.create(1, "in", "out")
		k.fill(0, 0, 10)
		var began atomic.Int32
		k.options = []flow.Option{flow.DrainTimeout(time.Second)}
		f := k.launch(1, k.copy(func(ctx context.Context, v int) (int, error) {
			if v == 5 {
				began.Add(1)
				<-ctx.Done() // is not finished when it ends
				return v, context.Cause(ctx)
			}
			return v, nil
		}, flow.CommitEvery(time.Hour, 0)))
		k.until("five are done, the sixth is in the handler", func() bool { return began.Load() == 1 && k.stored("out") == 5 })
		equal(t, "committed before the end", k.committed(0), -1)
		f.stopped()
		equal(t, "committed by the end", k.committed(0), 5)
		var got seen[int]
		f = k.launch(1, k.copy(func(_ context.Context, v int) (int, error) {
			got.add(v)
			return v, nil
		}))
		k.settled(10)
		f.stopped()
		equal(t, "handled by the next member", got.all(), numbers(5, 10))
		k.seen(numbers(0, 10))
	})
}

// What waits is counted up to the first transaction that is open.
func TestDelivery_134_kafka_backlog(t *testing.T) {
	onKafka(t, func(t *testing.T, k *kafkaRig) {
		k.create(1, "in", "out")
		k.fill(0, 0, 10)
		writer, err := kgo.NewClient(kgo.SeedBrokers(k.cluster.Brokers...), kgo.TransactionalID(k.name("x")), kgo.RecordPartitioner(kgo.ManualPartitioner()))
		if err != nil {
			t.Fatal(err)
		}
		defer writer.Close()
		if err := writer.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		for v := 10; v < 30; v++ {
			if err := writer.ProduceSync(k.context(), &kgo.Record{Topic: k.name("in"), Value: fmt.Append(nil, v)}).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
		var g gates
		f := k.launch(1, flow.NewConsumer("p", k.in(), kafka.Topic[int]{Name: k.name("out"), Cluster: k.cluster}, func(ctx context.Context, v int) (int, error) {
			return v, g.pass(ctx, v)
		}, flow.StallAfter(2*time.Second), flow.CommitEvery(20*time.Millisecond, 0)))
		backlog := func(n int64) func() bool {
			return func() bool { b := f.processor().Backlog; return b != nil && *b == n }
		}
		k.until("ten wait", backlog(10))
		if err := writer.EndTransaction(k.context(), kgo.TryCommit); err != nil {
			t.Fatal(err)
		}
		k.until("the others and the end of the transaction wait too", backlog(31))
		g.let(numbers(0, 30)...)
		k.settled(31)
		k.until("nothing waits", backlog(0))
		f.stopped()
		k.seen(numbers(0, 30))
	})
}
