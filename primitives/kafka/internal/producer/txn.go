package producer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/IBM/sarama"

	"github.com/flowkit-go/flow/primitives"
)

// Txn is one transaction. It ends with one Commit or Abort.
type Txn struct {
	x      *Transactional
	ctx    context.Context // ends with the transaction, for the adding of partitions
	cancel context.CancelFunc

	// guarded by the engine's lock
	ending bool
	wrote  bool // the coordinator knows of it, or may
	err    error
}

// Member is the group's member that read what a transaction is about. Generation
// is -1 and the ids are empty for readers that are no members.
type Member struct {
	Group, ID, InstanceID string
	Generation            int32
}

// Offset is the next position to read in a partition.
type Offset struct {
	Partition primitives.Partition
	Next      int64
}

var errAborted = errors.New("the transaction was aborted")

// Write is p.Write inside the transaction: nothing of it is seen by readers of
// committed records before Commit. p may be any producer of the same cluster. A
// batch that fails because it can't be known whether it is stored, or that has
// run out of time, makes Commit fail too.
func (tx *Txn) Write(ctx context.Context, p *Producer, batch []primitives.Record, done func(error)) {
	e := tx.x.e
	t := p.t
	if p.e != e {
		var err error
		if t, err = e.adopt(ctx, p); err != nil {
			done(err)
			return
		}
	}
	e.write(ctx, tx.x.s, t, tx, batch, done)
}

// mayWrite is called with the lock held.
func (tx *Txn) mayWrite() error {
	if tx.ending || tx.x.tx != tx {
		return errNoTransaction
	}
	return tx.x.cause()
}

// adopt returns the topic of another engine's producer.
func (e *engine) adopt(ctx context.Context, p *Producer) (*topic, error) {
	e.mu.Lock()
	t := e.topics[p.t.name]
	e.mu.Unlock()
	if t != nil && t.count.Load() > 0 {
		return t, nil
	}
	return e.openTopic(ctx, p.t.name, p.t.format)
}

// Commit waits until all that was written is confirmed, adds the offsets of the
// member's group, if there are any, and makes all of it visible as one. When it
// fails the transaction is aborted, as far as the coordinator can be reached.
//
// member is asked before each attempt to add the offsets: when the group is in a newer
// generation, they are added as who the member is then. It errs when they are no longer
// its own to commit. It is not called without offsets.
//
// The error wraps primitives.ErrLost when another producer has taken the id over,
// when the broker has ended the transaction because of its timeout, or when the
// group has given the partition to another member. It wraps primitives.ErrInDoubt
// when no answer to the last request came before ctx ended.
func (tx *Txn) Commit(ctx context.Context, member func() (Member, error), offsets []Offset) error {
	x, e := tx.x, tx.x.e
	if err := tx.begin(false); err != nil {
		return err
	}
	err := x.silence(ctx)
	e.mu.Lock()
	if err == nil {
		err = x.cause()
	}
	wrote := tx.wrote
	e.mu.Unlock()
	if err == nil && len(offsets) > 0 {
		wrote = true
		err = tx.addOffsets(ctx, member, offsets)
	}
	if err != nil {
		return errors.Join(tx.fail("commit", err), tx.undo(ctx))
	}
	if wrote {
		unsure, err := tx.end(ctx, true)
		if err != nil {
			err = tx.fail("commit", err)
			if unsure {
				e.mu.Lock()
				x.renew = true
				e.mu.Unlock()
				tx.close()
				return fmt.Errorf("%w: %w", primitives.ErrInDoubt, err)
			}
			return errors.Join(err, tx.undo(ctx))
		}
	}
	tx.close()
	return nil
}

// Abort makes what was written void. What is not confirmed yet fails.
func (tx *Txn) Abort(ctx context.Context) error {
	if err := tx.begin(true); err != nil {
		return err
	}
	return tx.undo(ctx)
}

// begin begins the end.
func (tx *Txn) begin(abort bool) error {
	x := tx.x
	x.e.mu.Lock()
	defer x.e.unlock()
	if tx.ending {
		return fmt.Errorf("kafka: transaction %s: it has ended", x.name)
	}
	tx.ending = true
	if abort {
		x.void(errAborted)
	}
	return nil
}

// undo aborts the transaction at the coordinator and ends it here. When that
// does not work, the next Begin does it.
func (tx *Txn) undo(ctx context.Context) error {
	x, e := tx.x, tx.x.e
	tx.cancel()
	e.mu.Lock()
	x.void(errAborted)
	e.unlock()
	if ctx.Err() != nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), abortTimeout)
		defer cancel()
	}
	err := x.silence(ctx)
	defer tx.close()
	e.mu.Lock()
	if err != nil {
		x.renew = true
	}
	gone, renew, wrote := x.gone, x.renew, tx.wrote
	e.mu.Unlock()
	switch {
	case gone != nil:
		return gone // whoever has taken over has aborted it
	case err != nil:
		return tx.fail("abort", err)
	case renew:
		return x.renewEpoch(ctx)
	case !wrote:
		return nil
	}
	if _, err = tx.end(ctx, false); err == nil {
		return nil
	}
	e.mu.Lock()
	x.renew = true
	e.mu.Unlock()
	return tx.fail("abort", err)
}

// close ends the transaction here.
func (tx *Txn) close() {
	x := tx.x
	tx.cancel()
	x.e.mu.Lock()
	defer x.e.unlock()
	if x.tx != tx {
		return
	}
	for _, qs := range x.s.queues {
		for _, q := range qs {
			q.gated = true
		}
	}
	x.toAdd = nil
	x.tx = nil
}

// fail words an error, and gives the claim up when another producer has the id. A
// member that the group does not know any longer has still to abort.
func (tx *Txn) fail(what string, err error) error {
	x := tx.x
	err = fmt.Errorf("kafka: %s transaction %s: %w", what, x.name, err)
	if isFenced(err) {
		x.e.mu.Lock()
		x.lose(err)
		x.e.unlock()
	}
	return err
}

// end sends the last request of the transaction.
func (tx *Txn) end(ctx context.Context, commit bool) (unsure bool, err error) {
	x, e := tx.x, tx.x.e
	id := tx.identity()
	req := &sarama.EndTxnRequest{Version: e.txnVersion(), TransactionalID: x.name, ProducerID: id.id, ProducerEpoch: id.epoch, TransactionResult: commit}
	return e.ask(ctx, x.coordinator(), func(b *sarama.Broker) (sarama.KError, error) {
		res, err := b.EndTxn(req)
		if err != nil {
			return 0, err
		}
		return res.Err, nil
	})
}

func (tx *Txn) identity() identity {
	tx.x.e.mu.Lock()
	defer tx.x.e.mu.Unlock()
	return tx.x.s.id
}

// addOffsets makes offsets of a group part of the transaction.
func (tx *Txn) addOffsets(ctx context.Context, member func() (Member, error), offsets []Offset) error {
	x, e := tx.x, tx.x.e
	m, err := member()
	if err != nil {
		return err
	}
	id := tx.identity()
	e.mu.Lock()
	tx.wrote = true
	e.mu.Unlock()
	add := &sarama.AddOffsetsToTxnRequest{Version: e.txnVersion(), TransactionalID: x.name, ProducerID: id.id, ProducerEpoch: id.epoch, GroupID: m.Group}
	unsure, err := e.ask(ctx, x.coordinator(), func(b *sarama.Broker) (sarama.KError, error) {
		res, err := b.AddOffsetsToTxn(add)
		if err != nil {
			return 0, err
		}
		return res.Err, nil
	})
	if err == nil {
		unsure, err = e.commitOffsets(ctx, x.name, id, member, offsets)
	}
	if unsure {
		e.mu.Lock()
		x.renew = true // a late request must not begin another transaction
		e.mu.Unlock()
	}
	return err
}

// commitOffsets tries again as who the member is then, when a generation has ended.
func (e *engine) commitOffsets(ctx context.Context, name string, id identity, member func() (Member, error), offsets []Offset) (unsure bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, e.cfg.Timeout)
	defer cancel()
	for try := 0; ; try++ {
		m, err := member()
		if err != nil {
			return unsure, err
		}
		doubt, err := e.commitOffsetsAs(ctx, name, id, m, offsets)
		if err == nil {
			return false, nil
		}
		unsure = unsure || doubt
		if !isOutdated(err) {
			return unsure, err
		}
		if ended := pause(ctx, try); ended != nil { // the member may be about to learn of it
			return unsure, errors.Join(ended, err)
		}
	}
}

// isOutdated reports whether the group has refused a generation, rather than the member.
func isOutdated(err error) bool {
	return errors.Is(err, sarama.ErrIllegalGeneration) || errors.Is(err, sarama.ErrRebalanceInProgress)
}

func (e *engine) commitOffsetsAs(ctx context.Context, name string, id identity, m Member, offsets []Offset) (unsure bool, err error) {
	req := &sarama.TxnOffsetCommitRequest{
		TransactionalID: name, GroupID: m.Group, ProducerID: id.id, ProducerEpoch: id.epoch,
		Topics: map[string][]*sarama.PartitionOffsetMetadata{},
	}
	switch v := e.conf.Version; {
	case v.IsAtLeast(sarama.V2_5_0_0):
		req.Version = 3
		req.GenerationID, req.MemberID = m.Generation, m.ID
		if m.InstanceID != "" {
			req.GroupInstanceID = &m.InstanceID
		}
	case v.IsAtLeast(sarama.V2_1_0_0):
		req.Version = 2
	case v.IsAtLeast(sarama.V2_0_0_0):
		req.Version = 1
	}
	for _, o := range offsets {
		t := o.Partition.Topic
		req.Topics[t] = append(req.Topics[t], &sarama.PartitionOffsetMetadata{Partition: o.Partition.ID, Offset: o.Next, LeaderEpoch: -1})
	}
	return e.ask(ctx, coordinator{sarama.CoordinatorGroup, m.Group}, func(b *sarama.Broker) (sarama.KError, error) {
		res, err := b.TxnOffsetCommit(req)
		if err != nil {
			return 0, err
		}
		k := sarama.ErrNoError
		for _, ps := range res.Topics {
			for _, p := range ps {
				k = worst(k, p.Err)
			}
		}
		return k, nil
	})
}

// settleTransactional is settle for a queue of a transactional id. Its epoch is
// the coordinator's: when a sequence has become useless and it can't be known
// which of its records are stored, the transaction can't be committed.
func (e *engine) settleTransactional(q *queue) {
	x := q.s.txn
	now := time.Now()
	cause := x.cause()
	if e.aborted != nil {
		cause = e.aborted
	}
	var kept []*batch
	var void error
	vacant := false // a sequence will not be used: those behind it move up
	next := q.next
	for _, b := range q.batches {
		fate := cause
		switch {
		case fate != nil:
		case b.verdict == fenced:
			fate = fmt.Errorf("kafka: transaction %s: write to %s/%d: %w: %w", x.name, q.t.name, q.part, primitives.ErrLost, b.err)
			x.gone, cause = fate, fate
		case b.verdict == gap && len(kept) == 0 && !vacant:
			fate = e.wrap(q, fmt.Errorf("the broker has lost the sequence: %w", b.err))
			x.renew = true
		default:
			fate = e.fate(q, b, now)
		}
		if fate == nil && b.verdict == tooLarge {
			halves := e.split(b)
			kept = append(kept, halves[0], halves[1])
			continue
		}
		if fate != nil || b.verdict == invalid {
			if b.numbered && b.doubt {
				x.renew = true // it may still be under way
			}
			if fate != nil && (b.doubt || !primitives.IsPermanent(fate)) {
				void = cmpErr(void, fate)
			}
			if b.numbered && !vacant {
				vacant, next = true, b.seq
			}
		}
		if fate == nil && b.verdict == invalid {
			e.drop(b)
			b.numbered = false
			if len(b.records) == 0 {
				e.resolve(b, nil)
				continue
			}
		}
		if fate != nil {
			if q.open == b {
				q.open = nil
			}
			e.resolve(b, fate)
			continue
		}
		b.verdict = pending
		if vacant && b.numbered {
			if b.doubt {
				void = cmpErr(void, e.wrap(q, b.err))
				x.renew = true
			}
			b.numbered = false
		}
		kept = append(kept, b)
	}
	if vacant {
		q.next = next
		q.proven = false
	}
	q.batches = kept
	e.kicking = e.kicking || q.held
	switch {
	case x.gone != nil && x.gone == cause:
		err := x.gone
		x.gone = nil
		x.lose(err)
	case void != nil:
		x.void(void)
		if len(q.batches) > 0 {
			e.settle(q)
		}
	}
}
