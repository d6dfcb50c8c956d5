package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/IBM/sarama"

	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/primitives/kafka/driver"
)

// fetcher reads partitions. Each broker that leads some of them has a source,
// which fetches for all of these. The router gives streams to the sources of
// their leaders, at first and when a leader has changed.
type fetcher struct {
	client *Client
	with   driver.Consuming
	failed chan error // has the first error that ends the consumer

	ctx context.Context // ends with stop
	end context.CancelFunc
	all sync.WaitGroup // router, sources and pumps

	wake chan struct{} // of the router

	budget budget

	mu       sync.Mutex
	group    driver.Group
	streams  map[primitives.Partition]*stream
	sources  map[string]*source // by address
	homeless []*stream          // without a source
	resumed  chan struct{}      // closed and replaced by resume
}

func newFetcher(c *Client, with driver.Consuming) *fetcher {
	f := &fetcher{
		client: c, with: with, failed: make(chan error, 1), wake: make(chan struct{}, 1),
		streams: map[primitives.Partition]*stream{}, sources: map[string]*source{},
		resumed: make(chan struct{}),
	}
	f.budget.limit = int64(with.FetchBufferBytes)
	f.ctx, f.end = context.WithCancel(context.Background())
	return f
}

// start lets reading begin.
func (f *fetcher) start(g driver.Group) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.group = g
	if f.ctx.Err() == nil {
		f.all.Go(f.route)
	}
}

// stop ends all reading and waits for it.
func (f *fetcher) stop() {
	f.mu.Lock() // so that nothing is begun any longer
	f.end()
	f.mu.Unlock()
	f.all.Wait()
}

// fail ends the consumer.
func (f *fetcher) fail(err error) {
	select {
	case f.failed <- err:
	default:
	}
}

func (f *fetcher) read(p primitives.Partition, offset int64, paused bool, to driver.Stream) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ctx.Err() != nil {
		return
	}
	s := newStream(f, p, offset, to)
	s.paused.Store(paused)
	f.streams[p] = s
	f.budget.streams.Store(int64(len(f.streams)))
	f.homeless = append(f.homeless, s)
	f.all.Go(s.pump)
	f.pokeRouter()
}

// release stops the reading of partitions and waits for their pumps.
func (f *fetcher) release(ps []primitives.Partition) {
	var gone []*stream
	f.mu.Lock()
	for _, p := range ps {
		if s := f.streams[p]; s != nil {
			delete(f.streams, p)
			s.over.Store(true)
			s.cancel()
			if src := s.source.Load(); src != nil {
				src.remove(s)
			}
			gone = append(gone, s)
		}
	}
	f.budget.streams.Store(int64(len(f.streams)))
	f.homeless = slices.DeleteFunc(f.homeless, func(s *stream) bool { return s.ctx.Err() != nil })
	f.mu.Unlock()
	for _, s := range gone {
		<-s.ended
	}
}

// restart goes on with a stream at another offset.
func (f *fetcher) restart(s *stream, next int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if s.ctx.Err() != nil {
		return
	}
	s.next = next
	f.homeless = append(f.homeless, s)
	f.pokeRouter()
}

func (f *fetcher) pause(ps []primitives.Partition) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range ps {
		if s := f.streams[p]; s != nil {
			s.paused.Store(true)
		}
	}
}

func (f *fetcher) resume(ps []primitives.Partition) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range ps {
		if s := f.streams[p]; s != nil {
			s.paused.Store(false)
		}
	}
	close(f.resumed)
	f.resumed = make(chan struct{})
	for _, src := range f.sources {
		src.poke()
	}
}

// awaitResumed waits while a stream is paused.
func (f *fetcher) awaitResumed(ctx context.Context, s *stream) error {
	for s.paused.Load() {
		f.mu.Lock()
		resumed := f.resumed
		f.mu.Unlock()
		if !s.paused.Load() {
			break
		}
		select {
		case <-resumed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (f *fetcher) pokeRouter() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// evict gives streams that their source cannot read to the router.
func (f *fetcher) evict(src *source, streams []*stream, reason error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range streams {
		if src.drop(s) {
			s.moves++
			s.reason = reason
			f.homeless = append(f.homeless, s)
		}
	}
	f.pokeRouter()
}

// quietMoves is how often a stream is moved without a word: the leader of a
// partition changes now and then, and the metadata lags a little.
const quietMoves = 3

// route gives streams to the sources of their leaders.
func (f *fetcher) route() {
	for {
		select {
		case <-f.wake:
		case <-f.ctx.Done():
			return
		}
		f.mu.Lock()
		todo := f.homeless
		f.homeless = nil
		f.mu.Unlock()
		if len(todo) == 0 {
			continue
		}
		var failed []*stream
		var reason error
		moves := 0
		for _, s := range todo {
			moves = max(moves, s.moves)
			if s.reason != nil {
				reason = fmt.Errorf("read %s: %w", s.p, s.reason)
			}
		}
		if moves > 0 && !f.pauseRouting(moves, reason) {
			return
		}
		if moves > 0 {
			topics := map[string]bool{}
			for _, s := range todo {
				topics[s.p.Topic] = true
			}
			for topic := range topics {
				if err := f.client.refresh(f.ctx, topic); err != nil {
					reason = err
				}
			}
		}
		for _, s := range todo {
			b, epoch, err := f.client.leader(f.ctx, s.p.Topic, s.p.ID)
			if err != nil {
				s.moves++
				s.reason = err
				failed = append(failed, s)
				continue
			}
			s.epoch = epoch
			f.place(s, b)
		}
		if len(failed) > 0 {
			f.mu.Lock()
			for _, s := range failed {
				if s.ctx.Err() == nil {
					f.homeless = append(f.homeless, s)
				}
			}
			f.mu.Unlock()
			f.pokeRouter()
		}
	}
}

// pauseRouting waits before leaders are looked up again. It returns false when
// there should be no further attempt.
func (f *fetcher) pauseRouting(moves int, reason error) bool {
	if moves > quietMoves {
		return f.retry(reason)
	}
	select {
	case <-time.After(25 * time.Millisecond << moves):
		return true
	case <-f.ctx.Done():
		return false
	}
}

// retry reports an error that may pass and waits. It returns false when nothing
// more should be fetched, and then not before the end.
func (f *fetcher) retry(reason error) bool {
	err := retry(f.ctx, f.group, reason)
	if err == nil {
		return true
	}
	if !errors.Is(err, primitives.ErrDraining) && f.ctx.Err() == nil {
		f.fail(err)
	}
	<-f.ctx.Done()
	return false
}

// place gives a stream to the source of a broker, which is started when it is new.
func (f *fetcher) place(s *stream, b *sarama.Broker) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if s.ctx.Err() != nil || f.ctx.Err() != nil {
		return
	}
	src := f.sources[b.Addr()]
	if src == nil {
		src = newSource(f, b.Addr())
		f.sources[b.Addr()] = src
		f.all.Go(src.run)
	}
	src.add(s)
}
