package autoscale

import (
	"math"
	"time"
)

const (
	// remembered is how long arrivals are kept, and so the longest time between two
	// peaks that are taken for the same one coming back.
	remembered = time.Hour
	// calmRise is the rise from one interval to the next that is no jump.
	calmRise = 0.1
	// dip is the share of a peak below which arrivals have left it.
	dip = 0.6
	// again is the share of a peak from which arrivals are as high as that one.
	again = 0.7
)

// arrivals are the records per second that arrived in the intervals of the past.
type arrivals struct {
	past []arrival
	calm bool          // the last interval was no jump
	back time.Duration // a peak came back after half of this time; 0 none did
}

type arrival struct {
	at   time.Time
	rate float64 // records per second
	secs float64 // length of the interval
	only bool    // the first interval: how the backlog grew is not known
}

// add notes what arrived in an interval, and returns what is arriving by the end of
// it. A jump is in the mean of its interval for a part only. What arrived lately is told
// by glances, if there were some, else NaN. Then the tasks tell which part it is: with a share u of them busy before, and b in the interval, the jump was
// (1-b)/(1-u) into the interval. Without Busy it is taken for half.
func (a *arrivals) add(now arrival, s Signals, each, lately float64) float64 {
	rate := now.rate
	before, jump := rate, false
	if n := len(a.past); n > 0 && !a.past[n-1].only {
		before = a.past[n-1].rate
		jump = rate-before > calmRise*before
	}
	switch {
	case !jump || !(s.Backlog > 0):
	case !math.IsNaN(lately):
		rate = lately
	default:
		share, used := 0.5, before/(fleet(s)*each)
		switch {
		case used < 0.9 && !math.IsNaN(s.Busy):
			share = (s.Busy - used) / (1 - used)
		case !a.calm:
			share = 1
		}
		rate = before + (rate-before)/min(max(share, 0.2), 1)
	}
	a.calm = !jump
	a.past = append(a.past, now)
	old := 0
	for now.at.Sub(a.past[old].at) > remembered {
		old++
	}
	a.past = append(a.past[:0], a.past[old:]...)
	return rate
}

// highest is the highest rate of the time before now.
func (a *arrivals) highest(now time.Time, before time.Duration) float64 {
	top := 0.0
	for _, p := range a.past {
		if now.Sub(p.at) <= before {
			top = max(top, p.rate)
		}
	}
	return top
}

// trend is by how much arrivals rise per second: the least that they rose by between
// any two of the last four intervals, so that neither a jump nor noise is a trend.
func (a *arrivals) trend() float64 {
	n := len(a.past)
	if n < 4 {
		return 0
	}
	least := math.Inf(1)
	for i := n - 3; i < n; i++ {
		from, to := a.past[i-1], a.past[i]
		secs := (from.secs + to.secs) / 2 // between their middles
		if from.only || secs <= 0 {
			return 0
		}
		least = min(least, (to.rate-from.rate)/secs)
	}
	return max(least, 0)
}

// jumped notes that the pool grew for a rate. Where arrivals were as high within the
// hour, and left that height, the peak came back: from now on, peaks are remembered for
// twice the time that it was away.
func (a *arrivals) jumped(now time.Time, rate float64) {
	left := false
	for i := len(a.past) - 2; i >= 0; i-- {
		p := a.past[i]
		switch {
		case p.rate < dip*rate:
			left = true
		case left && p.rate >= again*rate:
			a.back = max(a.back, min(2*now.Sub(p.at), remembered))
			return
		}
	}
}

// carried tells whether the arrivals of the time before now, played again, would have
// kept a backlog within k seconds of a rate of handling.
func (a *arrivals) carried(now time.Time, before time.Duration, rate, k float64) bool {
	b := 0.0
	for _, p := range a.past {
		if now.Sub(p.at) > before {
			continue
		}
		if b = max(0, b+(p.rate-rate)*p.secs); b > k*rate {
			return false
		}
	}
	return true
}
