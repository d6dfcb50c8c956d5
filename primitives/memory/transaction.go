package memory

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/flowkit-go/flow/primitives"
)

var (
	_ primitives.Transactor  = (*topicWriter)(nil)
	_ primitives.Transaction = (*transaction)(nil)
)

// A topicWriter is a writer of a topic, which can also write in transactions.
type topicWriter struct {
	*writer
	topic *topicStore
}

// Claim makes w the one writer whose transactions for the partition count.
func (w *topicWriter) Claim(ctx context.Context, source primitives.Reader, p primitives.Partition) (int64, error) {
	_, s, err := w.share(source, p)
	if err != nil {
		return 0, err
	}
	if err := w.topic.broker.control(ctx, Op{Kind: OpClaim, Name: p.Topic, Partition: p.ID}); err != nil {
		return 0, fmt.Errorf("memory: claim %s: %w", p, err)
	}
	w.topic.broker.mu.Lock()
	defer w.topic.broker.mu.Unlock()
	s.writer = w
	return s.committed, nil
}

// Begin starts a transaction. It errs when another writer has claimed the partition.
func (w *topicWriter) Begin(_ context.Context, source primitives.Reader, p primitives.Partition) (primitives.Transaction, error) {
	r, s, err := w.share(source, p)
	if err != nil {
		return nil, err
	}
	t := &transaction{broker: w.topic.broker, reader: r, share: s, owner: w, part: p}
	w.topic.broker.mu.Lock()
	defer w.topic.broker.mu.Unlock()
	return t, t.fenced()
}

// share returns the reader of the partition and what its group knows of it.
func (w *topicWriter) share(source primitives.Reader, p primitives.Partition) (*reader, *share, error) {
	if d, ok := source.(*delayingReader); ok {
		source = d.of(p.Topic)
	}
	r, ok := source.(*reader)
	if !ok || r.broker != w.topic.broker {
		return nil, nil, primitives.Permanent(fmt.Errorf("memory: %s cannot be written in one transaction with a source of another broker: use ExactlyOnce from topic to topic", w.topic))
	}
	r.broker.mu.Lock()
	defer r.broker.mu.Unlock()
	if p.Topic != r.topic || p.ID < 0 || int(p.ID) >= len(r.group.shares) {
		return nil, nil, fmt.Errorf("memory: transaction of %s: %w", p, primitives.ErrNotAssigned)
	}
	return r, r.group.shares[p.ID], nil
}

// A transaction holds back what is written until it is committed.
type transaction struct {
	broker *Broker
	reader *reader
	share  *share
	owner  *topicWriter
	part   primitives.Partition

	mu    sync.Mutex
	parts []stored
	ended bool
}

type stored struct {
	topic *topicStore
	parts []part
}

// fenced returns an error when another writer has claimed the partition since. The caller
// holds the broker's mu.
func (t *transaction) fenced() error {
	if t.share.writer != t.owner {
		return fmt.Errorf("memory: transaction of %s: another writer has claimed it: %w", t.part, primitives.ErrLost)
	}
	return nil
}

// Write copies the batch.
func (t *transaction) Write(ctx context.Context, w primitives.Writer, batch []primitives.Record, done func(error)) {
	to, ok := w.(*topicWriter)
	if !ok || to.topic.broker != t.broker {
		done(primitives.Permanent(errors.New("memory: a transaction writes to topics of its own broker only")))
		return
	}
	parts, err := to.topic.accept(ctx, batch)
	t.mu.Lock()
	if t.ended {
		err = primitives.ErrClosed
	} else {
		t.parts = append(t.parts, stored{to.topic, parts})
	}
	t.mu.Unlock()
	done(err)
}

// Commit stores what was written and the group's position together.
func (t *transaction) Commit(ctx context.Context, c primitives.Commit) error {
	op := Op{Kind: OpCommit, Name: t.part.Topic, Group: t.reader.groupName, Partition: t.part.ID, Next: c.Next}
	if err := t.broker.control(ctx, op); err != nil {
		_ = t.Abort(ctx)
		return fmt.Errorf("memory: commit a transaction of %s: %w", t.part, err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended {
		return primitives.ErrClosed
	}
	t.ended = true
	t.broker.mu.Lock()
	defer t.broker.mu.Unlock()
	if err := t.fenced(); err != nil {
		return err
	}
	if t.share.owner != t.reader || t.share.epoch != c.Epoch {
		return fmt.Errorf("memory: commit a transaction of %s: %w", t.part, primitives.ErrLost)
	}
	for _, s := range t.parts {
		s.topic.append(s.parts)
	}
	t.share.committed = c.Next
	t.broker.changed.broadcast()
	return nil
}

// Abort forgets what was written.
func (t *transaction) Abort(context.Context) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ended, t.parts = true, nil
	return nil
}
