package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/IBM/sarama"

	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/primitives/kafka/driver"
	"github.com/flowkit-go/flow/primitives/kafka/internal/producer"
)

// writer is a producer with the client that it uses.
type writer struct {
	*producer.Producer
	client *Client
	with   driver.Producing
}

var _ driver.Producer = (*writer)(nil)

// OpenProducer implements driver.Driver.
func (Driver) OpenProducer(ctx context.Context, cluster driver.Cluster, with driver.Producing) (driver.Producer, error) {
	c, err := Open(ctx, cluster, with.Topic)
	if err != nil {
		return nil, err
	}
	w, err := newWriter(ctx, c, with)
	if err != nil {
		return nil, errors.Join(err, c.Close(context.WithoutCancel(ctx)))
	}
	return w, nil
}

func newWriter(ctx context.Context, c *Client, with driver.Producing) (*writer, error) {
	if _, err := c.Partitions(ctx, with.Topic); err != nil {
		return nil, err
	}
	codec, err := codecOf(with.Compression)
	if err != nil {
		return nil, err
	}
	p, err := producer.Open(ctx, c.meta, producer.Config{
		Topic: with.Topic, Partitioner: producer.Partitioner(with.Partitioner), Compression: codec, MaxMessageBytes: with.MaxMessageBytes,
		Timeout: with.Timeout, TransactionTimeout: with.TransactionTimeout, Logger: with.Logger,
	})
	if err != nil {
		return nil, err
	}
	return &writer{p, c, with}, nil
}

func codecOf(c driver.Compression) (sarama.CompressionCodec, error) {
	switch c {
	case driver.NoCompression:
		return sarama.CompressionNone, nil
	case driver.Gzip:
		return sarama.CompressionGZIP, nil
	case driver.Snappy:
		return sarama.CompressionSnappy, nil
	case driver.LZ4:
		return sarama.CompressionLZ4, nil
	case driver.Zstd:
		return sarama.CompressionZSTD, nil
	}
	return 0, fmt.Errorf("compression %q is not known", c)
}

// Close closes the producer and then the client.
func (w *writer) Close(ctx context.Context) error {
	return errors.Join(w.Producer.Close(ctx), w.client.Close(ctx))
}

// Claim implements driver.Producer.
func (w *writer) Claim(ctx context.Context, id string) (driver.Transactional, error) {
	x, err := w.Producer.Claim(ctx, id)
	if errors.Is(err, sarama.ErrInvalidTransactionTimeout) {
		return nil, fmt.Errorf("%w: %w: TransactionTimeout of topic %s is %v, and the brokers allow no more than their transaction.max.timeout.ms, which is 15 min unless changed: set one or the other",
			driver.ErrRefused, err, w.with.Topic, cmp.Or(w.with.TransactionTimeout, producer.DefaultTransactionTimeout))
	}
	if err != nil {
		return nil, refused(err)
	}
	return transactional{x}, nil
}

type transactional struct{ *producer.Transactional }

func (x transactional) Begin(ctx context.Context) (driver.Transaction, error) {
	t, err := x.Transactional.Begin(ctx)
	if err != nil {
		return nil, refused(err)
	}
	return transaction{t}, nil
}

type transaction struct{ txn *producer.Txn }

func (t transaction) Write(ctx context.Context, to driver.Producer, batch []primitives.Record, done func(error)) {
	w, ok := to.(*writer)
	if !ok {
		done(primitives.Permanent(errors.New("kafka: a transaction writes to topics of one driver only")))
		return
	}
	t.txn.Write(ctx, w.Producer, batch, func(err error) { done(refused(err)) })
}

func (t transaction) Commit(ctx context.Context, member func() (driver.Member, error), offsets []driver.Offset) error {
	of := make([]producer.Offset, len(offsets))
	for i, o := range offsets {
		of[i] = producer.Offset(o)
	}
	return refused(t.txn.Commit(ctx, func() (producer.Member, error) {
		m, err := member()
		return producer.Member(m), err
	}, of))
}

func (t transaction) Abort(ctx context.Context) error { return t.txn.Abort(ctx) }
