package runtime

import (
	"math/rand/v2"
	"time"
)

// Backoff is the delay before each further attempt: First before the second,
// doubled for each one after, never above Max, and spread by jitter: a delay d is
// chosen evenly between d/2 and d, so that many that fail together do not come
// back together. The zero value waits 100 ms, at most 30 s.
type Backoff struct {
	First, Max time.Duration
	Fixed      bool // no doubling and no jitter
}

// Delay returns the time to wait after the given failed attempt, 1 for the first.
func (b Backoff) Delay(attempt int) time.Duration {
	first, limit := b.First, b.Max
	if first <= 0 {
		first = 100 * time.Millisecond
	}
	if limit <= 0 {
		limit = 30 * time.Second
	}
	if b.Fixed {
		return first
	}
	d := limit
	if shift := attempt - 1; shift < 40 && first <= limit>>shift {
		d = first << shift
	}
	return d/2 + rand.N(d/2+1)
}
