package main

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

// The log of the local broker is kept small, because a start reads all of it. The
// retention of kfake itself knows sizes and times only; this one leaves alone what a
// consumer group has still to read.
const (
	kafkaKeepBytes = 64 << 20 // of each partition
	kafkaSweep     = time.Minute
	sweepTimeout   = 10 * time.Second
)

// sweepUntil sweeps now and then.
func (k *localKafka) sweepUntil(ctx context.Context, complain func(string)) {
	tick := time.NewTicker(kafkaSweep)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if err := k.sweep(ctx); err != nil && ctx.Err() == nil {
				complain(err.Error())
			}
		case <-ctx.Done():
			return
		}
	}
}

// sweep deletes the oldest records of partitions that have grown too large.
func (k *localKafka) sweep(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, sweepTimeout)
	defer cancel()
	client, err := kgo.NewClient(kgo.SeedBrokers(k.addr))
	if err != nil {
		return fmt.Errorf("sweep the local Kafka: %w", err)
	}
	adm := kadm.NewClient(client)
	defer adm.Close()
	topics, err := adm.ListTopics(ctx)
	if err != nil {
		return fmt.Errorf("sweep the local Kafka: %w", err)
	}
	unread := map[string]map[int32]int64{} // the lowest offset that a group has committed
	for _, t := range topics.Names() {
		for _, p := range k.cluster.PartitionInfos(t) {
			if p.NumBytes <= kafkaKeepBytes {
				continue
			}
			if len(unread) == 0 {
				if unread, err = committedByAny(ctx, adm); err != nil {
					return fmt.Errorf("sweep the local Kafka: %w", err)
				}
			}
			to := trimTo(p)
			if next, ok := unread[t][p.Partition]; ok {
				to = min(to, next)
			}
			if to <= p.LogStartOffset {
				continue
			}
			if err := k.cluster.DeleteRecords(t, p.Partition, to); err != nil {
				return fmt.Errorf("sweep the local Kafka: %s/%d: %w", t, p.Partition, err)
			}
		}
	}
	return nil
}

// trimTo is the offset above which a partition has about as many bytes as it may
// have, if its records are of one size.
func trimTo(p *kfake.PartitionInfo) int64 {
	keep := float64(p.HighWatermark-p.LogStartOffset) * kafkaKeepBytes / float64(p.NumBytes)
	return p.HighWatermark - int64(keep)
}

// committedByAny returns, per topic and partition, the lowest offset that a group
// has committed; a partition without is not in it.
func committedByAny(ctx context.Context, adm *kadm.Client) (map[string]map[int32]int64, error) {
	lowest := map[string]map[int32]int64{}
	groups, err := adm.ListGroups(ctx)
	if err != nil {
		return nil, err
	}
	for _, g := range groups.Groups() {
		offsets, err := adm.FetchOffsets(ctx, g)
		if err != nil {
			return nil, err
		}
		offsets.Each(func(o kadm.OffsetResponse) {
			if lowest[o.Topic] == nil {
				lowest[o.Topic] = map[int32]int64{}
			}
			if have, ok := lowest[o.Topic][o.Partition]; o.At >= 0 && (!ok || o.At < have) {
				lowest[o.Topic][o.Partition] = o.At
			}
		})
	}
	return lowest, nil
}
