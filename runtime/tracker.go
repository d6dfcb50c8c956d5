package runtime

import (
	"hash/maphash"

	"github.com/flowkit-go/flow/primitives"
)

// Order says which records of a lane may be handled at the same time.
type Order int

const (
	// ByPartition handles the records of a lane one after the other.
	ByPartition Order = iota
	// ByKey handles records with the same key one after the other, others of the
	// same lane at the same time. Records without a key have no order.
	ByKey
	// Unordered handles any records at the same time.
	Unordered
)

// String returns the name that options and the graph use.
func (o Order) String() string {
	switch o {
	case ByKey:
		return "key"
	case Unordered:
		return "none"
	}
	return "partition"
}

type slotState uint8

const (
	slotWaiting slotState = iota // not started; by key: a predecessor is unresolved
	slotReady                    // in the ready list
	slotRunning                  // taken by a task, or its outputs are being written
	slotDelayed                  // waits for its next attempt
	slotDone                     // resolved, behind an unresolved one
)

// slot is what the tracker knows of one record besides the record itself.
type slot struct {
	hash    uint64 // of the key, by key only
	next    uint64 // sequence number + 1 of the next record with the same key, 0 none
	pushed  int64  // when it was pushed, unix nanoseconds
	attempt int32  // of handling it, 0 before the first
	state   slotState
}

// tracker is a lane's window of unresolved records and the truth about what may
// be committed. Records are numbered by a sequence of its own, so gaps in the
// log's offsets cost nothing. It is a pure data structure: no locks, no time.
//
//	resolved | done? | running | done? | ... | not started |
//	         ^ head                          ^ next (by partition)   ^ tail
type tracker struct {
	part  *primitives.Partition
	order Order
	limit int // records in the window at most
	seed  maphash.Seed

	recs  []primitives.Record // ring, indexed by sequence number & mask
	slots []slot
	mask  uint64

	head, tail uint64 // the window of unresolved records is [head, tail)
	next       uint64 // by partition: first record not started
	ready      fifo   // other orders, and records to be tried again out of turn
	keys       map[uint64]uint64

	position int64 // where the log goes on after the window
	onRead   bool  // leases count as resolved when they are pushed
	bytes    int   // of the records in the window that are not done
	undone   int   // records in the window that are not done
	leases   []any // of resolved records, to be committed
	acking   int   // leases that are being committed
}

const firstRing = 64

func newTracker(p *primitives.Partition, order Order, limit int, start int64) tracker {
	t := tracker{part: p, order: order, limit: limit, position: start}
	if order == ByKey {
		t.keys = map[uint64]uint64{}
		t.seed = maphash.MakeSeed()
	}
	return t
}

// held is the number of records that count against the limit: those of the window,
// and those of which the lease has not been committed.
func (t *tracker) held() int { return int(t.tail-t.head) + len(t.leases) + t.acking }

// free is the number of records that fit.
func (t *tracker) free() int { return t.limit - t.held() }

// push appends records; there must be room. It returns their size in bytes.
func (t *tracker) push(recs []primitives.Record, now int64) int {
	t.grow(len(recs))
	added := 0
	for i := range recs {
		r := &recs[i]
		at := t.tail & t.mask
		t.recs[at] = *r
		t.recs[at].Partition = t.part
		if t.onRead && r.Lease != nil {
			t.leases = append(t.leases, r.Lease)
			t.recs[at].Lease = nil
		}
		s := &t.slots[at]
		*s = slot{pushed: now, attempt: max(r.Attempt-1, 0)}
		switch t.order {
		case ByKey:
			t.chain(s, r.Key)
		case Unordered:
			s.state = slotReady
			t.ready.push(t.tail)
		}
		t.tail++
		added += r.Size()
	}
	if n := len(recs); n > 0 {
		t.position = recs[n-1].Offset + 1
	}
	t.undone += len(recs)
	t.bytes += added
	return added
}

// chain puts the record about to get sequence number tail behind the last
// unresolved one with the same key.
func (t *tracker) chain(s *slot, key []byte) {
	if key == nil {
		s.state = slotReady
		t.ready.push(t.tail)
		return
	}
	s.hash = maphash.Bytes(t.seed, key)
	if last, ok := t.keys[s.hash]; ok {
		t.slots[last&t.mask].next = t.tail + 1
	} else {
		s.state = slotReady
		t.ready.push(t.tail)
	}
	t.keys[s.hash] = t.tail
}

// grow makes room for n more in the ring, which starts small and doubles.
func (t *tracker) grow(n int) {
	need := int(t.tail-t.head) + n
	if need <= len(t.recs) {
		return
	}
	size := max(len(t.recs), firstRing)
	for size < need {
		size *= 2
	}
	recs, slots := make([]primitives.Record, size), make([]slot, size)
	mask := uint64(size - 1)
	for seq := t.head; seq < t.tail; seq++ {
		recs[seq&mask], slots[seq&mask] = t.recs[seq&t.mask], t.slots[seq&t.mask]
	}
	t.recs, t.slots, t.mask = recs, slots, mask
}

// startable is the number of records that could be started now, at least.
func (t *tracker) startable() int {
	return t.ready.len() + t.sequential()
}

// sequential is the number of records that are started in sequence.
func (t *tracker) sequential() int {
	if t.order == ByPartition {
		return int(t.tail - t.next)
	}
	return 0
}

// resolved is the number of records that were ever resolved.
func (t *tracker) resolved() int64 { return int64(t.tail) - int64(t.undone) }

// waitingSince is when the first record was pushed that has never been started and
// could be now, unix nanoseconds; 0 when there is none.
func (t *tracker) waitingSince() int64 {
	switch {
	case t.sequential() > 0:
		return t.slots[t.next&t.mask].pushed
	case t.ready.len() > 0:
		if s := &t.slots[t.ready.first()&t.mask]; s.attempt == 0 {
			return s.pushed
		}
	}
	return 0
}

// waiting is the number of unresolved records below end that wait for an attempt.
func (t *tracker) waiting(end uint64) (n int) {
	for seq := t.head; seq < min(end, t.tail); seq++ {
		if s := t.slots[seq&t.mask].state; s != slotRunning && s != slotDone {
			n++
		}
	}
	return n
}

// take starts up to n records and appends their sequence numbers to dst.
func (t *tracker) take(dst []uint64, n int) []uint64 {
	for n > 0 && t.ready.len() > 0 {
		seq := t.ready.pop()
		t.start(seq)
		dst = append(dst, seq)
		n--
	}
	for k := min(n, t.sequential()); k > 0; k-- {
		t.start(t.next)
		dst = append(dst, t.next)
		t.next++
	}
	return dst
}

func (t *tracker) start(seq uint64) {
	s := &t.slots[seq&t.mask]
	s.state = slotRunning
	s.attempt++
	t.recs[seq&t.mask].Attempt = s.attempt
}

// untake gives back records that were taken and not handled, the rest of a
// turn in its order. Their attempt does not count.
func (t *tracker) untake(seqs []uint64) {
	for i := len(seqs) - 1; i >= 0; i-- {
		s := &t.slots[seqs[i]&t.mask]
		s.attempt--
		if t.order == ByPartition && seqs[i]+1 == t.next {
			s.state = slotWaiting
			t.next = seqs[i]
			continue
		}
		s.state = slotReady
		t.ready.unpop(seqs[i])
	}
}

// delay marks a started record as waiting for its next attempt.
func (t *tracker) delay(seq uint64) { t.slots[seq&t.mask].state = slotDelayed }

// again makes a delayed record the next one to start.
func (t *tracker) again(seq uint64) {
	s := &t.slots[seq&t.mask]
	if s.state != slotDelayed {
		return
	}
	s.state = slotReady
	t.ready.unpop(seq)
}

// resolve marks a record as done and moves the head past all that are done. It
// returns the bytes that became free. Resolving twice does nothing.
func (t *tracker) resolve(seq uint64) int {
	if seq < t.head || seq >= t.tail {
		return 0
	}
	at := seq & t.mask
	s, r := &t.slots[at], &t.recs[at]
	if s.state == slotDone {
		return 0
	}
	s.state = slotDone
	freed := r.Size()
	t.bytes -= freed
	t.undone--
	if r.Lease != nil {
		t.leases = append(t.leases, r.Lease)
	}
	if t.order == ByKey {
		t.unchain(s, seq)
	}
	offset := r.Offset
	*r = primitives.Record{Offset: offset}
	for t.head < t.tail && t.slots[t.head&t.mask].state == slotDone {
		t.head++
	}
	return freed
}

// unchain lets the next record with the same key start.
func (t *tracker) unchain(s *slot, seq uint64) {
	if s.next != 0 {
		following := s.next - 1
		t.slots[following&t.mask].state = slotReady
		t.ready.push(following)
		return
	}
	if last, ok := t.keys[s.hash]; ok && last == seq {
		delete(t.keys, s.hash)
	}
}

// committable is the position below which every record is resolved.
func (t *tracker) committable() int64 {
	if t.head == t.tail {
		return t.position
	}
	return t.recs[t.head&t.mask].Offset
}

// advance moves the position past a part of the log that holds no records.
func (t *tracker) advance(next int64) { t.position = max(t.position, next) }

// fifo is a queue of sequence numbers that can also be put back at its front.
type fifo struct {
	ring []uint64
	at   int // index of the first
	n    int
}

func (q *fifo) len() int { return q.n }

func (q *fifo) first() uint64 { return q.ring[q.at] }

func (q *fifo) push(v uint64) {
	q.grow()
	q.ring[(q.at+q.n)&(len(q.ring)-1)] = v
	q.n++
}

func (q *fifo) unpop(v uint64) {
	q.grow()
	q.at = (q.at - 1) & (len(q.ring) - 1)
	q.ring[q.at] = v
	q.n++
}

func (q *fifo) pop() uint64 {
	v := q.ring[q.at]
	q.at = (q.at + 1) & (len(q.ring) - 1)
	q.n--
	return v
}

func (q *fifo) grow() {
	if q.n < len(q.ring) {
		return
	}
	ring := make([]uint64, max(16, 2*len(q.ring)))
	for i := range q.n {
		ring[i] = q.ring[(q.at+i)&(len(q.ring)-1)]
	}
	q.ring, q.at = ring, 0
}
