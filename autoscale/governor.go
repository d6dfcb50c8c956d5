package autoscale

import (
	"fmt"
	"math"
	"sort"
	"time"
)

// Rules of the Governor, beside those of Decide.
const (
	// RuleAhead grows before the backlog takes longer than the burn threshold: at the
	// next decision, or in a minute where that is later, it would take more than half of it.
	RuleAhead Rule = "ahead"
	// RuleSpare shrinks, because fewer replicas carry what arrives.
	RuleSpare Rule = "spare"
	// RuleNoHelp stops growth that did not help, and gives back what it added.
	RuleNoHelp Rule = "no help"
)

const (
	// early is the share of the burn threshold that the backlog may take at the end of
	// the horizon.
	early = 0.5
	// snug is the share of its replicas that arrivals are expected to keep busy when a
	// pool grows.
	snug = 0.95
	// worth is the share of its replicas by which a pool changes at least.
	worth = 0.2
	// done is the share of what can be spared that one step has to reach: while arrivals
	// fall, the rest of it is waited for.
	done = 0.8
	// quiet is the share of the burn threshold that a backlog may take when a pool
	// shrinks.
	quiet = 0.2
	// echo is for how many windows a peak is taken into account that may come back.
	echo = 3
)

// A Governor makes decisions that follow one another: what Decide wants of one look,
// with what was learned from the looks before it. It knows
//
//   - what one replica can do: throughput by replica and by the share of time that it
//     was busy
//   - what arrives: throughput and growth of the backlog, and by when it jumped
//   - whether the last growth helped
//
// It grows when the backlog takes longer than the burn threshold, or would take half of
// it at the next decision or in a minute, to what carries the arrivals and works the backlog off; a
// backlog that grows but stays far from the threshold is left to the replicas there are.
// Growth that does not add a quarter of the throughput that it should have stops for a
// while, and is given back after half an hour. A pool that is stalled, or that takes no
// records, grows to no more replicas than there are records.
//
// It shrinks to what carries the highest arrivals of ScaleDownWindow, not below the
// highest want of that time, nor below what would keep a peak under the threshold that
// comes back. It changes by a fifth at least, and shrinks once in a window.
//
// Between two decisions it can be shown glances, and tells when the next one cannot wait.
//
// What is not known never shrinks the pool. The zero value is ready. A Governor has no
// clock but Signals.Time, and is not safe for concurrent use. The rules are Flow's own;
// package simulate compares them with others.
type Governor struct {
	capacity capacity
	arrivals arrivals
	step     step
	wants    history
	glances  glances
	began    time.Time
	seen     time.Time
	resized  time.Time
}

// NewGovernor returns a Governor that knows nothing yet.
func NewGovernor() *Governor { return &Governor{} }

// Next is the decision for a consumer. It is to be called once for each interval that
// was measured.
func (g *Governor) Next(s Signals, l Limits) Decision {
	d := g.next(s, l, false)
	g.glances.decided(s.Time, false, d.Replicas > s.Replicas, l)
	return d
}

func (g *Governor) next(s Signals, l Limits, early bool) Decision {
	g.begin(s)
	w := wish(s, l)
	if stuck := w.rule == RuleStalled || w.rule == RuleNoPulls; stuck && atLeastZero(s.Backlog) <= fleet(s) {
		w = want{s.Replicas, RuleHold, fmt.Sprintf("%s; backlog %s is no more than there are replicas", w.why, count(atLeastZero(s.Backlog)))}
	}
	if early && (w.rule == RuleStalled || w.rule == RuleNoPulls) {
		w = want{s.Replicas, RuleHold, w.why} // which takes longer to tell
	}
	v, ok := g.look(s, l)
	switch {
	case ok && v.late(w):
		d := g.grow(v, w, early)
		if early {
			d.Reason += "; decided early"
		}
		return d
	case early:
		w = want{s.Replicas, RuleHold, w.why + "; looked at early, and it can wait"}
		return g.finish(s, l, w, w.replicas)
	case !ok:
		if w.replicas > s.Replicas {
			g.wants.add(s.Time, w.replicas)
		}
		return g.finish(s, l, w, w.replicas)
	}
	return g.shrink(v, w)
}

// NextOngoing is the decision for a collector or an endpoint: DecideOngoing, but not
// below the highest want of ScaleDownWindow.
func (g *Governor) NextOngoing(s Signals, l Limits) Decision {
	g.begin(s)
	w := wishOngoing(s, l)
	wanted := w.replicas
	g.wants.add(s.Time, wanted)
	if wanted < s.Replicas {
		g.hold(&w, s, l)
	}
	return g.finish(s, l, w, wanted)
}

// begin begins anew where the clock was set back: what is remembered would be of the
// future, and keep the pool as it is until then.
func (g *Governor) begin(s Signals) {
	if s.Time.Before(g.seen) {
		*g = Governor{}
	}
	if g.seen = s.Time; g.began.IsZero() {
		g.began = s.Time
	}
}

// A view is one look with all that is known.
type view struct {
	Signals
	limits Limits

	t, b    float64 // throughput, backlog
	k       float64 // burn threshold, seconds
	arrived float64 // records per second, mean of the interval
	next    float64 // records per second by its end
	first   bool    // growth of the backlog is not known yet
	told    bool    // by glances, what arrived then

	each     float64 // what one replica of each process can do together, records per second; 0 not known
	now      float64 // the same, as it is now
	settling bool
}

// look learns from the signals. It is false when they say too little.
func (g *Governor) look(s Signals, l Limits) (view, bool) {
	grew := growth(s)
	v := view{Signals: s, limits: l, t: atLeastZero(s.Throughput), b: atLeastZero(s.Backlog), k: l.BurnThreshold.Seconds(), first: s.Elapsed <= 0}
	if s.Replicas < 1 || math.IsNaN(v.t+v.b+grew) || math.IsInf(v.t+v.b, 1) {
		return v, false
	}
	busy, seen := pressed(s), observe(s)
	g.step.judge(s, busy, v.b >= v.k*v.t/4)
	g.capacity.learn(seen, s.Elapsed, g.step.helpless(s.Time))

	secs := s.Elapsed.Seconds()
	if v.first {
		secs = l.Frequency.Seconds()
	}
	lately := g.glances.arriving(s.Time)
	v.arrived = max(v.t+grew, 0)
	if v.first && !math.IsNaN(lately) {
		v.arrived, v.told = lately, true
	}
	v.next = g.arrivals.add(arrival{s.Time, v.arrived, secs, v.first}, s, g.capacity.each, lately)

	v.settling = g.step.settling(s.Time)
	v.each = g.capacity.each * processes(s)
	v.now = v.each
	if seen > 0 && !v.settling && (busy || v.b > v.t) {
		v.now = min(v.now, seen*processes(s))
	}
	return v, true
}

// horizon is how far a decision looks ahead: to the next one, but at least for as long as
// replicas may take to start.
func horizon(l Limits) time.Duration { return max(l.Frequency, settling) }

// soon is the end of the horizon in words.
func (v view) soon() string {
	if v.limits.Frequency >= settling {
		return "at the next decision"
	}
	return "in a minute"
}

// ahead is how long the backlog would take by then, in seconds.
func (v view) ahead() float64 {
	can := float64(v.Replicas) * v.now
	if can <= 0 {
		return 0
	}
	return max(v.b+(v.next-can)*horizon(v.limits).Seconds(), 0) / can
}

// late tells whether there have to be more.
func (v view) late(w want) bool {
	switch {
	case v.each == 0:
		return w.replicas > v.Replicas
	case w.rule == RuleStalled || w.rule == RuleNoPulls:
		return true
	}
	return v.t > 0 && v.b > v.k*v.t && !v.settling || v.ahead() > early*v.k
}

// needs is the number of replicas that handle a rate when each does so much.
func (v view) needs(rate, each float64) int {
	if each <= 0 {
		return 0
	}
	return max(roundUp(rate/each, v.Replicas), 1)
}

// grow sizes the pool for what arrives, and for the backlog: so that it is at once
// under the threshold, and gone within a window.
func (g *Governor) grow(v view, w want, early bool) Decision {
	n, l := v.Replicas, v.limits
	window := max(l.ScaleDownWindow.Seconds(), v.k)
	trend := v.arrived + g.arrivals.trend()*2*window
	r := max(v.needs(v.next/snug, v.now), v.needs(v.b/v.k, v.now), v.needs(trend, v.now), v.needs(v.arrived+v.b/window, v.now))
	if v.first && !v.told {
		// All of the backlog may have come since the start.
		r = max(r, v.needs(v.arrived+v.b/v.k, v.now))
	}
	if v.t == 0 || v.each == 0 {
		r = max(r, w.replicas)
	}
	if w.replicas <= n {
		w.rule, w.why = RuleAhead, fmt.Sprintf("backlog %s would take %s %s, target %s", count(v.b), seconds(v.ahead()), v.soon(), seconds(v.k))
	}
	switch back := g.step.useless(v.Signals); {
	case back > 0 && (early || math.IsNaN(known(v.CPU)) || math.IsNaN(known(v.Pulls))):
		// It waits for a decision that may shrink.
		w.replicas, w.rule, w.why = n, RuleNoHelp, fmt.Sprintf("%s; growing from %d did not help", w.why, back)
		return g.finish(v.Signals, l, w, r)
	case back > 0:
		w.replicas, w.rule, w.why = back, RuleNoHelp, fmt.Sprintf("%s; growing from %d did not help for %v", w.why, back, v.Time.Sub(g.step.since))
		g.step.since = v.Time
		g.step.until = v.Time.Add(longestRest)
		return g.finish(v.Signals, l, w, r)
	case g.step.helpless(v.Time):
		w.replicas, w.rule, w.why = n, RuleNoHelp, fmt.Sprintf("%s; growing from %d to %d did not help, next try in %v", w.why, g.step.from, g.step.to, g.step.until.Sub(v.Time))
		return g.finish(v.Signals, l, w, r)
	case r <= n && v.settling:
		w.replicas, w.rule, w.why = n, RuleHold, fmt.Sprintf("%s; replicas were added %v ago", w.why, v.Time.Sub(g.step.at))
		return g.finish(v.Signals, l, w, r)
	}
	w.replicas = max(r, plus(n, roundUp(worth*float64(n), n)))
	if g.step.origin > 0 {
		w.replicas = min(w.replicas, plus(n, n)) // a try, after growth that did not help
	}
	if v.now > 0 {
		w.why += fmt.Sprintf("; %s/s arrive, one does %s/s", rate(v.next), rate(v.now))
	}
	g.wants.add(v.Time, w.replicas)
	g.arrivals.jumped(v.Time, v.arrived)
	return g.finish(v.Signals, l, w, w.replicas)
}

// shrink returns what is not needed.
func (g *Governor) shrink(v view, w want) Decision {
	n, l := v.Replicas, v.limits
	wanted := w.replicas
	switch {
	case w.rule == RuleUnknown:
		return g.finish(v.Signals, l, w, wanted)
	case v.each == 0:
		g.wants.add(v.Time, wanted)
		if wanted < n {
			g.hold(&w, v.Signals, l)
		}
		return g.finish(v.Signals, l, w, wanted)
	case wanted > n:
		w = want{n, RuleHold, fmt.Sprintf("%s; would take %s %s, target %s", w.why, seconds(v.ahead()), v.soon(), seconds(v.k))}
	}

	need := max(v.needs(v.arrived, v.each), l.Min)
	if math.IsNaN(v.Busy) {
		need = max(need, min(wanted, n)) // what replicas could do is known less well
	}
	w.replicas = need
	if need >= n {
		w.replicas = n
		if wanted < n {
			w.rule, w.why = RuleHold, fmt.Sprintf("%s; %s/s arrive, one does %s/s", w.why, rate(v.arrived), rate(v.each))
		}
		return g.finish(v.Signals, l, w, min(wanted, need))
	}
	if wanted >= n {
		w.rule, w.why = RuleSpare, fmt.Sprintf("%s/s arrive, one does %s/s", rate(v.arrived), rate(v.each))
	}
	w.replicas = max(need, v.needs(g.arrivals.highest(v.Time, l.ScaleDownWindow), v.each))
	g.hold(&w, v.Signals, l)
	falling := float64(n-w.replicas) < done*float64(n-need)
	if peak, ago := g.peak(v); w.replicas < n && peak > w.replicas {
		w.replicas, w.why = min(peak, n), fmt.Sprintf("%s; a peak of the last %v may come back", w.why, ago)
	}
	low := w.replicas
	stay := func(why string) {
		w.replicas, w.rule, w.why = n, RuleHold, w.why+"; "+why
	}
	switch {
	case low >= n:
		w.rule = RuleHold
	case v.b > quiet*v.k*float64(low)*v.each:
		stay(fmt.Sprintf("backlog %s first", count(v.b)))
	case float64(n-low) < worth*float64(n):
		stay(fmt.Sprintf("%d would do, which is no fifth less", low))
	case falling:
		stay("arrivals still fall")
	case v.Time.Sub(g.resized) < l.ScaleDownWindow:
		stay(fmt.Sprintf("resized %v ago", v.Time.Sub(g.resized)))
	}
	return g.finish(v.Signals, l, w, need)
}

// hold lifts a want to the highest of the window, at most to what there is. Before a
// first window is over, that is what there is.
func (g *Governor) hold(w *want, s Signals, l Limits) {
	if high := min(g.wants.highest(s.Time, l.ScaleDownWindow), s.Replicas); high > w.replicas {
		w.replicas = high
		w.why = fmt.Sprintf("%s; highest want of the last %v was %d", w.why, l.ScaleDownWindow, high)
	}
	if ago := s.Time.Sub(g.began); ago < l.ScaleDownWindow && w.replicas < s.Replicas {
		w.replicas = s.Replicas
		w.why = fmt.Sprintf("%s; seen for %v only", w.why, ago)
	}
}

// peak is the number of replicas that are kept for a peak of the past. When it comes
// back at once, and is seen at the next decision after the interval f, n replicas have
// a backlog of (peak - n*each) * f by then, which is within the threshold k if
// n >= peak/each * f/(f+k). Where peaks did come back, the arrivals since are played
// again: n is the fewest that would have kept the threshold.
func (g *Governor) peak(v view) (replicas int, ago time.Duration) {
	f := v.limits.Frequency.Seconds()
	ago = max(echo*v.limits.ScaleDownWindow, g.arrivals.back)
	replicas = v.needs(g.arrivals.highest(v.Time, ago)*f/(f+v.k), v.each)
	if g.arrivals.back > 0 && replicas < v.Replicas {
		replicas += sort.Search(v.Replicas-replicas, func(more int) bool {
			return g.arrivals.carried(v.Time, g.arrivals.back, float64(replicas+more)*v.each, v.k)
		})
	}
	return replicas, ago
}

// finish fits a want into limits and notes what becomes of it. wanted is the want
// before it was calmed.
func (g *Governor) finish(s Signals, l Limits, w want, wanted int) Decision {
	d := settle(s, l, w)
	if ago := s.Time.Sub(g.resized); d.Replicas != s.Replicas && !g.resized.IsZero() && ago < l.Cooldown && s.Replicas >= l.Min && s.Replicas <= l.Max {
		d = settle(s, l, want{s.Replicas, RuleHold, fmt.Sprintf("%s; wanted %d, resized %v ago, cooldown %v", w.why, d.Replicas, ago, l.Cooldown)})
	}
	d.Want = wanted
	if d.Replicas != s.Replicas {
		g.resized = s.Time
	}
	if d.Replicas > s.Replicas {
		g.step.begin(s, d.Replicas)
	}
	return d
}
