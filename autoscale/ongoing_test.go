package autoscale

import (
	"math"
	"testing"
)

func TestDecideOngoing(t *testing.T) {
	for _, tc := range []struct {
		name    string
		n       int
		ongoing float64
		target  int
		min     int
		max     int
		want    int
		reason  string
	}{
		{"one with ten each", 1, 10, 1, 1, 100, 10, "10 requests in progress, target 1 per replica: 1 -> 10"},
		{"two with three", 2, 3, 1, 1, 100, 3, "3 requests in progress, target 1 per replica: 2 -> 3"},
		{"four with two", 4, 2, 1, 1, 100, 2, "2 requests in progress, target 1 per replica: 4 -> 2"},
		{"four with none", 4, 0, 1, 2, 100, 2, "0 requests in progress, target 1 per replica: 4 -> 2; min_replicas is 2"},
		{"target two, at most four", 3, 9, 2, 1, 4, 4, "9 requests in progress, target 2 per replica: 3 -> 4; wanted 5, max_replicas is 4"},
		{"a part of one", 3, 2.2, 1, 1, 100, 3, "held: 2.2 requests in progress, target 1 per replica"},
		{"not known", 3, math.NaN(), 1, 1, 100, 3, "held: requests in progress not known"},
		{"cannot be", 3, -1, 1, 1, 100, 3, "held: requests in progress not known"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := Defaults()
			l.Min, l.Max, l.TargetOngoing = tc.min, tc.max, tc.target
			d := DecideOngoing(Signals{Replicas: tc.n, Ongoing: tc.ongoing, NumCPUs: 1, FreeCPUs: math.Inf(1)}, l)
			if d.Replicas != tc.want || d.Reason != tc.reason {
				t.Errorf("%d %q\nwant %d %q", d.Replicas, d.Reason, tc.want, tc.reason)
			}
		})
	}
}
