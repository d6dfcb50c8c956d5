package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/flowkit-go/flow/bench/kafka/cluster"
)

// send sends the records evenly over the length of the run and returns how many of
// each key were acknowledged.
func (r *run) send(ctx context.Context) (map[string]int64, error) {
	producer, err := kgo.NewClient(kgo.SeedBrokers(r.c.Brokers()...), kgo.DefaultProduceTopic(r.in), kgo.ProducerLinger(0))
	if err != nil {
		return nil, err
	}
	defer producer.Close()
	var mu sync.Mutex
	acked := map[string]int64{}
	var failed error
	began := time.Now()
	for i := range r.records {
		time.Sleep(time.Until(began.Add(time.Duration(float64(r.length) * float64(i) / float64(r.records)))))
		e := event{"k" + strconv.Itoa(i%r.keys), int64(i / r.keys)}
		value, err := json.Marshal(e)
		if err != nil {
			return nil, err
		}
		producer.Produce(ctx, &kgo.Record{Key: []byte(e.Key), Value: value}, func(_ *kgo.Record, err error) {
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				acked[e.Key]++
			} else if failed == nil {
				failed = fmt.Errorf("send %v: %w", e, err)
			}
		})
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
	}
	return acked, errors.Join(producer.Flush(ctx), failed)
}

// watch looks at what is committed ten times a second until ctx ends, or until all
// is when the number of records is known. Brokers may be away meanwhile.
func (r *run) watch(ctx context.Context, all <-chan int64) ([]sample, error) {
	var samples []sample
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	var end, last int64
	grown := time.Now()
	for {
		select {
		case <-tick.C:
		case end = <-all:
			grown = time.Now()
		case <-ctx.Done():
			return samples, context.Cause(ctx)
		}
		asking, cancel := context.WithTimeout(ctx, 5*time.Second)
		committed, sum, err := r.c.Committed(asking, r.group, r.in)
		cancel()
		if err == nil {
			samples = append(samples, sample{time.Now(), committed})
		}
		if sum > last {
			last, grown = sum, time.Now()
		}
		if end > 0 && last >= end {
			return samples, nil
		}
		if end > 0 && time.Since(grown) > time.Minute {
			return samples, fmt.Errorf("stuck: %d of %d records are committed, and none more for a minute", last, end)
		}
	}
}

// collect reads both topics.
func collect(ctx context.Context, c *cluster.Cluster, in, out string, parts int) (inputs map[int32][]input, emissions [][]emission, err error) {
	inputs, emissions = map[int32][]input{}, make([][]emission, parts)
	err = c.Read(ctx, in, func(rec *kgo.Record) error {
		e := input{arrived: rec.Timestamp}
		if err := json.Unmarshal(rec.Value, &e.event); err != nil {
			return err
		}
		if rec.Offset != int64(len(inputs[rec.Partition])) {
			return fmt.Errorf("the input has no record %d@%d", rec.Partition, len(inputs[rec.Partition]))
		}
		inputs[rec.Partition] = append(inputs[rec.Partition], e)
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	err = c.Read(ctx, out, func(rec *kgo.Record) error {
		e := emission{appended: rec.Timestamp}
		if err := json.Unmarshal(rec.Value, &e); err != nil {
			return fmt.Errorf("output %d@%d %q: %w", rec.Partition, rec.Offset, rec.Value, err)
		}
		emissions[rec.Partition] = append(emissions[rec.Partition], e)
		return nil
	})
	return inputs, emissions, err
}
