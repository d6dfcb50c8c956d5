package autoscale

import (
	"math"
	"time"
)

// A Glance is a quick look at a consumer between two decisions. It tells when the next
// decision cannot wait.
type Glance struct {
	Time     time.Time
	Replicas int
	Done     float64 // records handled with success so far, since whenever: differences count
	Backlog  float64 // records not resolved, as in Signals; NaN not known
}

// GlanceEvery is the time between two glances: a twelfth of Frequency, but at least a
// second. It is 0, which is never, where three of them would not come before the next
// decision.
func (l Limits) GlanceEvery() time.Duration {
	if every := max(l.Frequency/12, time.Second); 3*every < l.Frequency {
		return every
	}
	return 0
}

// few is the number of records below which a rate is chance.
const few = 10

// Urgent tells from the last three glances whether the next decision cannot wait: the
// backlog takes longer than the burn threshold, or will before the regular decision, or
// within the minute that replicas may take to start. It goes by what is handled between
// the last two glances, and by the lesser growth of the two intervals, so that records
// which come in a heap are no growth. It is pure, and false where something is not known,
// replicas were added or retired, or fewer than ten records were handled.
func Urgent(a, b, c Glance, regular time.Time, l Limits) bool {
	return urgent(a, b, c, 0, regular, l)
}

// urgent is Urgent, where at least so many records per second can be handled.
func urgent(a, b, c Glance, can float64, regular time.Time, l Limits) bool {
	t, growth := pace(b, c), min(rise(a, b), rise(b, c))
	switch {
	case math.IsNaN(t + growth), math.IsInf(t, 0), t <= 0: // not known, or nothing to go by
		return false
	case a.Replicas != b.Replicas, b.Replicas != c.Replicas, c.Done-a.Done < few:
		return false
	case min(b.Backlog, c.Backlog) <= 0:
		return false
	case growth <= noise*t:
		growth = 0
	}
	left := max(regular.Sub(c.Time), settling).Seconds()
	return c.Backlog+growth*left > max(can, t)*l.BurnThreshold.Seconds()
}

// rise is by how much the backlog grew per second from one glance to the next; NaN not
// known.
func rise(a, b Glance) float64 {
	grew := (b.Backlog - a.Backlog) / b.Time.Sub(a.Time).Seconds()
	if b.Time.Sub(a.Time) <= 0 || math.IsInf(grew, 0) {
		return math.NaN()
	}
	return grew
}

// pace is how many records per second were handled from one glance to the next; NaN not
// known.
func pace(a, b Glance) float64 {
	if b.Time.Sub(a.Time) <= 0 {
		return math.NaN()
	}
	return (b.Done - a.Done) / b.Time.Sub(a.Time).Seconds()
}

// Early is a decision ahead of its time, when a glance was Urgent: it is Next, but
// never shrinks the pool.
func (g *Governor) Early(s Signals, l Limits) Decision {
	d := g.next(s, l, true)
	g.glances.decided(s.Time, true, d.Replicas > s.Replicas, l)
	return d
}

// Urgent takes a glance in, and tells whether the decision should be made now: see the
// function of this name. It is not where growth would be in vain, because it rests as it
// did not help, or the pool is at its maximum; and not while replicas that were added
// start, if they will do. After a decision that came early for nothing it waits.
func (g *Governor) Urgent(now Glance, l Limits) bool {
	p := &g.glances
	p.add(now)
	if p.regular.IsZero() {
		p.regular = now.Time.Add(l.Frequency)
	}
	if len(p.last) < 3 || now.Replicas >= l.Max {
		return false
	}
	a, b, c := p.last[0], p.last[1], p.last[2]
	can := 0.0
	switch {
	case g.step.helpless(now.Time) && pace(b, c) <= g.step.level*(1+moved):
		return false
	case g.step.settling(now.Time):
		can = float64(now.Replicas) * g.capacity.each
	}
	if !urgent(a, b, c, can, p.regular, l) {
		p.in, p.waits = 0, time.Time{}
		return false
	}
	return !now.Time.Before(p.waits)
}

// missed notes a decision that came to nothing, for lack of signals or of a replica that
// starts: the next one is a regular one.
func (g *Governor) missed(now time.Time, l Limits) {
	g.glances.decided(now, false, false, l)
	g.glances.in, g.glances.waits = l.Frequency, g.glances.regular
}

// glances are the last of a Governor, since the pool has had its size.
type glances struct {
	last    []Glance      // at most three, oldest first
	regular time.Time     // when the next decision comes anyway
	waits   time.Time     // no early decision before
	in      time.Duration // how long the last one that was for nothing put off the next
}

// add notes a glance.
func (p *glances) add(now Glance) {
	if n := len(p.last); n > 0 && p.last[n-1].Replicas != now.Replicas {
		p.forget()
	}
	if len(p.last) == 3 {
		copy(p.last, p.last[1:])
		p.last = p.last[:2]
	}
	p.last = append(p.last, now)
}

// arriving is what arrives per second by the last two glances, if they are not older
// than the time between them; NaN not known.
func (p *glances) arriving(now time.Time) float64 {
	n := len(p.last)
	if n < 2 {
		return math.NaN()
	}
	b, c := p.last[n-2], p.last[n-1]
	if now.Sub(c.Time) > c.Time.Sub(b.Time) || c.Done-b.Done < few {
		return math.NaN()
	}
	return max(pace(b, c)+rise(b, c), 0)
}

// decided notes a decision: the next one comes after an interval. One that was early
// and for nothing puts the next early one off, each time for twice as long, until
// replicas are added or a glance is not urgent.
func (p *glances) decided(now time.Time, early, grew bool, l Limits) {
	p.regular = now.Add(l.Frequency)
	switch {
	case grew:
		p.in = 0
	case early:
		p.in = min(max(2*p.in, 2*l.GlanceEvery()), l.Frequency)
	}
	p.waits = now.Add(p.in)
	p.forget()
}

// forget begins anew, as glances do not follow one another any longer.
func (p *glances) forget() { p.last = p.last[:0] }
