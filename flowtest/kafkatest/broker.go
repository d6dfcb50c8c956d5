package kafkatest

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/flowkit-go/flow"
	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/primitives/kafka"
)

// Partitions is the number of partitions of a topic that Start, New or Create makes.
const Partitions = 3

// patience is how long anything that should happen may take.
const patience = 30 * time.Second

// A Broker is a Kafka broker of one test. It ends with the test.
type Broker struct {
	t    testing.TB
	fake *kfake.Cluster
}

// Start starts a broker with topics, and sets KAFKA_BROKERS to it for the time of
// the test, so that topics without brokers of their own are there. A test that runs
// in parallel cannot have that: see New.
func Start(t testing.TB, topics ...string) *Broker {
	t.Helper()
	b := New(t, topics...)
	t.Setenv("KAFKA_BROKERS", strings.Join(b.Brokers(), ","))
	return b
}

// New is Start without the environment: give topics the Cluster of the broker.
func New(t testing.TB, topics ...string) *Broker {
	t.Helper()
	fake, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.DefaultNumPartitions(Partitions),
		kfake.SeedTopics(Partitions, topics...), kfake.GroupMinSessionTimeout(time.Second))
	if err != nil {
		t.Fatalf("start a Kafka broker in this process: %v", err)
	}
	t.Cleanup(fake.Close)
	return &Broker{t, fake}
}

// Brokers are the addresses to connect to.
func (b *Broker) Brokers() []string { return b.fake.ListenAddrs() }

// Cluster is how a topic reaches the broker.
func (b *Broker) Cluster() kafka.Cluster { return kafka.Cluster{Brokers: b.Brokers()} }

// Create makes one more topic.
func (b *Broker) Create(topic string, partitions int) {
	b.t.Helper()
	if err := b.fake.CreateTopic(topic, int32(partitions), nil); err != nil {
		b.t.Fatalf("create topic %s: %v", topic, err)
	}
}

// Send writes values to a topic as its producer would, and returns when they are
// stored. The topic's Cluster does not count.
func Send[T any](b *Broker, topic kafka.Topic[T], values ...T) {
	b.t.Helper()
	encode, err := topic.Encoder()
	if err != nil {
		b.t.Fatalf("encode for %s: %v", topic, err)
	}
	var out primitives.Outputs
	for _, v := range values {
		if err := encode(v, &out); err != nil {
			b.t.Fatalf("encode for %s: %v", topic, err)
		}
	}
	b.write(topic.String(), out.Records, func(ctx context.Context) (primitives.Writer, error) {
		topic.Cluster = b.Cluster()
		return topic.OpenSink(ctx, env())
	})
}

// SendRaw writes records to a topic as they are: to see what happens with one that
// cannot be decoded.
func (b *Broker) SendRaw(topic string, records ...flow.Raw) {
	b.t.Helper()
	b.write(topic, slices.Clone(records), func(ctx context.Context) (primitives.Writer, error) {
		return kafka.Topic[flow.Raw]{Name: topic, Cluster: b.Cluster()}.OpenSink(ctx, env())
	})
}

func (b *Broker) write(name string, records []flow.Raw, open func(context.Context) (primitives.Writer, error)) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	w, err := open(ctx)
	if err != nil {
		b.t.Fatalf("send to %s: %v", name, err)
	}
	written := make(chan error, 1)
	w.Write(ctx, records, func(err error) { written <- err })
	if err := <-written; err != nil {
		b.t.Errorf("send to %s: %v", name, err)
	}
	if err := w.Close(ctx); err != nil {
		b.t.Errorf("send to %s: %v", name, err)
	}
}

// Received returns what a topic holds, oldest first; the order of a partition is
// kept. The topic's Cluster does not count.
func Received[T any](b *Broker, topic kafka.Topic[T]) []T {
	b.t.Helper()
	decode, err := topic.Decoder()
	if err != nil {
		b.t.Fatalf("decode from %s: %v", topic, err)
	}
	var values []T
	for _, r := range b.ReceivedRaw(topic.Name) {
		v, err := decode([]primitives.Record{r})
		if err != nil {
			b.t.Fatalf("decode from %s: %v", topic, err)
		}
		values = append(values, v)
	}
	return values
}

// ReceivedRaw returns the records that a topic holds, as Received orders them. Those
// of open or aborted transactions are left out.
func (b *Broker) ReceivedRaw(topic string) []flow.Raw {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	look, err := kafka.Topic[flow.Raw]{Name: topic, Cluster: b.Cluster()}.Browse(ctx, env())
	if err != nil {
		b.t.Fatalf("read %s: %v", topic, err)
	}
	defer func() {
		if err := look.Close(ctx); err != nil {
			b.t.Errorf("read %s: %v", topic, err)
		}
	}()
	spans, err := look.Spans(ctx, time.Time{})
	if err != nil {
		b.t.Fatalf("read %s: %v", topic, err)
	}
	type placed struct {
		record flow.Raw
		time   time.Time // not before that of the record before it in its partition
	}
	latest := map[primitives.Partition]time.Time{}
	var all []placed
	err = look.Read(ctx, spans, func(r primitives.Record) error {
		if r.Time.After(latest[*r.Partition]) {
			latest[*r.Partition] = r.Time
		}
		all = append(all, placed{r, latest[*r.Partition]})
		return nil
	})
	if err != nil {
		b.t.Fatalf("read %s: %v", topic, err)
	}
	slices.SortStableFunc(all, func(x, y placed) int { return x.time.Compare(y.time) })
	records := make([]flow.Raw, len(all))
	for i := range all {
		records[i] = all[i].record
	}
	return records
}

// Settle waits until a consumer group has committed all that its topics hold. The
// group of a topic without one is the flow's and the processor's name, with a dot
// between them. The test fails when that takes more than 30 s.
func (b *Broker) Settle(group string, topics ...string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	source := kafka.Topics[flow.Raw]{Names: topics, Group: group, Cluster: b.Cluster()}
	look, err := source.Browse(ctx, env())
	if err != nil {
		b.t.Fatalf("settle %s: %v", group, err)
	}
	defer look.Close(ctx)
	progress, err := source.OpenProgress(ctx, env())
	if err != nil {
		b.t.Fatalf("settle %s: %v", group, err)
	}
	defer progress.Close(ctx)
	tick := time.NewTicker(5 * time.Millisecond) // a broker tells nobody of commits
	defer tick.Stop()
	for {
		open, err := unsettled(ctx, look, progress)
		if err == nil && open == 0 {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			b.t.Fatalf("%s has not committed %d records of %s in %v: %v", group, open, strings.Join(topics, ", "), patience, err)
		}
	}
}

// unsettled counts the positions that a group has not committed.
func unsettled(ctx context.Context, look primitives.Browsing, progress primitives.Progress) (open int64, err error) {
	spans, err := look.Spans(ctx, time.Time{})
	if err != nil {
		return 0, err
	}
	commits, err := progress.Committed(ctx)
	if err != nil {
		return 0, err
	}
	next := map[primitives.Partition]int64{}
	for _, c := range commits {
		next[c.Partition] = c.Next
	}
	for _, s := range spans {
		open += max(s.To-max(next[s.Partition], s.From), 0)
	}
	return open, nil
}

// env is the environment of what a test itself opens.
func env() *primitives.Env {
	return &primitives.Env{Flow: "kafkatest", Processor: "test", Logger: slog.New(slog.DiscardHandler), Shared: &primitives.Shared{}}
}
