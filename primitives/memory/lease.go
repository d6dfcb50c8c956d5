package memory

import (
	"container/heap"
	"time"

	"github.com/flowkit-go/flow/primitives"
)

// A queue is the records that were written and not yet committed. Everything
// in it is guarded by the broker's mu.
type queue struct {
	name    string
	ready   messages // may be delivered now, oldest first
	later   messages // lent, or released with a delay: the first to come back first
	dead    []primitives.Record
	written int64
	changed signal
}

// A message is a record in a queue.
type message struct {
	record     primitives.Record
	number     int64 // in the order of writing
	deliveries int32
	lent       bool
	back       time.Time // in later: when it may be delivered again
	in         *messages // nil: committed or dead
	index      int       // in in
}

// A lease is what Record.Lease holds: it is good until the message was lent
// again, or is gone.
type lease struct {
	m        *message
	delivery int32
}

func (l *lease) good() bool { return l.m.in != nil && l.m.lent && l.m.deliveries == l.delivery }

// queue returns the queue of that name. The caller holds mu.
func (b *Broker) queue(name string) *queue {
	q := b.queues[name]
	if q == nil {
		q = &queue{name: name}
		q.later.byTime = true
		b.queues[name] = q
	}
	return q
}

func (q *queue) size() int { return q.ready.Len() + q.later.Len() }

// add stores records.
func (q *queue) add(records []primitives.Record) {
	stored := make([]message, len(records))
	for i := range records {
		stored[i] = message{record: records[i], number: q.written}
		q.written++
		q.move(&stored[i], &q.ready)
	}
	q.changed.broadcast()
}

// move takes a message out of the heap in which it is and puts it into another,
// or into none.
func (q *queue) move(m *message, to *messages) {
	if m.in != nil {
		heap.Remove(m.in, m.index)
	}
	if m.in = to; to != nil {
		heap.Push(to, m)
	}
}

// mature makes ready what is to come back by now. What was delivered limit
// times already is dead; 0 is no limit.
func (q *queue) mature(now time.Time, limit int32) {
	for q.later.Len() > 0 && !q.later.list[0].back.After(now) {
		q.giveBack(q.later.list[0], limit)
	}
}

// giveBack makes a message ready, or dead.
func (q *queue) giveBack(m *message, limit int32) {
	m.lent = false
	if limit > 0 && m.deliveries >= limit {
		q.move(m, nil)
		r := m.record
		r.Attempt = m.deliveries
		q.dead = append(q.dead, r)
		return
	}
	q.move(m, &q.ready)
}

// lend appends up to n ready records to dst, lent until back.
func (q *queue) lend(dst []primitives.Record, n int, back time.Time) []primitives.Record {
	n = min(n, q.ready.Len())
	leases := make([]lease, n)
	for i := range n {
		m := q.ready.list[0]
		m.deliveries++
		m.lent, m.back = true, back
		q.move(m, &q.later)
		leases[i] = lease{m, m.deliveries}
		r := m.record
		r.Attempt, r.Lease = m.deliveries, &leases[i]
		dst = append(dst, r)
	}
	return dst
}

// unlend takes back records that were lent but not delivered.
func (q *queue) unlend(records []primitives.Record) {
	for i := range records {
		if l := records[i].Lease.(*lease); l.good() {
			l.m.deliveries--
			l.m.lent = false
			q.move(l.m, &q.ready)
		}
	}
	q.changed.broadcast()
}

// ExpireLeases makes all leases of a queue run out now, as if nobody had
// extended them.
func (b *Broker) ExpireLeases(queue string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	q := b.queue(queue)
	now := time.Now()
	for _, m := range append([]*message(nil), q.later.list...) {
		if m.lent {
			m.back = now
			heap.Fix(&q.later, m.index)
		}
	}
	q.changed.broadcast()
	b.changed.broadcast()
}

// Queued is the number of records in a queue that are not committed, lent or not.
func (s *State) Queued(queue string) int {
	if q := s.b.queues[queue]; q != nil {
		return q.size()
	}
	return 0
}

// Lent is the number of records of a queue whose lease has not run out.
func (s *State) Lent(queue string) int {
	n := 0
	if q := s.b.queues[queue]; q != nil {
		now := time.Now()
		for _, m := range q.later.list {
			if m.lent && m.back.After(now) {
				n++
			}
		}
	}
	return n
}

// Dead returns the records that were delivered MaxDeliveries times, with their
// attempts, in the order in which they were given up.
func (s *State) Dead(queue string) []primitives.Record {
	if q := s.b.queues[queue]; q != nil {
		return append([]primitives.Record(nil), q.dead...)
	}
	return nil
}

// messages is a heap, by number or by time.
type messages struct {
	list   []*message
	byTime bool
}

var _ heap.Interface = (*messages)(nil)

func (h *messages) Len() int { return len(h.list) }

func (h *messages) Less(i, j int) bool {
	a, b := h.list[i], h.list[j]
	if h.byTime && !a.back.Equal(b.back) {
		return a.back.Before(b.back)
	}
	return a.number < b.number
}

func (h *messages) Swap(i, j int) {
	h.list[i], h.list[j] = h.list[j], h.list[i]
	h.list[i].index, h.list[j].index = i, j
}

func (h *messages) Push(x any) {
	m := x.(*message)
	m.index = len(h.list)
	h.list = append(h.list, m)
}

func (h *messages) Pop() any {
	last := len(h.list) - 1
	m := h.list[last]
	h.list[last] = nil
	h.list = h.list[:last]
	return m
}
