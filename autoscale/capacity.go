package autoscale

import (
	"math"
	"time"
)

// forget is the time in which a capacity that was learned gives way to a lower one,
// by two thirds: long enough that one bad interval does not count for much, and short
// enough that a slow downstream is learned before its backlog is large.
const forget = 3 * time.Minute

// A capacity is what one replica of one process can do, as it was learned.
type capacity struct {
	each float64 // records per second; 0 not known
}

// observe returns what one replica could do in the interval of s: T / (n * Busy), since
// replicas that were busy for half of the time could have done twice as much. Without
// Busy it is T / n while there was a backlog. It is 0 when nothing can be said.
func observe(s Signals) float64 {
	t, size := atLeastZero(s.Throughput), fleet(s)
	switch {
	case t*max(s.Elapsed, time.Second).Seconds() < 10: // too few records
		return 0
	case s.Busy >= full, math.IsNaN(s.Busy) && pressed(s):
		return t / size
	case s.Busy > 0.05:
		return t / size / s.Busy
	}
	return 0
}

// learn takes an observation in: more is believed at once by half if it was seen for
// half a minute, less is believed slowly, and not at all while more replicas do not help, for then it is not they that
// are slow.
func (c *capacity) learn(seen float64, elapsed time.Duration, helpless bool) {
	switch {
	case seen <= 0:
	case c.each == 0:
		c.each = seen
	case seen > c.each:
		c.each += (seen - c.each) * min(elapsed.Seconds()/(2*judged.Seconds()), 0.5)
	case !helpless:
		c.each += (seen - c.each) * (1 - math.Exp(-elapsed.Seconds()/forget.Seconds()))
	}
}

// fleet is the number of replicas that Throughput and Backlog are of: those of all
// processes.
func fleet(s Signals) float64 { return float64(s.Replicas) * processes(s) }

func processes(s Signals) float64 { return float64(max(s.Processes, 1)) }

// full is the share of the time from which replicas count as busy all the time.
const full = 0.95

// pressed tells whether there was more work than was done.
func pressed(s Signals) bool {
	t := atLeastZero(s.Throughput)
	return s.Busy >= full || s.Elapsed > 0 && s.Backlog > t && s.PrevBacklog > t
}
