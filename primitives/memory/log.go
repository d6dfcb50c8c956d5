package memory

import (
	"github.com/flowkit-go/flow/primitives"
)

// A partition is an append-only log in segments, linked so that nothing moves
// when it grows: readers push straight from them, and one that still reads a
// segment keeps it alive after it was trimmed.
type partition struct {
	head, tail *segment
	next       int64 // the offset that the next record gets
	stored     int   // records in the segments from head on
	appended   signal
}

// A segment is a run of records. Elements below len(records) never change.
type segment struct {
	records []primitives.Record
	next    *segment
}

const (
	firstSegment  = 16   // records in a log's first segment
	maxSegment    = 1024 // from here on segments do not double any more
	ownSegment    = 64   // a batch this long becomes a segment without being copied
	defaultBursts = 1024 // records per Push
)

// append stores records, giving each its offset. It keeps the slice when it is
// long enough to be worth a segment.
func (p *partition) append(records []primitives.Record) {
	for i := range records {
		r := &records[i]
		r.Offset = max(r.Offset, p.next)
		p.next = r.Offset + 1
	}
	p.stored += len(records)
	if len(records) >= ownSegment {
		p.link(&segment{records: records[:len(records):len(records)]})
	} else {
		for len(records) > 0 {
			free := 0
			if p.tail != nil {
				free = cap(p.tail.records) - len(p.tail.records)
			}
			if free == 0 {
				p.link(&segment{records: make([]primitives.Record, 0, p.segmentSize())})
				continue
			}
			n := min(free, len(records))
			p.tail.records = append(p.tail.records, records[:n]...)
			records = records[n:]
		}
	}
	p.appended.broadcast()
}

// segmentSize is the capacity of the next segment: as much as is stored
// already, within limits, so that small topics stay small.
func (p *partition) segmentSize() int {
	return min(max(p.stored, firstSegment), maxSegment)
}

func (p *partition) link(s *segment) {
	if p.tail == nil {
		p.head = s
	} else {
		p.tail.next = s
	}
	p.tail = s
}

// trim drops the oldest segments as long as at least keep records stay.
func (p *partition) trim(keep int) {
	for p.head != nil && p.head != p.tail && p.stored-len(p.head.records) >= keep {
		p.stored -= len(p.head.records)
		p.head = p.head.next
	}
}

// first is the offset of the oldest record, or next when there is none.
func (p *partition) first() int64 {
	if p.head == nil || len(p.head.records) == 0 {
		return p.next
	}
	return p.head.records[0].Offset
}

// since counts the records at or above offset.
func (p *partition) since(offset int64) int64 {
	var n int64
	for s := p.head; s != nil; s = s.next {
		if k := len(s.records); k > 0 && s.records[k-1].Offset >= offset {
			n += int64(k - search(s.records, offset))
		}
	}
	return n
}

// all returns a copy of the records stored.
func (p *partition) all() []primitives.Record {
	out := make([]primitives.Record, 0, p.stored)
	for s := p.head; s != nil; s = s.next {
		out = append(out, s.records...)
	}
	return out
}

// A cursor is a place in a log.
type cursor struct {
	seg   *segment
	index int   // in seg: of the next record
	pos   int64 // every record below it was read, or was never there
}

// seek makes a cursor for the first record at or above offset.
func (p *partition) seek(offset int64) cursor {
	for s := p.head; s != nil; s = s.next {
		if k := len(s.records); k > 0 && s.records[k-1].Offset >= offset {
			return cursor{seg: s, index: search(s.records, offset), pos: offset}
		}
	}
	return cursor{seg: p.tail, index: p.tailLen(), pos: offset}
}

func (p *partition) tailLen() int {
	if p.tail == nil {
		return 0
	}
	return len(p.tail.records)
}

// read returns up to limit records at the cursor, all below offset end, without
// copying them. Next time it returns what follows.
func (p *partition) read(c *cursor, limit int, end int64) []primitives.Record {
	if c.seg == nil {
		c.seg, c.index = p.head, 0
	}
	for c.seg != nil && c.index == len(c.seg.records) && c.seg.next != nil {
		c.seg, c.index = c.seg.next, 0
	}
	if c.seg == nil {
		return nil
	}
	stop := min(c.index+limit, len(c.seg.records))
	recs := c.seg.records[c.index:stop:stop]
	if n := len(recs); n > 0 && recs[n-1].Offset >= end {
		recs = recs[:search(recs, end)]
	}
	if n := len(recs); n > 0 {
		c.index += n
		c.pos = recs[n-1].Offset + 1
	}
	return recs
}

// search returns the index of the first record at or above offset.
func search(records []primitives.Record, offset int64) int {
	lo, hi := 0, len(records)
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		if records[mid].Offset < offset {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo
}

// An arena is room for the bytes and headers of one batch, so that storing a
// batch allocates twice at most, however many records it has.
type arena struct {
	bytes   []byte
	headers []primitives.Header
}

// grow makes room for copies of the records.
func (a *arena) grow(records []primitives.Record) {
	size, headers := 0, 0
	for i := range records {
		r := &records[i]
		size += len(r.Key) + len(r.Value)
		headers += len(r.Headers)
		for _, h := range r.Headers {
			size += len(h.Value)
		}
	}
	a.bytes = make([]byte, 0, size)
	if headers > 0 {
		a.headers = make([]primitives.Header, 0, headers)
	}
}

// copy sets what a log stores of r in dst, which is zero. It writes the fields
// one by one: whole records are large enough for their copies to be felt.
func (a *arena) copy(dst, r *primitives.Record) {
	if r.Key != nil {
		dst.Key = a.take(r.Key)
	}
	if r.Value != nil { // nil stays nil: in a log a missing value is not an empty one
		dst.Value = a.take(r.Value)
	}
	dst.Time = r.Time
	if len(r.Headers) > 0 {
		from := len(a.headers)
		for _, h := range r.Headers {
			a.headers = append(a.headers, primitives.Header{Name: h.Name, Value: a.take(h.Value)})
		}
		dst.Headers = a.headers[from:len(a.headers):len(a.headers)]
	}
}

// take copies b.
func (a *arena) take(b []byte) []byte {
	from := len(a.bytes)
	a.bytes = append(a.bytes, b...)
	return a.bytes[from:len(a.bytes):len(a.bytes)]
}
