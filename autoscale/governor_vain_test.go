package autoscale

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// vain feeds a pool whose growth does not help until it is about to be given back.
func vain(t *testing.T, change ...func(*Signals)) *feed {
	t.Helper()
	f := newFeed(t, 4)
	f.look(300, 0, 0.75)
	for backlog := 6000.0; f.governor.step.origin == 0 || f.now.Sub(f.governor.step.since) < giveBack-f.every; backlog += 6000 {
		if f.look(200, backlog, 1, change...); backlog > 1e6 {
			t.Fatalf("growth is not found to be no help: %+v", f.decision)
		}
	}
	return f
}

// Replicas that do not help are not given back while CPU or pulls are not known, and not
// by an early decision.
func TestGovernorGivesBackOnWhatIsKnownOnly(t *testing.T) {
	for name, change := range map[string]func(*Signals){
		"CPU":   func(s *Signals) { s.CPU = math.NaN() },
		"pulls": func(s *Signals) { s.Pulls = math.NaN() },
	} {
		f := vain(t, change)
		had := f.last.Replicas
		for range 100 {
			f.look(200, f.last.Backlog+6000, 1, change)
		}
		if f.decision.Replicas != had || f.decision.Rule != RuleNoHelp {
			t.Errorf("%s not known: %+v, had %d", name, f.decision, had)
		}
		if f.look(200, f.last.Backlog+6000, 1); f.decision.Replicas >= had {
			t.Errorf("%s known again: %+v", name, f.decision)
		}
	}

	f := vain(t)
	had := f.last.Replicas
	if d := f.early(f.every, 200, f.last.Backlog+6000, 1); d.Replicas != had {
		t.Errorf("an early decision shrinks: %+v", d)
	}
	if f.look(200, f.last.Backlog+6000, 1); f.decision.Replicas >= had {
		t.Errorf("a regular one does not give back: %+v", f.decision)
	}
}

// Records that fail leave the backlog, so that there is none at some looks. Nothing is
// caught up with by that.
func TestGovernorPoisonOnly(t *testing.T) {
	for _, learned := range []bool{false, true} {
		for _, backlog := range []float64{1, 50, 5000} {
			f := newFeed(t, 1)
			for range 10 {
				if learned {
					f.look(50, 0, 0.5)
				}
			}
			most := 0
			for i := range 600 {
				f.look(0, backlog*float64(i%2), 0.2)
				most = max(most, f.decision.Replicas)
			}
			if most > 6 {
				t.Errorf("learned %v, backlog %v: grows to %d: %+v", learned, backlog, most, f.decision)
			}
			if backlog == 1 && most > 1 {
				t.Errorf("learned %v: %d replicas for one record", learned, most)
			}
		}
	}
}

// Where one record at a time takes longer than the time between two decisions, more
// replicas would find no work.
func TestGovernorSlowRecordsOneAtATime(t *testing.T) {
	f := newFeed(t, 1)
	for range 100 {
		for _, s := range []struct{ done, backlog, busy float64 }{{0, 1, 0.8}, {0, 1, 1}, {1.0 / 60, 0, 0.2}, {0, 0, 0}} {
			f.look(s.done, s.backlog, s.busy, func(s *Signals) {
				if s.Busy == 1 {
					s.Pulls = 0
				}
			})
			if f.decision.Replicas != 1 {
				t.Fatalf("%+v", f.decision)
			}
		}
	}
	// With as many of them as it takes, it grows.
	f.look(0, 30, 1)
	f.is(2, RuleStalled, "1 -> 2")
}

// When nothing is done and then something is, the step did help.
func TestGovernorStalledAndHelped(t *testing.T) {
	f := newFeed(t, 1)
	f.look(0, 100, 1)
	f.is(2, RuleStalled, "1 -> 2")
	f.look(0, 300, 1)
	f.look(1, 400, 1)
	if f.governor.step.origin != 0 || f.decision.Rule == RuleNoHelp || f.decision.Replicas <= 2 {
		t.Errorf("%+v", f.decision)
	}
}

// A step that was undone is not judged when the pool has that size again much later, and
// what is handled was less before.
func TestStepThatWasUndone(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	p := step{}
	look := func(replicas int, throughput float64) {
		now = now.Add(time.Minute)
		p.judge(Signals{Time: now, Replicas: replicas, Throughput: throughput, Elapsed: time.Minute}, true, true)
	}
	look(4, 400)
	look(4, 400)
	p.begin(Signals{Time: now, Replicas: 4, Throughput: 400}, 8)
	look(3, 300) // by other bounds
	look(8, 400)
	if look(8, 400); p.origin != 0 {
		t.Errorf("it is judged: %+v", p)
	}
	look(4, 400)
	p.begin(Signals{Time: now, Replicas: 4, Throughput: 400}, 8)
	look(8, 400)
	if p.origin != 4 {
		t.Errorf("one that was not undone is not: %+v", p)
	}
}

// A clock that is set back by a day holds the pool for no day.
func TestGovernorClockSetBack(t *testing.T) {
	f := newFeed(t, 4)
	f.limits.Cooldown = 5 * time.Minute
	f.look(200, 0, 0.5)
	f.look(400, 30_000, 1)
	if !(f.decision.Replicas > 4) {
		t.Fatalf("%+v", f.decision)
	}
	had := f.decision.Replicas
	f.now = f.now.Add(-24 * time.Hour)
	f.look(400, 90_000, 1)
	if f.decision.Replicas <= had {
		t.Errorf("does not grow: %+v", f.decision)
	}
	f.now = f.now.Add(-24 * time.Hour)
	for range 20 {
		f.look(10, 0, 0.01)
	}
	if f.decision.Replicas > 2 {
		t.Errorf("does not shrink: %+v", f.decision)
	}
}

// Glances before the first decision count for it.
func TestGovernorGlancesBeforeTheFirstDecision(t *testing.T) {
	f := newFeed(t, 4)
	for range 6 {
		f.glance(100, 0)
	}
	for i := range 6 {
		f.glance(400, 3000*float64(i+1)) // 1,000/s arrive
	}
	f.every = 0
	f.look(250, 18_000, 1)
	f.is(17, RuleBehind, "; 1,000/s arrive, one does 62.5/s: 4 -> 17")
}

// In whatever order glances, early and regular decisions come, with limits that change
// meanwhile and clocks that jump: nothing is out of limits, an early decision never
// shrinks, and no decision does on what is not known.
func TestGovernorInAnyOrder(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 12))
	for range 150 {
		g, n, now, done, backlog := NewGovernor(), 1+r.IntN(10), time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), 0.0, 0.0
		for range 300 {
			s, l := anySignals(r)
			l.Cooldown = time.Duration(r.IntN(2)) * time.Minute
			if r.IntN(3) > 0 { // a pool that is behind and does not get on, for which growth is no help
				s.Throughput, s.PrevBacklog, s.Elapsed, s.Busy, s.FreeCPUs, s.Parallel = float64(200*r.IntN(2)), backlog, time.Minute, 1, math.Inf(1), 0
				backlog += float64(r.IntN(20_000))
				s.Backlog = backlog
			}
			switch now = now.Add(time.Duration(r.IntN(130)) * time.Second); r.IntN(100) {
			case 0:
				now = now.Add(-24 * time.Hour)
			case 1:
				now = now.Add(24 * time.Hour)
			}
			s.Time, s.Replicas = now, n
			for range r.IntN(5) {
				now = now.Add(5 * time.Second)
				done += float64(r.IntN(2000))
				g.Urgent(Glance{Time: now, Replicas: n, Done: done, Backlog: []float64{math.NaN(), backlog, 0}[r.IntN(3)]}, l)
				s.Time = now
			}
			early := r.IntN(3) == 0
			d := Decision{}
			if early {
				d = g.Early(s, l)
			} else {
				d = g.Next(s, l)
			}
			checkDecision(t, s, l, d)
			unknown := math.IsNaN(s.Throughput) || math.IsNaN(s.Backlog) || math.IsNaN(s.CPU) || math.IsNaN(s.Pulls)
			if (early || unknown) && d.Replicas < min(s.Replicas, l.Max) {
				t.Fatalf("early %v: shrinks: %+v\n%+v\n%+v", early, d, s, l)
			}
			n = d.Replicas
		}
	}
}
