package autoscale

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// target is a processor whose signals a test chooses.
type target struct {
	mu       sync.Mutex
	replicas int
	measure  func() (Signals, error)
	resize   func(n int) error
	looked   []time.Time
}

func (p *target) Replicas() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.replicas
}

// looks are when it was measured.
func (p *target) looks() []time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.looked)
}

// becomes has it measure something else from now on.
func (p *target) becomes(measure func() (Signals, error)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.measure = measure
}

func (p *target) Resize(n int) error {
	if p.resize != nil {
		if err := p.resize(n); err != nil {
			return err
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.replicas = n
	return nil
}

func (p *target) Signals() (Signals, error) {
	p.mu.Lock()
	p.looked = append(p.looked, time.Now())
	measure := p.measure
	p.mu.Unlock()
	return measure()
}

// behind are signals of a consumer that should have so many replicas.
func behind(n, want int) func() (Signals, error) {
	return func() (Signals, error) {
		return Signals{Time: time.Now(), Throughput: 10, Backlog: 600 * float64(want) / float64(n), PrevBacklog: math.NaN(),
			Elapsed: time.Minute, Pulls: 1, CPU: 100}, nil
	}
}

// idle are signals of a consumer that has nothing to do.
func idle() (Signals, error) {
	return Signals{Time: time.Now(), Pulls: math.Inf(1), Elapsed: time.Minute}, nil
}

func limits(most int, every time.Duration) Limits {
	l := Defaults()
	l.Max, l.Frequency, l.ScaleDownWindow = most, every, 0
	return l
}

// running runs a loop until the end of the test.
func running(t *testing.T, budget *Budget, members ...Member) *Loop {
	t.Helper()
	for i := range members {
		if members[i].Log == nil {
			members[i].Log = slog.New(slog.DiscardHandler)
		}
	}
	l := NewLoop(budget, members...)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); l.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-ended })
	return l
}

func lastOf(t *testing.T, l *Loop, name string) Decision {
	t.Helper()
	s, err := l.Status(name)
	if err != nil || s.Last == nil {
		t.Fatalf("%s: no decision: %v", name, err)
	}
	return *s.Last
}

func TestLoopHasAScheduleForEach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		a, b, still := &target{replicas: 1, measure: behind(1, 1)}, &target{replicas: 1, measure: behind(1, 1)}, &target{replicas: 1}
		running(t, nil, Member{Name: "a", Target: a, Limits: limits(4, 10*time.Second)}, Member{Name: "b", Target: b, Limits: limits(4, 25*time.Second)},
			Member{Name: "still", Target: still, Limits: limits(1, time.Second)})
		time.Sleep(51 * time.Second)
		since := func(p *target) (out []time.Duration) {
			for _, at := range p.looks() {
				out = append(out, at.Sub(began)/time.Second)
			}
			return out
		}
		if d := cmp.Diff([]time.Duration{10, 20, 30, 40, 50}, since(a)); d != "" {
			t.Error("a:", d)
		}
		if d := cmp.Diff([]time.Duration{25, 50}, since(b)); d != "" {
			t.Error("b:", d)
		}
		if len(still.looks()) != 0 {
			t.Errorf("a processor that does not scale was measured %d times", len(still.looks()))
		}
	})
}

// What takes long in one processor, measuring or Setup, delays no other, and leaves out
// decisions of its own.
func TestLoopSlowOneDelaysNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := &target{replicas: 1, measure: func() (Signals, error) { time.Sleep(time.Hour); return idle() }}
		starting := &target{replicas: 1, measure: behind(1, 2), resize: func(int) error { time.Sleep(time.Hour); return nil }}
		quick := &target{replicas: 1, measure: behind(1, 1)}
		every := time.Minute
		running(t, nil, Member{Name: "slow", Target: slow, Limits: limits(4, every)}, Member{Name: "starting", Target: starting, Limits: limits(4, every)},
			Member{Name: "quick", Target: quick, Limits: limits(4, every)})
		time.Sleep(3*time.Hour + time.Second)
		if n := len(quick.looks()); n != 180 {
			t.Errorf("the quick one was decided about %d times, want 180", n)
		}
		if n := len(slow.looks()); n != 3 {
			t.Errorf("the slow one was measured %d times, want 3", n)
		}
		time.Sleep(time.Hour)
	})
}

func TestLoopHoldsWithoutSignals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		p := &target{replicas: 3, measure: func() (Signals, error) { return Signals{}, errors.New("the broker is away") }}
		l := running(t, nil, Member{Name: "a", Target: p, Limits: limits(4, time.Minute), Log: slog.New(slog.NewTextHandler(&log, nil))})
		time.Sleep(10*time.Minute + time.Second)
		synctest.Wait()
		d := lastOf(t, l, "a")
		if p.Replicas() != 3 || d.Replicas != 3 || d.Rule != RuleNoSignals || !strings.Contains(d.Reason, "the broker is away") {
			t.Errorf("%d replicas, %+v", p.Replicas(), d)
		}
		if n := strings.Count(log.String(), "\n"); n != 1 {
			t.Errorf("%d lines in the log, want one:\n%s", n, log.String())
		}
		p.becomes(func() (Signals, error) { panic("no") })
		time.Sleep(time.Minute)
		if d := lastOf(t, l, "a"); d.Rule != RuleNoSignals || p.Replicas() != 3 {
			t.Errorf("after a panic: %+v", d)
		}
	})
}

// A signal that is not known never shrinks.
func TestLoopNeverShrinksOnUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, unknown := range map[string]func(*Signals){
			"backlog":    func(s *Signals) { s.Backlog = math.NaN() },
			"CPU":        func(s *Signals) { s.CPU = math.NaN() },
			"throughput": func(s *Signals) { s.Throughput = math.NaN() },
		} {
			p := &target{replicas: 3, measure: func() (Signals, error) { s, err := idle(); unknown(&s); return s, err }}
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			NewLoop(nil, Member{Name: "a", Target: p, Limits: limits(4, time.Minute)}).Run(ctx)
			cancel()
			if p.Replicas() != 3 || len(p.looks()) == 0 {
				t.Errorf("%s not known: %d replicas", name, p.Replicas())
			}
		}
	})
}

func TestLoopTriesAFailedResizeAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fails := 2
		p := &target{replicas: 1, measure: behind(1, 3)}
		p.resize = func(int) error {
			if fails--; fails >= 0 {
				return errors.New("no connection")
			}
			p.becomes(behind(3, 3))
			return nil
		}
		budget := NewBudget(4)
		calm := limits(4, time.Minute)
		calm.Cooldown = time.Hour // which is between resizes, and a resize that failed is none
		l := running(t, budget, Member{Name: "a", Target: p, Limits: calm, NumCPUs: 1})
		time.Sleep(time.Minute + time.Second)
		if d := lastOf(t, l, "a"); d.Rule != RuleFailed || d.Replicas != 1 || !strings.Contains(d.Reason, "no connection") || d.Direction() != "hold" {
			t.Errorf("%+v", d)
		}
		if budget.Used() != 1 {
			t.Errorf("%v CPUs are counted after a resize that failed", budget.Used())
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if d := lastOf(t, l, "a"); p.Replicas() != 3 || d.Rule != RuleBehind || d.From != 1 || d.Replicas != 3 {
			t.Errorf("%d replicas, %+v", p.Replicas(), d)
		}
		if d := cmp.Diff(map[Kind]int64{{"hold", RuleFailed}: 2, {"up", RuleBehind}: 1}, l.Counts("a")); d != "" {
			t.Error(d)
		}
	})
}

// Processors share the CPUs: what is wanted beyond them is published, and what one
// gives back another can have.
func TestLoopSharesCPUs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := &target{replicas: 1, measure: behind(1, 100)}, &target{replicas: 1, measure: behind(1, 100)}
		l := running(t, NewBudget(4), Member{Name: "a", Target: a, Limits: limits(100, time.Minute), NumCPUs: 0.5},
			Member{Name: "b", Target: b, Limits: limits(100, time.Minute), NumCPUs: 1})
		for range 30 {
			time.Sleep(time.Minute)
			if used := float64(a.Replicas())*0.5 + float64(b.Replicas()); used > 4 {
				t.Fatalf("%v CPUs of 4", used)
			}
		}
		if used := float64(a.Replicas())*0.5 + float64(b.Replicas()); used != 4 {
			t.Errorf("%v CPUs of 4 are used: %d and %d replicas", used, a.Replicas(), b.Replicas())
		}
		for _, name := range []string{"a", "b"} {
			if s, _ := l.Status(name); s.WantedCPU == 0 || s.Want < 100 {
				t.Errorf("%s: %+v", name, s)
			}
		}
		a.becomes(idle)
		time.Sleep(10 * time.Minute)
		if a.Replicas() != 1 || b.Replicas() != 3 {
			t.Errorf("%d and %d replicas after a has nothing to do", a.Replicas(), b.Replicas())
		}
		if s, _ := l.Status("a"); s.WantedCPU != 0 {
			t.Errorf("a still asks for CPUs: %+v", s)
		}
	})
}

func TestLoopWarnsOfTooFewCPUs(t *testing.T) {
	m := func(name string, most int, cpus float64) Member {
		return Member{Name: name, Target: &target{}, Limits: limits(most, time.Minute), NumCPUs: cpus}
	}
	for _, tc := range []struct {
		members []Member
		warns   bool
	}{
		{[]Member{m("a", 4, 1), m("b", 1, 1)}, false},
		{[]Member{m("a", 4, 1), m("b", 1, 1), m("c", 1, 0.5)}, true},
		{[]Member{m("a", 1, 1), m("b", 1, 1), m("c", 1, 0.5)}, false}, // nothing scales
		{[]Member{m("a", 4, 0.1), m("b", 1, 0.1), m("c", 1, 0.1)}, false},
	} {
		w := NewLoop(NewBudget(2), tc.members...).Warning()
		if (w != "") != tc.warns || tc.warns && !(strings.Contains(w, "2.5 CPUs") && strings.Contains(w, "there are 2:")) {
			t.Errorf("%d members: %q", len(tc.members), w)
		}
	}
}

func TestLoopKeepsTheLastThousand(t *testing.T) {
	var r record
	if _, any := r.last(); any || len(r.list()) != 0 {
		t.Error("an empty record has decisions")
	}
	for i := range 2500 {
		r.add(Decision{From: i})
		if d, any := r.last(); !any || d.From != i {
			t.Fatalf("last is %+v after %d", d, i)
		}
	}
	all := r.list()
	if len(all) != 1000 || all[0].From != 1500 || all[999].From != 2499 {
		t.Errorf("%d are kept, %d to %d", len(all), all[0].From, all[len(all)-1].From)
	}
}

// A stop waits for the decision that is under way, and none comes after it.
func TestLoopStopsCleanly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		p := &target{replicas: 1, measure: func() (Signals, error) { <-gate; return behind(1, 4)() }}
		l := NewLoop(nil, Member{Name: "a", Target: p, Limits: limits(4, time.Minute)})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); l.Run(ctx) }()
		time.Sleep(time.Minute)
		cancel()
		synctest.Wait()
		select {
		case <-ended:
			t.Error("Run returned while signals were taken")
		default:
		}
		close(gate)
		<-ended
		if p.Replicas() != 1 {
			t.Errorf("resized to %d after the end", p.Replicas())
		}
	})
}
