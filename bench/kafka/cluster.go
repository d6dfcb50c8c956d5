package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/goccy/go-json"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/flowkit-go/flow/bench/kafka/programs"
)

// cluster is the measuring side's connection to the brokers.
type cluster struct {
	brokers []string
	client  *kgo.Client
	admin   *kadm.Client
}

func dial(ctx context.Context, brokers []string) (*cluster, error) {
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
	return &cluster{brokers, client, kadm.NewClient(client)}, nil
}

func (c *cluster) close() { c.client.Close() }

// create makes a topic with as many replicas as there are brokers, three at most. Its
// records have the time at which the broker appended them.
func (c *cluster) create(ctx context.Context, topic string, partitions int) error {
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
		if _, _, err = c.ends(ctx, topic); err == nil || time.Now().After(deadline) {
			return err
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func (c *cluster) remove(ctx context.Context, topic string) error {
	_, err := c.admin.DeleteTopic(ctx, topic)
	return err
}

// ends are the end offsets of a topic and their sum.
func (c *cluster) ends(ctx context.Context, topic string) (map[int32]int64, int64, error) {
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

// committed is the sum of what a group has committed in a topic.
func (c *cluster) committed(ctx context.Context, group, topic string) (int64, error) {
	fetched, err := c.admin.FetchOffsets(ctx, group)
	if err != nil {
		return 0, err
	}
	var sum int64
	for _, o := range fetched[topic] {
		sum += max(o.At, 0)
	}
	return sum, nil
}

// input makes sure that a topic exists which holds records 0 to n-1, and returns
// its name. It stays, so that the next round, or run, finds it.
func (c *cluster) input(ctx context.Context, n, partitions, customers int) (string, error) {
	topic := fmt.Sprintf("bench-in-%d-%d-%d", n, partitions, customers)
	if err := c.create(ctx, topic, partitions); err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
		return "", err
	}
	_, have, err := c.ends(ctx, topic)
	if err != nil || have == int64(n) {
		return topic, err
	}
	if have > 0 { // a run that was interrupted has left a part
		return "", fmt.Errorf("topic %s holds %d records in place of %d: delete it", topic, have, n)
	}
	producer, err := kgo.NewClient(kgo.SeedBrokers(c.brokers...), kgo.DefaultProduceTopic(topic), kgo.ProducerBatchCompression(kgo.NoCompression()))
	if err != nil {
		return "", err
	}
	defer producer.Close()
	var failed error // set by promises, which come one at a time, and read after Flush
	for seq := range int64(n) {
		value, err := json.Marshal(programs.NewOrder(seq, customers))
		if err != nil {
			return "", err
		}
		producer.Produce(ctx, &kgo.Record{Key: []byte(programs.Key(programs.NewOrder(seq, customers))), Value: value}, func(_ *kgo.Record, err error) {
			failed = errors.Join(failed, err)
		})
	}
	return topic, errors.Join(producer.Flush(ctx), failed)
}

// seqOf finds the number of a record without decoding it.
func seqOf(value []byte) (int64, error) {
	const prefix = `{"seq":`
	if len(value) > len(prefix) && string(value[:len(prefix)]) == prefix {
		for i := len(prefix); i < len(value); i++ {
			if value[i] < '0' || value[i] > '9' {
				return strconv.ParseInt(string(value[len(prefix):i]), 10, 64)
			}
		}
	}
	var o programs.Order
	if err := json.Unmarshal(value, &o); err != nil {
		return 0, fmt.Errorf("output %q: %w", value, err)
	}
	return o.Seq, nil
}
