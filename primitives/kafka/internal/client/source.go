package client

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/IBM/sarama"
)

// A source fetches from one broker for the streams whose partitions it leads,
// with one request at a time for all that have room.
type source struct {
	f    *fetcher
	addr string
	link *link
	wake chan struct{}

	mu      sync.Mutex
	streams map[*stream]bool

	asked []*stream   // of run: who the request under way is for
	taken int64       // what is reserved for it
	late  int64       // when a stream gives up waiting for the budget, in Unix nanoseconds; 0: none waits
	size  *answerSize // of the answer
	vain  bool        // the answer had nothing where there is something
	alone []*stream   // to be asked for one by one: one of them could not be decoded
}

func newSource(f *fetcher, addr string) *source {
	size := &answerSize{}
	config := *f.client.config
	config.MetricRegistry = size
	return &source{f: f, addr: addr, link: newLink(&config, addr), wake: make(chan struct{}, 1), streams: map[*stream]bool{}, size: size}
}

func (src *source) poke() {
	select {
	case src.wake <- struct{}{}:
	default:
	}
}

func (src *source) add(s *stream) {
	src.mu.Lock()
	src.streams[s] = true
	src.mu.Unlock()
	s.source.Store(src)
	src.poke()
}

func (src *source) remove(s *stream) {
	src.mu.Lock()
	delete(src.streams, s)
	src.mu.Unlock()
}

// drop removes a stream and reports whether it was there and is still read.
func (src *source) drop(s *stream) bool {
	src.mu.Lock()
	defer src.mu.Unlock()
	if !src.streams[s] {
		return false
	}
	delete(src.streams, s)
	s.source.Store(nil)
	return s.ctx.Err() == nil
}

func (src *source) has(s *stream) bool {
	src.mu.Lock()
	defer src.mu.Unlock()
	return src.streams[s]
}

func (src *source) run() {
	defer src.link.close()
	defer src.settle()
	last := time.Now() // answer
	for {
		request, ok := src.request()
		if !ok {
			if !src.await() {
				return
			}
			continue
		}
		response, err := call(src.f.ctx, src.link, func(b *sarama.Broker) (*sarama.FetchResponse, error) { return b.Fetch(request) })
		if src.f.ctx.Err() != nil {
			return
		}
		if err == nil && response.ErrorCode != 0 {
			err = sarama.KError(response.ErrorCode)
		}
		if err != nil {
			src.settle()
			// Brokers close connections that were idle for minutes, as when all lanes
			// were full.
			idle := disconnected(err) && time.Since(last) > idleTime
			last = time.Now()
			switch {
			case idle:
			case undecodable(err):
				if len(src.asked) > 1 {
					src.alone = slices.Clone(src.asked)
					continue
				}
				// Whose log it is waits for the next attempt by itself.
				src.f.evict(src, slices.Clone(src.asked), err)
			case !src.failed(err):
				return
			}
			continue
		}
		last = time.Now()
		src.vain = false
		src.deliver(response)
		src.settle()
		if src.vain {
			select {
			case <-time.After(vainPause):
			case <-src.f.ctx.Done():
				return
			}
		}
	}
}

// await waits until there may be something to fetch. It returns false at the end.
func (src *source) await() bool {
	var late <-chan time.Time
	if src.late != 0 {
		timer := time.NewTimer(time.Until(time.Unix(0, src.late)))
		defer timer.Stop()
		late = timer.C
	}
	select {
	case <-src.wake:
	case <-late:
	case <-src.f.ctx.Done():
		return false
	}
	return true
}

// settle gives back what was reserved for the last request: what it has brought is
// counted now.
func (src *source) settle() {
	src.f.giveBack(src.taken)
	src.taken = 0
}

// vainPause is the time before a broker is asked again for what it should have sent.
const vainPause = 20 * time.Millisecond

// idleTime is the least time after which a broker may have closed an idle connection.
const idleTime = time.Minute

// request makes a fetch for all streams that have room, or returns false.
func (src *source) request() (*sarama.FetchRequest, bool) {
	with := src.f.with
	request := &sarama.FetchRequest{
		Version: 12, MinBytes: with.FetchMinBytes, MaxBytes: with.FetchMaxBytes, Isolation: sarama.ReadCommitted, SessionEpoch: -1,
	}
	if with.ReadUncommitted {
		request.Isolation = sarama.ReadUncommitted
	}
	src.asked = src.asked[:0]
	now := time.Now().UnixNano()
	wait := with.FetchMaxWait
	src.mu.Lock()
	defer src.mu.Unlock()
	src.late = 0
	s := src.nextAlone()
	if s == nil {
		s = src.starved(now)
	}
	if s != nil {
		// Alone it gets something, if there is anything.
		src.asked = append(src.asked, s)
		request.AddBlock(s.p.Topic, s.p.ID, s.next, s.size, s.epoch)
		request.MaxWaitTime = int32(wait.Milliseconds())
		return request, true
	}
	refused := map[*stream]bool(nil)
	for _, hungry := range []bool{true, false} { // who has nothing comes first
		for s := range src.streams {
			if !s.ready() || hungry != (s.queued.Load() == 0) {
				continue
			}
			s.size = s.usual()
			if s.starves() || !src.admit(s, hungry, int64(float64(s.size)*s.swell), now) {
				if refused == nil {
					refused = map[*stream]bool{}
				}
				refused[s] = true
				continue
			}
			s.stuck = 0
			src.asked = append(src.asked, s)
			request.AddBlock(s.p.Topic, s.p.ID, s.next, s.size, s.epoch)
		}
	}
	for s := range src.streams {
		if s.queued.Load() >= held || refused[s] {
			// It will want more, perhaps soon: the others must not hold it up with a
			// fetch that waits for their next record. The longer it has been full, the
			// longer it may wait.
			if s.stuck == 0 {
				s.stuck = now
			}
			wait = min(wait, max(shortWait, time.Duration(now-s.stuck)/4))
		}
	}
	request.MaxWaitTime = int32(wait.Milliseconds())
	return request, len(src.asked) > 0
}

// admit reports whether the budget lets a stream be asked for that will take size bytes of
// memory. It is hungry when it has nothing. The caller holds mu.
func (src *source) admit(s *stream, hungry bool, size, now int64) bool {
	b := &src.f.budget
	if hungry && size <= b.share() {
		s.waits = 0
		return true
	}
	if hungry { // what is larger than the common half comes when all of that is free
		size = min(size, b.limit/2)
	}
	ok := b.reserve(size)
	if !ok {
		b.refused.Store(true)
		ok = b.reserve(size) // something may have been given back just before
	}
	switch {
	case ok:
		src.taken += size
		s.vain = 0
	case !hungry:
		return false
	case s.waits == 0:
		s.waits = now
		fallthrough
	case now-s.waits < int64(s.patience()):
		if late := s.waits + int64(s.patience()); src.late == 0 || late < src.late {
			src.late = late
		}
		return false
	default:
		s.vain = min(s.vain+1, 9)
	}
	s.waits = 0
	return true
}

// nextAlone returns the next stream that is to be asked for alone. The caller holds mu.
func (src *source) nextAlone() *stream {
	for len(src.alone) > 0 {
		s := src.alone[0]
		src.alone = src.alone[1:]
		if src.streams[s] && s.ready() {
			s.size = s.usual()
			return s
		}
	}
	return nil
}

// starved returns a stream that has got nothing for a while though the log goes
// on. The caller holds mu.
func (src *source) starved(now int64) *stream {
	for s := range src.streams {
		if !s.starves() || !s.ready() {
			continue
		}
		// Its next batch may be larger than what was asked for: alone it comes, and one
		// cannot know how large it is.
		s.size = s.usual()
		guess := max(int64(s.size), int64(src.f.with.FetchPartitionBytes))
		if src.admit(s, s.queued.Load() == 0, min(guess, src.f.budget.limit/2), now) {
			return s
		}
	}
	return nil
}

// maxBarren is how many answers with nothing are an accident: the others may have
// used up the size of the answer.
const maxBarren = 3

// starves reports whether a stream gets nothing though it was asked for with all that it
// may have whatever the others hold.
func (s *stream) starves() bool { return s.barren >= maxBarren && !s.grows() }

// grows reports whether a stream may be asked for with twice as much as the last time.
func (s *stream) grows() bool {
	if s.size > s.f.with.FetchPartitionBytes/2 {
		return false
	}
	return s.guesses() || 2*float64(s.size)*s.swell <= float64(s.f.budget.share())
}

// guesses reports whether the share allows for more than what is known to be needed.
func (s *stream) guesses() bool { return !s.knows && s.swell > 1 }

// grow has a stream asked for with more, if it may.
func (s *stream) grow() {
	switch {
	case !s.grows():
	case s.guesses():
		s.swell = max(1, s.swell/2)
	default:
		s.large = 2 * s.size
	}
}

// shortWait is how long a fetch may wait for records while a stream is full that
// is not part of it.
const shortWait = 5 * time.Millisecond

// failed waits after an error of the connection, and has leaders looked up again.
// It returns false when nothing more should be fetched.
func (src *source) failed(reason error) bool {
	err := fmt.Errorf("fetch from %s: %w", src.addr, reason)
	if !src.f.retry(err) {
		return false
	}
	src.f.evict(src, slices.Clone(src.asked), err)
	return true
}

// deliver gives what a fetch has brought to the streams.
func (src *source) deliver(response *sarama.FetchResponse) {
	var moved []*stream
	var reason error
	for _, s := range src.asked {
		block := response.Blocks[s.p.Topic][s.p.ID]
		if !src.has(s) {
			continue
		}
		if block == nil {
			src.vain = true
			continue
		}
		switch err := block.Err; {
		case err == sarama.ErrNoError:
			s.moves, s.reason = 0, nil
			src.accept(s, block)
		case err == sarama.ErrOffsetOutOfRange:
			if src.drop(s) {
				s.take(chunk{out: true, next: s.next})
			}
		default:
			moved, reason = append(moved, s), cmp.Or[error](reason, err)
		}
	}
	if len(moved) > 0 {
		src.f.evict(src, moved, reason)
	}
}

// accept queues the batches of a block.
func (src *source) accept(s *stream, block *sarama.FetchResponseBlock) {
	c := chunk{batches: block.RecordsSet, next: s.next}
	for _, set := range block.RecordsSet {
		b := set.RecordBatch
		switch {
		case b == nil:
			src.f.fail(fmt.Errorf("read %s at %d: the log has records in the format of before Kafka 0.11, which is not supported: write them again, or start behind them", s.p, s.next))
			s.over.Store(true)
			return
		case b.PartialTrailingRecord:
		default:
			c.next = max(c.next, b.LastOffset()+1)
		}
	}
	if len(c.batches) > 0 && c.batches[len(c.batches)-1].RecordBatch.PartialTrailingRecord {
		c.batches = c.batches[:len(c.batches)-1]
	}
	limit := block.HighWaterMarkOffset
	if !src.f.with.ReadUncommitted {
		limit = block.LastStableOffset
	}
	switch {
	case len(c.batches) > 0:
		s.barren = 0
		m := measure(c.batches, int64(s.size))
		c.bytes = m.memory
		s.learn(m)
	case block.Partial || len(block.RecordsSet) > 0: // not one whole batch fits
		if s.size > math.MaxInt32/2 {
			src.f.fail(fmt.Errorf("read %s at %d: %w", s.p, s.next, errors.New("a record batch is larger than 1 GiB")))
			return
		}
		if s.grows() {
			s.grow()
		} else {
			s.large = s.size * 2
		}
		return
	case s.next >= limit:
		s.barren, s.large = 0, 0
		return
	case len(src.asked) > 1: // the next batch does not fit, or others have used up the answer
		s.barren++
		s.grow()
		return
	case src.size.n.Load() == 0:
		// Brokers answer so that read from a slower store and have no record yet. The
		// others get their turn before it is tried again.
		s.barren, src.vain = 0, true
		return
	default:
		// What is there is a batch that compaction has emptied. sarama does not say
		// how far it reaches.
		c.next++
	}
	if !src.f.with.ReadUncommitted && len(block.AbortedTransactions) > 0 {
		c.skip = aborted(c.batches, block.AbortedTransactions)
	}
	if c.next >= limit {
		s.large = 0 // a fetch that waits for records must not keep the budget from others
	}
	s.next = c.next
	s.take(c)
}

// aborted returns the indices of batches that belong to aborted transactions. The
// broker lists them by producer and first offset; each ends with its marker.
func aborted(batches []*sarama.Records, list []*sarama.AbortedTransaction) map[int]bool {
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b *sarama.AbortedTransaction) int { return cmp.Compare(a.FirstOffset, b.FirstOffset) })
	open := map[int64]bool{} // producers whose records are void
	skip := map[int]bool{}
	for i, set := range batches {
		b := set.RecordBatch
		for len(list) > 0 && list[0].FirstOffset <= b.LastOffset() {
			open[list[0].ProducerID] = true
			list = list[1:]
		}
		switch {
		case b.Control:
			if isAbort(b) {
				delete(open, b.ProducerID)
			}
		case b.IsTransactional && open[b.ProducerID]:
			skip[i] = true
		}
	}
	return skip
}

// isAbort reads the key of a marker: its version and its type, both of 16 bits.
func isAbort(b *sarama.RecordBatch) bool {
	if len(b.Records) == 0 {
		return false
	}
	key := b.Records[0].Key
	return len(key) >= 4 && key[2] == 0 && key[3] == 0
}
