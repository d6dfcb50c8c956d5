package flow_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/flowkit-go/flow"
	"github.com/flowkit-go/flow/primitives/kafka"
)

// The tests of delivery cases in the files delivery_kafka_* run a whole flow on
// Kafka: on kfake, in this process, and most of them on real brokers too where
// FLOW_KAFKA_BROKERS names some (scripts/test-kafka). What they say about topics,
// groups and transactions they have from another client library.

// kafkaRig are brokers, and the flows that a test runs on them.
type kafkaRig struct {
	*rig
	fake    *kfake.Cluster // nil: real brokers
	cluster kafka.Cluster
	prefix  string // of names of topics and groups
	client  *kgo.Client
	admin   *kadm.Client
}

// onKafka runs a test on kfake, and on real brokers where there are some.
func onKafka(t *testing.T, test func(t *testing.T, k *kafkaRig)) {
	t.Parallel()
	t.Run("kfake", func(t *testing.T) {
		t.Parallel()
		test(t, newFakeRig(t))
	})
	t.Run("real", func(t *testing.T) {
		t.Parallel()
		test(t, newRealRig(t))
	})
}

// onFake runs a test that needs what only kfake can do.
func onFake(t *testing.T, test func(t *testing.T, k *kafkaRig)) {
	t.Parallel()
	test(t, newFakeRig(t))
}

func newFakeRig(t *testing.T, options ...kfake.Opt) *kafkaRig {
	t.Helper()
	fake, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1), kfake.GroupMinSessionTimeout(100 * time.Millisecond)}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(fake.Close)
	k := newKafkaRig(t, fake.ListenAddrs())
	k.fake = fake
	return k
}

func newRealRig(t *testing.T) *kafkaRig {
	t.Helper()
	brokers := os.Getenv("FLOW_KAFKA_BROKERS")
	if brokers == "" {
		t.Skip("FLOW_KAFKA_BROKERS is not set: no real brokers")
	}
	return newKafkaRig(t, strings.Split(brokers, ","))
}

func newKafkaRig(t *testing.T, brokers []string) *kafkaRig {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	test, _, _ := strings.Cut(strings.TrimPrefix(t.Name(), "TestDelivery_"), "/")
	k := &kafkaRig{rig: newRig(t), cluster: kafka.Cluster{Brokers: brokers}, client: client, admin: kadm.NewClient(client)}
	k.prefix = fmt.Sprintf("%s-%d-", test, time.Now().UnixNano())
	return k
}

// name is a name of this test's own.
func (k *kafkaRig) name(short string) string { return k.prefix + short }

// create makes topics, given by their short names.
func (k *kafkaRig) create(partitions int32, topics ...string) {
	k.t.Helper()
	for _, topic := range topics {
		made, err := k.admin.CreateTopics(k.context(), partitions, -1, nil, k.name(topic))
		if err = errors.Join(err, made.Error()); err != nil {
			k.t.Fatal(err)
		}
		k.until("the topic is known", func() bool { // a broker answers before it has heard of it itself
			known, err := k.admin.ListTopics(k.context(), k.name(topic))
			return err == nil && known.Error() == nil && len(known[k.name(topic)].Partitions) == int(partitions)
		})
	}
}

// in is the topic that most tests read, as group "g": its members are missed soon.
func (k *kafkaRig) in() kafka.Topic[int] {
	return kafka.Topic[int]{
		Name: k.name("in"), Group: k.name("g"), Cluster: k.cluster, Start: kafka.Earliest, FetchMaxWait: 50 * time.Millisecond,
		SessionTimeout: time.Second, HeartbeatInterval: 200 * time.Millisecond,
	}
}

// out is the topic that most tests write.
func (k *kafkaRig) out() kafka.Topic[int] {
	return kafka.Topic[int]{Name: k.name("out"), Cluster: k.cluster}
}

// dead is the topic for dead letters.
func (k *kafkaRig) dead() kafka.Topic[flow.Raw] {
	return kafka.Topic[flow.Raw]{Name: k.name("dead"), Cluster: k.cluster}
}

// context bounds a request of the test itself.
func (k *kafkaRig) context() context.Context {
	ctx, cancel := context.WithTimeoutCause(context.Background(), 30*time.Second, errors.New("not within 30 s"))
	k.t.Cleanup(cancel)
	return ctx
}

// fill appends numbers to a partition of "in": 1000 times the partition's number, and
// on. The number below the thousand is the offset where the topic was empty before.
func (k *kafkaRig) fill(partition int32, from, to int) {
	k.t.Helper()
	var records []*kgo.Record
	for i := from; i < to; i++ {
		v := int(partition)*1000 + i
		records = append(records, &kgo.Record{Topic: k.name("in"), Partition: partition, Key: fmt.Append(nil, v%10), Value: fmt.Append(nil, v)})
	}
	k.append(records...)
}

// append writes records where they say.
func (k *kafkaRig) append(records ...*kgo.Record) {
	k.t.Helper()
	if err := k.client.ProduceSync(k.context(), records...).FirstErr(); err != nil {
		k.t.Fatal(err)
	}
}

// committed is what group "g" has committed of "in", -1 when nothing.
func (k *kafkaRig) committed(partition int32) int64 {
	k.t.Helper()
	ctx := k.context()
	offsets, err := k.admin.FetchOffsets(ctx, k.name("g"))
	for err != nil && ctx.Err() == nil { // the broker was away
		offsets, err = k.admin.FetchOffsets(ctx, k.name("g"))
	}
	if err != nil {
		k.t.Fatal(err)
	}
	if o, ok := offsets.Lookup(k.name("in"), partition); ok {
		return o.At
	}
	return -1
}

// read returns what a topic holds for readers of committed records, by partition.
func (k *kafkaRig) read(topic string) (seen []*kgo.Record) {
	k.t.Helper()
	stable, err := k.admin.ListCommittedOffsets(k.context(), k.name(topic))
	if err = errors.Join(err, stable.Error()); err != nil {
		k.t.Fatal(err)
	}
	type writer struct {
		partition int32
		id        int64
	}
	open := map[writer][]*kgo.Record{} // records of transactions whose end is not yet met
	for _, r := range k.log(topic) {
		if end, ok := stable.Lookup(r.Topic, r.Partition); !ok || r.Offset >= end.Offset {
			continue
		}
		w := writer{r.Partition, r.ProducerID}
		switch {
		case r.Attrs.IsControl():
			if r.Key[3] == 1 { // commit; 0 is abort
				seen = append(seen, open[w]...)
			}
			delete(open, w)
		case r.Attrs.IsTransactional():
			open[w] = append(open[w], r)
		default:
			seen = append(seen, r)
		}
	}
	slices.SortFunc(seen, func(a, b *kgo.Record) int {
		return cmp.Or(cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.Offset, b.Offset))
	})
	return seen
}

// stored counts the records that a topic holds, also those of open and aborted
// transactions.
func (k *kafkaRig) stored(topic string) (n int) {
	k.t.Helper()
	for _, r := range k.log(topic) {
		if !r.Attrs.IsControl() {
			n++
		}
	}
	return n
}

// log returns all that a topic's log has, the ends of transactions too.
func (k *kafkaRig) log(topic string) (all []*kgo.Record) {
	k.t.Helper()
	ctx := k.context()
	ends, err := k.admin.ListEndOffsets(ctx, k.name(topic))
	if err = errors.Join(err, ends.Error()); err != nil {
		k.t.Fatal(err)
	}
	open, at := map[int32]int64{}, map[int32]kgo.Offset{}
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			open[o.Partition], at[o.Partition] = o.Offset, kgo.NewOffset().AtStart()
		}
	})
	if len(open) == 0 {
		return nil
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(k.cluster.Brokers...), kgo.KeepControlRecords(), kgo.FetchMaxWait(100*time.Millisecond),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{k.name(topic): at}))
	if err != nil {
		k.t.Fatal(err)
	}
	defer client.Close()
	for len(open) > 0 {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			k.t.Fatalf("read %s: %v", topic, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			all = append(all, r)
			if r.Offset >= open[r.Partition]-1 {
				delete(open, r.Partition)
			}
		})
	}
	return all
}

// values are the numbers that a topic holds for readers of committed records.
func (k *kafkaRig) values(topic string) []int { return valuesOf(k.read(topic)) }

func valuesOf(records []*kgo.Record) (all []int) {
	for _, r := range records {
		n, err := strconv.Atoi(string(r.Value))
		if err != nil {
			n = -1
		}
		all = append(all, n)
	}
	return all
}

// seen waits until readers of committed records see as many numbers in "out" as they
// should, and compares the numbers: a broker lets them be seen soon after it has
// confirmed the commit.
func (k *kafkaRig) seen(want ...[]int) {
	k.t.Helper()
	k.until("the outputs are seen", func() bool { return len(k.values("out")) >= len(slices.Concat(want...)) })
	got := k.values("out")
	slices.Sort(got)
	equal(k.t, "seen", got, slices.Concat(want...))
}

// until waits for what nobody tells of: it asks for it again and again.
func (k *kafkaRig) until(what string, done func() bool) {
	k.t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for late := time.After(30 * time.Second); !done(); {
		select {
		case <-tick.C:
		case <-late:
			for _, l := range k.logs.lines.all() {
				k.t.Logf("%v %s %v", l.Level, l.Text, l.Attrs)
			}
			k.t.Fatalf("not in 30 s: %s", what)
		}
	}
}

// never looks for a while at what must not be.
func (k *kafkaRig) never(what string, d time.Duration, wrong func() bool) {
	k.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for over := time.After(d); ; {
		select {
		case <-tick.C:
			if wrong() {
				k.t.Errorf("%s", what)
				return
			}
		case <-over:
			return
		}
	}
}

// settled waits until group "g" has committed all of "in".
func (k *kafkaRig) settled(partitions ...int64) {
	k.t.Helper()
	k.until("all is committed", func() bool {
		for p, next := range partitions {
			if k.committed(int32(p)) < next {
				return false
			}
		}
		return true
	})
}

// launch is start, once the flow runs and holds n partitions.
func (k *kafkaRig) launch(n int, processors ...*flow.Processor) *running {
	k.t.Helper()
	f := k.start(processors...)
	select {
	case <-f.ready:
	case err := <-f.ended:
		k.t.Fatalf("the flow did not start: %v", err)
	}
	k.t.Cleanup(func() { f.hard(); f.cancel() })
	k.until(fmt.Sprintf("%d partitions are held", n), func() bool { return len(f.processor().Lanes) == n })
	return f
}

// hold keeps writes to a topic from being answered until release is called: the
// broker does not look at them, or, a real one, is frozen. held tells how many
// requests wait on kfake.
func (k *kafkaRig) hold(topic string) (held func() int, release func()) {
	k.t.Helper()
	if k.fake == nil {
		k.node("pause-node")
		return nil, func() { k.node("resume-node") }
	}
	released := make(chan struct{})
	waiting := &seen[int]{}
	k.fake.ControlKey(int16(kmsg.Produce), func(req kmsg.Request) (kmsg.Response, error, bool) {
		k.fake.KeepControl()
		if slices.ContainsFunc(req.(*kmsg.ProduceRequest).Topics, func(t kmsg.ProduceRequestTopic) bool { return t.Topic == k.name(topic) }) {
			k.fake.SleepControl(func() { waiting.add(1); <-released })
		}
		return nil, nil, false
	})
	return waiting.len, func() { close(released) }
}

// node does something to the one real broker; it is put right at the end of the test.
func (k *kafkaRig) node(verb string) {
	k.t.Helper()
	script := os.Getenv("FLOW_KAFKA_SCRIPT")
	if script == "" || os.Getenv("FLOW_KAFKA_NODES") != "1" {
		k.t.Skip("this needs one broker of its own: scripts/kafka/with 1")
	}
	if out, err := exec.Command(script, verb, "1").CombinedOutput(); err != nil {
		k.t.Fatalf("%s: %v\n%s", verb, err, out)
	}
}
