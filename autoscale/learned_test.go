package autoscale

import (
	"math"
	"testing"
	"time"
)

// What a replica can do is seen when it is busy for a part of the time, too.
func TestObserve(t *testing.T) {
	for _, tc := range []struct {
		name string
		s    Signals
		want float64
	}{
		{"half busy", Signals{Replicas: 4, Throughput: 200, Busy: 0.5, Elapsed: time.Minute}, 100},
		{"busy", Signals{Replicas: 4, Throughput: 400, Busy: 1, Elapsed: time.Minute}, 100},
		{"busy not known, with a backlog", Signals{Replicas: 4, Throughput: 400, Busy: math.NaN(), Backlog: 900, PrevBacklog: 800, Elapsed: time.Minute}, 100},
		{"busy not known", Signals{Replicas: 4, Throughput: 400, Busy: math.NaN(), Elapsed: time.Minute}, 0},
		{"half busy, with a backlog", Signals{Replicas: 4, Throughput: 200, Busy: 0.5, Backlog: 900, PrevBacklog: 800, Elapsed: time.Minute}, 100},
		{"two processes", Signals{Replicas: 4, Processes: 2, Throughput: 400, Busy: 0.5, Elapsed: time.Minute}, 100},
		{"hardly busy", Signals{Replicas: 4, Throughput: 400, Busy: 0.01, Elapsed: time.Minute}, 0},
		{"hardly a record", Signals{Replicas: 4, Throughput: 0.1, Busy: 0.5, Elapsed: time.Minute}, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := observe(tc.s); got != tc.want {
				t.Errorf("%v records/s, want %v", got, tc.want)
			}
		})
	}
}

func TestCapacityForgetsSlowly(t *testing.T) {
	var c capacity
	c.learn(100, time.Minute, false)
	c.learn(10, time.Minute, false)
	if c.each < 60 {
		t.Errorf("one bad minute leaves %.0f/s of 100", c.each)
	}
	for range 10 {
		c.learn(10, time.Minute, false)
	}
	if c.each > 15 {
		t.Errorf("after ten minutes at 10/s it is %.0f/s", c.each)
	}
	for range 4 {
		c.learn(100, time.Minute, false)
	}
	if c.each < 90 {
		t.Errorf("after four minutes at 100/s it is %.0f/s", c.each)
	}
	for range 10 {
		c.learn(10, time.Minute, true)
	}
	if c.each < 90 {
		t.Errorf("what does not depend on replicas is learned as theirs: %.0f/s", c.each)
	}
}

func TestArrivalsFindAJump(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, tc := range []struct {
		name string
		busy float64
		mean float64 // arrivals of the interval with the jump from 200/s
		want float64
	}{
		{"half of the interval", 0.75, 500, 800},
		{"a fifth of it", 0.6, 320, 800},
		{"not known since when", math.NaN(), 500, 800},
		{"all of it", 1, 800, 800},
		{"no jump", 0.52, 210, 210},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var a arrivals
			s := Signals{Replicas: 4, Busy: 0.5}
			for i := range 3 {
				a.add(arrival{start.Add(time.Duration(i) * time.Minute), 200, 60, false}, s, 100, math.NaN())
			}
			s.Busy, s.Backlog = tc.busy, 5000
			if got := a.add(arrival{start.Add(3 * time.Minute), tc.mean, 60, false}, s, 100, math.NaN()); math.Abs(got-tc.want) > 1e-6 {
				t.Errorf("%v/s by the end, want %v", got, tc.want)
			}
		})
	}
}

func TestArrivalsPlayedAgain(t *testing.T) {
	var a arrivals
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, rate := range []float64{100, 100, 900, 900, 100, 100, 100} {
		now = now.Add(time.Minute)
		a.add(arrival{now, rate, 60, false}, Signals{Replicas: 1, Busy: 0.5}, 1000, math.NaN())
	}
	// 900/s for two minutes are 120*(900-r) records too many: a minute's worth at 600/s.
	for rate, want := range map[float64]bool{599: false, 601: true} {
		if got := a.carried(now, time.Hour, rate, 60); got != want {
			t.Errorf("%v/s carry it: %v", rate, got)
		}
	}
	if !a.carried(now, 2*time.Minute, 101, 60) {
		t.Error("what was before counts")
	}
	if top := a.highest(now, 2*time.Minute); top != 100 {
		t.Errorf("highest %v", top)
	}
}

func TestArrivalsTrend(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, tc := range []struct {
		name  string
		rates []float64
		want  float64 // per minute
	}{
		{"rising", []float64{100, 160, 210, 280}, 50},
		{"jump", []float64{100, 100, 100, 900}, 0},
		{"falling", []float64{400, 300, 200, 100}, 0},
		{"too few", []float64{100, 200, 300}, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var a arrivals
			for i, r := range tc.rates {
				a.add(arrival{start.Add(time.Duration(i) * time.Minute), r, 60, false}, Signals{Replicas: 1}, 1000, math.NaN())
			}
			if got := a.trend() * 60; math.Abs(got-tc.want) > 1e-6 {
				t.Errorf("%v/s per minute, want %v", got, tc.want)
			}
		})
	}
}

func TestHistory(t *testing.T) {
	var h history
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for i, tc := range []struct{ add, want int }{{3, 3}, {7, 7}, {5, 7}, {1, 7}, {2, 5}, {2, 2}, {9, 9}} {
		h.add(now, tc.add)
		if got := h.highest(now, 2*time.Minute); got != tc.want {
			t.Errorf("%d: highest %d, want %d", i, got, tc.want)
		}
		now = now.Add(time.Minute)
	}
	if got := h.highest(now.Add(time.Hour), time.Minute); got != 0 {
		t.Errorf("highest %d of an empty window", got)
	}
}
