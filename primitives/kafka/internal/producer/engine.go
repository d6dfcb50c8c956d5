package producer

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/IBM/sarama"

	"github.com/flowkit-go/flow/primitives"
)

// engine sends the batches of one or more sessions to the brokers of a cluster.
type engine struct {
	client sarama.Client
	conf   *sarama.Config // of the connections
	cfg    Config

	ctx    context.Context // ends when the goroutines are to stop
	cancel context.CancelCauseFunc
	wg     sync.WaitGroup

	kick    chan struct{} // for the keeper
	deliver chan struct{} // for the finisher
	links   links

	batches sync.Pool
	plans   sync.Pool

	mu       sync.Mutex
	topics   map[string]*topic
	nodes    map[int32]*node
	sessions map[*session]struct{}
	held     map[*queue]struct{}
	txns     map[string]*Transactional
	found    map[coordinator]string
	waking   []*node
	kicking  bool
	finished []*call // resolved, and their done not yet called
	calls    int     // not resolved, or their done has not returned
	used     int     // bytes accepted and not resolved
	waiters  []*waiter
	asked    uint64 // refreshes of the metadata: the latest that someone wants,
	begun    uint64 // that was begun,
	ended    uint64 // that has ended
	closed   bool
	aborted  error         // set when Close could not wait
	idle     chan struct{} // closed when closed and calls is 0
}

// waiter is a Write that waits for room.
type waiter struct {
	need    int
	granted bool
	ready   chan struct{}
	err     error
}

func newEngine(client sarama.Client, cfg Config) *engine {
	conf := *client.Config()
	// A request of ours is not one of the client's idempotent producer, and the
	// limit of requests in flight is kept here, per partition.
	conf.Producer.Idempotent = false
	conf.Producer.Transaction.ID = ""
	conf.Net.MaxOpenRequests = max(conf.Net.MaxOpenRequests, maxRequests+1)
	conf.MetricRegistry = sarama.NewConfig().MetricRegistry // closing a connection empties its registry
	e := &engine{
		client:   client,
		conf:     &conf,
		cfg:      cfg,
		kick:     make(chan struct{}, 1),
		deliver:  make(chan struct{}, 1),
		topics:   map[string]*topic{},
		nodes:    map[int32]*node{},
		sessions: map[*session]struct{}{},
		held:     map[*queue]struct{}{},
		txns:     map[string]*Transactional{},
		found:    map[coordinator]string{},
		idle:     make(chan struct{}),
	}
	e.links = links{e: e, addrs: map[string]*brokerLinks{}}
	e.ctx, e.cancel = context.WithCancelCause(context.Background())
	e.batches.New = func() any { return new(batch) }
	e.plans.New = func() any { return new(plan) }
	return e
}

func (e *engine) start() {
	e.wg.Add(3)
	go e.keep()
	go e.sweep()
	go e.finish()
}

// unlock releases the lock and wakes those who have got something to do. Waking
// them earlier would only let them wait for the lock.
func (e *engine) unlock() {
	for _, n := range e.waking {
		n.waking = false
		poke(n.wake)
	}
	e.waking = e.waking[:0]
	if e.kicking {
		e.kicking = false
		poke(e.kick)
	}
	if len(e.finished) > 0 {
		poke(e.deliver)
	}
	e.mu.Unlock()
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// admit waits for room for need bytes. It is called and returns with the lock
// held, and has counted the call when it returns nil.
func (e *engine) admit(ctx context.Context, need int) error {
	if e.closed {
		return primitives.ErrClosed
	}
	if len(e.waiters) == 0 && e.fits(need) {
		e.used += need
		e.calls++
		return nil
	}
	w := &waiter{need: need, ready: make(chan struct{})}
	e.waiters = append(e.waiters, w)
	e.unlock()
	select {
	case <-w.ready:
	case <-ctx.Done():
	}
	e.mu.Lock()
	switch {
	case w.err != nil:
		return w.err
	case w.granted:
		return nil // even when ctx has ended: it has room, and need not wait
	}
	for i := range e.waiters {
		if e.waiters[i] == w {
			e.waiters = append(e.waiters[:i], e.waiters[i+1:]...)
			break
		}
	}
	e.grant() // the next one may need less
	return context.Cause(ctx)
}

// fits: a batch larger than the whole buffer is taken when nothing else is there.
func (e *engine) fits(need int) bool {
	return e.used == 0 || e.used+need <= e.cfg.MaxBuffered
}

// grant lets waiters in, in their order.
func (e *engine) grant() {
	n := 0
	for _, w := range e.waiters {
		if !e.fits(w.need) {
			break
		}
		e.used += w.need
		e.calls++
		w.granted = true
		close(w.ready)
		n++
	}
	if n > 0 {
		rest := copy(e.waiters, e.waiters[n:])
		clear(e.waiters[rest:])
		e.waiters = e.waiters[:rest]
	}
}

// resolve ends a batch that is in no queue any longer: stored when err is nil.
func (e *engine) resolve(b *batch, err error) {
	b.each(func(c *call, from, to int) {
		if err != nil {
			for _, i := range b.index[from:to] {
				c.fail(int(i), err)
			}
		}
		if c.release() {
			e.finished = append(e.finished, c)
		}
	})
	e.used -= b.bytes
	x := b.txn
	b.reset()
	e.batches.Put(b)
	e.grant()
	if x != nil {
		x.writes--
		x.checkQuiet()
	}
}

// finish calls the callbacks. It runs until the engine stops and nothing is left.
func (e *engine) finish() {
	defer e.wg.Done()
	var batch []*call
	for {
		select {
		case <-e.deliver:
		case <-e.ctx.Done():
			return
		}
		e.mu.Lock()
		batch, e.finished = e.finished, batch[:0]
		e.mu.Unlock()
		for i, c := range batch {
			c.done(c.err)
			batch[i] = nil
		}
		e.mu.Lock()
		e.calls -= len(batch)
		e.checkIdle()
		e.unlock()
	}
}

func (e *engine) checkIdle() {
	if e.closed && e.calls == 0 {
		select {
		case <-e.idle:
		default:
			close(e.idle)
		}
	}
}

// close waits until all calls are resolved, or gives them up when ctx ends, and
// stops the goroutines.
func (e *engine) close(ctx context.Context) error {
	e.mu.Lock()
	e.closed = true
	for _, w := range e.waiters {
		w.err = primitives.ErrClosed
		close(w.ready)
	}
	e.waiters = nil
	e.checkIdle()
	e.unlock()

	var err error
	select {
	case <-e.idle:
	case <-ctx.Done():
		err = fmt.Errorf("kafka: close: what was written last is not confirmed: %w", context.Cause(ctx))
		e.abort(err)
		<-e.idle // soon: nothing waits for a broker any longer
	}
	stopped := make(chan struct{})
	go func() {
		e.stop()
		close(stopped)
	}()
	select {
	case <-stopped:
	case <-ctx.Done():
		// The last request for metadata may be under way; the client's own
		// timeouts end it.
		if err == nil {
			err = fmt.Errorf("kafka: close: %w", context.Cause(ctx))
		}
	}
	return err
}

// stop ends the goroutines and closes the connections.
func (e *engine) stop() {
	e.cancel(primitives.ErrClosed)
	e.wg.Wait()
	e.links.close()
}

// abort fails everything that is not confirmed.
func (e *engine) abort(err error) {
	e.mu.Lock()
	e.aborted = err
	for s := range e.sessions {
		for _, qs := range s.queues {
			for _, q := range qs {
				e.settle(q)
			}
		}
	}
	nodes := make([]*node, 0, len(e.nodes))
	for _, n := range e.nodes {
		nodes = append(nodes, n)
	}
	e.unlock()
	for _, n := range nodes {
		n.link.cut()
	}
}

// sweep ends what has run out of time, until the engine stops.
func (e *engine) sweep() {
	defer e.wg.Done()
	tick := time.NewTicker(min(max(e.cfg.Timeout/20, 5*time.Millisecond), time.Second))
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-e.ctx.Done():
			return
		}
		e.expire(time.Now())
	}
}

func (e *engine) expire(now time.Time) {
	var stuck []*node
	e.mu.Lock()
	for _, n := range e.nodes {
		if n.hangs(now) {
			e.asked = max(e.asked, e.begun+1)
			e.kicking = true
		}
	}
	if e.used > 0 {
		for s := range e.sessions {
			for _, qs := range s.queues {
				for _, q := range qs {
					if len(q.batches) == 0 || now.Before(q.batches[0].deadline) {
						continue
					}
					if q.inFlight > 0 {
						stuck = append(stuck, q.node) // its answer is due since long
						q.lastErr = cmpErr(q.lastErr, errNoAnswer)
						continue
					}
					e.settle(q)
					e.schedule(q)
				}
			}
		}
	}
	e.unlock()
	for _, n := range stuck {
		n.link.cut()
	}
}

var errNoAnswer = errors.New("no answer from the broker")

func cmpErr(a, b error) error {
	if a != nil {
		return a
	}
	return b
}
