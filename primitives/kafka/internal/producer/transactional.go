package producer

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/IBM/sarama"

	"github.com/flowkit-go/flow/primitives"
)

// Transactional is a transactional id that this process has claimed. At most one
// of its transactions is open. Its methods may be called from any goroutine.
type Transactional struct {
	e    *engine
	name string
	s    *session

	ctx    context.Context // ends with Release
	cancel context.CancelFunc
	wake   chan struct{} // for run
	ended  chan struct{} // closed when run has returned

	// guarded by the engine's lock
	tx     *Txn
	gone   error // set for good when another producer has taken over, or it was released
	renew  bool  // the epoch must be raised before the next transaction
	writes int   // batches that are not resolved
	toAdd  []*queue
	adding bool
	quiet  []chan struct{} // closed when nothing is being written or added
}

// Claim takes over a transactional id: whoever had it before can commit and write
// nothing any longer, its open transaction is aborted, and one that it was
// committing has ended when Claim returns. An earlier claim of p for the same id
// is lost too.
func (p *Producer) Claim(ctx context.Context, transactionalID string) (*Transactional, error) {
	e := p.e
	if transactionalID == "" {
		return nil, errors.New("kafka: the transactional id is empty")
	}
	e.mu.Lock()
	closed := e.closed
	old := e.txns[transactionalID]
	e.mu.Unlock()
	if closed {
		return nil, primitives.ErrClosed
	}
	if old != nil {
		old.Release()
	}
	id, err := e.initTransactional(ctx, transactionalID, identity{-1, -1})
	if err != nil {
		return nil, fmt.Errorf("kafka: claim transactional id %s: %w", transactionalID, err)
	}
	x := &Transactional{e: e, name: transactionalID, wake: make(chan struct{}, 1), ended: make(chan struct{})}
	x.ctx, x.cancel = context.WithCancel(e.ctx)
	x.s = &session{e: e, txn: x, id: id, queues: map[*topic][]*queue{}}
	e.mu.Lock()
	defer e.unlock()
	if e.closed {
		x.cancel()
		return nil, primitives.ErrClosed
	}
	if other := e.txns[transactionalID]; other != nil { // claimed twice at the same time
		other.lose(fmt.Errorf("kafka: transactional id %s: %w: claimed again", other.name, primitives.ErrLost))
		other.cancel()
	}
	e.txns[transactionalID] = x
	e.sessions[x.s] = struct{}{}
	e.wg.Add(1)
	go x.run()
	return x, nil
}

// Release forgets the claim. Nothing is sent: an open transaction stays so until
// the id is claimed again or the transaction's timeout is over, so Abort it before.
func (x *Transactional) Release() {
	e := x.e
	e.mu.Lock()
	x.lose(fmt.Errorf("kafka: transactional id %s: %w: released", x.name, primitives.ErrLost))
	if e.txns[x.name] == x {
		delete(e.txns, x.name)
	}
	e.unlock()
	x.cancel()
	<-x.ended
}

// lose marks the claim as lost for good and fails what is not confirmed.
func (x *Transactional) lose(err error) {
	if x.gone != nil {
		return
	}
	x.gone = err
	x.toAdd = nil
	x.settleAll()
	x.checkQuiet()
}

// void marks the open transaction as one that can't be committed.
func (x *Transactional) void(err error) {
	if x.tx == nil || x.tx.err != nil {
		return
	}
	x.tx.err = err
	x.toAdd = nil
	x.settleAll()
}

func (x *Transactional) settleAll() {
	for _, qs := range x.s.queues {
		for _, q := range qs {
			if len(q.batches) > 0 {
				x.e.settle(q)
			}
		}
	}
}

// cause is why nothing more is written, or nil.
func (x *Transactional) cause() error {
	if x.gone != nil {
		return x.gone
	}
	if x.tx == nil {
		return errNoTransaction
	}
	return x.tx.err
}

var errNoTransaction = errors.New("kafka: the transaction has ended")

// touch is called when q has got a batch: its partition joins the transaction first.
func (x *Transactional) touch(q *queue) {
	if q.gated && !slices.Contains(x.toAdd, q) {
		x.toAdd = append(x.toAdd, q)
		poke(x.wake)
	}
}

func (x *Transactional) checkQuiet() {
	if x.writes > 0 || x.adding {
		return // the session stays known until the last answer has come
	}
	for _, c := range x.quiet {
		close(c)
	}
	x.quiet = nil
	if x.gone != nil {
		delete(x.e.sessions, x.s)
	}
}

// silence waits until nothing is being written or added.
func (x *Transactional) silence(ctx context.Context) error {
	x.e.mu.Lock()
	if x.writes == 0 && !x.adding {
		x.e.mu.Unlock()
		return nil
	}
	c := make(chan struct{})
	x.quiet = append(x.quiet, c)
	x.e.mu.Unlock()
	select {
	case <-c:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// run adds partitions to transactions, until Release or the engine stops.
func (x *Transactional) run() {
	defer x.e.wg.Done()
	defer close(x.ended)
	for {
		select {
		case <-x.wake:
		case <-x.ctx.Done():
			return
		}
		x.add()
	}
}

// add adds the partitions that wait for it, in one request.
func (x *Transactional) add() {
	e := x.e
	e.mu.Lock()
	qs := x.toAdd
	x.toAdd = nil
	if len(qs) == 0 || x.cause() != nil {
		e.mu.Unlock()
		return
	}
	x.adding = true
	tx := x.tx
	tx.wrote = true
	id := x.s.id
	e.mu.Unlock()

	req := &sarama.AddPartitionsToTxnRequest{
		Version: e.txnVersion(), TransactionalID: x.name, ProducerID: id.id, ProducerEpoch: id.epoch,
		TopicPartitions: map[string][]int32{},
	}
	for _, q := range qs {
		req.TopicPartitions[q.t.name] = append(req.TopicPartitions[q.t.name], q.part)
	}
	unsure, err := e.ask(tx.ctx, x.coordinator(), func(b *sarama.Broker) (sarama.KError, error) {
		res, err := b.AddPartitionsToTxn(req)
		if err != nil {
			return 0, err
		}
		k := sarama.ErrNoError
		for _, ps := range res.Errors {
			for _, p := range ps {
				k = worst(k, p.Err)
			}
		}
		return k, nil
	})

	e.mu.Lock()
	defer e.unlock()
	x.adding = false
	defer x.checkQuiet()
	if err != nil {
		err = fmt.Errorf("kafka: transaction %s: add partitions: %w", x.name, err)
		x.renew = x.renew || unsure // it may arrive when the transaction has ended
		if isFenced(err) {
			x.lose(err)
		} else {
			x.void(err)
		}
		return
	}
	for _, q := range qs {
		q.gated = false
		e.schedule(q)
	}
}

func (x *Transactional) coordinator() coordinator {
	return coordinator{sarama.CoordinatorTransaction, x.name}
}

// Begin starts a transaction. It sends nothing, unless the one before has ended
// in a way that leaves requests behind: then the id is claimed anew, which fails
// with ErrLost when someone else has it.
func (x *Transactional) Begin(ctx context.Context) (*Txn, error) {
	if err := x.silence(ctx); err != nil {
		return nil, fmt.Errorf("kafka: transaction %s: %w", x.name, err)
	}
	if err := x.renewEpoch(ctx); err != nil {
		return nil, err
	}
	e := x.e
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case x.gone != nil:
		return nil, x.gone
	case e.closed:
		return nil, primitives.ErrClosed
	case x.tx != nil:
		return nil, fmt.Errorf("kafka: transaction %s: the one before is still open: end it with Commit or Abort", x.name)
	}
	tx := &Txn{x: x}
	tx.ctx, tx.cancel = context.WithCancel(x.ctx)
	x.tx = tx
	return tx, nil
}

// renewEpoch raises the epoch when that is due: what is left of an earlier
// transaction is aborted, and requests that are still under way are refused.
func (x *Transactional) renewEpoch(ctx context.Context) error {
	e := x.e
	e.mu.Lock()
	due, from, gone := x.renew, x.s.id, x.gone
	e.mu.Unlock()
	if gone != nil {
		return gone
	}
	if !due {
		return nil
	}
	id, err := e.initTransactional(ctx, x.name, from)
	e.mu.Lock()
	defer e.unlock()
	if err != nil {
		err = fmt.Errorf("kafka: transaction %s: raise the epoch: %w", x.name, err)
		if isFenced(err) {
			x.lose(err)
		}
		return err
	}
	x.renew = false
	x.s.id = id
	for qs := range maps.Values(x.s.queues) {
		for _, q := range qs {
			q.id, q.next, q.proven = id, 0, false
		}
	}
	return nil
}
