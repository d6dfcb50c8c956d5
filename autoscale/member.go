package autoscale

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// member is one processor in a Loop.
type member struct {
	Member
	budget *Budget
	record record

	turn    chan struct{} // holds one token: one decision, or change by hand, at a time
	changed chan struct{} // the schedule looks at the mode again

	governor *Governor // the turn's

	mu     sync.Mutex // guards what follows; never held while Target is called
	limits Limits
	mode   Mode
	until  time.Time // end of Fixed; zero: for good
	before int       // replicas before Fixed, for processors that do not scale
}

// Rules of decisions that a Loop makes itself.
const (
	// RuleNoSignals holds, because the signals could not be had.
	RuleNoSignals Rule = "no signals"
	// RuleFailed is a resize that failed.
	RuleFailed Rule = "resize failed"
	// RuleByHand is a change that somebody has asked for.
	RuleByHand Rule = "by hand"
)

func newMember(m Member, budget *Budget) *member {
	s := &member{Member: m, budget: budget, governor: NewGovernor(), limits: m.Limits,
		turn: make(chan struct{}, 1), changed: make(chan struct{}, 1)}
	s.mode = s.resting(m.Limits)
	return s
}

// scalable reports whether there is something to decide.
func (m *member) scalable(l Limits) bool { return l.Enabled && l.Max > l.Min }

// resting is the mode when nobody has asked for a number.
func (m *member) resting(l Limits) Mode {
	if m.scalable(l) {
		return Auto
	}
	return Off
}

func (m *member) now() (mode Mode, limits Limits, until time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.mode, m.limits, m.until
}

func (m *member) status() Status {
	mode, limits, until := m.now()
	s := Status{Mode: mode, Min: limits.Min, Max: limits.Max, Want: m.Target.Replicas()}
	if !until.IsZero() {
		until = until.UTC()
		s.FixedUntil = &until
	}
	if d, ok := m.record.last(); ok {
		s.Last = &d
		if mode == Auto {
			s.Want, s.WantedCPU = d.Want, d.WantedCPU
		}
	}
	return s
}

// run is the member's schedule.
func (m *member) run(ctx context.Context) {
	every := m.Limits.Frequency
	if every <= 0 {
		every = Defaults().Frequency
	}
	glances := m.glances()
	next := time.Now().Add(every)
	glance := time.Now().Add(glances)
	was, _, _ := m.now()
	for {
		mode, _, until := m.now()
		if mode == Auto && was != Auto {
			_, _ = m.signals() // the next ones are not of the time before
			next, glance = time.Now().Add(every), time.Now().Add(glances)
		}
		was = mode
		do, at := m.decide, next
		switch {
		case mode == Auto && glances > 0 && glance.Add(glances/2).Before(next):
			waited := m.wait(ctx, glance)
			if waited == waitEnded {
				return
			}
			if waited == waitDone && m.glance(ctx, next) {
				next = time.Now().Add(every)
			}
			glance = time.Now().Add(glances)
			continue
		case mode == Fixed:
			do, at = m.expire, until
		case mode == Off:
			at = time.Time{}
		}
		switch m.wait(ctx, at) {
		case waitEnded:
			return
		case waitChanged: // of bounds alone, it puts off no decision
			continue
		}
		do(ctx)
		glance = time.Now().Add(glances)
		next = next.Add(every)
		// What took longer than the frequency leaves decisions out.
		if now := time.Now(); mode == Fixed || next.Before(now) {
			next = now.Add(every)
		}
	}
}

// What wait has waited for.
const (
	waitDone = iota
	waitChanged
	waitEnded
)

// wait waits until a time, for ever when it is zero.
func (m *member) wait(ctx context.Context, until time.Time) int {
	var due <-chan time.Time
	if !until.IsZero() {
		timer := time.NewTimer(time.Until(until))
		defer timer.Stop()
		due = timer.C
	}
	select {
	case <-ctx.Done():
		return waitEnded
	case <-m.changed:
		return waitChanged
	case <-due:
		return waitDone
	}
}

// take waits for the turn. It reports false when ctx ends before.
func (m *member) take(ctx context.Context) bool {
	select {
	case m.turn <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

func (m *member) giveBack() { <-m.turn }

// glances is the time between two glances; 0 where there are none.
func (m *member) glances() time.Duration {
	if _, ok := m.Target.(Glancer); !ok || m.Ongoing {
		return 0
	}
	return m.Limits.GlanceEvery()
}

// glance looks whether the next decision can wait, and makes it when it cannot. One
// that is not back by then is given up.
func (m *member) glance(ctx context.Context, next time.Time) (decided bool) {
	until, cancel := context.WithDeadline(ctx, next)
	seen, err := m.seen(until)
	cancel()
	if !m.take(ctx) {
		return false
	}
	mode, limits, _ := m.now()
	urgent := false
	switch {
	case err != nil:
		m.governor.glances.forget()
	case mode == Auto:
		urgent = m.governor.Urgent(seen, limits)
	}
	m.giveBack()
	if urgent {
		m.decideNow(ctx, true)
	}
	return urgent
}

// seen is a glance. A panic in it is an error.
func (m *member) seen(ctx context.Context) (g Glance, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("a glance panicked: %v", p)
		}
	}()
	g, err = m.Target.(Glancer).Glance(ctx)
	g.Replicas = m.Target.Replicas()
	if g.Time.IsZero() {
		g.Time = time.Now()
	}
	return g, err
}

// decide is one decision: measure, decide, resize.
func (m *member) decide(ctx context.Context) { m.decideNow(ctx, false) }

// decideNow is decide, when it is time or early.
func (m *member) decideNow(ctx context.Context, early bool) {
	signals, err := m.signals()
	if !m.take(ctx) {
		return
	}
	defer m.giveBack()
	mode, limits, _ := m.now()
	if mode != Auto || ctx.Err() != nil {
		return // changed while the signals were taken
	}
	have := m.Target.Replicas()
	if err != nil {
		m.governor.missed(time.Now(), limits)
		m.keep(Decision{Time: time.Now(), From: have, Want: have, Replicas: have, Rule: RuleNoSignals, Reason: "held: " + err.Error()})
		return
	}
	signals.Replicas, signals.NumCPUs = have, m.NumCPUs
	if signals.Time.IsZero() {
		signals.Time = time.Now()
	}
	m.budget.Count(m.Name, m.NumCPUs, have)
	var d Decision
	admitted := m.budget.Admit(m.Name, limits.Min, func(free float64) int {
		signals.FreeCPUs = free
		d = m.next(signals, limits, early)
		return d.Replicas
	})
	if admitted != d.Replicas { // a decision that has not kept to its signals
		d.Reason += fmt.Sprintf("; no more than %d fit", admitted)
		d.Replicas = admitted
	}
	m.apply(d)
}

// signals measures. A panic in it is an error.
func (m *member) signals() (s Signals, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("measuring panicked: %v", p)
		}
	}()
	return m.Target.Signals()
}

func (m *member) next(s Signals, l Limits, early bool) Decision {
	switch {
	case m.Ongoing:
		return m.governor.NextOngoing(s, l)
	case early:
		return m.governor.Early(s, l)
	}
	return m.governor.Next(s, l)
}

// apply resizes to what was decided, and keeps the decision. It returns the error of a
// resize that failed.
func (m *member) apply(d Decision) error {
	if d.Replicas == d.From {
		m.keep(d)
		return nil
	}
	err := m.Target.Resize(d.Replicas)
	m.recount()
	if err != nil {
		d.Reason = fmt.Sprintf("resize to %d failed: %v; %s", d.Replicas, err, d.Reason)
		d.Rule, d.Replicas = RuleFailed, m.Target.Replicas()
		_, limits, _ := m.now()
		m.governor.resized = time.Time{} // no cooldown after what was no resize
		m.governor.missed(d.Time, limits)
	}
	m.keep(d)
	return err
}

// recount counts the replicas that there are.
func (m *member) recount() { m.budget.Count(m.Name, m.NumCPUs, m.Target.Replicas()) }

// keep records a decision and logs what is new in it.
func (m *member) keep(d Decision) {
	last, any := m.record.last()
	m.record.add(d)
	switch {
	case d.Rule == RuleFailed:
		m.Log.Warn("not scaled", "from", d.From, "to", d.Replicas, "reason", d.Reason)
	case d.Replicas != d.From, d.Rule == RuleByHand:
		m.Log.Info("scaled", "from", d.From, "to", d.Replicas, "reason", d.Reason)
	case any && last.Rule == d.Rule && last.WantedCPU == d.WantedCPU:
	case d.Rule == RuleNoSignals:
		m.Log.Warn("not scaled", "replicas", d.Replicas, "reason", d.Reason)
	default:
		m.Log.Debug("not scaled", "replicas", d.Replicas, "reason", d.Reason)
	}
}
