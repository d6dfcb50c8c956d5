package autoscale

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// A feed gives a Governor one interval after the other, and resizes as it says.
type feed struct {
	*testing.T
	governor *Governor
	limits   Limits
	last     Signals
	now      time.Time
	every    time.Duration
	decision Decision
	done     float64
}

func newFeed(t *testing.T, replicas int) *feed {
	l := Defaults()
	l.Max, l.Start = 1000, replicas
	return &feed{T: t, governor: NewGovernor(), limits: l, every: time.Minute, now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), last: Signals{Replicas: replicas, Backlog: math.NaN()}}
}

// look is an interval, of a minute unless said otherwise, in which replicas handled so much, and what it left.
func (f *feed) look(throughput, backlog, busy float64, change ...func(*Signals)) Decision {
	f.Helper()
	f.now = f.now.Add(f.every)
	s := Signals{
		Time: f.now, Replicas: f.last.Replicas, Throughput: throughput, Backlog: backlog, PrevBacklog: f.last.Backlog, Elapsed: f.every,
		Pulls: math.Inf(1), CPU: 100 * busy, Busy: busy, NumCPUs: 1, FreeCPUs: math.Inf(1),
	}
	if math.IsNaN(f.last.Backlog) {
		s.Elapsed = 0
	}
	for _, c := range change {
		c(&s)
	}
	f.decision = f.governor.Next(s, f.limits)
	checkDecision(f, s, f.limits, f.decision)
	f.last = s
	f.last.Replicas = f.decision.Replicas
	return f.decision
}

// is checks the last decision.
func (f *feed) is(replicas int, rule Rule, reason string) {
	f.Helper()
	if d := f.decision; d.Replicas != replicas || d.Rule != rule || !strings.Contains(d.Reason, reason) {
		f.Errorf("%d %s %q\nwant %d %s %q", d.Replicas, d.Rule, d.Reason, replicas, rule, reason)
	}
}

func TestGovernorSizesForArrivalsAndBacklog(t *testing.T) {
	f := newFeed(t, 4)
	f.look(200, 0, 0.5) // 100/s each
	f.look(200, 0, 0.5)
	// 800/s come since half a minute: the mean of the interval is 500/s.
	f.look(300, 12000, 0.75)
	f.is(9, RuleFalling, "backlog grows by 200/s at 300/s done, CPU 75% of target 25%; 800/s arrive, one does 100/s: 4 -> 9")
}

func TestGovernorLeavesSmallGrowthAlone(t *testing.T) {
	f := newFeed(t, 4)
	f.look(380, 0, 0.95)
	f.look(400, 600, 1)
	f.is(4, RuleHold, "held: backlog grows by 10/s at 400/s done, CPU 100% of target 25%; would take ")
}

func TestGovernorGrowsBeforeTheThreshold(t *testing.T) {
	f := newFeed(t, 4)
	f.look(380, 0, 0.95, func(s *Signals) { s.CPU = 5 })
	f.look(400, 9000, 1, func(s *Signals) { s.CPU = 5 }) // a handler that waits: CPU says nothing
	f.is(6, RuleAhead, "at the next decision, target 60s; 550/s arrive, one does 97.5/s: 4 -> 6")
}

func TestGovernorHoldsTheHighestWantOfTheWindow(t *testing.T) {
	f := newFeed(t, 7)
	f.look(665, 0, 0.95)
	f.look(100, 0, 1.0/7)
	f.is(7, RuleHold, "held: CPU 14.3% of target 25%, backlog 0 not growing")
	for range 4 {
		f.look(100, 0, 1.0/7)
		if f.decision.Replicas != 7 {
			t.Fatalf("within the window: %+v", f.decision)
		}
	}
	f.look(100, 0, 1.0/7)
	f.is(4, RuleCPU, "; a peak of the last 15m0s may come back: 7 -> 4")
	for range 10 {
		f.look(90, 0, 0.9/float64(f.last.Replicas))
	}
	if f.decision.Replicas != 1 {
		t.Errorf("after both: %+v", f.decision)
	}
}

// An idle pool of which nothing was learned shrinks by Decide, after the window.
func TestGovernorHoldsWhatDecideWanted(t *testing.T) {
	f := newFeed(t, 7)
	f.look(0, 0, 0, func(s *Signals) { s.CPU = 30 }) // wants 7
	for range 5 {
		f.look(0, 0, 0)
		f.is(7, RuleCPU, "held: CPU 0% of target 25%, backlog 0 not growing; highest want of the last 5m0s was 7")
		if f.decision.Want != 1 {
			t.Errorf("want %d before calming", f.decision.Want)
		}
	}
	f.look(0, 0, 0)
	f.is(1, RuleCPU, "7 -> 1")
}

func TestGovernorWithoutWindowShrinksAtOnce(t *testing.T) {
	f := newFeed(t, 7)
	f.limits.ScaleDownWindow = 0
	f.look(665, 0, 0.95)
	f.look(95, 0, 1.0/7)
	f.is(1, RuleCPU, "7 -> 1")
}

// The CPU of handlers that wait would shrink the pool below what its arrivals need.
func TestGovernorKeepsWhatArrivalsNeed(t *testing.T) {
	f := newFeed(t, 7)
	for range 20 {
		f.look(650, 0, 650.0/700, func(s *Signals) { s.CPU = 2 })
		f.is(7, RuleHold, "held: CPU 2% of target 25%, backlog 0 not growing; 650/s arrive, one does 100/s")
	}
}

// CPU above its target would keep four times as many as it takes.
func TestGovernorGivesSpareReplicasBack(t *testing.T) {
	f := newFeed(t, 16)
	for range 20 {
		f.look(500, 0, 500.0/float64(100*f.last.Replicas))
	}
	if d := f.decision; d.Replicas != 5 {
		t.Errorf("%d replicas for what 5 can do: %s", d.Replicas, d.Reason)
	}
}

func TestGovernorKeepsForAPeakThatComesBack(t *testing.T) {
	f := newFeed(t, 8)
	burst := func() {
		n := float64(f.last.Replicas)
		for range 4 {
			f.look(min(800, 100*n), 0, min(800/(100*n), 1))
			n = float64(f.last.Replicas)
		}
	}
	burst()
	for f.last.Replicas == 8 {
		f.look(50, 0, 0.5/float64(f.last.Replicas))
	}
	// Half of the peak's: with these the threshold holds until the next decision.
	f.is(4, RuleCPU, "a peak of the last 15m0s may come back: 8 -> 4")
	for range 12 {
		f.look(50, 0, 0.5/float64(f.last.Replicas))
	}
	if f.decision.Replicas != 1 {
		t.Fatalf("a peak is remembered for too long: %+v", f.decision)
	}
	f.look(100, 30000, 1)
	if f.decision.Replicas < 6 {
		t.Fatalf("the peak came back: %+v", f.decision)
	}
	if f.governor.arrivals.back < 30*time.Minute {
		t.Errorf("peaks are remembered for %v", f.governor.arrivals.back)
	}
}

func TestGovernorStopsGrowthThatDoesNotHelp(t *testing.T) {
	f := newFeed(t, 4)
	f.look(300, 0, 0.75)
	backlog, left := 0.0, 0
	var most int
	for minute := range 90 { // 200/s get through, however many wait
		backlog += 100 * 60
		f.look(200, backlog, 1)
		switch {
		case f.decision.Rule == RuleNoHelp && strings.HasPrefix(f.decision.Reason, "held"):
			if !strings.Contains(f.decision.Reason, "did not help, next try in") {
				t.Fatal(f.decision.Reason)
			}
		case f.decision.Rule == RuleNoHelp:
			if !strings.Contains(f.decision.Reason, "did not help for 30m0s: ") {
				t.Fatal(f.decision.Reason)
			}
			left = minute
		}
		most = max(most, f.decision.Replicas)
	}
	if left == 0 || most > 100 {
		t.Errorf("given back at minute %d, at most %d replicas: %+v", left, most, f.decision)
	}
	// The same without a judgement, as Decide does it, ends at the limit.
	n := 4
	for backlog = 6000; backlog < 90*6000; backlog += 6000 {
		s := f.last
		s.Replicas, s.Backlog, s.PrevBacklog = n, backlog, backlog-6000
		n = Decide(s, f.limits).Replicas
	}
	if n < 10*most {
		t.Errorf("Decide alone grows to %d, the Governor to %d", n, most)
	}
	// When it gets through again, there is growth again.
	f.look(float64(f.last.Replicas)*75, backlog, 1)
	if f.decision.Rule == RuleNoHelp || f.decision.Replicas <= f.last.Replicas && f.decision.From == f.decision.Replicas {
		t.Errorf("growth is not taken up again: %+v", f.decision)
	}
}

func TestGovernorCooldown(t *testing.T) {
	f := newFeed(t, 2)
	f.limits.Cooldown = 3 * time.Minute
	f.look(100, 0, 0.5)
	f.look(200, 20000, 1)
	grown := f.decision.Replicas
	if grown <= 2 {
		t.Fatal(f.decision.Reason)
	}
	for range 2 {
		f.look(float64(grown)*100, 90000, 1)
		f.is(grown, RuleHold, "cooldown 3m0s")
	}
	f.look(float64(grown)*100, 120000, 1)
	if f.decision.Replicas <= grown {
		t.Errorf("after the cooldown: %+v", f.decision)
	}
}

func TestGovernorOngoing(t *testing.T) {
	f := newFeed(t, 2)
	next := func(ongoing float64) {
		t.Helper()
		f.now = f.now.Add(time.Minute)
		s := Signals{Time: f.now, Replicas: f.last.Replicas, Ongoing: ongoing, FreeCPUs: math.Inf(1), NumCPUs: 1}
		f.decision = f.governor.NextOngoing(s, f.limits)
		f.last.Replicas = f.decision.Replicas
	}
	next(7)
	f.is(7, RuleOngoing, "7 requests in progress, target 1 per replica: 2 -> 7")
	next(3)
	f.is(7, RuleOngoing, "held: 3 requests in progress, target 1 per replica; highest want of the last 5m0s was 7")
	next(math.NaN())
	f.is(7, RuleUnknown, "held: requests in progress not known")
	for range 5 {
		next(3)
	}
	f.is(7, RuleOngoing, "held: ")
	next(3)
	f.is(3, RuleOngoing, "7 -> 3")
}

// Whatever is fed, a Governor stays within limits and capacity, gives a reason, and
// does not shrink on what is not known.
func TestGovernorIsTotal(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 10))
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for range 300 {
		g := NewGovernor()
		n := 1 + r.IntN(10)
		for range 200 {
			s, l := anySignals(r)
			l.Cooldown = time.Duration(r.IntN(2)) * time.Minute
			now = now.Add(time.Duration(r.IntN(130)-5) * time.Second) // clocks may go back
			s.Time = now
			if r.IntN(10) > 0 {
				s.Replicas = n
			}
			d := g.Next(s, l)
			checkDecision(t, s, l, d)
			unknown := math.IsNaN(s.Throughput) || math.IsNaN(s.Backlog) || math.IsNaN(s.CPU) || math.IsNaN(s.Pulls)
			if unknown && d.Replicas < min(s.Replicas, l.Max) {
				t.Fatalf("shrinks on what is not known: %+v\n%+v", d, s)
			}
			checkDecision(t, s, l, g.NextOngoing(s, l))
			n = d.Replicas
		}
	}
}

func BenchmarkGovernor(b *testing.B) {
	s, l := steady()
	g := NewGovernor()
	s.Time = time.Now()
	b.ReportAllocs()
	for b.Loop() {
		s.Time = s.Time.Add(time.Second)
		g.Next(s, l)
	}
}
