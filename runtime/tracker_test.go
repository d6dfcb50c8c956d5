package runtime

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/flowkit-go/flow/primitives"
)

// trackerModel is what a tracker should do, in the simplest form: all records in
// one slice, looked at from the start each time.
type trackerModel struct {
	order    Order
	recs     []modelRecord
	position int64
}

type modelRecord struct {
	offset  int64
	key     string
	state   slotState
	attempt int
}

func (m *trackerModel) committable() int64 {
	for _, r := range m.recs {
		if r.state != slotDone {
			return r.offset
		}
	}
	return m.position
}

// mayStart reports whether the order allows record i to start now.
func (m *trackerModel) mayStart(i int) bool {
	if s := m.recs[i].state; s != slotWaiting && s != slotReady {
		return false
	}
	for _, before := range m.recs[:i] {
		if before.state != slotDone && m.order == ByKey && m.recs[i].key != "" && before.key == m.recs[i].key {
			return false
		}
	}
	return true
}

func (m *trackerModel) undone() (n int) {
	for _, r := range m.recs {
		if r.state != slotDone {
			n++
		}
	}
	return n
}

// TestTrackerModel drives a tracker with random pushes, turns, finish orders,
// failures and delays against the model: a million steps.
func TestTrackerModel(t *testing.T) {
	steps := 1_000_000
	if testing.Short() {
		steps = 50_000
	}
	for _, order := range []Order{ByPartition, ByKey, Unordered} {
		t.Run(order.String(), func(t *testing.T) {
			t.Parallel()
			for seed := uint64(0); steps/3 > 0 && seed < uint64(steps/3/2000); seed++ {
				if err := driveTracker(order, seed, 2000); err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
			}
		})
	}
}

func driveTracker(order Order, seed uint64, steps int) error {
	rnd := rand.New(rand.NewPCG(seed, uint64(order)))
	limit := 1 + rnd.IntN(40)
	start := rnd.Int64N(1000)
	t := newTracker(&primitives.Partition{}, order, limit, start)
	m := &trackerModel{order: order, position: start}
	first := uint64(0) // sequence number of m.recs[0]
	running, delayed := map[uint64]bool{}, map[uint64]bool{}
	pick := func(set map[uint64]bool) uint64 { // in a stable order
		best := ^uint64(0)
		n := rnd.IntN(len(set))
		var seqs []uint64
		for seq := t.head; seq < t.tail; seq++ {
			if set[seq] {
				seqs = append(seqs, seq)
			}
		}
		if n < len(seqs) {
			best = seqs[n]
		}
		return best
	}
	committed := start
	for range steps {
		switch op := rnd.IntN(10); {
		case op < 3: // push a burst, with holes in the log
			var burst []primitives.Record
			next := m.position
			for range rnd.IntN(t.free() + 1) {
				if rnd.IntN(4) == 0 {
					next += rnd.Int64N(1 << 31)
				}
				r := primitives.Record{Offset: next, Value: make([]byte, rnd.IntN(5))}
				if k := rnd.IntN(6); k > 0 {
					r.Key = []byte{byte('a' + k)}
				}
				burst = append(burst, r)
				m.recs = append(m.recs, modelRecord{offset: next, key: string(r.Key)})
				next++
			}
			t.push(burst, 0)
			m.position = next
		case op < 6: // a turn, part of which is given back
			for _, seq := range t.take(nil, 1+rnd.IntN(8)) {
				i := int(seq - first)
				if !m.mayStart(i) {
					return fmt.Errorf("record %d was started out of order", m.recs[i].offset)
				}
				m.recs[i].state = slotRunning
				m.recs[i].attempt++
				running[seq] = true
				if got := int(t.slots[seq&t.mask].attempt); got != m.recs[i].attempt {
					return fmt.Errorf("attempt %d of record %d, want %d", got, m.recs[i].offset, m.recs[i].attempt)
				}
			}
			if order == ByPartition && rnd.IntN(3) == 0 { // give the youngest part back
				var rest []uint64
				for seq := t.next; seq > t.head && running[seq-1] && m.recs[seq-1-first].attempt == 1 && len(rest) < 4; seq-- {
					rest = append([]uint64{seq - 1}, rest...)
				}
				t.untake(rest)
				for _, seq := range rest {
					delete(running, seq)
					m.recs[seq-first].state = slotWaiting
					m.recs[seq-first].attempt--
				}
			}
		case op < 8 && len(running) > 0:
			seq := pick(running)
			t.resolve(seq)
			t.resolve(seq) // a second time does nothing
			delete(running, seq)
			m.recs[seq-first].state = slotDone
		case op == 8 && len(running) > 0:
			seq := pick(running)
			t.delay(seq)
			delete(running, seq)
			delayed[seq] = true
			m.recs[seq-first].state = slotDelayed
		case op == 9 && len(delayed) > 0:
			seq := pick(delayed)
			t.again(seq)
			delete(delayed, seq)
			m.recs[seq-first].state = slotReady
		}
		for len(m.recs) > 0 && m.recs[0].state == slotDone {
			m.recs = m.recs[1:]
			first++
		}
		switch {
		case t.committable() != m.committable():
			return fmt.Errorf("committable %d, want %d", t.committable(), m.committable())
		case t.committable() < committed:
			return fmt.Errorf("committable went back from %d to %d", committed, t.committable())
		case t.undone != m.undone():
			return fmt.Errorf("%d undone, want %d", t.undone, m.undone())
		case int(t.tail-t.head) > limit:
			return fmt.Errorf("%d records in a window of %d", t.tail-t.head, limit)
		case t.undone == 0 && t.bytes != 0:
			return fmt.Errorf("%d bytes held by no record", t.bytes)
		}
		committed = t.committable()
	}
	// whatever is left can be finished
	for range 10 * limit {
		for seq := range delayed {
			t.again(seq)
		}
		clear(delayed)
		for _, seq := range t.take(nil, limit) {
			running[seq] = true
		}
		for seq := range running {
			t.resolve(seq)
		}
		clear(running)
	}
	if t.undone != 0 || t.committable() != m.position || len(t.keys) != 0 {
		return fmt.Errorf("%d records left, committable %d of %d, %d keys", t.undone, t.committable(), m.position, len(t.keys))
	}
	return nil
}

// BenchmarkTracker is one record's way through a tracker: push, start, resolve.
func BenchmarkTracker(b *testing.B) {
	for _, order := range []Order{ByPartition, ByKey, Unordered} {
		b.Run(order.String(), func(b *testing.B) {
			t := newTracker(&primitives.Partition{}, order, 4096, 0)
			burst := make([]primitives.Record, 256)
			for i := range burst {
				burst[i].Key = []byte{byte(i), 1}
				burst[i].Value = make([]byte, 200)
			}
			var seqs []uint64
			offset := int64(0)
			b.ReportAllocs()
			for n := 0; n < b.N; n += len(burst) {
				for i := range burst {
					burst[i].Offset = offset
					offset++
				}
				t.push(burst, 0)
				seqs = t.take(seqs[:0], len(burst))
				for _, seq := range seqs {
					t.resolve(seq)
				}
				if t.committable() != offset {
					b.Fatal("not all resolved")
				}
			}
		})
	}
}
