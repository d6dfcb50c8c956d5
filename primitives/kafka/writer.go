package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/primitives/kafka/driver"
)

// producing is the sink's part of a Topic, without its type.
type producing struct {
	cluster Cluster
	with    driver.Producing
}

// writer writes to one topic.
type writer struct {
	producer driver.Producer
	brokers  []string
	flow     string

	mu     sync.Mutex
	claims map[primitives.Partition]driver.Transactional
}

var (
	_ primitives.Writer      = (*writer)(nil)
	_ primitives.Transactor  = (*writer)(nil)
	_ primitives.Transaction = (*transaction)(nil)
)

func openWriter(ctx context.Context, p *producing, env *primitives.Env) (primitives.Writer, error) {
	if !isTopicName(p.with.Topic) || p.with.Topic == "" {
		return nil, fmt.Errorf("kafka: Name %q is not that of a topic", p.with.Topic)
	}
	cluster, err := p.cluster.resolve()
	if err != nil {
		return nil, err
	}
	with := p.with
	with.Logger = env.Logger
	producer, err := p.cluster.driver().OpenProducer(ctx, cluster, with)
	if errors.Is(err, driver.ErrUnknownTopic) {
		return nil, fmt.Errorf("kafka: topic %w at %s: create it, or correct the name", err, strings.Join(cluster.Brokers, ", "))
	}
	if err != nil {
		return nil, openError(err)
	}
	return &writer{producer: producer, brokers: cluster.Brokers, flow: env.Flow, claims: map[primitives.Partition]driver.Transactional{}}, nil
}

// Write implements primitives.Writer.
func (w *writer) Write(ctx context.Context, batch []primitives.Record, done func(error)) {
	w.producer.Write(ctx, batch, done)
}

// Close implements primitives.Writer.
func (w *writer) Close(ctx context.Context) error { return w.producer.Close(ctx) }

// Claim takes over the transactional id of a source partition: the group's name,
// the topic and the partition, with slashes between them.
func (w *writer) Claim(ctx context.Context, source primitives.Reader, p primitives.Partition) (int64, error) {
	r, err := w.sourceOf(source)
	if err != nil {
		return 0, err
	}
	x, err := w.producer.Claim(ctx, transactionalID(r.with.Group, p))
	if err != nil {
		return 0, lasting(err)
	}
	w.mu.Lock()
	w.claims[p] = x
	w.mu.Unlock()
	next, err := r.consumer.Committed(ctx, r.with.Group, []primitives.Partition{p}, true)
	if err != nil {
		return 0, lasting(fmt.Errorf("kafka: claim %s: %w", p, err))
	}
	return next[0], nil
}

// lasting makes what the brokers do not allow permanent: the flow stops with it.
func lasting(err error) error {
	if errors.Is(err, driver.ErrRefused) {
		return primitives.Permanent(err)
	}
	return err
}

// transactionalID names the writing for one source partition. A topic's name has no
// slash, so no two groups and topics give the same.
func transactionalID(group string, p primitives.Partition) string {
	return fmt.Sprintf("%s/%s/%d", group, p.Topic, p.ID)
}

// sourceOf returns the source as one of this package and cluster.
func (w *writer) sourceOf(source primitives.Reader) (*reader, error) {
	r, ok := source.(*reader)
	if !ok || !sameCluster(r.brokers, w.brokers) {
		return nil, primitives.Permanent(errors.New("kafka: outputs and progress can be made one within one Kafka cluster only: read and write topics of the same Cluster"))
	}
	return r, nil
}

// sameCluster reports whether lists of brokers have one in common.
func sameCluster(a, b []string) bool {
	return slices.ContainsFunc(a, func(broker string) bool { return slices.Contains(b, broker) })
}

// Begin starts a transaction for a partition that was claimed.
func (w *writer) Begin(ctx context.Context, source primitives.Reader, p primitives.Partition) (primitives.Transaction, error) {
	r, err := w.sourceOf(source)
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	x := w.claims[p]
	w.mu.Unlock()
	if x == nil {
		return nil, fmt.Errorf("kafka: transaction of %s: %w: it was not claimed", p, primitives.ErrLost)
	}
	t, err := x.Begin(ctx)
	if err != nil {
		return nil, lasting(err)
	}
	return &transaction{t: t, r: r, p: p}, nil
}

// transaction is one of a source partition.
type transaction struct {
	t driver.Transaction
	r *reader
	p primitives.Partition
}

// Write implements primitives.Transaction.
func (t *transaction) Write(ctx context.Context, to primitives.Writer, batch []primitives.Record, done func(error)) {
	w, ok := to.(*writer)
	if !ok {
		done(primitives.Permanent(errors.New("kafka: a transaction writes to topics of its own cluster only")))
		return
	}
	t.t.Write(ctx, w.producer, batch, func(err error) { done(lasting(err)) })
}

// Commit implements primitives.Transaction.
func (t *transaction) Commit(ctx context.Context, c primitives.Commit) error {
	// A rebalance in which the partition stays ends the generation and not the lane.
	member := func() (driver.Member, error) {
		who := t.r.Member() // before it is looked whether the lane is held
		if !t.r.holds(c) || who.Generation < 0 {
			return who, fmt.Errorf("kafka: commit %s@%d: %w", c.Partition, c.Next, primitives.ErrLost)
		}
		return who, nil
	}
	if _, err := member(); err != nil {
		return errors.Join(err, t.t.Abort(ctx))
	}
	err := t.t.Commit(ctx, member, []driver.Offset{{Partition: c.Partition, Next: c.Next}})
	if err == nil {
		t.r.progressed(c)
	}
	return lasting(err)
}

// Abort implements primitives.Transaction.
func (t *transaction) Abort(ctx context.Context) error { return t.t.Abort(ctx) }
