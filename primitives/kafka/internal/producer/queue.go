package producer

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/IBM/sarama"

	"github.com/flowkit-go/flow/primitives"
)

const (
	// maxInFlight is the number of a producer's batches per partition that a
	// broker remembers to recognise duplicates.
	maxInFlight = 5

	firstBackoff = 10 * time.Millisecond
	maxBackoff   = 300 * time.Millisecond
)

// identity is a producer as brokers know it.
type identity struct {
	id    int64
	epoch int16
}

// session is one producer: the idempotent one, or one of a transactional id.
type session struct {
	e      *engine
	txn    *Transactional // nil for the idempotent one
	id     identity       // of new queues, and of those that begin anew
	queues map[*topic][]*queue
}

// queue is what a session has for one partition: first the batches in flight,
// in their order, then those that are not yet sent (again).
type queue struct {
	s    *session
	t    *topic
	part int32

	id       identity
	next     int32 // sequence of the next record
	node     *node // where the batches in flight are
	batches  []*batch
	open     *batch // the last batch while it takes records
	inFlight int

	listed   bool // among its node's ready ones
	held     bool // stopped after a failure
	gated    bool // not yet part of the transaction
	proven   bool // a batch was confirmed since the first one, a failure or a new epoch
	attempts int  // failures in a row
	retryAt  time.Time
	needs    uint64 // the refresh of the metadata to wait for, 0 before the pause is over
	lastErr  error
}

// queuesOf returns the session's queues of a topic by partition.
func (s *session) queuesOf(t *topic) []*queue {
	qs := s.queues[t]
	for len(qs) < len(t.leaders) {
		qs = append(qs, &queue{s: s, t: t, part: int32(len(qs)), id: s.id, gated: s.txn != nil})
		s.queues[t] = qs
	}
	return qs
}

// room opens a batch at the end of q.
func (e *engine) room(q *queue, deadline time.Time) *batch {
	if q.open != nil {
		q.open.seal()
	}
	b := e.batches.Get().(*batch)
	b.deadline = deadline
	b.count(q.s.txn)
	q.batches = append(q.batches, b)
	q.open = b
	e.schedule(q)
	return b
}

func (q *queue) limit() int {
	if q.proven {
		return maxInFlight
	}
	// A broker that knows nothing of this epoch takes any sequence to begin with,
	// so a second batch must not overtake a first one that failed.
	return 1
}

// stopped reports whether nothing of q is to be sent now.
func (q *queue) stopped() bool {
	return q.held || q.gated || q.s.txn != nil && q.s.txn.cause() != nil
}

// schedule lists q with its leader's node, when it has something that may be sent.
func (e *engine) schedule(q *queue) {
	if q.listed || q.stopped() || q.inFlight == len(q.batches) {
		return
	}
	n := e.nodes[q.t.leaders[q.part]]
	if n == nil {
		e.hold(q, errNoLeader)
		return
	}
	if !q.mayGo(n) {
		return
	}
	q.listed = true
	n.ready = append(n.ready, q)
	if !n.waking {
		n.waking = true
		e.waking = append(e.waking, n)
	}
}

// mayGo reports whether a batch of q may be sent to n, behind those in flight.
func (q *queue) mayGo(n *node) bool {
	if q.stopped() || q.inFlight == len(q.batches) || q.inFlight >= q.limit() {
		return false
	}
	return q.inFlight == 0 || n == q.node // what is in flight elsewhere comes first
}

// take is called by the sender of n: it returns the next batch of q, numbered.
func (e *engine) take(q *queue, n *node) *batch {
	if e.nodes[q.t.leaders[q.part]] != n {
		e.schedule(q) // there is another leader by now
		return nil
	}
	if !q.mayGo(n) {
		return nil
	}
	b := q.batches[q.inFlight]
	b.seal()
	if q.open == b {
		q.open = nil
	}
	if !b.numbered {
		b.numbered = true
		b.seq = q.next
		q.next = sequenceAfter(q.next, len(b.records))
	}
	b.inFlight = true
	q.inFlight++
	q.node = n
	return b
}

// sequenceAfter: sequences go from 0 to 2^31-1 and then on from 0.
func sequenceAfter(seq int32, n int) int32 {
	return int32((int64(seq) + int64(n)) & math.MaxInt32)
}

// hold stops q until its batches in flight are answered, a pause is over and the
// metadata is fresh.
func (e *engine) hold(q *queue, err error) {
	q.lastErr = err
	if q.held {
		return
	}
	q.held = true
	q.attempts++
	d := firstBackoff << min(q.attempts-1, 10)
	d = min(d, maxBackoff)
	q.retryAt = time.Now().Add(d - d/4 + rand.N(d/2))
	q.needs = 0
	e.held[q] = struct{}{}
	e.kicking = true
	e.cfg.Logger.Debug("write is held", "topic", q.t.name, "partition", q.part, "attempt", q.attempts, "err", err)
}

// release lets held queues go whose time has come, and returns when the next is due.
func (e *engine) release(now time.Time) (next time.Time) {
	for q := range e.held {
		switch {
		case q.inFlight > 0 || q.id.id < 0:
		case now.Before(q.retryAt):
			if next.IsZero() || q.retryAt.Before(next) {
				next = q.retryAt
			}
		case q.needs == 0:
			q.needs = e.begun + 1
			e.asked = max(e.asked, q.needs)
			e.kicking = true
		case e.ended < q.needs:
		default:
			delete(e.held, q)
			q.held = false
			q.proven = false
			e.schedule(q)
		}
	}
	return next
}

// answer takes the answer to a batch of q.
func (e *engine) answer(q *queue, b *batch, block *sarama.ProduceResponseBlock, err error) {
	b.inFlight = false
	q.inFlight--
	var certain bool
	switch {
	case err != nil:
		var hopeless bool
		certain, hopeless = neverSent(err)
		b.verdict = again
		if hopeless {
			b.verdict = refused
		}
	case block == nil:
		b.verdict, err = again, fmt.Errorf("the broker's answer leaves the partition out")
	default:
		b.verdict, certain = judge(block.Err, q.s.txn != nil)
		err = block.Err
		if block.ErrorMessage != nil && *block.ErrorMessage != "" {
			err = fmt.Errorf("%w (%s)", block.Err, *block.ErrorMessage)
		}
	}
	if b.verdict == stored {
		q.remove(b)
		q.attempts = 0
		q.proven = true
		e.resolve(b, nil)
		if q.inFlight == 0 && (q.held || e.aborted != nil || q.s.txn != nil) {
			e.settle(q)
		}
		e.schedule(q)
		return
	}
	b.err = err
	if !certain {
		b.doubt = true
	}
	if block != nil {
		b.bad = block.RecordErrors
	}
	e.hold(q, err)
	if q.inFlight == 0 {
		e.settle(q)
	}
}

func (q *queue) remove(b *batch) {
	if i := slices.Index(q.batches, b); i >= 0 {
		q.batches = slices.Delete(q.batches, i, i+1)
	}
	if q.open == b {
		q.open = nil
	}
}

// settle decides on the batches of q when none of them is in flight: which ones
// stay to be sent again, which ones have failed, and whether the sequence can go on.
func (e *engine) settle(q *queue) {
	if q.inFlight > 0 {
		return
	}
	if q.s.txn != nil {
		e.settleTransactional(q)
		return
	}
	now := time.Now()
	var renumber bool
	kept := q.batches[:0:0]
	for _, b := range q.batches {
		fate := e.fate(q, b, now)
		switch {
		case fate == nil && b.verdict == tooLarge:
			halves := e.split(b)
			kept = append(kept, halves[0], halves[1])
			continue
		case fate == nil && b.verdict == invalid:
			renumber = true
			e.drop(b)
			if len(b.records) == 0 {
				e.resolve(b, nil)
				continue
			}
		case fate == nil && b.verdict == gap && len(kept) == 0:
			renumber = true
		}
		if fate != nil {
			renumber = renumber || b.numbered
			if q.open == b {
				q.open = nil
			}
			e.resolve(b, fate)
			continue
		}
		b.verdict = pending
		kept = append(kept, b)
	}
	if renumber {
		kept = e.renumber(q, kept)
	}
	q.batches = kept
	e.kicking = e.kicking || q.held
}

// fate returns the error with which b ends now, or nil when it stays.
func (e *engine) fate(q *queue, b *batch, now time.Time) error {
	switch {
	case e.aborted != nil:
		return e.aborted
	case b.doubt && (b.verdict == refused || b.verdict == tooLarge || b.verdict == invalid):
		return e.wrap(q, fmt.Errorf("it may be stored by an earlier attempt: %w", b.err))
	case b.verdict == refused:
		return e.wrap(q, b.err)
	case b.verdict == tooLarge && len(b.records) == 1:
		return e.wrap(q, primitives.Permanent(fmt.Errorf("a record of %d bytes is larger than the topic's max.message.bytes: %w", b.bytes, b.err)))
	case b.verdict == invalid && len(b.bad) == 0:
		return e.wrap(q, primitives.Permanent(b.err))
	case !now.Before(b.deadline):
		err := q.lastErr
		if b.err != nil {
			err = b.err
		}
		if err == nil {
			err = errNoAnswer
		}
		what := "not confirmed"
		if b.doubt {
			what = "it may be stored, but was not confirmed"
		}
		return e.wrap(q, fmt.Errorf("%s within %s: %w", what, e.cfg.Timeout, err))
	}
	return nil
}

func (e *engine) wrap(q *queue, err error) error {
	return fmt.Errorf("kafka: write to %s/%d: %w", q.t.name, q.part, err)
}

// renumber gives q the next epoch, in which sequences begin anew. What may be
// stored under the old one can't be sent under the new one without the risk of a
// second copy, so it fails here and its caller decides.
func (e *engine) renumber(q *queue, batches []*batch) []*batch {
	kept := batches[:0]
	for _, b := range batches {
		if b.doubt {
			e.resolve(b, e.wrap(q, fmt.Errorf("it may be stored, but can't be confirmed under a new sequence: %w", b.err)))
			continue
		}
		b.numbered = false
		kept = append(kept, b)
	}
	clear(batches[len(kept):])
	q.next = 0
	q.proven = false
	if q.s.id.epoch == math.MaxInt16 {
		q.id = identity{-1, -1} // the keeper gets another
		if !q.held {
			e.hold(q, q.lastErr)
		}
	} else {
		// Brokers know epochs per partition, so the other partitions may stay
		// behind. One that has stayed behind goes beyond all others at once.
		q.s.id.epoch++
		q.id = q.s.id
	}
	e.cfg.Logger.Warn("sequence begins anew", "topic", q.t.name, "partition", q.part, "epoch", q.id.epoch, "err", q.lastErr)
	return kept
}
