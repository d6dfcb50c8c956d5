package simulate

import (
	"testing"
	"time"

	"github.com/flowkit-go/flow/autoscale"
)

func TestKEDARule(t *testing.T) {
	for _, tc := range []struct {
		name           string
		n              int
		lag, threshold float64
		want           int
	}{
		{"lag 100 at 10 each", 1, 100, 10, 10},
		{"rounds up", 1, 101, 10, 11},
		{"10% more than there are holds", 10, 110, 10, 10},
		{"more than that grows", 10, 111, 10, 12},
		{"10% fewer holds", 10, 90, 10, 10},
		{"fewer than that shrinks", 10, 89, 10, 9},
		{"no lag wants none, so the minimum", 10, 0, 10, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			k := &keda{threshold: tc.threshold, lag: tc.lag}
			if got := k.recommend(tc.n); got != tc.want {
				t.Errorf("%d replicas, want %d", got, tc.want)
			}
		})
	}
}

// 10 replicas are wanted at once, and reached as fast as an HPA grows.
func TestKEDAGrowsAsAnHPA(t *testing.T) {
	o := Defaults()
	o.KEDALag = 10
	k := newKEDA(o)
	first, _ := k.Next(Observation{Signals: autoscale.Signals{Time: time.Unix(15, 0), Replicas: 1, Backlog: 100}})
	second, _ := k.Next(Observation{Signals: autoscale.Signals{Time: time.Unix(30, 0), Replicas: first, Backlog: 100}})
	if first != 5 || second != 10 {
		t.Errorf("%d, then %d replicas, want 5, then 10", first, second)
	}
}

// With cached metrics it sees a backlog that is up to a polling interval old.
func TestKEDAPolls(t *testing.T) {
	for _, tc := range []struct {
		polling time.Duration
		want    [3]int
	}{
		{0, [3]int{3, 4, 5}},
		{30 * time.Second, [3]int{3, 3, 5}},
	} {
		o := Defaults()
		o.KEDALag, o.KEDAPolling = 10, tc.polling
		k := newKEDA(o)
		n := 3
		for i, want := range tc.want {
			s := autoscale.Signals{Time: time.Unix(int64(15*i), 0), Replicas: n, Backlog: float64(30 + 10*i)}
			if n, _ = k.Next(Observation{Signals: s}); n != want {
				t.Errorf("polling every %v: %d replicas at %d s, want %d", tc.polling, n, 15*i, want)
			}
		}
	}
}

// The default threshold asks for what works the backlog off within the burn threshold.
func TestKEDALagIsFairByDefault(t *testing.T) {
	o := Defaults()
	o.Capacity, o.Limits.BurnThreshold = 50, 30*time.Second
	if got := newKEDA(o).threshold; got != 1500 {
		t.Errorf("threshold %v, want 50/s * 30s", got)
	}
}
