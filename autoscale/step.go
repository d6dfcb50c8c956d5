package autoscale

import "time"

const (
	// settling is how long replicas that were added are given to start before they are
	// judged by what they do.
	settling = time.Minute
	// judged is the time that throughput is measured for to judge a step by it, so that
	// early decisions, which come after seconds, are no measure.
	judged = 30 * time.Second
	// helpful is the share of what a step should have added that makes it a help.
	helpful = 0.25
	// firstRest and longestRest are the times for which growth stops after steps that
	// did not help: each twice as long as the one before.
	firstRest   = 5 * time.Minute
	longestRest = time.Hour
	// giveBack is how long replicas that do not help are kept.
	giveBack = 30 * time.Minute
	// moved is the change of throughput, or of what a replica does, that shows that
	// things are no longer what they were.
	moved = 0.15
)

// A step is the last growth, and what became of it.
type step struct {
	from, to   int
	throughput float64 // before
	at         time.Time
	open       bool    // not judged yet
	stalled    bool    // nothing was done before
	done, secs float64 // records, and the time in which, since the replicas have started

	steady bool    // the throughput of now is one to compare with
	now    float64 // of the last half minute

	// Of the steps that did not help, if the last one did not.
	origin int // size before the first of them; 0 the last one helped
	level  float64
	since  time.Time // of the first
	until  time.Time // growth rests
	rest   time.Duration
}

// begin notes a growth. It is judged only where the throughput before it was that of
// replicas which always had work, and was not just falling, or where there was none.
func (p *step) begin(s Signals, to int) {
	p.stalled = atLeastZero(s.Throughput) == 0
	p.from, p.to, p.throughput, p.at, p.open = s.Replicas, to, p.now, s.Time, p.steady || p.stalled
	if p.stalled {
		p.throughput = 0
	}
	p.done, p.secs = 0, 0
}

// settling tells whether replicas that were added may still be starting.
func (p *step) settling(now time.Time) bool { return !p.at.IsZero() && now.Sub(p.at) < settling }

// judge compares throughput after a step with that before it: a step from n to m should
// have added (m-n)/n of it.
func (p *step) judge(s Signals, busy, behind bool) {
	t := atLeastZero(s.Throughput)
	was := p.steady
	p.steady = busy && t >= p.now*(1-moved)
	part := 1.0
	if was && p.steady && s.Elapsed > 0 {
		part = min(s.Elapsed.Seconds()/judged.Seconds(), 1)
	}
	p.now += (t - p.now) * part
	busy = busy && behind
	// Records that fail leave the backlog as well: where none succeeds, nothing is caught
	// up with.
	failing := t == 0 && s.Elapsed > 0
	if p.origin > 0 && (!busy && !(failing && p.level == 0) || t > p.level*(1+moved) || t < p.level*(1-moved)) {
		p.origin, p.rest = 0, 0 // it is not the same any more
	}
	if s.Replicas != p.to { // it was undone, or did not come to all of it
		p.open = false
	}
	if !p.open || p.settling(s.Time) {
		return
	}
	busy = busy || failing && p.stalled
	if !busy { // it was caught up with
		p.open = false
		return
	}
	p.done, p.secs = p.done+t*s.Elapsed.Seconds(), p.secs+s.Elapsed.Seconds()
	if p.secs < judged.Seconds() {
		return
	}
	p.open = false
	t = p.done / p.secs
	gain := 0.0
	switch {
	case p.throughput > 0:
		gain = (t/p.throughput - 1) / (float64(p.to)/float64(p.from) - 1)
	case t > 0:
		gain = 1
	}
	if gain >= helpful {
		p.origin, p.rest = 0, 0
		return
	}
	if p.origin == 0 {
		p.origin, p.level, p.since = p.from, t, s.Time
	}
	p.rest = min(max(2*p.rest, firstRest), longestRest)
	p.until = s.Time.Add(p.rest)
}

// helpless tells whether growth rests because it did not help.
func (p *step) helpless(now time.Time) bool { return p.origin > 0 && now.Before(p.until) }

// useless returns the size to go back to when replicas have not helped for long; 0 when
// there is none.
func (p *step) useless(s Signals) int {
	if p.origin > 0 && p.origin < s.Replicas && s.Time.Sub(p.since) >= giveBack {
		return p.origin
	}
	return 0
}
