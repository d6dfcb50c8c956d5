package producer

import (
	"slices"
	"time"

	"github.com/IBM/sarama"

	"github.com/flowkit-go/flow/primitives"
)

const (
	// batchHeader is the size of an empty record batch.
	batchHeader = 61

	// recordHeader bounds the size of a record besides its bytes: attributes and
	// the variable-length numbers for its length, time, offset, key, value and headers.
	recordHeader = 1 + 5 + 10 + 5 + 5 + 5 + 5

	// headerHeader bounds the two numbers of a header.
	headerHeader = 5 + 5

	// maxPooledRecords is the largest batch whose arrays are kept for later ones.
	maxPooledRecords = 1 << 15
)

// batch is one record batch: the unit that is sent, confirmed and sent again. It
// holds records of one or more calls. Until it is sealed, records may be added.
// It is guarded by the engine's lock, but for what a sender needs while it encodes.
type batch struct {
	wire    sarama.RecordBatch
	records []sarama.Record
	refs    []*sarama.Record
	index   []int32   // of each record: its place in its call's batch
	parts   []segment // whose records these are, in order
	headers []sarama.RecordHeader
	hrefs   []*sarama.RecordHeader
	names   []byte

	bytes    int   // bound of the size of the records on the wire
	base     int64 // time of the first record, in milliseconds
	last     int64 // the latest time
	deadline time.Time
	txn      *Transactional // that counts it, or nil

	sealed   bool
	numbered bool  // has a sequence, so it may have been sent
	seq      int32 // of the first record
	inFlight bool
	doubt    bool // may be stored although it was not confirmed
	verdict  verdict
	err      error
	bad      []sarama.ProduceResponseRecordError
}

// segment is a run of records of one call: up to index end of the batch.
type segment struct {
	call *call
	end  int
}

// sizeOf bounds what a record takes on the wire, without that of the batch.
func sizeOf(r *primitives.Record) int {
	n := recordHeader + len(r.Key) + len(r.Value)
	for i := range r.Headers {
		n += headerHeader + len(r.Headers[i].Name) + len(r.Headers[i].Value)
	}
	return n
}

// add appends record i of a call. The time is in milliseconds.
func (b *batch) add(c *call, i int, r *primitives.Record, size int, ms int64) {
	n := len(b.records)
	if n == 0 {
		b.base, b.last = ms, ms
	}
	b.last = max(b.last, ms)
	if n < cap(b.records) {
		b.records = b.records[:n+1]
	} else {
		b.records = append(b.records, sarama.Record{})
	}
	s := &b.records[n]
	s.Key, s.Value = r.Key, r.Value
	s.TimestampDelta = time.Duration(ms-b.base) * time.Millisecond
	s.OffsetDelta = int64(n)
	if len(r.Headers) > 0 {
		s.Headers = b.addHeaders(r.Headers)
	}
	b.index = append(b.index, int32(i))
	if k := len(b.parts) - 1; k >= 0 && b.parts[k].call == c {
		b.parts[k].end = n + 1
	} else {
		b.parts = append(b.parts, segment{c, n + 1})
		c.left++
	}
	b.bytes += size
}

// addHeaders copies headers into the batch's arrays. A full array is replaced,
// never moved, because records point into it.
func (b *batch) addHeaders(hs []primitives.Header) []*sarama.RecordHeader {
	if cap(b.headers)-len(b.headers) < len(hs) {
		n := max(2*cap(b.headers), len(hs), 64)
		b.headers, b.hrefs = make([]sarama.RecordHeader, 0, n), make([]*sarama.RecordHeader, 0, n)
	}
	from := len(b.hrefs)
	for i := range hs {
		if cap(b.names)-len(b.names) < len(hs[i].Name) {
			b.names = make([]byte, 0, max(2*cap(b.names), len(hs[i].Name), 1024))
		}
		at := len(b.names)
		b.names = append(b.names, hs[i].Name...)
		b.headers = append(b.headers, sarama.RecordHeader{Key: b.names[at:len(b.names):len(b.names)], Value: hs[i].Value})
		b.hrefs = append(b.hrefs, &b.headers[len(b.headers)-1])
	}
	return b.hrefs[from:len(b.hrefs):len(b.hrefs)]
}

// seal ends the adding of records.
func (b *batch) seal() {
	if b.sealed {
		return
	}
	b.sealed = true
	n := len(b.records)
	b.refs = slices.Grow(b.refs[:0], n)[:n]
	for i := range b.refs {
		b.refs[i] = &b.records[i]
	}
}

// prepare fills in what is sent. The records are encoded once: a later attempt
// sends the same bytes behind a new header.
func (b *batch) prepare(c *Config, id identity, transactional bool) *sarama.RecordBatch {
	w := &b.wire
	w.Version = 2
	w.Codec, w.CompressionLevel = c.Compression, c.CompressionLevel
	w.Records = b.refs
	w.LastOffsetDelta = int32(len(b.records) - 1)
	w.FirstTimestamp, w.MaxTimestamp = time.UnixMilli(b.base), time.UnixMilli(b.last)
	w.ProducerID, w.ProducerEpoch, w.FirstSequence = id.id, id.epoch, b.seq
	w.IsTransactional = transactional
	return w
}

// each calls f for every segment with its call and its records from..to.
func (b *batch) each(f func(c *call, from, to int)) {
	from := 0
	for _, s := range b.parts {
		f(s.call, from, s.end)
		from = s.end
	}
}

// reset empties the batch and keeps its arrays.
func (b *batch) reset() {
	clear(b.records)
	clear(b.parts)
	clear(b.headers)
	if cap(b.records) > maxPooledRecords {
		*b = batch{}
		return
	}
	*b = batch{
		records: b.records[:0], refs: b.refs[:0], index: b.index[:0], parts: b.parts[:0],
		headers: b.headers[:0], hrefs: b.hrefs[:0], names: b.names[:0],
	}
}
