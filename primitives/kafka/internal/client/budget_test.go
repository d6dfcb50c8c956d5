package client

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/primitives/kafka/driver"
)

func TestMain(m *testing.M) {
	// The metrics library of sarama has one goroutine for the process.
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/rcrowley/go-metrics.(*meterArbiter).tick"))
}

// backlog is a topic with records in each partition that nobody has read: batches of
// so many records of so many bytes, which begin with their offset.
type backlog struct {
	partitions, batches, records, bytes int
	codec                               kgo.CompressionCodec
}

func (b backlog) perPartition() int64 { return int64(b.batches * b.records) }

// fakes are two brokers in this process.
func fakes(t *testing.T) []string {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(2))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c.ListenAddrs()
}

// write makes the topic, and deletes it at the end.
func (b backlog) write(t *testing.T, brokers []string) (topic string) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchCompression(b.codec), kgo.ProducerBatchMaxBytes(8<<20), kgo.BrokerMaxWriteBytes(64<<20), kgo.ProducerLinger(time.Second))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	topic = fmt.Sprintf("flow-budget-%d", time.Now().UnixNano())
	admin := kadm.NewClient(client)
	if _, err := admin.CreateTopic(t.Context(), int32(b.partitions), 1, nil, topic); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := admin.DeleteTopics(context.Background(), topic); err != nil {
			t.Error(err)
		}
	})
	rng := rand.New(rand.NewPCG(1, 2))
	for batch := range b.batches { // one at a time, so that they are as large as this
		for p := range int32(b.partitions) {
			for i := range b.records {
				value := make([]byte, b.bytes)
				for j := 8; j+8 <= len(value); j += 8 { // a compressor halves it, about
					binary.LittleEndian.PutUint32(value[j:], rng.Uint32())
				}
				binary.BigEndian.PutUint64(value, uint64(batch*b.records+i))
				client.Produce(t.Context(), &kgo.Record{Topic: topic, Partition: p, Value: value}, func(_ *kgo.Record, err error) {
					if err != nil {
						t.Error(err)
					}
				})
			}
		}
		if err := client.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	return topic
}

// reading is a fetcher that reads all of a backlog.
type reading struct {
	*fetcher
	t       *testing.T
	streams []*gated
	most    atomic.Int64 // bytes that were held at a time
}

// gated is a partition whose lane has no room until it is opened.
type gated struct {
	r    *reading
	open chan struct{}
	next atomic.Int64
	came chan struct{} // closed with the first records
	done chan struct{} // closed when all have come
	once sync.Once
	want int64
}

func (g *gated) Records(ctx context.Context, burst []primitives.Record, next int64) error {
	g.r.note()
	g.once.Do(func() { close(g.came) })
	select {
	case <-g.open:
	case <-ctx.Done():
		return ctx.Err()
	}
	for _, rec := range burst {
		if got := g.next.Load(); rec.Offset != got || binary.BigEndian.Uint64(rec.Value) != uint64(got) {
			g.r.t.Errorf("offset %d, want %d", rec.Offset, got)
			return errors.New("out of order")
		}
		if g.next.Add(1) == g.want {
			close(g.done)
		}
	}
	return nil
}

func (g *gated) OutOfRange(context.Context, int64) (int64, error) {
	return 0, errors.New("out of range")
}

func (r *reading) note() {
	held := r.budget.held.Load()
	for most := r.most.Load(); held > most && !r.most.CompareAndSwap(most, held); most = r.most.Load() {
	}
}

// patient is a group whose errors pass.
type patient struct{ driver.Group }

func (patient) Retry(ctx context.Context, _ error) error {
	select {
	case <-time.After(10 * time.Millisecond):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func read(t *testing.T, brokers []string, b backlog, buffer int32) *reading {
	t.Helper()
	topic := b.write(t, brokers)
	cluster := driver.Cluster{Brokers: brokers, ClientID: "test", DialTimeout: 5 * time.Second, RequestTimeout: 10 * time.Second, OpenTimeout: 10 * time.Second}
	client, err := Open(t.Context(), cluster, topic)
	if err != nil {
		t.Fatal(err)
	}
	f := newFetcher(client, driver.Consuming{
		Group: "g", Topics: []string{topic}, FetchMinBytes: 1, FetchMaxBytes: 8 << 20, FetchPartitionBytes: 1 << 20, FetchMaxWait: 250 * time.Millisecond,
		FetchBufferBytes: buffer, Logger: slog.New(slog.DiscardHandler),
	})
	r := &reading{fetcher: f, t: t}
	for p := range int32(b.partitions) {
		g := &gated{r: r, open: make(chan struct{}), came: make(chan struct{}), done: make(chan struct{}), want: b.perPartition()}
		r.streams = append(r.streams, g)
		f.read(primitives.Partition{Topic: topic, ID: p}, 0, false, g)
	}
	f.start(patient{})
	t.Cleanup(func() {
		f.stop()
		if held, common := f.budget.held.Load(), f.budget.common.Load(); held != 0 || common != 0 {
			t.Errorf("at the end %d bytes are held, %d are taken of the common half", held, common)
		}
		if err := client.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return r
}

// each waits for something of each stream.
func (r *reading) each(what string, streams []*gated, of func(*gated) <-chan struct{}) {
	r.t.Helper()
	late := time.After(30 * time.Second)
	for i, g := range streams {
		select {
		case <-of(g):
		case <-late:
			r.t.Fatalf("stream %d: %s: not within 30 s; it is at %d, %d bytes are held", i, what, g.next.Load(), r.budget.held.Load())
		}
		r.note()
	}
}

// settles waits until no more is fetched, and returns what is held.
func (r *reading) settles() int64 {
	r.t.Helper()
	last, same := int64(-1), 0
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for same < 15 {
		<-tick.C
		r.note()
		if held := r.budget.held.Load(); held == last {
			same++
		} else {
			last, same = held, 0
		}
	}
	return last
}

func came(g *gated) <-chan struct{} { return g.came }
func done(g *gated) <-chan struct{} { return g.done }

// testManyPartitions: many partitions lag and their lanes are full. What is held stays
// within the budget, each has something, and all of it comes, in order, when there is room.
func testManyPartitions(t *testing.T, brokers []string, b backlog) {
	const buffer = 8 << 20
	r := read(t, brokers, b, buffer)
	r.each("first records", r.streams, came)
	held := r.settles()
	total := int64(b.partitions) * b.perPartition() * int64(b.bytes+recordBytes)
	t.Logf("%d KiB of %d are held, at most %d", held>>10, total>>10, r.most.Load()>>10)
	if held < buffer/8 {
		t.Errorf("only %d bytes are held of a budget of %d", held, buffer)
	}
	for _, g := range r.streams {
		close(g.open)
	}
	r.each("all records", r.streams, done)
	if most := r.most.Load(); most > buffer {
		t.Errorf("%d bytes were held, want %d at most", most, buffer)
	}
}

func TestBudgetOfManyPartitions(t *testing.T) {
	for name, b := range map[string]backlog{
		"uncompressed": {partitions: 200, batches: 40, records: 40, bytes: 200, codec: kgo.NoCompression()},
		"compressed":   {partitions: 200, batches: 40, records: 40, bytes: 200, codec: kgo.SnappyCompression()},
		"tiny records": {partitions: 200, batches: 20, records: 50, bytes: 8, codec: kgo.NoCompression()},
	} {
		t.Run(name, func(t *testing.T) { testManyPartitions(t, fakes(t), b) })
	}
}

// Streams that are stuck do not keep others from reading, whatever they hold.
func TestBudgetHeldByTheStuck(t *testing.T) {
	b := backlog{partitions: 60, batches: 40, records: 40, bytes: 200, codec: kgo.NoCompression()}
	r := read(t, fakes(t), b, 2<<20)
	r.each("first records", r.streams, came)
	r.settles()
	going := r.streams[50:]
	for _, g := range going {
		close(g.open)
	}
	r.each("all records", going, done)
	for i, g := range r.streams[:50] {
		if g.next.Load() != 0 {
			t.Errorf("stream %d is not stuck", i)
		}
	}
	if most := r.most.Load(); most > 2<<20 {
		t.Errorf("%d bytes were held", most)
	}
}

// testLargeBatches: batches that are larger than a share take turns. Where those that hold
// the rest are stuck for good, they come all the same. All of it comes, in order, when there
// is room. A broker sends what it is asked for and not a whole batch when that is more, but
// for the first of an answer.
func testLargeBatches(t *testing.T, brokers []string, cuts bool) {
	const buffer = 4 << 20
	b := backlog{partitions: 40, batches: 4, records: 10, bytes: 30_000, codec: kgo.NoCompression()}
	r := read(t, brokers, b, buffer)
	size := int64(b.records * (b.bytes + recordBytes)) // of a batch
	if cuts {
		began := time.Now()
		held := r.settles()
		t.Logf("%d KiB are held, at most %d", held>>10, r.most.Load()>>10)
		if most := r.most.Load(); most > buffer || most < size {
			t.Errorf("%d bytes were held, want %d at most and one of %d", most, buffer, size)
		}
		r.each("first records of those that wait", r.streams, came)
		if took := time.Since(began); took < patience/2 {
			t.Errorf("all had something after %v", took)
		}
	}
	for _, g := range r.streams {
		close(g.open)
	}
	r.each("all records", r.streams, done)
}

func TestBudgetOfLargeBatches(t *testing.T) { testLargeBatches(t, fakes(t), false) }

func TestBudgetOfLargeBatches_real(t *testing.T) { testLargeBatches(t, reals(t), true) }

func TestBudgetOfManyPartitions_real(t *testing.T) {
	testManyPartitions(t, reals(t), backlog{partitions: 100, batches: 40, records: 40, bytes: 200, codec: kgo.SnappyCompression()})
}

// Batches that are larger than the whole common half do not wait where nobody holds anything
// of it: with lanes that have room they come one after the other.
func TestBudgetOfHugeBatches(t *testing.T) {
	const buffer = 256 << 10
	b := backlog{partitions: 2, batches: 10, records: 10, bytes: 60_000, codec: kgo.NoCompression()}
	r := read(t, fakes(t), b, buffer)
	r.each("first records", r.streams, came)
	began := time.Now()
	for _, g := range r.streams {
		close(g.open)
	}
	r.each("all records", r.streams, done)
	if took := time.Since(began); took > patience {
		t.Errorf("%d batches of each partition took %v", b.batches, took)
	}
}

// Who has waited for those that are stuck once does not wait as long for the next batch.
func TestBudgetOfLargeBatchesBesideTheStuck(t *testing.T) {
	b := backlog{partitions: 8, batches: 12, records: 10, bytes: 10_000, codec: kgo.NoCompression()}
	r := read(t, fakes(t), b, 1<<20)
	r.each("first records", r.streams, came)
	r.settles()
	if common := r.budget.common.Load(); common == 0 {
		t.Fatal("those that are stuck hold nothing of the common half")
	}
	began := time.Now()
	close(r.streams[7].open)
	r.each("all records", r.streams[7:], done)
	if took := time.Since(began); took > 3*patience {
		t.Errorf("%d batches took %v", b.batches, took)
	}
}

// reals are the brokers of a real cluster, or the test is skipped.
func reals(t *testing.T) []string {
	t.Helper()
	list := os.Getenv("FLOW_KAFKA_BROKERS")
	if list == "" {
		t.Skip("FLOW_KAFKA_BROKERS is not set: see scripts/kafka")
	}
	return strings.Split(list, ",")
}

// A few partitions have two fetches each, of full size.
func TestBudgetOfFewPartitions(t *testing.T) {
	b := backlog{partitions: 6, batches: 70, records: 100, bytes: 500, codec: kgo.NoCompression()}
	r := read(t, fakes(t), b, 32<<20)
	r.each("first records", r.streams, came)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	late := time.After(30 * time.Second)
	for p, s := range r.fetcher.streams {
		for s.queued.Load() < held {
			select {
			case <-tick.C:
			case <-late:
				t.Fatalf("%s has %d fetches, want %d", p, s.queued.Load(), held)
			}
		}
	}
	if n, least := r.budget.held.Load(), int64(b.partitions)*(300+900)<<10; n < least {
		t.Errorf("%d bytes are held, want %d at least: a first fetch, and one of about 1 MiB", n, least)
	}
	for _, g := range r.streams {
		close(g.open)
	}
	r.each("all records", r.streams, done)
}
