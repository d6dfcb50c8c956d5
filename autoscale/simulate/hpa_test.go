package simulate

import (
	"slices"
	"testing"
	"time"

	"github.com/flowkit-go/flow/autoscale"
)

// The numbers are worked out by hand from the documentation of Kubernetes: the
// algorithm, its examples, and the default scaling policies.
func TestHPARule(t *testing.T) {
	for _, tc := range []struct {
		name        string
		replicas    int
		ready       int
		cpu, target float64
		want        int
	}{
		{name: "twice the target doubles", replicas: 3, ready: 3, cpu: 100, target: 50, want: 6},
		{name: "half the target halves", replicas: 4, ready: 4, cpu: 25, target: 50, want: 2},
		{name: "rounds up", replicas: 3, ready: 3, cpu: 60, target: 50, want: 4},
		{name: "10% above holds", replicas: 10, ready: 10, cpu: 55, target: 50, want: 10},
		{name: "10% below holds", replicas: 10, ready: 10, cpu: 45, target: 50, want: 10},
		{name: "11% above grows", replicas: 10, ready: 10, cpu: 55.5, target: 50, want: 12},
		{name: "11% below shrinks", replicas: 10, ready: 10, cpu: 44, target: 50, want: 9},
		{name: "idle wants none, so the minimum", replicas: 10, ready: 10, cpu: 0, target: 50, want: 0},
		// 2 ready at 150 % of 100 % and 2 that start count as 75 %: nothing to do.
		{name: "starting pods damp growth", replicas: 4, ready: 2, cpu: 150, target: 100, want: 4},
		// 3 ready at 200 % and 1 that starts are 150 %: ceil(4 * 1.5).
		{name: "growth beyond starting pods", replicas: 4, ready: 3, cpu: 200, target: 100, want: 6},
		{name: "no pod is ready", replicas: 4, ready: 0, cpu: 0, target: 100, want: 4},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := &hpa{limits: autoscale.Limits{Min: 1, Max: 1000}, target: tc.target}
			got := h.recommend(Observation{Signals: autoscale.Signals{Replicas: tc.replicas, CPU: tc.cpu}, Ready: tc.ready})
			if got != tc.want {
				t.Errorf("%d replicas, want %d", got, tc.want)
			}
		})
	}
}

// The largest of 4 pods and 100 % each 15 s.
func TestHPAGrowsByItsPolicies(t *testing.T) {
	s := stabiliser{}
	now, n := time.Unix(0, 0), 1
	var got []int
	for range 7 {
		n = s.next(Observation{Signals: autoscale.Signals{Time: now, Replicas: n}}, autoscale.Limits{Min: 1, Max: 100}, 1000)
		got = append(got, n)
		now = now.Add(hpaSync)
	}
	if want := []int{5, 10, 20, 40, 80, 100, 100}; !slices.Equal(got, want) {
		t.Errorf("grows to %v, want %v", got, want)
	}
}

// It shrinks to the highest recommendation of the last 300 s: 8 and 3, then 3 alone.
func TestHPAShrinksAfterItsWindow(t *testing.T) {
	s := stabiliser{}
	limits := autoscale.Limits{Min: 1, Max: 100}
	n := 10
	at := func(seconds, recommended int) int {
		n = s.next(Observation{Signals: autoscale.Signals{Time: time.Unix(int64(seconds), 0), Replicas: n}}, limits, recommended)
		return n
	}
	for _, step := range []struct{ seconds, recommended, want int }{
		{0, 10, 10}, {15, 8, 10}, {30, 3, 10}, {285, 3, 10}, {300, 3, 8}, {315, 3, 3}, {330, 0, 3}, {900, 0, 1}, {915, 2, 2},
	} {
		if got := at(step.seconds, step.recommended); got != step.want {
			t.Fatalf("at %d s: %d replicas, want %d", step.seconds, got, step.want)
		}
	}
}

func TestHPATargetIsFairByDefault(t *testing.T) {
	o := Defaults()
	o.CPU = 50
	if got := newHPA(o).target; got != 40 {
		t.Errorf("target %v for replicas of 50%%, want 40", got)
	}
	o.HPATarget = 65
	if got := newHPA(o).target; got != 65 {
		t.Errorf("target %v, want the one that was set", got)
	}
}
