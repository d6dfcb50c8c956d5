package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

func franzOptions(m membership) []kgo.Opt {
	return []kgo.Opt{
		kgo.SeedBrokers(m.seeds()...), kgo.ConsumerGroup(m.group), kgo.ConsumeTopics(m.in), kgo.DefaultProduceTopic(m.out),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.SessionTimeout(10 * time.Second), kgo.HeartbeatInterval(time.Second),
		kgo.ProducerLinger(0),
	}
}

// franzMember produces what it has polled, waits until that is acknowledged, and commits.
func franzMember(ctx context.Context, m membership) error {
	cl, err := kgo.NewClient(append(franzOptions(m), kgo.DisableAutoCommit(), kgo.BlockRebalanceOnPoll())...)
	if err != nil {
		return err
	}
	defer cl.CloseAllowingRebalance()
	for ctx.Err() == nil {
		records, err := poll(ctx, func() kgo.Fetches { return cl.PollRecords(ctx, 500) })
		if err != nil {
			return err
		}
		outs, err := m.handleAll(records)
		if err != nil {
			return err
		}
		working := context.WithoutCancel(ctx)
		if err := cl.ProduceSync(working, outs...).FirstErr(); err != nil {
			return err
		}
		if err := cl.CommitRecords(working, records...); err != nil {
			fmt.Fprintln(os.Stderr, "commit:", err) // the group has gone on without this member
		}
		cl.AllowRebalance()
	}
	return nil
}

// franzTransactions does a transaction per poll. A session whose transaction could not
// be ended is of no use any more: the next begins with a new producer.
func franzTransactions(ctx context.Context, m membership) error {
	for ctx.Err() == nil {
		if err := franzSession(ctx, m); err != nil {
			fmt.Fprintln(os.Stderr, "session:", err)
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
			}
		}
	}
	return nil
}

func franzSession(ctx context.Context, m membership) error {
	s, err := kgo.NewGroupTransactSession(append(franzOptions(m), kgo.TransactionalID(m.name), kgo.TransactionTimeout(10*time.Second),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()))...)
	if err != nil {
		return err
	}
	defer s.Close()
	for ctx.Err() == nil {
		records, err := poll(ctx, func() kgo.Fetches { return s.PollRecords(ctx, 500) })
		if err != nil {
			return err
		}
		if len(records) == 0 {
			continue
		}
		outs, err := m.handleAll(records)
		if err != nil {
			return err
		}
		if err := s.Begin(); err != nil {
			return err
		}
		working := context.WithoutCancel(ctx)
		failed := s.ProduceSync(working, outs...).FirstErr()
		if failed != nil {
			fmt.Fprintln(os.Stderr, "produce:", failed)
		}
		if _, err := s.End(working, kgo.TransactionEndTry(failed == nil)); err != nil {
			return fmt.Errorf("end a transaction: %w", err)
		}
	}
	return nil
}

func poll(ctx context.Context, fetch func() kgo.Fetches) ([]*kgo.Record, error) {
	fetches := fetch()
	for _, e := range fetches.Errors() {
		if !errors.Is(e.Err, context.Canceled) {
			fmt.Fprintln(os.Stderr, "fetch:", e.Err)
		}
	}
	if fetches.IsClientClosed() {
		return nil, errors.New("the client is closed")
	}
	return fetches.Records(), nil
}

func (m membership) handleAll(records []*kgo.Record) ([]*kgo.Record, error) {
	outs := make([]*kgo.Record, len(records))
	for i, r := range records {
		value, err := m.handle(r.Value, r.Partition, r.Offset)
		if err != nil {
			return nil, err
		}
		outs[i] = &kgo.Record{Key: r.Key, Value: value}
	}
	return outs, nil
}
