package producer

import (
	"fmt"

	"github.com/flowkit-go/flow/primitives"
)

// split makes two batches of one that the topic does not take, with the
// sequences that its records have already: those behind it stay as they are.
func (e *engine) split(b *batch) [2]*batch {
	half := len(b.records) / 2
	var out [2]*batch
	for i, at := range [2][2]int{{0, half}, {half, len(b.records)}} {
		n := e.batches.Get().(*batch)
		n.deadline = b.deadline
		n.numbered, n.seq = b.numbered, sequenceAfter(b.seq, at[0])
		n.doubt = b.doubt
		n.count(b.txn)
		n.copyFrom(b, func(k int) bool { return k >= at[0] && k < at[1] })
		n.seal()
		out[i] = n
	}
	e.discard(b)
	return out
}

// drop resolves the records that the broker has found invalid, and leaves the others.
func (e *engine) drop(b *batch) {
	bad := map[int]error{}
	for _, r := range b.bad {
		err := b.err
		if r.BatchIndexErrorMessage != nil {
			err = fmt.Errorf("%w: %s", b.err, *r.BatchIndexErrorMessage)
		}
		bad[int(r.BatchIndex)] = primitives.Permanent(fmt.Errorf("kafka: record refused: %w", err))
	}
	b.each(func(c *call, from, to int) {
		for k := from; k < to; k++ {
			if err := bad[k]; err != nil {
				c.fail(int(b.index[k]), err)
			}
		}
	})
	rest := e.batches.Get().(*batch)
	rest.copyFrom(b, func(k int) bool { return bad[k] == nil })
	e.used -= b.bytes - rest.bytes
	rest.deadline = b.deadline
	rest.seal()
	rest.count(b.txn)
	e.discard(b)
	*b, *rest = *rest, batch{}
	e.grant()
}

// copyFrom adds the records of b for which keep is true.
func (n *batch) copyFrom(b *batch, keep func(k int) bool) {
	b.each(func(c *call, from, to int) {
		for k := from; k < to; k++ {
			if !keep(k) {
				continue
			}
			s := &b.records[k]
			var headers []primitives.Header
			size := recordHeader + len(s.Key) + len(s.Value)
			for _, h := range s.Headers {
				headers = append(headers, primitives.Header{Name: string(h.Key), Value: h.Value})
				size += headerHeader + len(h.Key) + len(h.Value)
			}
			r := primitives.Record{Key: s.Key, Value: s.Value, Headers: headers}
			n.add(c, int(b.index[k]), &r, size, b.base+s.TimestampDelta.Milliseconds())
		}
	})
}

// discard gives up b, whose records are in other batches.
func (e *engine) discard(b *batch) {
	b.each(func(c *call, _, _ int) {
		if c.release() {
			e.finished = append(e.finished, c)
		}
	})
	if b.txn != nil {
		b.txn.writes--
	}
	b.reset()
}

// count notes that b is one of a transactional id's batches.
func (b *batch) count(x *Transactional) {
	if x != nil {
		b.txn = x
		x.writes++
	}
}
