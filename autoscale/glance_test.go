package autoscale

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

// three are glances 5 s apart with these backlogs, of a pool that handles so much.
func three(rate float64, backlogs ...float64) (a, b, c Glance) {
	at := func(i int) Glance {
		secs := 5 * float64(i)
		return Glance{Time: noon.Add(time.Duration(secs) * time.Second), Replicas: 4, Done: 1e6 + rate*secs, Backlog: backlogs[i]}
	}
	return at(0), at(1), at(2)
}

func TestUrgent(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	for _, tc := range []struct {
		name     string
		rate     float64
		backlogs []float64
		left     time.Duration // to the regular decision
		burn     time.Duration
		want     bool
	}{
		{"nothing to do", 100, []float64{0, 0, 0}, time.Minute, time.Minute, false},
		{"long but not too long", 100, []float64{5900, 5900, 5900}, time.Minute, time.Minute, false},
		{"too long already", 100, []float64{6100, 6100, 6100}, time.Minute, time.Minute, true},
		{"too long, and shrinking", 100, []float64{6500, 6300, 6100}, time.Minute, time.Minute, true},
		{"passes it in time", 100, []float64{100, 600, 1100}, time.Minute, time.Minute, true},
		{"does not pass it", 100, []float64{100, 500, 900}, time.Minute, time.Minute, false},
		{"does in two minutes", 100, []float64{100, 500, 900}, 2 * time.Minute, time.Minute, true},
		{"within the minute that replicas may take", 100, []float64{100, 600, 1100}, time.Second, time.Minute, true},
		{"though the decision is late", 100, []float64{100, 600, 1100}, -time.Hour, time.Minute, true},
		{"a longer threshold", 100, []float64{100, 600, 1100}, time.Minute, 5 * time.Minute, false},
		{"a heap", 100, []float64{0, 5000, 4500}, time.Minute, time.Minute, false},
		{"a heap of now", 100, []float64{10, 10, 5500}, time.Minute, time.Minute, false},
		{"two heaps, the lesser counts", 100, []float64{10, 60, 5000}, time.Minute, time.Minute, false},
		{"noise of a long wait", 100, []float64{5980, 5982, 5984}, time.Hour, time.Minute, false},
		{"came from nothing", 100, []float64{0, 4500, 9000}, time.Minute, time.Minute, true},
		{"nothing is known", 100, []float64{nan, nan, nan}, time.Minute, time.Minute, false},
		{"the first is not known", 100, []float64{nan, 9000, 9000}, time.Minute, time.Minute, false},
		{"the last is not known", 100, []float64{9000, 9000, nan}, time.Minute, time.Minute, false},
		{"without end", 100, []float64{1, 2, inf}, time.Minute, time.Minute, false},
		{"nothing succeeds", 0, []float64{100, 600, 1100}, time.Minute, time.Minute, false},
		{"too few to tell", 0.9, []float64{100, 600, 1100}, time.Minute, time.Minute, false},
		{"enough to tell", 1, []float64{100, 600, 1100}, time.Minute, time.Minute, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := Defaults()
			l.BurnThreshold = tc.burn
			a, b, c := three(tc.rate, tc.backlogs...)
			if got := Urgent(a, b, c, c.Time.Add(tc.left), l); got != tc.want {
				t.Errorf("%t, want %t", got, tc.want)
			}
		})
	}
}

func TestUrgentComparesTheSameReplicasInOrder(t *testing.T) {
	for name, change := range map[string]func(a, b, c *Glance){
		"grown before":        func(a, _, _ *Glance) { a.Replicas = 3 },
		"grown":               func(_, _, c *Glance) { c.Replicas = 8 },
		"at the same time":    func(_, b, c *Glance) { c.Time = b.Time },
		"backwards":           func(a, b, _ *Glance) { a.Time = b.Time.Add(time.Second) },
		"counted anew":        func(_, _, c *Glance) { c.Done = 0 },
		"counted without end": func(_, _, c *Glance) { c.Done = math.Inf(1) },
		"not counted":         func(_, b, _ *Glance) { b.Done = math.NaN() },
	} {
		a, b, c := three(100, 9000, 9500, 10000)
		if !Urgent(a, b, c, noon, Defaults()) {
			t.Fatal("it is not urgent before the change")
		}
		if change(&a, &b, &c); Urgent(a, b, c, noon, Defaults()) {
			t.Errorf("%s: urgent", name)
		}
	}
}

// Of whatever was seen: more backlog at the last glance never makes it less urgent, nor
// does a lower threshold; and what is below it and does not grow never is.
func TestUrgentProperties(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	odd := []float64{0, 1, -1, math.NaN(), math.Inf(1), math.Inf(-1), math.MaxFloat64, 5e-324}
	number := func() float64 {
		if rnd.IntN(10) == 0 {
			return odd[rnd.IntN(len(odd))]
		}
		return math.Pow(10, 6*rnd.Float64()) - 1
	}
	some := 0
	for range 100_000 {
		l := Defaults()
		l.BurnThreshold = time.Duration(1+rnd.IntN(300)) * time.Second
		a, b, c := three(number(), number(), number(), number())
		regular := c.Time.Add(time.Duration(rnd.IntN(240)-60) * time.Second)
		got := Urgent(a, b, c, regular, l)
		if got {
			some++
			more := c
			if more.Backlog += math.Abs(number()); !math.IsInf(more.Backlog, 0) && !math.IsNaN(more.Backlog) && !Urgent(a, b, more, regular, l) {
				t.Fatalf("urgent at a backlog of %v, not at %v: %+v %+v", c.Backlog, more.Backlog, a, b)
			}
			lower := l
			if lower.BurnThreshold /= 2; !Urgent(a, b, c, regular, lower) {
				t.Fatalf("urgent at %v, not at half of it: %+v %+v %+v", l.BurnThreshold, a, b, c)
			}
			if c.Backlog <= b.Backlog && c.Backlog <= pace(b, c)*l.BurnThreshold.Seconds() {
				t.Fatalf("urgent, and neither too long nor growing: %+v %+v %+v", a, b, c)
			}
		}
	}
	if some < 1000 {
		t.Errorf("urgent %d times only: the test shows little", some)
	}
}

func TestGlanceEvery(t *testing.T) {
	for frequency, want := range map[time.Duration]time.Duration{
		time.Minute: 5 * time.Second, 15 * time.Second: 1250 * time.Millisecond, 10 * time.Minute: 50 * time.Second,
		4 * time.Second: time.Second, 3 * time.Second: 0, time.Second: 0, 0: 0,
	} {
		if got := (Limits{Frequency: frequency}).GlanceEvery(); got != want {
			t.Errorf("every %v between decisions every %v, want %v", got, frequency, want)
		}
	}
}

// glance is one of a pool that handles a rate, 5 s after the last or the last decision.
func (f *feed) glance(rate, backlog float64) bool {
	f.Helper()
	f.now = f.now.Add(5 * time.Second)
	f.done += 5 * rate
	return f.governor.Urgent(Glance{Time: f.now, Replicas: f.last.Replicas, Done: f.done, Backlog: backlog}, f.limits)
}

// early is a decision ahead of its time, so long after the last one.
func (f *feed) early(after time.Duration, throughput, backlog, busy float64, change ...func(*Signals)) Decision {
	f.Helper()
	s := Signals{
		Time: f.now, Replicas: f.last.Replicas, Throughput: throughput, Backlog: backlog, PrevBacklog: f.last.Backlog, Elapsed: after,
		Pulls: math.Inf(1), CPU: 100 * busy, Busy: busy, NumCPUs: 1, FreeCPUs: math.Inf(1),
	}
	for _, c := range change {
		c(&s)
	}
	f.decision = f.governor.Early(s, f.limits)
	checkDecision(f, s, f.limits, f.decision)
	if f.decision.Replicas < s.Replicas {
		f.Errorf("an early decision shrinks: %+v", f.decision)
	}
	f.last = s
	f.last.Replicas = f.decision.Replicas
	return f.decision
}

// warm is a Governor that knows that one replica does 100/s.
func warm(t *testing.T) *feed {
	f := newFeed(t, 4)
	f.look(200, 0, 0.5)
	f.look(200, 0, 0.5)
	return f
}

func TestGovernorDecidesEarly(t *testing.T) {
	f := warm(t)
	for range 6 {
		if f.glance(200, 1) {
			t.Fatal("urgent while all is well")
		}
	}
	// 800/s come since 5 s.
	if f.glance(400, 2000) || !f.glance(400, 4000) {
		t.Fatal("not urgent at the second glance of the jump")
	}
	f.early(40*time.Second, 250, 4000, 0.625)
	f.is(9, RuleFalling, "; 800/s arrive, one does 100/s: 4 -> 9")
}

// What a glance tells of arrivals counts at a regular decision too.
func TestGovernorKnowsFromGlancesWhatArrives(t *testing.T) {
	f := warm(t)
	for range 10 {
		f.glance(200, 1)
	}
	f.glance(400, 2000) // 800/s for the last 5 s but one
	f.now = f.now.Add(5*time.Second - f.every)
	f.done += 2000
	f.governor.Urgent(Glance{Time: f.now.Add(f.every), Replicas: 4, Done: f.done, Backlog: 4000}, f.limits)
	f.look(233, 4000, 0.58)
	f.is(9, RuleFalling, "800/s arrive, one does 100/s: 4 -> 9")
}

// An early decision never shrinks, whatever is measured, and neither takes a pool for
// stalled nor for one that does not pull, which takes longer to tell.
func TestGovernorEarlyOnlyGrows(t *testing.T) {
	f := warm(t)
	f.governor.began = f.now.Add(-time.Hour)
	f.governor.resized = f.now.Add(-time.Hour)
	f.early(5*time.Second, 10, 0, 0.025)
	f.is(4, RuleHold, "looked at early, and it can wait")
	f.early(5*time.Second, 0, 5, 1)
	f.is(4, RuleHold, "")
	f.early(5*time.Second, 200, 5, 0.5, func(s *Signals) { s.Pulls = 0 })
	f.is(4, RuleHold, "")
	f.early(5*time.Second, math.NaN(), 5, 1)
	f.is(4, RuleHold, "")
	f.early(5*time.Second, 200, math.NaN(), 0.5)
	f.is(4, RuleHold, "")

	rnd := rand.New(rand.NewPCG(5, 6))
	for range 20_000 {
		f.now = f.now.Add(time.Duration(rnd.IntN(60)+1) * time.Second)
		f.last.Replicas = rnd.IntN(12) + 1
		number := []float64{0, 1, 300 * rnd.Float64(), 1e5 * rnd.Float64(), math.NaN()}
		f.early(time.Duration(rnd.IntN(60))*time.Second, number[rnd.IntN(5)], number[rnd.IntN(5)], rnd.Float64())
	}
}

// A decision that came early for nothing puts off the next one: for 10 s, 20 s, and so
// on up to the frequency.
func TestGovernorWaitsAfterEarlyForNothing(t *testing.T) {
	f := warm(t)
	var came []int
	last := 0
	for i := range 60 {
		if f.glance(400, 30_000) {
			came = append(came, i-last)
			last = i
			f.early(15*time.Second, 400, 30_000, 1, func(s *Signals) { s.FreeCPUs = 0 })
			f.is(4, f.decision.Rule, "CPUs free for 0 more")
		}
	}
	want := []int{2, 3, 4, 8, 12, 12, 12}
	for i, glances := range came {
		if i >= len(want) || glances != want[i] {
			t.Fatalf("early decisions after %v glances, want %v", came, want)
		}
	}
	if f.glance(400, 100) {
		t.Error("urgent when it was worked off")
	}
	if f.glance(400, 20_000) || !f.glance(400, 40_000) {
		t.Error("still put off when things are not what they were")
	}
}

func TestGovernorIsNotUrgentInVain(t *testing.T) {
	urgent := func(f *feed) (some bool) {
		for i := range 8 {
			some = f.glance(400, 40_000+2000*float64(i)) || some
		}
		return some
	}
	if f := warm(t); !urgent(f) {
		t.Error("not urgent to begin with")
	}
	f := warm(t)
	if f.limits.Max = 4; urgent(f) {
		t.Error("urgent at the maximum")
	}
	f = warm(t)
	f.governor.step.origin, f.governor.step.level, f.governor.step.until = 2, 400, f.now.Add(time.Hour)
	if urgent(f) {
		t.Error("urgent while growth rests")
	}
	if f.governor.step.level = 300; !urgent(f) {
		t.Error("not urgent where more is handled than when growth began to rest")
	}
	// 5 more start: with them 900/s are handled.
	f = warm(t)
	f.governor.step.at = f.now
	f.last.Replicas = 9
	if f.glance(400, 3000) || f.glance(400, 5000) || f.glance(400, 7000) || f.glance(400, 9000) {
		t.Error("urgent while replicas start that will do")
	}
	f.governor.step.at = f.now.Add(-time.Hour)
	if !f.glance(400, 11000) {
		t.Error("not urgent though they have started")
	}
}

// Seconds are no measure of a step: one is judged by half a minute of its replicas.
func TestStepIsJudgedByHalfAMinute(t *testing.T) {
	f := warm(t)
	f.look(400, 30_000, 1)
	if f.decision.Replicas <= 4 {
		t.Fatalf("%+v", f.decision)
	}
	f.last.Backlog = 60_000
	for i := range 6 { // nothing is gained, seen in windows of 10 s
		f.now = f.now.Add(10 * time.Second)
		f.early(10*time.Second, 400, 60_000, 1, func(s *Signals) { s.Replicas = f.governor.step.to; s.FreeCPUs = 0 })
		if f.governor.step.origin != 0 {
			t.Fatalf("judged after %d s", 10*(i+1))
		}
	}
	for range 2 {
		f.now = f.now.Add(10 * time.Second)
		f.early(10*time.Second, 400, 60_000, 1, func(s *Signals) { s.Replicas = f.governor.step.to; s.FreeCPUs = 0 })
	}
	if f.governor.step.origin != 4 {
		t.Errorf("not judged after half a minute of replicas that have started: %+v", f.governor.step)
	}
}

// A step whose backlog is gone by the time that its replicas have started has helped: it
// is not what a slow downstream is judged by an hour later.
func TestStepThatCaughtUpIsOver(t *testing.T) {
	f := warm(t)
	f.look(400, 9000, 1)
	n := f.decision.Replicas
	f.look(600, 0, 0.6)
	f.look(600, 0, 0.6)
	f.look(600, 0, 0.6)
	if f.governor.step.open {
		t.Error("not judged yet")
	}
	f.look(300, 40_000, 1) // far behind, with no more than before the step
	if f.decision.Rule == RuleNoHelp || f.decision.Replicas <= n {
		t.Errorf("%+v", f.decision)
	}
}
