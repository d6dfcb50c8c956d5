package web

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestLimiterFirstComeFirstServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLimiter(1, 3)
		if err := l.Acquire(t.Context()); err != nil {
			t.Fatal(err)
		}
		var served []int
		var wg sync.WaitGroup
		for i := range 3 {
			wg.Go(func() {
				if err := l.Acquire(t.Context()); err != nil {
					t.Error(err)
				}
				served = append(served, i) // one at a time
				l.Release()
			})
			synctest.Wait() // until it is in the queue
		}
		if err := l.Acquire(t.Context()); err != ErrBusy {
			t.Errorf("with a full queue: %v", err)
		}
		if in, waiting, limit := l.Stats(); in != 1 || waiting != 3 || limit != 1 {
			t.Errorf("stats %d %d %d", in, waiting, limit)
		}
		l.Release()
		wg.Wait()
		if len(served) != 3 || served[0] != 0 || served[1] != 1 || served[2] != 2 {
			t.Errorf("served %v", served)
		}
		if in, waiting, _ := l.Stats(); in != 0 || waiting != 0 {
			t.Errorf("left: %d in flight, %d waiting", in, waiting)
		}
	})
}

func TestLimiterGivesUpWithContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLimiter(1, 2)
		if err := l.Acquire(t.Context()); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		if err := l.Acquire(ctx); err != context.DeadlineExceeded || time.Since(start) != time.Second {
			t.Errorf("%v after %s", err, time.Since(start))
		}
		if _, waiting, _ := l.Stats(); waiting != 0 {
			t.Errorf("%d still waiting", waiting)
		}
		l.Release()
		if err := l.Acquire(t.Context()); err != nil {
			t.Errorf("the place is gone: %v", err)
		}
	})
}

// A place that is granted after its waiter gave up, and before it could say so,
// goes on to the next.
func TestLimiterGrantedAndGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLimiter(1, 2)
		if err := l.Acquire(t.Context()); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		first, second := make(chan error, 1), make(chan error, 1)
		go func() { first <- l.Acquire(ctx) }()
		synctest.Wait()
		go func() { second <- l.Acquire(t.Context()) }()
		synctest.Wait()
		l.mu.Lock() // the first waiter has to wait for this with what it has to say
		cancel()
		l.inFlight.Add(-1)
		l.grant()
		l.mu.Unlock()
		if err := <-first; err != context.Canceled {
			t.Errorf("the first: %v", err)
		}
		if err := <-second; err != nil {
			t.Errorf("the second: %v", err)
		}
		l.Release()
		if in, waiting, _ := l.Stats(); in != 0 || waiting != 0 {
			t.Errorf("left: %d in flight, %d waiting", in, waiting)
		}
	})
}

func TestLimiterSetLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLimiter(1, 10)
		running := 0
		var mu sync.Mutex
		finish := make(chan struct{})
		var wg sync.WaitGroup
		for range 6 {
			wg.Go(func() {
				if err := l.Acquire(t.Context()); err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				running++
				mu.Unlock()
				<-finish
				mu.Lock()
				running--
				mu.Unlock()
				l.Release()
			})
		}
		check := func(want int, when string) {
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			if running != want {
				t.Errorf("%s: %d running, want %d", when, running, want)
			}
		}
		check(1, "limit 1")
		l.SetLimit(4)
		check(4, "limit 4")
		l.SetLimit(2)
		check(4, "a lower limit interrupts nobody")
		finish <- struct{}{}
		finish <- struct{}{}
		check(2, "after two have left")
		finish <- struct{}{}
		check(2, "the next takes the place")
		close(finish)
		wg.Wait()
	})
}

// Whatever happens at random, there are never more than the limit, and no place
// is lost.
func TestLimiterAtRandom(t *testing.T) {
	l := NewLimiter(3, 5)
	var running, most atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 500 {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rand.IntN(50))*time.Microsecond)
				err := l.Acquire(ctx)
				cancel()
				switch {
				case err == nil:
					n := running.Add(1)
					for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
					}
					running.Add(-1)
					l.Release()
				case !errors.Is(err, ErrBusy) && !errors.Is(err, context.DeadlineExceeded):
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if in, waiting, _ := l.Stats(); in != 0 || waiting != 0 || most.Load() > 3 || most.Load() == 0 {
		t.Errorf("%d in flight, %d waiting, %d at most", in, waiting, most.Load())
	}
}

func TestRouteLimiter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		finish := make(chan struct{})
		rt := must(Endpoint("GET /x", func(context.Context, struct{}) (string, error) { <-finish; return "ok", nil }))
		rt.Limiter, rt.Timeout = NewLimiter(1, 1), 5*time.Second
		s, log := newTestServer(t, Config{}, rt)
		codes := make(chan int, 3)
		var wg sync.WaitGroup
		for range 3 { // one runs, one waits until its deadline, one is refused at once
			wg.Go(func() { codes <- send(s, "GET", "/x", "").Code })
			synctest.Wait()
		}
		if got := <-codes; got != 503 {
			t.Errorf("beyond the queue: %d", got)
		}
		if got := <-codes; got != 503 {
			t.Errorf("too long in the queue: %d", got)
		}
		close(finish)
		wg.Wait()
		if got := <-codes; got != 200 {
			t.Errorf("the first: %d", got)
		}
		if log.Len() > 0 {
			t.Error(log)
		}
	})
}

func BenchmarkLimiter(b *testing.B) {
	l := NewLimiter(100, 100)
	ctx := b.Context()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if l.Acquire(ctx) == nil {
				l.Release()
			}
		}
	})
}
