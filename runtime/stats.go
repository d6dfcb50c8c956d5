package runtime

import (
	"math"
	"math/bits"
	"sync"
	"sync/atomic"
	"time"
)

// stats are one processor's counters. They are updated per burst, not per record.
type stats struct {
	ok, skipped, retried, dead, failed, invalid atomic.Int64
	outputs, sinkRetried, deadFailed            atomic.Int64
	sourceErrors, commitErrors, commits         atomic.Int64
	voided                                      atomic.Int64
	stalls                                      [stalls]atomic.Int64
	running                                     atomic.Int64 // handler calls in progress
	begun, waited                               atomic.Int64 // records whose handler began for the first time, and nanoseconds that they waited in all

	handler   histogram // seconds per call
	sinkWrite histogram // seconds per write
	age       histogram // event time to resolved
	rate      rate      // records resolved with success
}

// histogram counts durations in buckets whose bounds grow by a quarter of a
// power of two, which gives quantiles within 12 %, from 1 µs to about 1 h.
type histogram struct {
	buckets [histogramSize]atomic.Int64
	count   atomic.Int64
	sum     atomic.Int64 // nanoseconds
}

const (
	histogramSize = 4 * 33
	histogramUnit = time.Microsecond
)

// bucket returns the index for d: four per power of two.
func bucket(d time.Duration) int {
	v := uint64(max(d, 0)) / uint64(histogramUnit/4)
	if v < 4 {
		return 0
	}
	e := bits.Len64(v) - 1 // v is in [2^e, 2^(e+1))
	i := 4*(e-2) + int(v>>(e-2)&3) + 1
	return min(i, histogramSize-1)
}

// bound returns the upper bound of a bucket.
func bound(i int) time.Duration {
	if i >= histogramSize-1 {
		return math.MaxInt64
	}
	e, part := i/4+2, i%4
	return time.Duration((uint64(4+part) << (e - 2)) * uint64(histogramUnit/4))
}

// observe counts n calls that took d each.
func (h *histogram) observe(d time.Duration, n int) {
	h.buckets[bucket(d)].Add(int64(n))
	h.count.Add(int64(n))
	h.sum.Add(int64(d) * int64(n))
}

// quantile returns the duration below which the share q of all calls were, as
// the upper bound of its bucket; 0 when there were none.
func (h *histogram) quantile(q float64) time.Duration {
	total := h.count.Load()
	if total == 0 {
		return 0
	}
	rank := int64(math.Ceil(q * float64(total)))
	seen := int64(0)
	for i := range h.buckets {
		if seen += h.buckets[i].Load(); seen >= rank {
			return bound(i)
		}
	}
	return bound(histogramSize - 1)
}

// rate counts events in buckets of one second over the last minute.
type rate struct {
	mu      sync.Mutex
	buckets [rateWindow]int64
	last    int64 // unix second of the newest bucket
	first   int64 // unix second of the first event
}

const rateWindow = 60

func (r *rate) add(now time.Time, n int) {
	r.mu.Lock()
	r.roll(now.Unix())
	r.buckets[r.last%rateWindow] += int64(n)
	r.mu.Unlock()
}

func (r *rate) roll(sec int64) {
	if r.first == 0 {
		r.first, r.last = sec, sec
	}
	if sec-r.last >= rateWindow {
		clear(r.buckets[:])
		r.last = sec
	}
	for r.last < sec {
		r.last++
		r.buckets[r.last%rateWindow] = 0
	}
}

// perSecond is the mean over the last minute, or over the time since the first
// event if that is shorter, but at least a second. It falls to zero when nothing comes.
func (r *rate) perSecond(now time.Time) float64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.first == 0 {
		return 0
	}
	r.roll(now.Unix())
	sum := int64(0)
	for _, n := range r.buckets {
		sum += n
	}
	return float64(sum) / float64(max(1, min(rateWindow, now.Unix()-r.first+1)))
}

// allStalls counts stalls of any cause.
func (s *stats) allStalls() (n int64) {
	for i := range s.stalls {
		n += s.stalls[i].Load()
	}
	return n
}
