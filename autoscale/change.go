package autoscale

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// A Change is what somebody asks for by hand. The zero value changes nothing.
type Change struct {
	// Replicas fixes the number, so that nothing is decided any more; 0 leaves it.
	Replicas int
	// For is how long the number stays fixed; 0 is until another Change. After it the
	// processor is on Auto again, or has as many replicas as before if it does not scale.
	For time.Duration
	// Auto ends Fixed at once, as the end of For does.
	Auto bool
	// Min and Max are new bounds; 0 leaves one as it is. They hold until the process
	// ends: a restart goes back to what is configured.
	Min, Max int
}

// Change does what somebody asks for, and returns when it is in effect. What cannot be
// is ErrRefused, and changes nothing: a fixed number has to be within the bounds, those
// that are given with it if there are. An error of the user's Setup leaves as many
// replicas as could be started.
func (l *Loop) Change(ctx context.Context, name string, c Change) (Status, error) {
	m, err := l.member(name)
	if err != nil {
		return Status{}, err
	}
	if !m.take(ctx) {
		return Status{}, fmt.Errorf("%s: a resize is under way: %w", name, context.Cause(ctx))
	}
	defer m.giveBack()
	limits, err := m.check(c)
	if err != nil {
		return Status{}, fmt.Errorf("%w: %s: %w", ErrRefused, name, err)
	}
	err = m.change(c, limits)
	return m.status(), err
}

// check returns the limits that a change leads to.
func (m *member) check(c Change) (Limits, error) {
	_, l, _ := m.now()
	if c.Min != 0 {
		l.Min = c.Min
	}
	if c.Max != 0 {
		l.Max = c.Max
	}
	switch {
	case c.Min < 0 || c.Max < 0 || c.Replicas < 0:
		return l, fmt.Errorf("replicas %d, min %d, max %d: want none below 1", c.Replicas, c.Min, c.Max)
	case l.Max < l.Min:
		return l, fmt.Errorf("the bounds would be %d to %d: want max at least min", l.Min, l.Max)
	case l.Max > MaxReplicas:
		return l, fmt.Errorf("max is %d, want at most %d", l.Max, MaxReplicas)
	case c.Replicas != 0 && c.Auto:
		return l, fmt.Errorf("both a number of replicas and auto are asked for: choose one")
	case c.For < 0 || c.For > 0 && c.Replicas == 0:
		return l, fmt.Errorf("a time of %v is given: it goes with a number of replicas, and is more than 0", c.For)
	case c.Replicas != 0 && (c.Replicas < l.Min || c.Replicas > l.Max):
		return l, fmt.Errorf("%d replicas are outside of the bounds %d to %d: give other bounds with it", c.Replicas, l.Min, l.Max)
	}
	return l, nil
}

// change makes one that was checked. It is the turn of its caller.
func (m *member) change(c Change, l Limits) error {
	have := m.Target.Replicas()
	m.mu.Lock()
	was := m.mode
	bounds := l.Min != m.limits.Min || l.Max != m.limits.Max
	m.limits = l
	to, why := have, []string(nil)
	switch {
	case c.Replicas != 0:
		if was != Fixed {
			m.before = have
		}
		m.mode, m.until, to = Fixed, time.Time{}, c.Replicas
		words := fmt.Sprintf("fixed at %d", to)
		if c.For > 0 {
			m.until = time.Now().Add(c.For)
			words += fmt.Sprintf(" for %v", c.For)
		}
		why = append(why, words)
	case c.Auto:
		to = m.rest(have)
		if m.mode == Auto {
			why = append(why, "given back to the autoscaler")
		} else {
			why = append(why, "no longer fixed, and this processor does not scale by itself")
		}
	case was != Fixed:
		m.mode = m.resting(l)
	}
	m.mu.Unlock()
	if bounds {
		why = append(why, fmt.Sprintf("bounds are %d to %d", l.Min, l.Max))
	}
	if len(why) == 0 {
		return nil
	}
	select {
	case m.changed <- struct{}{}:
	default:
	}
	return m.byHand(have, min(max(to, l.Min), l.Max), strings.Join(why, ", "))
}

// rest ends Fixed and returns the replicas to go on with. mu is held.
func (m *member) rest(have int) int {
	was := m.mode
	m.mode, m.until = m.resting(m.limits), time.Time{}
	m.governor = NewGovernor() // it has not seen what happened meanwhile
	if was == Fixed && m.mode == Off {
		return m.before
	}
	return have
}

// expire ends Fixed when its time is over.
func (m *member) expire(ctx context.Context) {
	if !m.take(ctx) {
		return
	}
	defer m.giveBack()
	have := m.Target.Replicas()
	m.mu.Lock()
	if m.mode != Fixed || m.until.IsZero() || time.Now().Before(m.until) {
		m.mu.Unlock()
		return // changed meanwhile
	}
	to := m.rest(have)
	to = min(max(to, m.limits.Min), m.limits.Max)
	m.mu.Unlock()
	_ = m.byHand(have, to, "the time of the fixed number is over") // kept as a decision
}

// byHand resizes to what was asked for, whatever the CPUs.
func (m *member) byHand(have, to int, why string) error {
	m.budget.Count(m.Name, m.NumCPUs, max(have, to))
	return m.apply(Decision{Time: time.Now(), From: have, Want: to, Replicas: to, Rule: RuleByHand,
		Reason: fmt.Sprintf("%s: %d -> %d", why, have, to)})
}
