// Package cluster is the measuring side's connection to Kafka brokers: topics, end
// offsets, committed offsets, and reading a topic to its end. Both commands of this
// module use it; it knows nothing of what they measure.
package cluster

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// A Cluster is a connection to brokers.
type Cluster struct {
	brokers []string
	client  *kgo.Client
	admin   *kadm.Client
}

// Dial connects. It errs within 10 s when no broker answers.
func Dial(ctx context.Context, brokers []string) (*Cluster, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
	if err != nil {
		return nil, err
	}
	asking, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := client.Ping(asking); err != nil {
		client.Close()
		return nil, fmt.Errorf("no broker answers at %v: %w", brokers, err)
	}
	return &Cluster{brokers, client, kadm.NewClient(client)}, nil
}

// Close ends the connection.
func (c *Cluster) Close() { c.client.Close() }

// Brokers are the addresses given to Dial.
func (c *Cluster) Brokers() []string { return c.brokers }

// Create makes a topic with as many replicas as there are brokers, three at most. Its
// records have the time at which the broker appended them.
func (c *Cluster) Create(ctx context.Context, topic string, partitions int) error {
	nodes, err := c.admin.ListBrokers(ctx)
	if err != nil {
		return err
	}
	config := map[string]*string{"message.timestamp.type": kadm.StringPtr("LogAppendTime"), "retention.ms": kadm.StringPtr("-1")}
	if _, err = c.admin.CreateTopic(ctx, int32(partitions), int16(min(len(nodes), 3)), config, topic); err != nil {
		return err
	}
	// The answer is that of the controller: the brokers learn of it a little later.
	for deadline := time.Now().Add(10 * time.Second); ; {
		if _, _, err = c.Ends(ctx, topic); err == nil || time.Now().After(deadline) {
			return err
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func (c *Cluster) Remove(ctx context.Context, topic string) error {
	_, err := c.admin.DeleteTopic(ctx, topic)
	return err
}

// Ends are the end offsets of a topic and their sum.
func (c *Cluster) Ends(ctx context.Context, topic string) (map[int32]int64, int64, error) {
	listed, err := c.admin.ListEndOffsets(ctx, topic)
	if err == nil {
		err = listed.Error()
	}
	if err != nil {
		return nil, 0, err
	}
	ends, sum := map[int32]int64{}, int64(0)
	listed.Each(func(o kadm.ListedOffset) {
		ends[o.Partition] = o.Offset
		sum += o.Offset
	})
	return ends, sum, nil
}

// Committed is what a group has committed in the partitions of a topic, and the sum.
func (c *Cluster) Committed(ctx context.Context, group, topic string) (map[int32]int64, int64, error) {
	fetched, err := c.admin.FetchOffsets(ctx, group)
	if err != nil {
		return nil, 0, err
	}
	offsets, sum := map[int32]int64{}, int64(0)
	for partition, o := range fetched[topic] {
		if o.Err != nil {
			return nil, 0, o.Err
		}
		if o.At >= 0 {
			offsets[partition] = o.At
			sum += o.At
		}
	}
	return offsets, sum, nil
}

// Read calls take with every record of a topic that a transaction has not left open
// or undone, partition by partition in order, up to the end that the topic has now.
func (c *Cluster) Read(ctx context.Context, topic string, take func(*kgo.Record) error) error {
	ends, _, err := c.Ends(ctx, topic)
	if err != nil {
		return err
	}
	left, from := map[int32]int64{}, map[int32]kgo.Offset{}
	for partition, end := range ends {
		from[partition] = kgo.NewOffset().At(0)
		if end > 0 {
			left[partition] = end
		}
	}
	reader, err := kgo.NewClient(kgo.SeedBrokers(c.brokers...), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: from}),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords()) // a marker may be the last record
	if err != nil {
		return err
	}
	defer reader.Close()
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	for len(left) > 0 {
		fetches := reader.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return fmt.Errorf("read %s, partitions and their ends %v: %w", topic, left, err)
		}
		var bad error
		fetches.EachRecord(func(r *kgo.Record) {
			if bad == nil && !r.Attrs.IsControl() {
				bad = take(r)
			}
			if r.Offset >= left[r.Partition]-1 {
				delete(left, r.Partition)
			}
		})
		if bad != nil {
			return fmt.Errorf("%s: %w", topic, bad)
		}
	}
	return nil
}
