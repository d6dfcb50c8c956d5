package flow_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/flowkit-go/flow"
	"github.com/flowkit-go/flow/primitives/kafka"
)

// copy copies what it reads, at least once, and commits often.
func (k *kafkaRig) copy(fn func(context.Context, int) (int, error), options ...flow.ConsumerOption) *flow.Processor {
	return flow.NewConsumer("p", k.in(), k.out(), fn, append([]flow.ConsumerOption{flow.CommitEvery(20*time.Millisecond, 0)}, options...)...)
}

// commits calls see with each offset of "in" that the group asks kfake to commit.
func (k *kafkaRig) commits(see func(partition int32, next int64)) {
	k.fake.ControlKey(int16(kmsg.OffsetCommit), func(req kmsg.Request) (kmsg.Response, error, bool) {
		k.fake.KeepControl()
		for _, t := range req.(*kmsg.OffsetCommitRequest).Topics {
			for _, p := range t.Partitions {
				see(p.Partition, p.Offset)
			}
		}
		return nil, nil, false
	})
}

// An output is durable before its input is committed.
func TestDelivery_110_kafka_ack_before_commit(t *testing.T) {
	onFake(t, func(t *testing.T, k *kafkaRig) {
		k.create(1, "in", "out")
		held, release := k.hold("out")
		var asked atomic.Int32
		k.commits(func(int32, int64) { asked.Add(1) })
		f := k.launch(1, k.copy(unchanged))
		k.fill(0, 0, 1)
		k.until("the output is on its way", func() bool { return held() == 1 })
		k.never("the input is committed before its output is answered", 300*time.Millisecond, func() bool { return asked.Load() > 0 })
		equal(t, "written", k.stored("out"), 0)
		release()
		k.settled(1)
		records := k.read("out")
		if len(records) != 1 || records[0].Offset != 0 || string(records[0].Value) != "0" {
			t.Errorf("the topic has %v", records)
		}
		f.stopped()
	})
}

// A broker refuses one output for good: what is before it is committed, the flow stops
// at it, and a restart begins with it. Records of one write may be durable behind the
// one that is refused, so that they are there twice then; with one record at a time
// there is no gap either.
func TestDelivery_111_kafka_refused(t *testing.T) {
	for _, tc := range []struct {
		name   string
		option flow.ConsumerOption
		twice  bool
	}{
		{"many in a write", flow.CommitEvery(20*time.Millisecond, 0), true},
		{"one at a time", flow.CommitEach(), false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			onKafka(t, func(t *testing.T, k *kafkaRig) {
				k.create(1, "in", "out")
				most := "2000"
				if _, err := k.admin.AlterTopicConfigs(k.context(), []kadm.AlterConfig{{Name: "max.message.bytes", Value: &most}}, k.name("out")); err != nil {
					t.Fatal(err)
				}
				k.fill(0, 0, 5)
				out := kafka.Topic[string]{Name: k.name("out"), Cluster: k.cluster}
				run := func(size int) *flow.Processor {
					return flow.NewConsumer("p", k.in(), out, func(_ context.Context, v int) (string, error) {
						if v == 3 {
							return strings.Repeat("3", size), nil
						}
						return strconv.Itoa(v), nil
					}, tc.option)
				}
				f := k.start(run(5000))
				stoppedAt(t, f.wait(), 0, 3)
				equal(t, "committed", k.committed(0), 3)
				first := k.texts("out")
				f = k.start(run(1))
				k.settled(5)
				f.stopped()
				last := k.texts("out")[len(first):]
				equal(t, "written by the second run", last, []string{"3", "4"})
				if tc.twice {
					first = slices.DeleteFunc(first, func(v string) bool { return v == "4" })
				}
				equal(t, "written by the first run", first, []string{"0", "1", "2"})
			})
		})
	}
}

// texts are the strings in a topic.
func (k *kafkaRig) texts(topic string) (all []string) {
	k.t.Helper()
	for _, r := range k.read(topic) {
		all = append(all, strings.Trim(string(r.Value), `"`))
	}
	return all
}

// A stop waits for the answer to an output, and not longer; nothing is written again.
func TestDelivery_112_kafka_drain_waits_for_acks(t *testing.T) {
	const late = 500 * time.Millisecond
	test := func(t *testing.T, k *kafkaRig) {
		k.create(1, "in", "out")
		var g gates
		var entered atomic.Int32
		f := k.launch(1, k.copy(func(ctx context.Context, v int) (int, error) {
			entered.Add(1)
			return v, g.pass(ctx, 0)
		}))
		k.fill(0, 0, 1)
		k.until("it is in the handler", func() bool { return entered.Load() == 1 })
		held, release := k.hold("out")
		g.let(0)
		if held != nil {
			k.until("the output is on its way", func() bool { return held() == 1 })
		}
		began := time.Now()
		time.AfterFunc(late, release)
		f.stopped()
		if took := time.Since(began); took < late || took > late+3*time.Second {
			t.Errorf("the stop took %v, the answer %v", took, late)
		}
		equal(t, "committed", k.committed(0), 1)
		f = k.launch(1, k.copy(unchanged))
		k.fill(0, 1, 2)
		k.settled(2)
		f.stopped()
		equal(t, "written", k.values("out"), []int{0, 1})
	}
	t.Run("kfake", func(t *testing.T) {
		t.Parallel()
		test(t, newFakeRig(t))
	})
	t.Run("real", func(t *testing.T) { test(t, newRealRig(t)) }) // alone: the broker is frozen
}

// Whatever is committed, the outputs of all below are durable.
func TestDelivery_113_kafka_outputs_first(t *testing.T) {
	onFake(t, func(t *testing.T, k *kafkaRig) {
		const n = 400
		k.create(1, "in", "out")
		var stored, early atomic.Int64 // records in "out", by what kfake was asked to write and has
		k.fake.ControlKey(int16(kmsg.Produce), func(req kmsg.Request) (kmsg.Response, error, bool) {
			k.fake.KeepControl()
			for _, topic := range req.(*kmsg.ProduceRequest).Topics {
				for _, p := range topic.Partitions {
					if topic.Topic == k.name("out") {
						var batch kmsg.RecordBatch
						if err := batch.ReadFrom(p.Records); err != nil {
							t.Errorf("a batch that cannot be read: %v", err)
						}
						k.fake.SleepControl(func() { <-time.After(5 * time.Millisecond) })
						stored.Add(int64(batch.NumRecords))
					}
				}
			}
			return nil, nil, false
		})
		commits := 0
		k.commits(func(_ int32, next int64) {
			commits++
			if next > stored.Load() {
				early.Add(1)
			}
		})
		k.fill(0, 0, n)
		f := k.launch(1, k.copy(func(_ context.Context, v int) (int, error) {
			if v%20 == 0 {
				<-time.After(5 * time.Millisecond)
			}
			return v, nil
		}, flow.CommitEvery(time.Millisecond, 0)))
		k.settled(n)
		f.stopped()
		equal(t, "commits of inputs whose outputs were not durable", early.Load(), 0)
		if commits < 5 {
			t.Errorf("only %d commits", commits)
		}
		equal(t, "written", k.values("out"), numbers(0, n))
	})
}

// The sink takes nothing for a while: no more is handled than the buffer holds, and then
// all goes through.
func TestDelivery_114_kafka_sink_holds(t *testing.T) {
	onFake(t, func(t *testing.T, k *kafkaRig) {
		const n, buffer = 500, 20
		k.create(1, "in", "out")
		held, release := k.hold("out")
		var handled atomic.Int64
		f := k.launch(1, k.copy(func(_ context.Context, v int) (int, error) {
			handled.Add(1)
			return v, nil
		}, flow.Buffer(buffer, 1<<20)))
		k.fill(0, 0, n)
		k.until("an output is held", func() bool { return held() > 0 })
		k.never("more is handled than the buffer holds", 300*time.Millisecond, func() bool { return handled.Load() > buffer })
		release()
		k.settled(n)
		f.stopped()
		equal(t, "handled", handled.Load(), n)
		equal(t, "written", k.values("out"), numbers(0, n))
	})
}

// The broker is away for a while: the process lives, nothing is lost, and what is
// written twice was not committed.
func TestDelivery_124_kafka_broker_down(t *testing.T) {
	test := func(t *testing.T, k *kafkaRig, down, up func()) {
		const before, after = 200, 50
		k.create(2, "in")
		k.create(1, "out")
		f := k.launch(2, k.copy(func(_ context.Context, v int) (int, error) { return v, nil }, flow.CommitEvery(50*time.Millisecond, 0)))
		k.fill(0, 0, before)
		k.until("some are written", func() bool { return f.processor().Messages.OK > 0 })
		down()
		select {
		case err := <-f.ended:
			t.Fatalf("the flow has ended: %v", err)
		case <-time.After(2 * time.Second): // that it is down
		}
		up()
		k.fill(1, 0, after)
		k.settled(before, after)
		f.stopped()
		got := k.values("out")
		equal(t, "numbers written", len(unique(got)), before+after)
		if again := len(got) - before - after; again > before {
			t.Errorf("%d are written again", again)
		}
	}
	t.Run("kfake", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		k := newFakeRig(t, kfake.DataDir(dir), kfake.SyncWrites())
		_, port, _ := strings.Cut(k.cluster.Brokers[0], ":")
		at, err := strconv.Atoi(port)
		if err != nil {
			t.Fatal(err)
		}
		test(t, k, k.fake.Close, func() {
			if k.fake, err = kfake.NewCluster(kfake.NumBrokers(1), kfake.DataDir(dir), kfake.SyncWrites(), kfake.Ports(at), kfake.GroupMinSessionTimeout(100*time.Millisecond)); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(k.fake.Close)
		})
	})
	t.Run("real", func(t *testing.T) { // alone
		k := newRealRig(t)
		test(t, k, func() { k.node("kill-node") }, func() { k.node("start-node") })
	})
}

// A dead letter is what was read, with where it is from and why, in the order of its
// partition; records around it are not held up.
func TestDelivery_096_097_kafka_dead_letters(t *testing.T) {
	onKafka(t, func(t *testing.T, k *kafkaRig) {
		k.create(2, "in")
		k.create(1, "out", "dead")
		valid := func(p int32, v int) *kgo.Record {
			return &kgo.Record{Topic: k.name("in"), Partition: p, Value: []byte(strconv.Itoa(v))}
		}
		invalid := func(p int32, text string) *kgo.Record {
			return &kgo.Record{
				Topic: k.name("in"), Partition: p, Key: []byte{0xff, 0, byte(p)}, Value: []byte(text),
				Headers: []kgo.RecordHeader{{Key: "tenant", Value: []byte("a")}, {Key: "tenant", Value: []byte("b")}, {Key: "raw", Value: []byte{0, 0xfe}}},
			}
		}
		k.append(valid(0, 0), valid(1, 1000), invalid(0, "{\x00bad 0"), invalid(1, "bad 1000"), valid(0, 2), invalid(1, ""), valid(1, 1003), invalid(0, "bad 3"))
		f := k.launch(2, k.copy(unchanged, flow.DeadLetter(k.dead())))
		k.settled(4, 4)
		f.stopped()
		got := k.values("out")
		slices.Sort(got)
		equal(t, "written", got, []int{0, 2, 1000, 1003})

		byPartition := map[string][]string{}
		for _, r := range k.read("dead") {
			where, headers := map[string]string{}, []kgo.RecordHeader{}
			for _, h := range r.Headers {
				if strings.HasPrefix(h.Key, "flow-dead-") {
					where[strings.TrimPrefix(h.Key, "flow-dead-")] = string(h.Value)
				} else {
					headers = append(headers, h)
				}
			}
			p, _ := strconv.Atoi(where["partition"])
			original := invalid(int32(p), string(r.Value))
			equal(t, "key", r.Key, original.Key)
			equal(t, "headers", headers, original.Headers)
			equal(t, "topic", where["topic"], k.name("in"))
			equal(t, "attempt, flow and processor", []string{where["attempt"], where["flow"], where["processor"]}, []string{"1", "test", "p"})
			if at, err := time.Parse(time.RFC3339Nano, where["time"]); err != nil || time.Since(at) > time.Minute {
				t.Errorf("time %q: %v", where["time"], err)
			}
			if where["error"] == "" {
				t.Error("there is no reason")
			}
			byPartition[where["partition"]] = append(byPartition[where["partition"]], where["offset"]+" "+string(r.Value))
		}
		equal(t, "dead", byPartition, map[string][]string{"0": {"1 {\x00bad 0", "3 bad 3"}, "1": {"1 bad 1000", "2 "}})
	})
}

// The topic of the dead letters takes nothing for a while: nothing is dropped, and the
// position stays before the record until it does.
func TestDelivery_100_kafka_dead_letters_unavailable(t *testing.T) {
	onKafka(t, func(t *testing.T, k *kafkaRig) {
		k.create(1, "in", "out", "dead")
		f := k.launch(1, k.copy(unchanged, flow.DeadLetter(k.dead())))
		back := k.refuse("dead")
		k.fill(0, 0, 2)
		k.append(&kgo.Record{Topic: k.name("in"), Value: []byte("poison")})
		k.fill(0, 3, 5)
		k.settled(2)
		k.never("the record is passed over", 2*time.Second, func() bool { return k.committed(0) != 2 })
		select {
		case err := <-f.ended:
			t.Fatalf("the flow has ended: %v", err)
		default:
		}
		back()
		k.settled(5)
		f.stopped()
		equal(t, "dead", len(k.read("dead")), 1)
		equal(t, "written", k.values("out"), []int{0, 1, 3, 4})
	})
}

// refuse makes a topic refuse what is written to it, until back is called: a real one is
// deleted and made anew.
func (k *kafkaRig) refuse(topic string) (back func()) {
	k.t.Helper()
	if k.fake != nil {
		fault := k.fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: k.name(topic), Err: kerr.NotEnoughReplicas, Count: -1})
		return fault.Remove
	}
	if _, err := k.admin.DeleteTopics(k.context(), k.name(topic)); err != nil {
		k.t.Fatal(err)
	}
	k.until("the topic is gone", func() bool {
		known, err := k.admin.ListTopics(k.context(), k.name(topic))
		return err == nil && errors.Is(known.Error(), kerr.UnknownTopicOrPartition)
	})
	return func() { k.create(1, topic) }
}

// A commit is due long before a dead letter is durable: it is not made, and a stop waits
// for the dead letter.
func TestDelivery_101_kafka_dead_letter_late(t *testing.T) {
	for _, stopping := range []bool{false, true} {
		t.Run(fmt.Sprintf("stopping: %t", stopping), func(t *testing.T) {
			onFake(t, func(t *testing.T, k *kafkaRig) {
				k.create(1, "in", "out", "dead")
				held, release := k.hold("dead")
				k.append(&kgo.Record{Topic: k.name("in"), Value: []byte("poison")})
				f := k.launch(1, k.copy(unchanged, flow.DeadLetter(k.dead())))
				k.until("the dead letter is on its way", func() bool { return held() == 1 })
				if stopping {
					f.cancel()
				}
				k.never("the record is committed", 500*time.Millisecond, func() bool { return k.committed(0) >= 0 })
				select {
				case err := <-f.ended:
					t.Fatalf("the flow has ended: %v", err)
				default:
				}
				release()
				if !stopping {
					k.settled(1)
				}
				f.stopped()
				equal(t, "committed", k.committed(0), 1)
				equal(t, "dead", len(k.read("dead")), 1)
			})
		})
	}
}
