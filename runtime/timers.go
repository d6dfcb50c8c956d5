package runtime

import (
	"sync"
	"time"
)

// timers runs functions after a delay until it is stopped. It owns their goroutines.
type timers struct {
	mu      sync.Mutex
	pending map[*time.Timer]struct{}
	running sync.WaitGroup
	stopped bool
}

// after runs f after d, unless stop is called before.
func (t *timers) after(d time.Duration, f func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stopped {
		return
	}
	if t.pending == nil {
		t.pending = map[*time.Timer]struct{}{}
	}
	var timer *time.Timer
	timer = time.AfterFunc(d, func() {
		t.mu.Lock()
		_, live := t.pending[timer]
		delete(t.pending, timer)
		if live {
			t.running.Add(1)
		}
		t.mu.Unlock()
		if live {
			defer t.running.Done()
			f()
		}
	})
	t.pending[timer] = struct{}{}
}

// stop forgets all timers and waits for functions that run.
func (t *timers) stop() {
	t.mu.Lock()
	t.stopped = true
	for timer := range t.pending {
		timer.Stop()
	}
	clear(t.pending)
	t.mu.Unlock()
	t.running.Wait()
}
