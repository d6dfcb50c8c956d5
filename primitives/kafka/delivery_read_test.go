package kafka

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/primitives/primitivetest"
)

// A compacted log has holes: the lane is told of those at its end.
func TestDelivery_030_compacted_log(t *testing.T) {
	c, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	compact := "compact"
	if err := c.CreateTopic("table", 1, map[string]string{"cleanup.policy": compact, "segment.bytes": "1000", "min.cleanable.dirty.ratio": "0"}); err != nil {
		t.Fatal(err)
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...), kgo.DefaultProduceTopic("table"))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx := testContext(t)
	put := func(key string) {
		t.Helper()
		if err := client.ProduceSync(ctx, &kgo.Record{Key: []byte(key), Value: make([]byte, 50)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	for range 300 {
		put("a")
	}
	put("b") // 300
	for range 43 {
		put("a")
	}
	put("c") // 344
	put("a") // 345
	c.Compact()
	topic := Topic[[]byte]{Name: "table", Group: "g", Cluster: at(c), Start: Earliest}
	m := join(t, topic, 1000)
	var offsets []int64
	for len(offsets) == 0 || offsets[len(offsets)-1] < 345 {
		for _, d := range m.take(ctx, 1) {
			offsets = append(offsets, d.Record.Offset)
		}
	}
	if len(offsets) > 50 {
		t.Fatalf("the log was not compacted: %d records", len(offsets))
	}
	t.Logf("offsets %v", offsets)
}

// fetched answers the next fetch of out/0 with batches made by hand.
func fetched(c *kfake.Cluster, end int64, batches ...kmsg.RecordBatch) {
	var bytes []byte
	for _, b := range batches {
		bytes = append(bytes, encodeBatch(b)...)
	}
	c.ControlKey(int16(kmsg.Fetch), func(r kmsg.Request) (kmsg.Response, error, bool) {
		request := r.(*kmsg.FetchRequest)
		response := request.ResponseKind().(*kmsg.FetchResponse)
		topic := kmsg.NewFetchResponseTopic()
		topic.Topic = "out"
		if len(request.Topics) == 1 {
			topic.TopicID = request.Topics[0].TopicID
		}
		p := kmsg.NewFetchResponseTopicPartition()
		p.HighWatermark, p.LastStableOffset, p.RecordBatches = end, end, bytes
		topic.Partitions = append(topic.Partitions, p)
		response.Topics = append(response.Topics, topic)
		return response, nil, true
	})
}

// A jump of billions of offsets is one step.
func TestDelivery_030_jump(t *testing.T) {
	const far = 2_288_752_002
	c := fake(t)
	fetched(c, far+345, batchAt(300, 0, false), batchAt(far+344, 0, false))
	m := join(t, Topic[[]byte]{Name: "out", Group: "g", Cluster: at(c), Start: Earliest, OutOfRange: FromLatest}, 100)
	ctx := testContext(t)
	ds := m.take(ctx, 2)
	if a, b := ds[0].Record.Offset, ds[1].Record.Offset; a != 300 || b != far+344 {
		t.Errorf("offsets %d and %d", a, b)
	}
}

// A log whose end holds only markers, or a batch whose last records were compacted away, is
// at its end all the same.
func TestTailWithoutRecords(t *testing.T) {
	c := fake(t)
	fetched(c, 20, batchAt(10, 4, false), batchAt(15, 0, true), batchAt(16, 3, true))
	m := join(t, Topic[[]byte]{Name: "out", Group: "g", Cluster: at(c), Start: Earliest, OutOfRange: FromLatest}, 100)
	ctx := testContext(t)
	ds := m.take(ctx, 1)
	if ds[0].Record.Offset != 10 {
		t.Errorf("offset %d", ds[0].Record.Offset)
	}
	if err := m.in.Wait(ctx, func() bool { return ds[0].Lane.Advanced() == 20 }); err != nil {
		t.Errorf("the lane knows of nothing below %d, want 20", ds[0].Lane.Advanced())
	}
}

// A batch that compaction has emptied is at the end of the log: it is passed, though the
// answer to a fetch has no record.
func TestEmptyBatchAtTheEnd(t *testing.T) {
	c := fake(t)
	empty := batchAt(0, 4, false)
	empty.NumRecords, empty.Records = 0, nil
	bytes := encodeBatch(empty)
	c.ControlKey(int16(kmsg.Fetch), func(r kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		request := r.(*kmsg.FetchRequest)
		response := request.ResponseKind().(*kmsg.FetchResponse)
		for _, rt := range request.Topics {
			topic := kmsg.NewFetchResponseTopic()
			topic.Topic, topic.TopicID = rt.Topic, rt.TopicID
			for _, rp := range rt.Partitions {
				p := kmsg.NewFetchResponseTopicPartition()
				p.Partition, p.HighWatermark, p.LastStableOffset = rp.Partition, 5, 5
				if rp.FetchOffset >= 5 {
					return nil, nil, false
				}
				p.RecordBatches = bytes
				topic.Partitions = append(topic.Partitions, p)
			}
			response.Topics = append(response.Topics, topic)
		}
		return response, nil, true
	})
	m := join(t, Topic[[]byte]{Name: "out", Group: "g", Cluster: at(c), Start: Earliest, OutOfRange: FromLatest}, 100)
	ctx := testContext(t)
	m.owns(ctx, 1)
	lane := m.in.Lanes()[0]
	if err := m.in.Wait(ctx, func() bool { return lane.Advanced() == 5 }); err != nil {
		t.Errorf("the lane knows of nothing below %d, want 5", lane.Advanced())
	}
}

// Pause holds back what was fetched too. A partition that is not held is not paused.
func TestDelivery_088_pause(t *testing.T) {
	c := two(t, 0)
	ctx := testContext(t)
	topic := quick(at(c), "g")
	m := join(t, topic, 100)
	m.owns(ctx, 2)
	p0, p1 := primitives.Partition{Topic: "in", ID: 0}, primitives.Partition{Topic: "in", ID: 1}
	m.Pause([]primitives.Partition{p0, {Topic: "other"}})
	write(t, topic, in(0, 0, 5)...)
	write(t, topic, in(1, 0, 5)...)
	for _, d := range m.take(ctx, 5) {
		if d.Lane.Partition != p1 {
			t.Errorf("%s is paused", d.Lane.Partition)
		}
	}
	m.Pause([]primitives.Partition{p1})
	m.Resume([]primitives.Partition{p0})
	write(t, topic, in(1, 5, 5)...)
	for i, d := range m.take(ctx, 5) {
		if d.Lane.Partition != p0 || d.Record.Offset != int64(i) {
			t.Errorf("%s@%d", d.Lane.Partition, d.Record.Offset)
		}
	}
	m.Resume([]primitives.Partition{p1, {Topic: "other"}})
	for i, d := range m.take(ctx, 5) {
		if d.Lane.Partition != p1 || d.Record.Offset != int64(5+i) {
			t.Errorf("%s@%d", d.Lane.Partition, d.Record.Offset)
		}
	}
}

// testPauseAndRebalance: a partition that stays through an incremental rebalance stays
// paused. The topic has two partitions and no record.
func testPauseAndRebalance(t *testing.T, c Cluster, name string) {
	ctx := testContext(t)
	topic := quick(c, "g-"+name)
	topic.Name = name
	a := join(t, topic, 100)
	a.owns(ctx, 2)
	all, err := a.Partitions(ctx)
	if err != nil {
		t.Fatal(err)
	}
	a.Pause(all)
	b := join(t, topic, 100)
	b.owns(ctx, 1)
	a.owns(ctx, 1)
	kept := a.in.Lanes()[0].Partition
	write(t, topic, in(0, 0, 5)...)
	write(t, topic, in(1, 0, 5)...)
	b.take(ctx, 5) // the one that moved is not paused
	if n, _ := a.in.Pushed(); n != 0 {
		t.Errorf("%d records of a paused partition", n)
	}
	b.leave()
	a.owns(ctx, 2)
	for _, d := range a.take(ctx, 5) { // the one that comes back is not paused either
		if d.Lane.Partition == kept {
			t.Errorf("%s is paused", kept)
		}
	}
	a.Resume(all)
	a.take(ctx, 5)
}

func TestDelivery_089_pause_and_rebalance(t *testing.T) {
	testPauseAndRebalance(t, at(two(t, 0)), "in")
}

func TestDelivery_089_pause_and_rebalance_real(t *testing.T) {
	brokers := realBrokers(t)
	testPauseAndRebalance(t, Cluster{Brokers: brokers}, create(t, brokers, 2, nil))
}

// testPauseAndEagerRebalance: with a strategy that gives all partitions back before each
// join, also the one that comes back is assigned anew: it is not paused, and goes on at
// what is committed. (The runtime pauses it again as it is assigned.) The topic has two
// partitions of five records.
func testPauseAndEagerRebalance(t *testing.T, c Cluster, name string) {
	for _, balance := range []Balance{Range, Sticky} {
		t.Run(string(balance), func(t *testing.T) {
			ctx := testContext(t)
			topic := quick(c, fmt.Sprint("g-", name, "-", balance))
			topic.Name, topic.Balance = name, []Balance{balance}
			a := join(t, topic, 100)
			ds := a.take(ctx, 10)
			var done []primitivetest.Delivery
			for _, d := range ds {
				if d.Record.Offset < 2 {
					done = append(done, d)
				}
			}
			if err := a.commit(ctx, done); err != nil {
				t.Fatal(err)
			}
			all, err := a.Partitions(ctx)
			if err != nil {
				t.Fatal(err)
			}
			a.Pause(all)
			b := join(t, topic, 100)
			b.owns(ctx, 1)
			if err := a.in.Wait(ctx, func() bool {
				return len(a.in.Lanes()) == 1 && !slices.Contains([]*primitivetest.Lane{ds[0].Lane, ds[9].Lane}, a.in.Lanes()[0])
			}); err != nil {
				t.Fatalf("no lane anew: %v", err)
			}
			for _, m := range []*member{a, b} {
				lane := m.in.Lanes()[0]
				again := m.take(ctx, 3)
				if lane.Start != 2 || again[0].Lane != lane || again[0].Record.Offset != 2 {
					t.Errorf("%s begins at %d with %d, want what is committed: 2", lane.Partition, lane.Start, again[0].Record.Offset)
				}
			}
			if x, y := a.in.Lanes()[0].Partition, b.in.Lanes()[0].Partition; x == y {
				t.Errorf("both have %s", x)
			}
		})
	}
}

func TestDelivery_089_pause_and_eager_rebalance(t *testing.T) {
	testPauseAndEagerRebalance(t, at(two(t, 5)), "in")
}

func TestDelivery_089_pause_and_eager_rebalance_real(t *testing.T) {
	brokers := realBrokers(t)
	name := create(t, brokers, 2, nil)
	for p := range int32(2) {
		write(t, Topic[[]byte]{Name: name, Cluster: Cluster{Brokers: brokers}}, in(p, 0, 5)...)
	}
	testPauseAndEagerRebalance(t, Cluster{Brokers: brokers}, name)
}

// Leaders move without a loss, a repetition or an error.
func TestLeadersMove(t *testing.T) {
	c, err := kfake.NewCluster(kfake.NumBrokers(3), kfake.SeedTopics(3, "in"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx := testContext(t)
	topic := quick(at(c), "g")
	m := join(t, topic, 1000)
	m.owns(ctx, 3)
	next := map[primitives.Partition]int64{}
	for round := range 10 {
		for p := range int32(3) {
			if err := c.MoveTopicPartition("in", p, int32(round+int(p))%3); err != nil {
				t.Fatal(err)
			}
		}
		write(t, topic, numbered(30*round, 30)...)
		for _, d := range m.take(ctx, 30) {
			if d.Record.Offset != next[d.Lane.Partition] {
				t.Fatalf("%s@%d, want %d", d.Lane.Partition, d.Record.Offset, next[d.Lane.Partition])
			}
			next[d.Lane.Partition]++
		}
	}
}

// Errors that brokers answer fetches with are waited out.
func TestFetchErrorsPass(t *testing.T) {
	for _, code := range []*kerr.Error{
		kerr.NotLeaderForPartition, kerr.FencedLeaderEpoch, kerr.UnknownLeaderEpoch, kerr.LeaderNotAvailable, kerr.KafkaStorageError,
		kerr.UnknownServerError, kerr.UnknownTopicOrPartition, kerr.TopicAuthorizationFailed,
	} {
		t.Run(code.Message, func(t *testing.T) {
			c := fake(t)
			answered := 0
			c.ControlKey(int16(kmsg.Fetch), func(r kmsg.Request) (kmsg.Response, error, bool) {
				c.KeepControl()
				if answered++; answered > 4 {
					return nil, nil, false
				}
				response := r.ResponseKind().(*kmsg.FetchResponse)
				for _, rt := range r.(*kmsg.FetchRequest).Topics {
					topic := kmsg.NewFetchResponseTopic()
					topic.Topic, topic.TopicID = rt.Topic, rt.TopicID
					for _, rp := range rt.Partitions {
						p := kmsg.NewFetchResponseTopicPartition()
						p.Partition, p.ErrorCode = rp.Partition, code.Code
						topic.Partitions = append(topic.Partitions, p)
					}
					response.Topics = append(response.Topics, topic)
				}
				return response, nil, true
			})
			topic := Topic[[]byte]{Name: "out", Group: "g", Cluster: at(c), Start: Earliest}
			write(t, topic, numbered(0, 10)...)
			m := join(t, topic, 100)
			m.take(testContext(t), 10)
			if n := len(m.in.Lanes()); n != 1 {
				t.Errorf("%d lanes", n)
			}
		})
	}
}

// A record that is larger than a fetch comes all the same.
func TestRecordLargerThanAFetch(t *testing.T) {
	c := fake(t)
	topic := Topic[[]byte]{Name: "out", Group: "g", Cluster: at(c), Start: Earliest, FetchPartitionBytes: 1000, FetchMaxBytes: 2000}
	records := in(0, 0, 3)
	records[1].Value = make([]byte, 900_000)
	write(t, topic, records...)
	m := join(t, topic, 100)
	if ds := m.take(testContext(t), 3); len(ds[1].Record.Value) != 900_000 {
		t.Errorf("%d bytes", len(ds[1].Record.Value))
	}
}

// Headers keep their order and repetitions, values their nothingness.
func TestHeadersAndNulls(t *testing.T) {
	c := fake(t)
	client, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...), kgo.DefaultProduceTopic("out"))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx := testContext(t)
	at := time.UnixMilli(1_700_000_000_123)
	for i := range 300 { // more names than are kept
		r := &kgo.Record{Key: []byte("k"), Timestamp: at, Headers: []kgo.RecordHeader{
			{Key: fmt.Sprint("h", i), Value: []byte("1")}, {Key: "same", Value: []byte("a")}, {Key: "same", Value: []byte("b")},
		}}
		if err := client.ProduceSync(ctx, r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	m := join(t, Topic[[]byte]{Name: "out", Group: "g", Cluster: Cluster{Brokers: c.ListenAddrs()}, Start: Earliest}, 1000)
	for i, d := range m.take(ctx, 300) {
		want := []primitives.Header{{Name: fmt.Sprint("h", i), Value: []byte("1")}, {Name: "same", Value: []byte("a")}, {Name: "same", Value: []byte("b")}}
		if diff := cmp.Diff(want, d.Record.Headers); diff != "" {
			t.Fatal(diff)
		}
		if d.Record.Value != nil || !d.Record.Time.Equal(at) {
			t.Fatalf("value %v, time %v", d.Record.Value, d.Record.Time)
		}
	}
}

// A partition that is begun anew has a new lane, from what is committed; the old one is lost.
func TestReclaim(t *testing.T) {
	c := two(t, 10)
	ctx := testContext(t)
	m := join(t, quick(at(c), "g"), 100)
	ds := m.take(ctx, 20)
	lane := ds[0].Lane
	other := ds[19].Lane
	if err := m.Commit(ctx, []primitives.Commit{{Partition: lane.Partition, Epoch: lane.Epoch(), Next: 4}}); err != nil {
		t.Fatal(err)
	}
	m.Reclaim(lane.Partition, lane.Epoch()+100) // of a lane that is not there
	generation := m.Member().Generation
	m.Reclaim(lane.Partition, lane.Epoch())
	again := m.take(ctx, 6)
	if l := again[0].Lane; l == lane || l.Start != 4 || again[0].Record.Offset != 4 {
		t.Errorf("goes on at %d in a lane from %d", again[0].Record.Offset, l.Start)
	}
	if _, lost := lane.Released(); !lost {
		t.Error("the old lane is not lost")
	}
	if gone, _ := other.Released(); gone {
		t.Error("the other lane is gone")
	}
	if g := m.Member().Generation; g != generation {
		t.Errorf("the group has rebalanced: generation %d, %d before", g, generation)
	}
	if err := m.commit(ctx, again); err != nil {
		t.Error(err)
	}
}

// Partitions that are added to a topic are shared out.
func TestTopicGrows(t *testing.T) {
	c := fake(t)
	ctx := testContext(t)
	topic := quick(at(c), "g")
	topic.MetadataInterval = 100 * time.Millisecond
	m := join(t, topic, 100)
	m.owns(ctx, 4)
	if _, err := admin(t, c.ListenAddrs()).CreatePartitions(ctx, 2, "in"); err != nil {
		t.Fatal(err)
	}
	m.owns(ctx, 6)
	for _, l := range m.in.Lanes()[:4] {
		if gone, _ := l.Released(); gone {
			t.Errorf("%s was taken away", l.Partition)
		}
	}
}
