package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/goccy/go-json"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/flowkit-go/flow/bench/kafka/programs"
)

// input makes sure that a topic exists which holds records 0 to n-1, and returns
// its name. It stays, so that the next round, or run, finds it.
func (b *bench) input(ctx context.Context, n, customers int) (string, error) {
	topic := fmt.Sprintf("bench-in-%d-%d-%d", n, b.parts, customers)
	if err := b.c.Create(ctx, topic, b.parts); err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
		return "", err
	}
	_, have, err := b.c.Ends(ctx, topic)
	if err != nil || have == int64(n) {
		return topic, err
	}
	if have > 0 { // a run that was interrupted has left a part
		return "", fmt.Errorf("topic %s holds %d records in place of %d: delete it", topic, have, n)
	}
	producer, err := kgo.NewClient(kgo.SeedBrokers(b.brokers...), kgo.DefaultProduceTopic(topic), kgo.ProducerBatchCompression(kgo.NoCompression()))
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
