package flow_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// A compacted log has holes, those of a transaction that was aborted among them: what is
// committed at its end is its end.
func TestDelivery_030_kafka_compacted_log(t *testing.T) {
	onKafka(t, func(t *testing.T, k *kafkaRig) {
		k.create(1, "out")
		set := func(v string) *string { return &v }
		made, err := k.admin.CreateTopic(k.context(), 1, -1, map[string]*string{
			"cleanup.policy": set("compact"), "min.cleanable.dirty.ratio": set("0"), "segment.ms": set("1000"), "delete.retention.ms": set("0"),
		}, k.name("in"))
		if err != nil || made.Err != nil {
			t.Fatal(err, made.Err)
		}
		k.until("the topic is known", func() bool {
			known, err := k.admin.ListTopics(k.context(), k.name("in"))
			return err == nil && known.Error() == nil
		})
		// Segments are as long as the times of their records say.
		long := time.Now().Add(-time.Minute)
		put := func(key string, from, to int, at time.Time) (records []*kgo.Record) {
			for v := from; v < to; v++ {
				records = append(records, &kgo.Record{Topic: k.name("in"), Key: []byte(key), Value: fmt.Append(nil, v), Timestamp: at})
			}
			return records
		}
		k.append(put("a", 0, 300, long)...)
		k.append(put("a", 300, 301, long)...)
		writer, err := kgo.NewClient(kgo.SeedBrokers(k.cluster.Brokers...), kgo.TransactionalID(k.name("x")), kgo.RecordPartitioner(kgo.ManualPartitioner()))
		if err != nil {
			t.Fatal(err)
		}
		defer writer.Close()
		if err := writer.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		if err := writer.ProduceSync(k.context(), put("b", 301, 343, long)...).FirstErr(); err != nil {
			t.Fatal(err)
		}
		if err := writer.EndTransaction(k.context(), kgo.TryAbort); err != nil {
			t.Fatal(err)
		}
		k.until("the end of the transaction is written", func() bool { // a broker says so before
			ends, err := k.admin.ListEndOffsets(k.context(), k.name("in"))
			end, ok := ends.Lookup(k.name("in"), 0)
			return err == nil && ok && end.Offset == 344
		})
		k.append(put("c", 344, 345, time.Now())...) // in a segment of its own, which is not cleaned
		if k.fake != nil {
			k.fake.Compact()
		}
		var offsets []int64 // of what is left
		k.until("the log is compacted", func() bool {
			offsets = nil
			for _, r := range k.log("in") {
				if !r.Attrs.IsControl() {
					offsets = append(offsets, r.Offset)
				}
			}
			return len(offsets) == 2
		})
		equal(t, "offsets in the log", offsets, []int64{300, 344})

		var got seen[int]
		f := k.launch(1, k.copy(func(_ context.Context, v int) (int, error) {
			got.add(v)
			return v, nil
		}))
		k.settled(345)
		f.stopped()
		equal(t, "handled", got.all(), []int{300, 344})
		equal(t, "committed", k.committed(0), 345)
		k.seen([]int{300, 344})
	})
}
