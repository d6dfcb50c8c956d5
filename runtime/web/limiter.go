package web

import (
	"context"
	"sync"
)

// A Limiter bounds how many requests are handled at a time. Those beyond wait
// in a bounded queue, first come first served; those beyond that are refused.
// When nobody waits, taking and giving back a place is a lock and a counter.
type Limiter struct {
	mu       sync.Mutex
	limit    int
	queue    int
	inFlight int
	waiting  int
	first    *waiter
	last     *waiter
}

// A waiter is one request in the queue.
type waiter struct {
	next, prev *waiter
	granted    chan struct{} // closed under the limiter's lock
}

// NewLimiter returns a Limiter for limit requests at a time and a queue of that
// many others. A limit below 1 counts as 1, a negative queue as none.
func NewLimiter(limit, queue int) *Limiter {
	return &Limiter{limit: max(limit, 1), queue: max(queue, 0)}
}

// Acquire takes a place, waiting for one in the queue. It returns ErrBusy at
// once when the queue is full, and the error of ctx when that ends first. After
// nil, Release must be called once.
func (l *Limiter) Acquire(ctx context.Context) error {
	l.mu.Lock()
	if l.inFlight < l.limit && l.first == nil {
		l.inFlight++
		l.mu.Unlock()
		return nil
	}
	if l.waiting >= l.queue {
		l.mu.Unlock()
		return ErrBusy
	}
	w := &waiter{granted: make(chan struct{}), prev: l.last}
	if l.last != nil {
		l.last.next = w
	} else {
		l.first = w
	}
	l.last = w
	l.waiting++
	l.mu.Unlock()

	select {
	case <-w.granted:
		return nil
	case <-ctx.Done():
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-w.granted: // between the end of ctx and the lock: the place goes on to the next
		l.inFlight--
		l.grant()
	default:
		l.remove(w)
	}
	return ctx.Err()
}

// Release gives a place back.
func (l *Limiter) Release() {
	l.mu.Lock()
	l.inFlight--
	if l.first != nil {
		l.grant()
	}
	l.mu.Unlock()
}

// SetLimit changes how many requests are handled at a time. A higher limit lets
// those that wait in at once, a lower one holds as places are given back.
func (l *Limiter) SetLimit(limit int) {
	l.mu.Lock()
	l.limit = max(limit, 1)
	l.grant()
	l.mu.Unlock()
}

// Stats returns the requests being handled, those that wait, and the limit.
func (l *Limiter) Stats() (inFlight, waiting, limit int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.inFlight, l.waiting, l.limit
}

// grant lets in as many as there are places for. The caller holds the lock.
func (l *Limiter) grant() {
	for l.first != nil && l.inFlight < l.limit {
		w := l.first
		l.remove(w)
		l.inFlight++
		close(w.granted)
	}
}

// remove takes w out of the queue. The caller holds the lock.
func (l *Limiter) remove(w *waiter) {
	if w.prev != nil {
		w.prev.next = w.next
	} else {
		l.first = w.next
	}
	if w.next != nil {
		w.next.prev = w.prev
	} else {
		l.last = w.prev
	}
	l.waiting--
}
