package autoscale

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestChangeFixesForATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &target{replicas: 1, measure: behind(1, 1)}
		l := running(t, NewBudget(2), Member{Name: "a", Target: p, Limits: limits(8, time.Minute), NumCPUs: 1})
		s, err := l.Change(t.Context(), "a", Change{Replicas: 6, For: 10 * time.Minute})
		if err != nil || s.Mode != Fixed || s.FixedUntil == nil || time.Until(*s.FixedUntil) != 10*time.Minute || p.Replicas() != 6 {
			t.Fatalf("%v, %d replicas, %+v", err, p.Replicas(), s)
		}
		time.Sleep(10*time.Minute - time.Second)
		if p.Replicas() != 6 || len(p.looks()) != 0 {
			t.Errorf("%d replicas, %d decisions while it is fixed", p.Replicas(), len(p.looks()))
		}
		time.Sleep(2 * time.Second)
		if s, _ := l.Status("a"); s.Mode != Auto || s.FixedUntil != nil || p.Replicas() != 6 {
			t.Errorf("after its time: %d replicas, %+v", p.Replicas(), s)
		}
		p.becomes(idle)
		time.Sleep(time.Minute)
		if len(p.looks()) != 2 || p.Replicas() != 1 { // it was measured at once, to begin anew
			t.Errorf("%d replicas one frequency later, measured %d times", p.Replicas(), len(p.looks()))
		}
	})
}

func TestChangeBackToAuto(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &target{replicas: 1, measure: behind(1, 2)}
		l := running(t, nil, Member{Name: "a", Target: p, Limits: limits(8, time.Minute)})
		change := func(c Change) Status {
			t.Helper()
			s, err := l.Change(t.Context(), "a", c)
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
		change(Change{Replicas: 4})
		time.Sleep(time.Hour)
		if s, _ := l.Status("a"); p.Replicas() != 4 || s.Mode != Fixed || s.FixedUntil != nil {
			t.Errorf("fixed for good: %d replicas, %+v", p.Replicas(), s)
		}
		if s := change(Change{Auto: true}); s.Mode != Auto || p.Replicas() != 4 {
			t.Errorf("auto: %d replicas, %+v", p.Replicas(), s)
		}
		time.Sleep(59 * time.Second)
		if len(p.looks()) != 1 { // to begin anew
			t.Error("decided before one frequency was over")
		}
		time.Sleep(2 * time.Second)
		if len(p.looks()) != 2 {
			t.Error("not decided after one frequency")
		}
	})
}

// A processor that does not scale can be scaled by hand, and goes back to what it had.
func TestChangeOfOneThatDoesNotScale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		off := limits(8, time.Minute)
		off.Enabled, off.Start = false, 2
		p := &target{replicas: 2}
		l := running(t, nil, Member{Name: "a", Target: p, Limits: off})
		for _, c := range []Change{{Replicas: 5}, {Replicas: 6, For: time.Minute}} {
			if s, err := l.Change(t.Context(), "a", c); err != nil || s.Mode != Fixed || p.Replicas() != c.Replicas {
				t.Errorf("%v, %d replicas, %+v", err, p.Replicas(), s)
			}
		}
		time.Sleep(time.Hour)
		if s, _ := l.Status("a"); s.Mode != Off || p.Replicas() != 2 {
			t.Errorf("after its time: %d replicas, %+v", p.Replicas(), s)
		}
		if len(p.looks()) != 0 {
			t.Error("it was measured")
		}
	})
}

func TestChangeOfBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &target{replicas: 1, measure: behind(1, 100)}
		l := running(t, nil, Member{Name: "a", Target: p, Limits: limits(1, time.Minute)})
		change := func(c Change) Status {
			t.Helper()
			s, err := l.Change(t.Context(), "a", c)
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
		if s, _ := l.Status("a"); s.Mode != Off {
			t.Fatalf("%+v", s)
		}
		if s := change(Change{Max: 5}); s.Mode != Auto || s.Min != 1 || s.Max != 5 {
			t.Errorf("%+v", s)
		}
		time.Sleep(time.Minute + time.Second)
		if p.Replicas() != 5 {
			t.Errorf("%d replicas, want the new maximum", p.Replicas())
		}
		if change(Change{Max: 3}); p.Replicas() != 3 {
			t.Errorf("%d replicas, want what the bounds allow at once", p.Replicas())
		}
		if change(Change{Min: 6, Max: 9}); p.Replicas() != 6 {
			t.Errorf("%d replicas, want what the bounds demand at once", p.Replicas())
		}
		if s := change(Change{Min: 1, Max: 20, Replicas: 20}); s.Mode != Fixed || p.Replicas() != 20 {
			t.Errorf("%d replicas, %+v", p.Replicas(), s)
		}
		if s := change(Change{Max: 10}); s.Mode != Fixed || p.Replicas() != 10 {
			t.Errorf("%d replicas, %+v", p.Replicas(), s)
		}
		before, _ := l.Decisions("a")
		change(Change{})
		change(Change{Max: 10})
		if after, _ := l.Decisions("a"); len(after) != len(before) {
			t.Error("a change that changes nothing is recorded")
		}
	})
}

// Who changes bounds all the time keeps no decision from being made.
func TestChangesOfBoundsPutOffNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &target{replicas: 1, measure: idle}
		l := running(t, nil, Member{Name: "a", Target: p, Limits: limits(5, time.Minute)})
		for i := range 20 {
			time.Sleep(30 * time.Second)
			if _, err := l.Change(t.Context(), "a", Change{Max: 6 + i%2}); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Second)
		if n := len(p.looks()); n != 10 {
			t.Errorf("%d decisions in 10 minutes", n)
		}
	})
}

// What happened while the number was fixed is not taken for the present.
func TestChangeBackToAutoMeasuresAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &target{replicas: 1, measure: idle}
		l := running(t, nil, Member{Name: "a", Target: p, Limits: limits(5, time.Minute)})
		change := func(c Change) {
			t.Helper()
			if _, err := l.Change(t.Context(), "a", c); err != nil {
				t.Fatal(err)
			}
		}
		began := time.Now()
		change(Change{Replicas: 3})
		time.Sleep(time.Hour)
		change(Change{Auto: true})
		time.Sleep(2*time.Minute + time.Second)
		change(Change{Replicas: 3, For: time.Hour})
		time.Sleep(time.Hour + time.Minute + time.Second)
		var got []time.Duration
		for _, at := range p.looks() {
			got = append(got, at.Sub(began).Round(time.Minute))
		}
		want := []time.Duration{60 * time.Minute, 61 * time.Minute, 62 * time.Minute, 122 * time.Minute, 123 * time.Minute}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	})
}

func TestChangeIsRefused(t *testing.T) {
	p := &target{replicas: 2}
	l := NewLoop(nil, Member{Name: "a", Target: p, Limits: limits(4, time.Minute)})
	for _, tc := range []struct {
		change Change
		says   string
	}{
		{Change{Replicas: 5}, "5 replicas are outside of the bounds 1 to 4"},
		{Change{Replicas: 1, Min: 2}, "outside of the bounds 2 to 4"},
		{Change{Replicas: -1}, "want none below 1"},
		{Change{Min: -1}, "want none below 1"},
		{Change{Min: 5}, "the bounds would be 5 to 4"},
		{Change{Max: MaxReplicas + 1}, "want at most 100000"},
		{Change{Replicas: 2, Auto: true}, "choose one"},
		{Change{For: time.Minute}, "goes with a number"},
		{Change{Replicas: 2, For: -time.Minute}, "more than 0"},
	} {
		_, err := l.Change(t.Context(), "a", tc.change)
		if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%+v: %v, want %q", tc.change, err, tc.says)
		}
	}
	if s, _ := l.Status("a"); s.Min != 1 || s.Max != 4 || s.Mode != Auto || p.Replicas() != 2 {
		t.Errorf("changed by what was refused: %+v", s)
	}
	if _, err := l.Change(t.Context(), "b", Change{}); !errors.Is(err, ErrUnknownProcessor) {
		t.Errorf("unknown: %v", err)
	}
}

// A Setup that fails is the caller's to know.
func TestChangeThatFails(t *testing.T) {
	broken := errors.New("no connection")
	p := &target{replicas: 1, resize: func(int) error { return broken }}
	budget := NewBudget(8)
	l := NewLoop(budget, Member{Name: "a", Target: p, Limits: limits(4, time.Minute), NumCPUs: 1})
	if _, err := l.Change(t.Context(), "a", Change{Replicas: 3}); !errors.Is(err, broken) || errors.Is(err, ErrRefused) {
		t.Errorf("%v", err)
	}
	if d := lastOf(t, l, "a"); d.Rule != RuleFailed || budget.Used() != 1 {
		t.Errorf("%+v, %v CPUs counted", d, budget.Used())
	}
}

// A change waits for the resize that is under way, and a decision that was measured
// before it does not undo it.
func TestChangeAndDecisionInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &target{replicas: 1, measure: func() (Signals, error) { time.Sleep(30 * time.Second); return behind(1, 8)() }}
		l := running(t, nil, Member{Name: "a", Target: p, Limits: limits(8, time.Minute)})
		time.Sleep(time.Minute + time.Second)
		if _, err := l.Change(t.Context(), "a", Change{Replicas: 2}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		if p.Replicas() != 2 {
			t.Errorf("%d replicas: a decision undid what was asked for", p.Replicas())
		}
		p.resize = func(int) error { time.Sleep(time.Hour); return nil }
		go func() { _, _ = l.Change(context.Background(), "a", Change{Replicas: 5}) }()
		synctest.Wait()
		short, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := l.Change(short, "a", Change{Replicas: 3}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("while a resize is under way: %v", err)
		}
		time.Sleep(time.Hour)
	})
}
