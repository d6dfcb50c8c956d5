package client

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/IBM/sarama"

	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/primitives/kafka/driver"
)

// maxBurst is the largest number of records that is handed over at once.
const maxBurst = 4096

// held is how many answers of a fetch a stream holds before it is left out of the
// next one: the one that it hands over, and one more, so that a partition that is
// read fast never waits for a fetch.
const held = 2

// A stream is one partition that is read. Its source fetches; its pump, a
// goroutine of its own, hands over what was fetched, and waits where there is no
// room.
type stream struct {
	p      primitives.Partition
	to     driver.Stream
	f      *fetcher
	ctx    context.Context
	cancel context.CancelFunc
	ended  chan struct{} // closed by the pump

	chunks chan chunk
	start  int64        // offset of the first record
	queued atomic.Int32 // chunks that are not handed over yet
	over   atomic.Bool  // nothing more is to be fetched
	paused atomic.Bool
	source atomic.Pointer[source]

	// Of the source that has the stream, or of the router.
	next   int64   // to fetch
	size   int32   // most bytes that were asked for
	large  int32   // at least to be asked for, as a batch is larger than what is usual; 0: it is not
	swell  float64 // memory for each byte that is asked for, at least 1
	knows  bool    // swell, from a chunk
	waits  int64   // since when it has nothing and the budget is used up, in Unix nanoseconds; 0: it does not
	vain   int     // waits in a row that the budget has not ended
	epoch  int32   // of the leader
	moves  int     // failed attempts to find the leader, since a fetch that worked
	reason error   // of the last
	stuck  int64   // when it was first left out of a fetch because it was full, in Unix nanoseconds
	barren int     // answers with nothing in a row, though the log goes on
}

// chunk is what one fetch has brought for a partition.
type chunk struct {
	batches []*sarama.Records
	skip    map[int]bool // batches of aborted transactions
	next    int64
	out     bool // the offset next is out of range

	bytes, common int64 // of the budget: all, and those of its common half
}

func newStream(f *fetcher, p primitives.Partition, offset int64, to driver.Stream) *stream {
	s := &stream{p: p, to: to, f: f, start: offset, next: offset, swell: firstSwell, chunks: make(chan chunk, held), ended: make(chan struct{})}
	s.ctx, s.cancel = context.WithCancel(f.ctx)
	return s
}

// take queues a chunk. There is room: the source fetches for streams with room only.
func (s *stream) take(c chunk) {
	s.f.budget.keep(&c, s.queued.Load() == 0)
	s.queued.Add(1)
	s.chunks <- c
	if s.over.Load() || s.ctx.Err() != nil { // the pump may have ended before
		s.discard()
	}
}

// discard lets go of what nobody will hand over any longer.
func (s *stream) discard() {
	for {
		select {
		case c := <-s.chunks:
			s.f.letGo(c)
		default:
			return
		}
	}
}

// ready reports whether the next fetch should ask for the stream.
func (s *stream) ready() bool {
	return s.queued.Load() < held && !s.over.Load() && !s.paused.Load()
}

func (s *stream) pump() {
	defer close(s.ended)
	defer s.discard()
	var burst []primitives.Record
	var names headerNames
	position := s.start
	for {
		var c chunk
		select {
		case c = <-s.chunks:
		case <-s.ctx.Done():
			return
		}
		var err error
		if c.out {
			position, err = s.reset(c.next)
		} else {
			burst, err = s.handOver(c, position, burst, &names)
			position = c.next
		}
		s.f.letGo(c)
		if err != nil {
			s.over.Store(true)
			var fatal *fatalError
			if errors.As(err, &fatal) {
				s.f.fail(fatal.err)
			}
			return
		}
		s.queued.Add(-1)
		if src := s.source.Load(); src != nil {
			src.poke()
		}
	}
}

// reset asks where to go on when an offset is out of range. Nothing is fetched
// meanwhile: the stream is over until then.
func (s *stream) reset(at int64) (int64, error) {
	next, err := s.to.OutOfRange(s.ctx, at)
	if err != nil {
		if s.ctx.Err() != nil || errors.Is(err, primitives.ErrDraining) || errors.Is(err, primitives.ErrReleased) {
			return 0, err
		}
		return 0, &fatalError{err}
	}
	s.f.restart(s, next)
	return next, nil
}

// fatalError ends the whole consumer.
type fatalError struct{ err error }

func (e *fatalError) Error() string { return e.err.Error() }

// handOver pushes the records of a chunk from position on, in bursts.
func (s *stream) handOver(c chunk, position int64, burst []primitives.Record, names *headerNames) ([]primitives.Record, error) {
	burst = burst[:0]
	flush := func(next int64) error {
		if err := s.f.awaitResumed(s.ctx, s); err != nil {
			return err
		}
		err := s.to.Records(s.ctx, burst, next)
		clear(burst) // what was pushed is in other hands: its bytes must not be kept alive from here
		burst = burst[:0]
		return err
	}
	for i, set := range c.batches {
		b := set.RecordBatch
		if b == nil || b.Control || c.skip[i] {
			continue
		}
		slab := headerSlab(b)
		for _, r := range b.Records {
			offset := b.FirstOffset + r.OffsetDelta
			if offset < position {
				continue
			}
			if len(burst) == cap(burst) && cap(burst) < maxBurst {
				burst = grow(burst)
			}
			burst = burst[:len(burst)+1]
			out := &burst[len(burst)-1]
			*out = primitives.Record{Key: r.Key, Value: r.Value, Offset: offset}
			if b.LogAppendTime {
				out.Time = b.MaxTimestamp
			} else {
				out.Time = b.FirstTimestamp.Add(r.TimestampDelta)
			}
			if len(r.Headers) > 0 {
				out.Headers, slab = names.convert(r.Headers, slab)
			}
			if len(burst) == maxBurst {
				if err := flush(offset + 1); err != nil {
					return burst, err
				}
			}
		}
	}
	err := flush(c.next)
	return burst, err
}

func grow(burst []primitives.Record) []primitives.Record {
	out := make([]primitives.Record, len(burst), min(max(2*cap(burst), 64), maxBurst))
	copy(out, burst)
	return out
}

// headerSlab returns room for all headers of a batch.
func headerSlab(b *sarama.RecordBatch) []primitives.Header {
	n := 0
	for _, r := range b.Records {
		n += len(r.Headers)
	}
	if n == 0 {
		return nil
	}
	return make([]primitives.Header, 0, n)
}

// headerNames keeps the names of headers, which are few, so that a string is not
// made for each record.
type headerNames map[string]string

// maxHeaderNames bounds what is kept.
const maxHeaderNames = 256

func (n *headerNames) convert(from []*sarama.RecordHeader, slab []primitives.Header) (out, rest []primitives.Header) {
	start := len(slab)
	for _, h := range from {
		name, ok := (*n)[string(h.Key)]
		if !ok {
			name = string(h.Key)
			if *n == nil || len(*n) >= maxHeaderNames {
				*n = headerNames{}
			}
			(*n)[name] = name
		}
		slab = append(slab, primitives.Header{Name: name, Value: h.Value})
	}
	return slab[start:len(slab):len(slab)], slab
}
