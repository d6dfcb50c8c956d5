package kafka

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// A partition whose log cannot be decoded is reported, and holds up no other.
func TestBrokenBatch(t *testing.T) {
	c := two(t, 0)
	broken := encodeBatch(batchAt(0, 0, false))
	broken[len(broken)-1] ^= 1 // its checksum does not match
	c.ControlKey(int16(kmsg.Fetch), func(r kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		request := r.(*kmsg.FetchRequest)
		response := request.ResponseKind().(*kmsg.FetchResponse)
		for _, rt := range request.Topics {
			topic := kmsg.NewFetchResponseTopic()
			topic.Topic, topic.TopicID = rt.Topic, rt.TopicID
			for _, rp := range rt.Partitions {
				p := kmsg.NewFetchResponseTopicPartition()
				p.Partition, p.HighWatermark, p.LastStableOffset = rp.Partition, 20, 20
				switch {
				case rp.Partition == 0:
					p.RecordBatches = broken
				case rp.FetchOffset < 20:
					p.RecordBatches = encodeBatch(batchAt(rp.FetchOffset, 0, false))
				}
				topic.Partitions = append(topic.Partitions, p)
			}
			response.Topics = append(response.Topics, topic)
		}
		return response, nil, true
	})
	ctx := testContext(t)
	m := join(t, quick(at(c), "g"), 100)
	start := time.Now()
	for _, d := range m.take(ctx, 20) {
		if d.Lane.Partition.ID != 1 {
			t.Errorf("a record of %s", d.Lane.Partition)
		}
	}
	if took := time.Since(start); took > 3*time.Second {
		t.Errorf("20 records of the other partition took %v", took)
	}
	if err := m.in.Wait(ctx, func() bool { return m.last() != nil }); err != nil {
		t.Fatalf("nothing is reported: %v", err)
	}
	if err := m.last(); !strings.Contains(err.Error(), "in/0") {
		t.Errorf("the report does not name the partition: %v", err)
	}
}

// A flow ends in time though the brokers do not answer who leads a partition.
func TestCloseWhileBrokersHang(t *testing.T) {
	c := two(t, 5)
	ctx := testContext(t)
	m := join(t, quick(at(c), "g"), 100)
	m.take(ctx, 10)
	hangs, release := make(chan struct{}), make(chan struct{})
	t.Cleanup(func() { close(release) })
	asked := 0
	c.ControlKey(int16(kmsg.Metadata), func(kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		if asked++; asked < 3 { // the first answers are that the topic is gone
			return nil, nil, false
		}
		if asked == 3 {
			close(hangs)
		}
		c.SleepControl(func() { <-release })
		return nil, nil, false
	})
	if err := c.DeleteTopic("in"); err != nil {
		t.Fatal(err)
	}
	<-hangs
	start := time.Now()
	m.cancel()
	select {
	case err := <-m.ended:
		m.over = true
		if err != nil {
			t.Error(err)
		}
	case <-time.After(5 * time.Second):
		t.Fatalf("Run does not return")
	}
	short, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if err := m.Close(short); err != nil {
		t.Errorf("Close: %v after %v", err, time.Since(start))
	}
}
