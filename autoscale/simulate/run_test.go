package simulate

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flowkit-go/flow/autoscale"
)

// A script is a policy that wants one number after the other.
type script struct {
	wants []int
	seen  []Observation
}

func (s *script) Name() string         { return "script" }
func (s *script) Every() time.Duration { return 10 * time.Second }

func (s *script) Next(o Observation) (int, string) {
	s.seen = append(s.seen, o)
	return s.wants[min(len(s.seen), len(s.wants))-1], "told"
}

func steady(rate float64, length time.Duration) Trace {
	return Trace{Name: "steady", Length: length, Points: []Point{{Rate: rate, Factor: 1}}}
}

// One replica of 100 records per second gets 300: after s seconds the backlog is 200s
// and takes 2s. It is over 10 s from the 6th second on, until there are 5 replicas at
// 20 s: these leave 4000 - 200s of it and take 8 s at first.
func TestRunCounts(t *testing.T) {
	o := Defaults()
	o.Limits.BurnThreshold = 10 * time.Second
	p := &script{wants: []int{1, 5, 5, 2}}
	r, err := Run(steady(300, 45*time.Second), o, p)
	if err != nil {
		t.Fatal(err)
	}
	// In the last 5 s 2 replicas of 3 leave 100/s, little.
	if want := 15 * time.Second; r.Over != want {
		t.Errorf("over for %v, want %v", r.Over, want)
	}
	if want := 20.0*1 + 20*5 + 5*2; r.ReplicaSeconds != want {
		t.Errorf("%v replica-seconds, want %v", r.ReplicaSeconds, want)
	}
	if r.PeakBurn != 40 {
		t.Errorf("peak %v s, want 40", r.PeakBurn)
	}
	want := []Change{{20 * time.Second, 1, 5, "told"}, {40 * time.Second, 5, 2, "told"}}
	if diff := cmp.Diff(want, r.Changes); diff != "" || r.Resizes != 2 {
		t.Errorf("%d resizes (-want +got):\n%s", r.Resizes, diff)
	}
	if r.Left != 500 {
		t.Errorf("%v records are left, want 500", r.Left)
	}
}

func TestRunTellsWhatWasMeasured(t *testing.T) {
	p := &script{wants: []int{1, 2}}
	o := Defaults()
	o.Exact = true
	if _, err := Run(steady(150, 40*time.Second), o, p); err != nil {
		t.Fatal(err)
	}
	if len(p.seen) != 3 {
		t.Fatalf("%d looks, want 3: the last would be at the end", len(p.seen))
	}
	first, second, third := p.seen[0], p.seen[1], p.seen[2]
	if first.Elapsed != 0 || !math.IsNaN(first.PrevBacklog) || first.Backlog != 500 || first.Replicas != 1 {
		t.Errorf("first look: %+v", first)
	}
	if second.Elapsed != 10*time.Second || second.PrevBacklog != 500 || second.Backlog != 1000 || second.Throughput != 100 {
		t.Errorf("second look: %+v", second)
	}
	if third.Replicas != 2 || third.Ready != 2 || third.Throughput != 200 || third.Backlog != 500 || third.Time.Sub(second.Time) != 10*time.Second {
		t.Errorf("third look: %+v", third)
	}
}

// A hasty script finds it urgent at some glances.
type hasty struct {
	script
	urgent  []time.Duration
	glances []autoscale.Glance
	early   []time.Duration
}

func (h *hasty) Glances() time.Duration { return 3 * time.Second }

func (h *hasty) Urgent(g autoscale.Glance) bool {
	h.glances = append(h.glances, g)
	return slices.Contains(h.urgent, g.Time.Sub(time.Unix(0, 0)))
}

func (h *hasty) Early(o Observation) (int, string) {
	h.early = append(h.early, o.Time.Sub(time.Unix(0, 0)))
	return h.Next(o)
}

// An early decision is measured since the one before it, and the next regular one comes
// after a whole interval. Those who do not glance decide at regular times.
func TestRunDecidesEarly(t *testing.T) {
	p := &hasty{script: script{wants: []int{1, 2}}, urgent: []time.Duration{12 * time.Second}}
	o := Defaults()
	o.Exact = true
	r, err := Run(steady(150, 40*time.Second), o, p)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]Change{{12 * time.Second, 1, 2, "told"}}, r.Changes); diff != "" {
		t.Errorf("resizes (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(p.urgent, p.early); diff != "" {
		t.Errorf("early (-want +got):\n%s", diff)
	}
	var at []time.Duration
	for _, o := range p.seen {
		at = append(at, o.Time.Sub(time.Unix(0, 0)))
	}
	if diff := cmp.Diff([]time.Duration{10 * time.Second, 12 * time.Second, 22 * time.Second, 32 * time.Second}, at); diff != "" {
		t.Errorf("decisions (-want +got):\n%s", diff)
	}
	if s := p.seen[1]; s.Elapsed != 2*time.Second || s.Throughput != 100 || s.PrevBacklog != 500 || s.Backlog != 600 {
		t.Errorf("the early one: %+v", s)
	}
	if g := p.glances[4]; g.Time != time.Unix(15, 0).UTC() || g.Replicas != 2 || g.Done != 1200+600 || g.Backlog != 450 {
		t.Errorf("the glance at 15 s: %+v", g)
	}
}

func TestRunRefuses(t *testing.T) {
	for _, tc := range []struct {
		want   string
		trace  Trace
		change func(*Options)
	}{
		{"no points", Trace{Name: "x", Length: time.Minute}, nil},
		{"length is 0s", steady(1, 0), nil},
		{"length is 744h0m1s", steady(1, MaxLength+time.Second), nil},
		{"rate is -1", steady(-1, time.Minute), nil},
		{"rate is NaN", steady(math.NaN(), time.Minute), nil},
		{"failing_share is 2", Trace{Length: time.Minute, Points: []Point{{Failing: 2}}}, nil},
		{"point 1 is at 0s", Trace{Length: time.Minute, Points: []Point{{}, {}}}, nil},
		{"capacity is 0", steady(1, time.Minute), func(o *Options) { o.Capacity = 0 }},
		{"cpu is NaN", steady(1, time.Minute), func(o *Options) { o.CPU = math.NaN() }},
		{"start delay is -1", steady(1, time.Minute), func(o *Options) { o.StartDelay = -time.Second }},
		{"max_replicas is 0", steady(1, time.Minute), func(o *Options) { o.Limits.Max = 0 }},
	} {
		t.Run(tc.want, func(t *testing.T) {
			o := Defaults()
			if tc.change != nil {
				tc.change(&o)
			}
			if _, err := Run(tc.trace, o, &script{wants: []int{1}}); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestSamplesOfALongTraceKeepPeaks(t *testing.T) {
	trace := Trace{Name: "long", Length: 10_000 * time.Second, Points: []Point{
		{Rate: 50, Factor: 1}, {At: 5000 * time.Second, Rate: 1050, Factor: 1}, {At: 5001 * time.Second, Rate: 50, Factor: 1}}}
	r, err := Run(trace, Defaults(), &script{wants: []int{1}})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Samples) != samples {
		t.Errorf("%d samples, want %d", len(r.Samples), samples)
	}
	peak := slices.MaxFunc(r.Samples, func(a, b Sample) int { return int(a.Backlog - b.Backlog) })
	if peak.Backlog != 950 || peak.Burn != 9.5 || peak.Replicas != 1 {
		t.Errorf("highest sample %+v, want a backlog of 950 that takes 9.5 s", peak)
	}
}

func TestCompareIsTheSameEachTime(t *testing.T) {
	o := Defaults()
	first := compare(t, generated(t, o, 10, 3), o)
	second := compare(t, generated(t, o, 10, 3), o)
	if diff := cmp.Diff(first, second); diff != "" {
		t.Error(diff)
	}
	if len(first) != len(Kinds())*len(Policies()) {
		t.Errorf("%d results", len(first))
	}
}

func TestPoliciesStayWithinLimits(t *testing.T) {
	o := Defaults()
	o.Limits.Min, o.Limits.Start, o.Limits.Max = 3, 4, 7
	for _, r := range compare(t, generated(t, o, 15, 1), o) {
		for _, s := range r.Samples {
			if s.Replicas < 3 || s.Replicas > 7 {
				t.Errorf("%s %s: %v replicas at %v", r.Trace, r.Policy, s.Replicas, s.At)
				break
			}
		}
	}
}

func TestPolicyThatThereIsNot(t *testing.T) {
	if _, err := NewPolicy("vpa", Defaults()); err == nil || !strings.Contains(err.Error(), "want one of flow, buildflow, hpa, keda") {
		t.Errorf("error %v", err)
	}
	if _, err := Compare([]Trace{steady(1, time.Minute)}, Defaults(), []string{"vpa"}); err == nil {
		t.Error("no error")
	}
}
