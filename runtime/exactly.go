package runtime

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/flowkit-go/flow/primitives"
)

// Exactly once: the outputs of a lane's records and the lane's progress are
// committed in one transaction, one open per lane. Records of a lane are handled
// in sequence, so what the transaction holds when no write is under way is just the
// outputs of what is resolved.
//
//	claim -> (begin -> writes -> hold -> commit)* -> released
//
// When a write or a commit fails, the transaction is void, and with it everything
// since the last commit. The lane is given up like a lost one, and the reader begins
// the partition anew at what is committed. So one partition ends and not the flow.

// transacted is the part of a lane that belongs to exactly-once.
type transacted struct {
	claimed bool  // writing for the partition is ours
	skip    int64 // records below were committed by whoever had it before

	tx       primitives.Transaction // open; nil none
	gate     chan struct{}          // holds one token: one Begin at a time
	turn     chan struct{}          // holds one token: one commit at a time
	hold     bool                   // a commit is under way or wants to be: no write begins
	letters  int                    // records whose dead letters are being written
	lettered uint64                 // number after that of the last record whose dead letter is written
	spoiled  bool                   // the transaction may have outputs of records that are not resolved
}

// exactly reports whether outputs and progress are committed together.
func (c *consumer) exactly() bool { return c.transactor != nil }

// transactions checks that the sink has what ExactlyOnce needs.
func (c *consumer) transactions() error {
	if c.spec.Commit.Mode != ExactlyOnce {
		return nil
	}
	t, ok := c.writer.(primitives.Transactor)
	if !ok {
		return fmt.Errorf("%s: consumer %q: sink %s has no transactions, so that exactly once is not possible: use at least once, or a sink that has", c.spec.At, c.spec.Name, c.spec.Sink.Name)
	}
	if _, ok := c.dead.(primitives.Transactor); c.dead != nil && !ok {
		return fmt.Errorf("%s: consumer %q: the sink of dead letters %s has no transactions, so that exactly once is not possible: use a sink of the same system as %s", c.spec.At, c.spec.Name, c.spec.DeadLetter.Name, c.spec.Sink.Name)
	}
	c.transactor = t
	return nil
}

// claim takes the writing for a lane over. Nothing is handled before.
func (c *consumer) claim(l *lane) {
	for attempt := 1; ; attempt++ {
		var next int64
		err := guard(func() (err error) { next, err = c.transactor.Claim(l.ctx, c.reader, l.part); return err })
		switch {
		case err == nil:
			l.mu.Lock()
			l.claimed, l.skip = true, next
			if next > l.committed {
				l.committed, l.sent = next, next
				l.t.advance(next)
			}
			l.room.Broadcast()
			l.mu.Unlock()
			return
		case l.ctx.Err() != nil:
			return
		case primitives.IsPermanent(err):
			c.stopOnce(fmt.Errorf("%s: claim %s: %w", c.spec.Name, l.part, err))
			return
		case errors.Is(err, primitives.ErrLost):
			c.void(l, err)
			return
		}
		c.log.Warn("claiming a partition failed, trying again", "partition", l.part.String(), "attempt", attempt, "error", err)
		select {
		case <-time.After(sourceBackoff.Delay(attempt)):
		case <-l.ctx.Done():
			return
		}
	}
}

// stopOnce stops the flow, unless it stops: what is refused for one lane is for the others.
func (c *consumer) stopOnce(err error) {
	if c.stopped.CompareAndSwap(false, true) {
		c.stop(err)
	}
}

// behind is the number of records of a burst that were committed before the lane was
// claimed. mu is held.
func (l *lane) behind(burst []primitives.Record) (n int) {
	for n < len(burst) && burst[n].Offset < l.skip {
		n++
	}
	return n
}

// transaction returns the lane's open transaction, or begins one.
func (l *lane) transaction(ctx context.Context) (primitives.Transaction, error) {
	select {
	case l.gate <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	defer func() { <-l.gate }()
	l.mu.Lock()
	tx, state := l.tx, l.state
	l.mu.Unlock()
	if state == laneReleased { // also where its transaction is still to be aborted
		return nil, primitives.ErrLost
	}
	if tx != nil {
		return tx, nil
	}
	var err error
	if guarded := guard(func() error { tx, err = l.c.transactor.Begin(ctx, l.c.reader, l.part); return nil }); guarded != nil {
		err = guarded
	}
	if err != nil {
		return nil, fmt.Errorf("begin a transaction for %s: %w", l.part, err)
	}
	l.mu.Lock()
	if l.state != laneReleased {
		l.tx = tx
		l.mu.Unlock()
		return tx, nil
	}
	l.mu.Unlock()
	return nil, errors.Join(primitives.ErrLost, tx.Abort(ctx))
}

// writeIn writes a batch in its lane's transaction.
func (c *consumer) writeIn(l *lane, batch []primitives.Record, done func(error)) {
	tx, err := l.transaction(c.sinkCtx)
	if err != nil {
		done(err)
		return
	}
	tx.Write(c.sinkCtx, c.writer, batch, done)
}

// writeLetter writes a dead letter, in the lane's transaction if there is one.
func (c *consumer) writeLetter(l *lane, letter []primitives.Record) error {
	if !c.exactly() {
		return c.writeAndWait(c.dead, letter)
	}
	tx, err := l.transaction(c.sinkCtx)
	if err != nil {
		return err
	}
	return waitFor(func(done func(error)) { tx.Write(c.sinkCtx, c.dead, letter, done) })
}

// beginLetter waits while a commit is under way. From then until endLetter none begins, so
// that a dead letter and the progress of its record are in one transaction.
func (l *lane) beginLetter() {
	l.mu.Lock()
	defer l.mu.Unlock()
	// A commit that only wants to begin waits for the batch that this letter may be of, or
	// for the outputs that come before another letter.
	for l.hold && l.writing == nil && l.letters == 0 && !l.ahead() && l.state != laneReleased {
		l.room.Wait()
	}
	l.letters++
}

// posted notes that the dead letter of a record is in the transaction.
func (l *lane) posted(seq uint64) {
	l.mu.Lock()
	l.lettered = max(l.lettered, seq+1)
	l.mu.Unlock()
}

// ahead reports whether the transaction has a dead letter of a record before which others
// are not resolved: their outputs wait to be written. It cannot be committed then, as
// that record would be handled again. mu is held.
func (l *lane) ahead() bool { return l.lettered > l.t.head }

func (l *lane) endLetter() {
	l.mu.Lock()
	l.letters--
	l.room.Broadcast()
	l.mu.Unlock()
}

// void gives a lane up whose transaction cannot be committed, and has its partition
// begun anew after a pause. That is also the answer to being overtaken: the group
// tells whether the partition is still ours, and a process that was overtaken by one
// that is long gone goes on. It stops the flow where the reader cannot do that, or
// where it would not help.
func (c *consumer) void(l *lane, err error) {
	again, ok := c.reader.(primitives.Reclaimer)
	lost := errors.Is(err, primitives.ErrLost)
	var single *primitives.BatchError
	lasting := primitives.IsPermanent(err) && !errors.As(err, &single) // not the fault of a record
	if !lost && (!ok || lasting) {
		c.stopOnce(fmt.Errorf("%s: transaction of %s: %w", c.spec.Name, l.part, err))
	}
	cause := primitives.ErrReleased
	if lost {
		cause = primitives.ErrLost
	}
	if !c.abandon(l, cause) {
		return
	}
	c.stats.voided.Add(1)
	if c.stopped.Load() { // nothing is begun any longer
		return
	}
	if !ok {
		c.log.Warn("partition taken over by another process", "partition", l.part.String(), "error", err)
		return
	}
	d := sourceBackoff.Delay(int(c.voids.Add(1)))
	c.log.Warn("transaction failed, its partition is begun anew if it is still ours", "partition", l.part.String(), "in", d, "error", err)
	c.reclaims.Add(1)
	c.timers.after(d, func() {
		c.reclaim(again, l.part, l.epoch)
		c.reclaims.Add(-1)
	})
}

// abandon releases a lane without a commit. It reports whether it was not released before.
func (c *consumer) abandon(l *lane, cause error) bool {
	l.mu.Lock()
	released := l.state == laneReleased
	l.mu.Unlock()
	l.release(cause)
	c.spawn(func() { c.abort(l) })
	c.drop([]*lane{l})
	return !released
}

// abortTime bounds the abort of a transaction: one that is not aborted runs out by itself.
const abortTime = 5 * time.Second

// abort makes the lane's open transaction void.
func (c *consumer) abort(l *lane) {
	l.mu.Lock()
	tx := l.tx
	l.tx = nil
	l.mu.Unlock()
	if tx == nil {
		return
	}
	ctx, cancel := context.WithTimeout(c.writeCtx, abortTime)
	defer cancel()
	if err := guard(func() error { return tx.Abort(ctx) }); err != nil {
		c.log.Warn("a transaction could not be aborted, it runs out by itself", "partition", l.part.String(), "error", err)
	}
}

// roundExactly begins to commit the transactions of all lanes that are not being committed.
// It waits for none of them: where a sink hangs, others go on.
func (m *committer) roundExactly() {
	for _, l := range m.c.allLanes() {
		select {
		case l.turn <- struct{}{}:
			m.c.spawn(func() {
				defer func() { <-l.turn }()
				_ = m.commitLane(m.c.writeCtx, l)
			})
		default:
		}
	}
}

// finish commits the transactions of lanes, and returns when that is done.
func (m *committer) finish(ctx context.Context, lanes []*lane) error {
	errs := make([]error, len(lanes))
	var wg sync.WaitGroup
	for i, l := range lanes {
		wg.Go(func() {
			select {
			case l.turn <- struct{}{}:
				defer func() { <-l.turn }()
				errs[i] = m.commitLane(ctx, l)
			case <-ctx.Done():
				errs[i] = context.Cause(ctx)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// commitLane commits one lane's transaction. After a failure that stops the flow it is
// aborted: what was handled since the last commit is handled again.
func (m *committer) commitLane(ctx context.Context, l *lane) error {
	c := m.c
	if !l.holdWrites(ctx) {
		if c.stopped.Load() {
			c.abort(l)
		}
		return context.Cause(ctx)
	}
	l.mu.Lock()
	next := l.t.committable()
	idle := l.tx == nil && next <= l.committed
	l.mu.Unlock()
	if idle {
		l.letGo(nil)
		return nil
	}
	began := time.Now()
	c.unconfirmed.CompareAndSwap(0, began.UnixNano())
	tx, err := l.transaction(ctx)
	if err == nil && !l.own(tx) { // given up meanwhile, and aborted
		l.letGo(nil)
		return nil
	}
	if err == nil {
		err = guard(func() error { return tx.Commit(ctx, primitives.Commit{Partition: l.part, Epoch: l.epoch, Next: next}) })
	}
	c.stats.commits.Add(1)
	c.commitTook.Store(int64(time.Since(began)))
	if err != nil {
		c.stats.commitErrors.Add(1)
		c.void(l, fmt.Errorf("commit %s@%d: %w", l.part, next, err))
		l.letGo(nil)
		return err
	}
	c.unconfirmed.Store(0)
	c.voids.Store(0)
	l.letGo(func() {
		l.confirm(next)
		l.sent = max(l.sent, next)
		m.note(l)
	})
	return nil
}

// spoil notes that a write has failed, and was given up before all its inputs were resolved:
// some of its outputs may be in the transaction. mu is held.
func (l *lane) spoil(b *batch) {
	for _, r := range b.in {
		l.spoiled = l.spoiled || r.seq >= l.t.head && l.t.slots[r.seq&l.t.mask].state != slotDone
	}
}

// own takes the transaction out of the lane: from now on the caller ends it and nobody
// else. It reports whether the lane still had it.
func (l *lane) own(tx primitives.Transaction) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.tx != tx || l.state == laneReleased {
		return false
	}
	l.tx = nil
	return true
}

// holdWrites keeps further writes of the lane from beginning and waits until none is
// under way, and until no dead letter is ahead of the outputs before it. It reports
// whether that was so before ctx ended; it cannot be any more when the lane is given up
// or the flow stops.
func (l *lane) holdWrites(ctx context.Context) bool {
	stop := context.AfterFunc(ctx, l.wake)
	defer stop()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hold = true
	for {
		if l.closed.Load() || l.spoiled || l.c.stopped.Load() {
			break
		}
		if l.writing == nil && l.letters == 0 && !l.ahead() {
			return true
		}
		if ctx.Err() != nil || l.c.abandoned.Load() {
			break
		}
		l.schedule() // what may be written all the same
		l.room.Wait()
	}
	l.hold = false
	l.room.Broadcast()
	l.schedule()
	return false
}

// letGo ends what holdWrites began.
func (l *lane) letGo(change func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if change != nil {
		change()
	}
	l.hold = false
	l.room.Broadcast()
	l.schedule()
}
