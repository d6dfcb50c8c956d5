package registry

import (
	"errors"
	"maps"
	"sync"
	"sync/atomic"
	"time"
)

// lookups remembers answers of the registry: for good what it has, and for a while
// what it has not or that it could not be reached, so that a thousand records that
// wait for a schema are one request.
type lookups[K comparable, V any] struct {
	known atomic.Pointer[map[K]V] // replaced, never changed

	mu     sync.Mutex // not held while the registry is asked
	asking map[K]*lookup[V]
}

// lookup is one request, whose result others wait for.
type lookup[V any] struct {
	done  chan struct{}
	value V
	err   error
	until time.Time // an error is not asked about again before
}

const (
	absent    = 10 * time.Second // for which something missing is believed to be
	maxAsking = 1000             // failures that are remembered
)

// get returns what is known of key, or the result of ask, which one caller calls
// for all who want the same.
func (l *lookups[K, V]) get(key K, ask func() (V, error)) (V, error) {
	if known := l.known.Load(); known != nil {
		if v, ok := (*known)[key]; ok {
			return v, nil
		}
	}
	return l.wait(key, ask)
}

func (l *lookups[K, V]) wait(key K, ask func() (V, error)) (V, error) {
	l.mu.Lock()
	if known := l.known.Load(); known != nil { // meanwhile
		if v, ok := (*known)[key]; ok {
			l.mu.Unlock()
			return v, nil
		}
	}
	if q, ok := l.asking[key]; ok && !q.stale() {
		l.mu.Unlock()
		<-q.done
		return q.value, q.err
	}
	if l.asking == nil || len(l.asking) >= maxAsking {
		l.asking = map[K]*lookup[V]{}
	}
	q := &lookup[V]{done: make(chan struct{}), err: errors.New("registry: asking has panicked")}
	l.asking[key] = q
	l.mu.Unlock()

	defer l.answered(key, q)
	q.value, q.err = ask()
	q.until = time.Now().Add(absent)
	if passes(q.err) {
		q.until = time.Now().Add(pause / 2)
	}
	return q.value, q.err
}

// stale reports whether a request has failed and may be made again.
func (q *lookup[V]) stale() bool {
	select {
	case <-q.done:
		return time.Now().After(q.until)
	default:
		return false
	}
}

// answered ends a request and keeps its result when it has one.
func (l *lookups[K, V]) answered(key K, q *lookup[V]) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if q.err == nil {
		next := map[K]V{}
		if known := l.known.Load(); known != nil {
			maps.Copy(next, *known)
		}
		next[key] = q.value
		l.known.Store(&next)
		if l.asking[key] == q {
			delete(l.asking, key)
		}
	}
	close(q.done)
}
