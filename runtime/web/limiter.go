package web

import (
	"context"
	"sync"
	"sync/atomic"
)

// A Limiter bounds how many requests are handled at a time. Those beyond wait
// in a bounded queue, first come first served; those beyond that are refused.
// When nobody waits, taking and giving back a place is a counter.
type Limiter struct {
	limit    atomic.Int64
	inFlight atomic.Int64
	waiting  atomic.Int64 // those in the queue, or about to be

	mu    sync.Mutex // guards what follows, and growth of waiting
	queue int64
	first *waiter
	last  *waiter
}

// A waiter is one request in the queue.
type waiter struct {
	next, prev *waiter
	granted    chan struct{} // closed under the limiter's lock
}

// NewLimiter returns a Limiter for limit requests at a time and a queue of that
// many others. A limit below 1 counts as 1, a negative queue as none.
func NewLimiter(limit, queue int) *Limiter {
	l := &Limiter{queue: int64(max(queue, 0))}
	l.limit.Store(int64(max(limit, 1)))
	return l
}

// take takes a place if there is one.
func (l *Limiter) take() bool {
	for {
		n := l.inFlight.Load()
		if n >= l.limit.Load() {
			return false
		}
		if l.inFlight.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// Acquire takes a place, waiting for one in the queue. It returns ErrBusy at
// once when the queue is full, and the error of ctx when that ends first. After
// nil, Release must be called once.
func (l *Limiter) Acquire(ctx context.Context) error {
	if l.waiting.Load() == 0 && l.take() {
		return nil
	}
	l.mu.Lock()
	if l.waiting.Load() >= l.queue {
		ok := l.first == nil && l.take()
		l.mu.Unlock()
		if ok {
			return nil
		}
		return ErrBusy
	}
	// First to be counted, then to look once more: whoever gives back a place now
	// sees that there is somebody, or has given it back before this looks.
	l.waiting.Add(1)
	if l.first == nil && l.take() {
		l.waiting.Add(-1)
		l.mu.Unlock()
		return nil
	}
	w := &waiter{granted: make(chan struct{}), prev: l.last}
	if l.last != nil {
		l.last.next = w
	} else {
		l.first = w
	}
	l.last = w
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
		l.inFlight.Add(-1)
		l.grant()
	default:
		l.remove(w)
	}
	return ctx.Err()
}

// Release gives a place back.
func (l *Limiter) Release() {
	l.inFlight.Add(-1)
	if l.waiting.Load() > 0 {
		l.mu.Lock()
		l.grant()
		l.mu.Unlock()
	}
}

// SetLimit changes how many requests are handled at a time. A higher limit lets
// those that wait in at once, a lower one holds as places are given back.
func (l *Limiter) SetLimit(limit int) {
	l.mu.Lock()
	l.limit.Store(int64(max(limit, 1)))
	l.grant()
	l.mu.Unlock()
}

// Stats returns the requests being handled, those that wait, and the limit.
func (l *Limiter) Stats() (inFlight, waiting, limit int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return int(l.inFlight.Load()), int(l.waiting.Load()), int(l.limit.Load())
}

// grant lets in as many as there are places for. The caller holds the lock.
func (l *Limiter) grant() {
	for l.first != nil && l.take() {
		w := l.first
		l.remove(w)
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
	l.waiting.Add(-1)
}
