package autoscale

import (
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"testing"
)

func TestBudgetAdmitsWhatFits(t *testing.T) {
	for _, tc := range []struct {
		name        string
		cpus, each  float64
		have, least int
		want        int
		admitted    int
	}{
		{"fits", 8, 1, 2, 1, 6, 6},
		{"capped", 8, 1, 2, 1, 20, 8},
		{"nothing is free", 2, 1, 2, 1, 3, 2},
		{"over already", 2, 1, 4, 1, 5, 4},
		{"the minimum runs though it is over", 2, 1, 1, 5, 5, 5},
		{"no more than the minimum then", 2, 1, 1, 5, 9, 5},
		{"shrinks while over", 2, 1, 6, 1, 3, 3},
		{"waits for I/O", 2, 0.1, 1, 1, 50, 20},
		{"tenths add up", 1, 0.1, 7, 1, 10, 10},
		{"half a CPU", 0.5, 0.25, 1, 1, 4, 2},
		{"no limit", 0, 1, 1, 1, 1000, 1000},
		{"no limit either", math.Inf(1), 1, 1, 1, 1000, 1000},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := NewBudget(tc.cpus)
			b.Count("a", tc.each, tc.have)
			if got := b.Admit("a", tc.least, func(float64) int { return tc.want }); got != tc.admitted {
				t.Errorf("%d replicas admitted, want %d", got, tc.admitted)
			}
		})
	}
}

func TestBudgetTellsWhatIsFree(t *testing.T) {
	b := NewBudget(4)
	b.Count("a", 1, 2)
	b.Count("b", 0.5, 1)
	b.Admit("b", 1, func(free float64) int {
		if free != 1.5 {
			t.Errorf("%v CPUs free, want 1.5", free)
		}
		return 1
	})
	b.Count("a", 1, 6)
	b.Admit("b", 1, func(free float64) int {
		if free != -2.5 {
			t.Errorf("%v CPUs free, want -2.5", free)
		}
		return 1
	})
}

// Whatever processors ask for: growth never goes over the budget, what a processor had
// and its minimum are always admitted, and what is given back can be had again.
func TestBudgetProperties(t *testing.T) {
	for seed := range uint64(300) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		cpus := float64(rnd.IntN(64)+1) / 4
		b := NewBudget(cpus)
		type processor struct {
			name        string
			each        float64
			least, have int
		}
		var all []*processor
		for i := range rnd.IntN(5) + 1 {
			p := &processor{name: fmt.Sprint(i), each: []float64{0.05, 0.1, 0.3, 0.5, 1, 2}[rnd.IntN(6)], least: rnd.IntN(3) + 1}
			p.have = p.least + rnd.IntN(2)
			b.Count(p.name, p.each, p.have)
			all = append(all, p)
		}
		for range 100 {
			p := all[rnd.IntN(len(all))]
			if rnd.IntN(10) == 0 { // by hand, or a resize that failed
				p.have = rnd.IntN(20)
				b.Count(p.name, p.each, p.have)
				continue
			}
			before := b.Used()
			want := rnd.IntN(40)
			got := b.Admit(p.name, p.least, func(float64) int { return want })
			used := b.Used()
			switch {
			case got > want:
				t.Fatalf("seed %d: %d admitted of %d wanted", seed, got, want)
			case want <= p.have && got != want:
				t.Fatalf("seed %d: %d admitted of %d wanted by %d", seed, got, want, p.have)
			case want >= p.have && got < p.have:
				t.Fatalf("seed %d: %d admitted, fewer than the %d there are", seed, got, p.have)
			case got < min(want, p.least):
				t.Fatalf("seed %d: %d admitted, fewer than the minimum %d", seed, got, p.least)
			case got > max(p.have, p.least) && used > cpus+1e-9:
				t.Fatalf("seed %d: grown from %v to %v of %v CPUs", seed, before, used, cpus)
			case got > p.have && got < want && got > p.least && used+p.each <= cpus-1e-9:
				t.Fatalf("seed %d: one more would have fitted into %v beside %v", seed, cpus, used)
			}
			p.have = got
		}
		for _, p := range all {
			b.Count(p.name, p.each, 0)
		}
		if used := b.Used(); used != 0 {
			t.Fatalf("seed %d: %v CPUs are left counted", seed, used)
		}
	}
}

// Processors that ask at the same time do not both get the last CPU.
func TestBudgetConcurrently(t *testing.T) {
	b := NewBudget(10)
	var all sync.WaitGroup
	for i := range 8 {
		b.Count(fmt.Sprint(i), 0.5, 1)
	}
	for i := range 8 {
		name := fmt.Sprint(i)
		all.Go(func() {
			for n := range 50 {
				b.Admit(name, 1, func(free float64) int { return 1 + n })
				if used := b.Used(); used > 10 {
					t.Errorf("%v CPUs used of 10", used)
					return
				}
			}
		})
	}
	all.Wait()
}
