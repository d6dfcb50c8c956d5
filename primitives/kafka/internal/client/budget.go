package client

import (
	"math"
	"sync/atomic"
	"time"

	"github.com/IBM/sarama"
)

// A budget bounds what a consumer holds of all its partitions: what was fetched and is
// not handed over. One half is shared out evenly, so that a stream that has nothing gets
// something whatever the others hold, as when their lanes are full. The other half is
// taken by who asks first: for a second chunk, so that a stream that is read fast does not
// wait for a fetch, and for batches that are larger than a share.
type budget struct {
	limit   int64
	streams atomic.Int64
	held    atomic.Int64 // all that is held
	common  atomic.Int64 // what is taken of the common half, with what is asked for
	refused atomic.Bool  // a source waits for the common half
}

// leastShare is the share of a stream at least, however many there are, and leastFetch what
// is asked for at least: fetches of single records would be slow.
const (
	leastShare = 16 << 10
	leastFetch = 1 << 10
)

// patience is how long a stream that has nothing waits for the common half when its next
// batch is larger than its share. Then it goes beyond the budget: those who hold it may be
// stuck for good, and it would look stuck itself.
const patience = 5 * time.Second

// patience is halved each time that it was in vain.
func (s *stream) patience() time.Duration { return patience >> s.vain }

// share is what each stream may hold whatever the others hold.
func (b *budget) share() int64 { return max(b.limit/2/max(b.streams.Load(), 1), leastShare) }

// reserve takes n bytes of the common half and reports whether they were left.
func (b *budget) reserve(n int64) bool {
	for {
		taken := b.common.Load()
		if taken+n > b.limit/2 {
			return false
		}
		if b.common.CompareAndSwap(taken, taken+n) {
			return true
		}
	}
}

// giveBack is the opposite of reserve.
func (f *fetcher) giveBack(n int64) {
	if n == 0 {
		return
	}
	f.budget.common.Add(-n)
	if !f.budget.refused.Swap(false) {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, src := range f.sources {
		src.poke()
	}
}

// keep counts a chunk of a stream; first says that it has no other one.
func (b *budget) keep(c *chunk, first bool) {
	b.held.Add(c.bytes)
	c.common = c.bytes
	if first {
		c.common = max(0, c.bytes-b.share())
	}
	b.common.Add(c.common)
}

// letGo is the opposite of keep.
func (f *fetcher) letGo(c chunk) {
	f.budget.held.Add(-c.bytes)
	f.giveBack(c.common)
}

// recordBytes is what sarama needs for a record beside its key, value and headers,
// packedBytes what the log needs, about, and batchBytes what it needs for a batch.
const (
	recordBytes = 136
	packedBytes = 8
	batchBytes  = 61
)

// measured is how large batches are: in memory, and before they were unpacked, all and the
// largest of them.
type measured struct{ memory, packed, largest int64 }

// measure returns how large batches are that were asked for with so many bytes. The packed
// size of compressed ones is not told: it is at most what was asked for, unless it is a
// single one.
func measure(batches []*sarama.Records, asked int64) (m measured) {
	compressed := false
	for _, set := range batches {
		b := set.RecordBatch
		if b == nil {
			continue
		}
		compressed = compressed || b.Codec != sarama.CompressionNone
		payload, n := int64(0), int64(len(b.Records))
		for _, r := range b.Records {
			payload += int64(len(r.Key) + len(r.Value))
			for _, h := range r.Headers {
				payload += int64(len(h.Key) + len(h.Value))
			}
		}
		packed := batchBytes + payload + n*packedBytes
		m.memory, m.packed, m.largest = m.memory+payload+n*recordBytes, m.packed+packed, max(m.largest, packed)
	}
	if compressed && len(batches) > 1 {
		m.packed, m.largest = min(m.packed, asked), min(m.largest, asked)
	}
	return m
}

// firstSwell is how much larger what is fetched first is taken to be in memory.
const firstSwell = 8

// mostSwell bounds how much larger than what is asked for its memory is taken to be.
const mostSwell = 32

// learn takes from a chunk how much memory is needed for each byte that is asked for, and
// whether batches are larger than what usual asks for.
func (s *stream) learn(m measured) {
	if m.packed > 0 {
		swell := max(1, 1.05*float64(m.memory)/float64(m.packed)) // packed is an estimate
		if s.knows {
			swell = max(swell, s.swell*0.9)
		}
		s.swell, s.knows = min(swell, mostSwell), true
	}
	if s.large = 0; m.largest > int64(s.usual()) {
		s.large = int32(min(m.largest+m.largest/16, math.MaxInt32/2))
	}
}

// usual is how much is asked for of a stream.
func (s *stream) usual() int32 {
	share := max(int64(float64(s.f.budget.share())/s.swell), leastFetch)
	return max(int32(min(share, int64(s.f.with.FetchPartitionBytes))), s.large)
}
