package autoscale

import (
	"encoding/csv"
	"math"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// A decisionCase is a row of testdata/decide.csv.
type decisionCase struct {
	id      string
	signals Signals
	limits  Limits
	want    int
	wanted  int
}

// decisionCases reads testdata/decide.csv. An empty field is what there is before a
// second look; "unknown" is NaN.
func decisionCases(t testing.TB) []decisionCase {
	t.Helper()
	f, err := os.Open("testdata/decide.csv")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r := csv.NewReader(f)
	r.Comment = '#'
	rows, err := r.ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	columns := map[string]int{}
	for i, name := range rows[0] {
		columns[name] = i
	}
	var cases []decisionCase
	for _, row := range rows[1:] {
		number := func(name string) float64 {
			i, ok := columns[name]
			switch {
			case !ok:
				t.Fatalf("no column %s", name)
			case row[i] == "":
				return 0
			case row[i] == "unknown":
				return math.NaN()
			}
			x, err := strconv.ParseFloat(row[i], 64)
			if err != nil {
				t.Fatalf("%s: %s: %v", row[0], name, err)
			}
			return x
		}
		l := Defaults()
		l.Min, l.Max = int(number("min")), int(number("max"))
		l.BurnThreshold = time.Duration(number("K") * float64(time.Second))
		l.CPUTarget = number("G")
		cases = append(cases, decisionCase{
			id: row[0],
			signals: Signals{
				Replicas: int(number("n")), Throughput: number("T"), Backlog: number("B"), CPU: number("C"), Pulls: number("P"),
				PrevBacklog: number("prevB"), Elapsed: time.Duration(number("dt") * float64(time.Second)),
				NumCPUs: number("cpus"), FreeCPUs: number("free"),
			},
			limits: l,
			want:   int(number("want")),
			wanted: int(number("wanted_cpus")),
		})
	}
	return cases
}

func TestDecide(t *testing.T) {
	cases := decisionCases(t)
	if len(cases) < 28 {
		t.Fatalf("%d cases", len(cases))
	}
	for _, tc := range cases {
		t.Run(tc.id, func(t *testing.T) {
			d := Decide(tc.signals, tc.limits)
			if d.Replicas != tc.want || d.WantedCPU != tc.wanted {
				t.Errorf("%d replicas and %d CPUs wanted, want %d and %d: %s", d.Replicas, d.WantedCPU, tc.want, tc.wanted, d.Reason)
			}
		})
	}
}

// steady is a consumer with nothing to be done: 4 replicas, no backlog, CPU on target.
func steady() (Signals, Limits) {
	l := Defaults()
	l.Max = 100
	return Signals{
		Replicas: 4, Throughput: 100, CPU: 50, Pulls: 1000, Elapsed: time.Minute, NumCPUs: 1, FreeCPUs: math.Inf(1),
	}, l
}

func TestDecideSays(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	for _, tc := range []struct {
		name   string
		change func(*Signals, *Limits)
		want   int
		rule   Rule
		reason string
	}{
		{"behind", func(s *Signals, l *Limits) { s.Replicas, s.Backlog, s.PrevBacklog, s.Throughput = 1, 1840, 1840, 19 }, 2, RuleBehind, "backlog 1,840 would take 97s at 19/s, target 60s: 1 -> 2"},
		{"falling behind", func(s *Signals, l *Limits) { s.Backlog = 3000 }, 6, RuleFalling, "backlog grows by 50/s at 100/s done, CPU 50% of target 25%: 4 -> 6"},
		{"both", func(s *Signals, l *Limits) { s.Backlog, s.PrevBacklog = 6600, 600 }, 8, RuleFalling, "backlog grows by 100/s at 100/s done, CPU 50% of target 25%: 4 -> 8"},
		{"stalled", func(s *Signals, l *Limits) { s.Throughput, s.Backlog, s.PrevBacklog = 0, 3, 3 }, 5, RuleStalled, "backlog 3 and nothing done: 4 -> 5"},
		{"no pulls", func(s *Signals, l *Limits) { s.Pulls = 0 }, 5, RuleNoPulls, "no task came to take a record: 4 -> 5"},
		{"no pulls while growing below the CPU target", func(s *Signals, l *Limits) { s.Pulls, s.CPU, s.Backlog = 0, 20, 3000 }, 5, RuleNoPulls, "no task came to take a record: 4 -> 5"},
		{"idle", func(s *Signals, l *Limits) { s.Throughput, s.CPU, s.Pulls = 0, 0, inf }, 1, RuleCPU, "CPU 0% of target 25%, backlog 0 not growing: 4 -> 1"},
		{"growing below the CPU target", func(s *Signals, l *Limits) { s.CPU, s.Backlog = 20, 3000 }, 4, RuleHold, "held: backlog grows by 50/s, but CPU is 20%, no more than its target 25%"},
		{"on target", func(s *Signals, l *Limits) { s.Backlog, s.PrevBacklog = 600, 600 }, 4, RuleHold, "held: backlog 600 takes 6s, target 60s, CPU 50%"},
		{"no backlog", func(s *Signals, l *Limits) {}, 4, RuleHold, "held: no backlog, CPU 50%"},
		{"backlog not known", func(s *Signals, l *Limits) { s.Backlog, s.CPU = nan, 1 }, 4, RuleUnknown, "held: backlog not known"},
		{"throughput not known", func(s *Signals, l *Limits) { s.Throughput, s.CPU = nan, 1 }, 4, RuleUnknown, "held: throughput not known"},
		{"CPU not known", func(s *Signals, l *Limits) { s.CPU = nan }, 4, RuleUnknown, "held: CPU not known"},
		{"CPU not known but behind", func(s *Signals, l *Limits) { s.CPU, s.Backlog, s.PrevBacklog = nan, 9000, 9000 }, 6, RuleBehind, "backlog 9,000 would take 90s at 100/s, target 60s: 4 -> 6"},
		{"pulls not known", func(s *Signals, l *Limits) { s.Pulls, s.CPU = nan, 1 }, 4, RuleUnknown, "held: pulls not known"},
		{"last backlog not known", func(s *Signals, l *Limits) { s.PrevBacklog, s.CPU = nan, 1 }, 4, RuleUnknown, "held: backlog of the last decision not known"},
		{"no replicas", func(s *Signals, l *Limits) { s.Replicas, l.Start = 0, 3 }, 3, RuleStart, "no replicas yet: 0 -> 3"},
		{"max", func(s *Signals, l *Limits) { s.Backlog, s.PrevBacklog, l.Max = 60000, 60000, 7 }, 7, RuleBehind, "backlog 60,000 would take 10m at 100/s, target 60s: 4 -> 7; wanted 40, max_replicas is 7"},
		{"at max", func(s *Signals, l *Limits) { s.Backlog, s.PrevBacklog, l.Max = 60000, 60000, 4 }, 4, RuleBehind, "held: backlog 60,000 would take 10m at 100/s, target 60s; wanted 40, max_replicas is 4"},
		{"min", func(s *Signals, l *Limits) { s.CPU, l.Min = 0, 2 }, 2, RuleCPU, "CPU 0% of target 25%, backlog 0 not growing: 4 -> 2; min_replicas is 2"},
		{"below min", func(s *Signals, l *Limits) { l.Min = 6 }, 6, RuleHold, "no backlog, CPU 50%: 4 -> 6; min_replicas is 6"},
		{"parallel", func(s *Signals, l *Limits) { s.Backlog, s.PrevBacklog, s.Parallel = 60000, 60000, 6 }, 6, RuleBehind, "backlog 60,000 would take 10m at 100/s, target 60s: 4 -> 6; wanted 40, no more than 6 could find work"},
		{"parallel below size", func(s *Signals, l *Limits) { s.Backlog, s.PrevBacklog, s.Parallel = 60000, 60000, 2 }, 4, RuleBehind, "held: backlog 60,000 would take 10m at 100/s, target 60s; wanted 40, no more than 2 could find work"},
		{"capacity", func(s *Signals, l *Limits) { s.Backlog, s.PrevBacklog, s.FreeCPUs = 60000, 60000, 2.5 }, 6, RuleBehind, "backlog 60,000 would take 10m at 100/s, target 60s: 4 -> 6; wanted 40, CPUs free for 2 more, 12 asked for"},
		{"capacity not known", func(s *Signals, l *Limits) { s.Backlog, s.PrevBacklog, s.FreeCPUs = 60000, 60000, nan }, 4, RuleBehind, "held: backlog 60,000 would take 10m at 100/s, target 60s; wanted 40, free CPUs not known"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, l := steady()
			tc.change(&s, &l)
			d := Decide(s, l)
			if d.Replicas != tc.want || d.Rule != tc.rule || d.Reason != tc.reason {
				t.Errorf("%d %s %q\nwant %d %s %q", d.Replicas, d.Rule, d.Reason, tc.want, tc.rule, tc.reason)
			}
		})
	}
}

// odd are values that a measurement may take by mistake.
var odd = []float64{0, 1, -1, 0.5, 1e-300, 1e300, math.NaN(), math.Inf(1), math.Inf(-1), math.MaxFloat64, math.SmallestNonzeroFloat64}

// anySignals draws signals of all kinds: plausible ones most of the time, and now and
// then a value that cannot be.
func anySignals(r *rand.Rand) (Signals, Limits) {
	f := func(top float64) float64 {
		if r.IntN(20) == 0 {
			return odd[r.IntN(len(odd))]
		}
		if r.IntN(5) == 0 {
			return 0
		}
		return top * r.Float64()
	}
	s := Signals{
		Replicas: 1 + r.IntN(20), Throughput: f(1000), Backlog: f(100000), PrevBacklog: f(100000), Elapsed: time.Duration(r.IntN(3)) * 30 * time.Second,
		Pulls: f(1000), CPU: f(100), Busy: f(1), Parallel: r.IntN(3) * r.IntN(30), Processes: r.IntN(4), Ongoing: f(200), NumCPUs: f(2), FreeCPUs: f(32),
	}
	l := Defaults()
	l.Min = 1 + r.IntN(5)
	l.Max = l.Min + r.IntN(50)
	l.Start = l.Min
	l.CPUTarget = float64(r.IntN(101))
	l.BurnThreshold = time.Duration(1+r.IntN(120)) * time.Second
	return s, l
}

func TestDecideMoreBacklogNeverFewer(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 50_000 {
		s, l := anySignals(r)
		more := s
		switch {
		case math.IsNaN(s.Backlog):
			continue
		case r.IntN(2) == 0: // right at the border of a rule
			s.Backlog = l.BurnThreshold.Seconds() * s.Throughput
			if r.IntN(2) == 0 {
				s.Backlog = s.PrevBacklog + noise*s.Throughput*s.Elapsed.Seconds()
			}
			more.Backlog = math.Nextafter(s.Backlog, math.Inf(1))
		default:
			more.Backlog = s.Backlog + math.Abs(s.Backlog)*r.Float64() + r.Float64()*float64(r.IntN(1000))
		}
		if math.IsNaN(s.Backlog) || math.IsNaN(more.Backlog) {
			continue
		}
		a, b := Decide(s, l), Decide(more, l)
		if b.Replicas < a.Replicas || b.Want < a.Want {
			t.Fatalf("backlog %v gives %d, %v gives %d\n%+v %+v\n%s\n%s", s.Backlog, a.Replicas, more.Backlog, b.Replicas, s, l, a.Reason, b.Reason)
		}
	}
}

func TestDecideUnknownNeverShrinks(t *testing.T) {
	fields := []struct {
		name string
		set  func(*Signals)
	}{
		{"throughput", func(s *Signals) { s.Throughput = math.NaN() }},
		{"backlog", func(s *Signals) { s.Backlog = math.NaN() }},
		{"last backlog", func(s *Signals) { s.PrevBacklog, s.Elapsed = math.NaN(), time.Minute }},
		{"CPU", func(s *Signals) { s.CPU = math.NaN() }},
		{"pulls", func(s *Signals) { s.Pulls = math.NaN() }},
	}
	r := rand.New(rand.NewPCG(3, 4))
	shrank := 0
	for range 50_000 {
		s, l := anySignals(r)
		if Decide(s, l).Replicas < min(s.Replicas, l.Max) {
			shrank++
		}
		f := fields[r.IntN(len(fields))]
		f.set(&s)
		if d := Decide(s, l); d.Replicas < min(s.Replicas, l.Max) {
			t.Fatalf("%s not known: %s\n%+v", f.name, d.Reason, s)
		}
	}
	if shrank < 1000 {
		t.Errorf("only %d of the decisions with all known shrank", shrank)
	}
}

func TestDecideWithinLimitsAndCapacity(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 50_000 {
		s, l := anySignals(r)
		checkDecision(t, s, l, Decide(s, l))
		checkDecision(t, s, l, DecideOngoing(s, l))
	}
}

// checkDecision checks what every decision keeps.
func checkDecision(t testing.TB, s Signals, l Limits, d Decision) {
	t.Helper()
	fail := func(what string) { t.Fatalf("%s: %+v\n%+v\n%+v", what, d, s, l) }
	grown := d.Replicas - s.Replicas
	switch {
	case d.Replicas < l.Min || d.Replicas > l.Max:
		fail("out of limits")
	case d.Reason == "" || d.Rule == "":
		fail("no reason")
	case d.From != s.Replicas || !d.Time.Equal(s.Time):
		fail("not of these signals")
	case grown > 0 && d.Replicas > l.Min && s.FreeCPUs >= 0 && s.NumCPUs > 0 && float64(grown)*s.NumCPUs > s.FreeCPUs*(1+1e-6):
		fail("more than there are CPUs for")
	case grown > 0 && d.Replicas > l.Min && s.Parallel > 0 && s.Replicas > 0 && d.Replicas > s.Parallel:
		fail("more than could find work")
	case d.WantedCPU < 0:
		fail("CPUs below zero")
	case strings.HasPrefix(d.Reason, "held") != (d.Replicas == s.Replicas):
		fail("says held, or does not")
	}
}

// What is within limits, work and CPUs is not changed by fitting it in once more.
func TestSettleTwice(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	for range 50_000 {
		s, l := anySignals(r)
		once := Decide(s, l).Replicas
		if twice := settle(s, l, want{once, RuleHold, "again"}).Replicas; twice != once {
			t.Fatalf("%d, then %d: %+v %+v", once, twice, s, l)
		}
	}
}

func FuzzDecide(f *testing.F) {
	for _, tc := range decisionCases(f) {
		s := tc.signals
		f.Add(s.Replicas, s.Throughput, s.Backlog, s.PrevBacklog, int64(s.Elapsed), s.Pulls, s.CPU, s.Busy, s.Parallel, s.Ongoing, s.NumCPUs, s.FreeCPUs,
			tc.limits.Min, tc.limits.Max, int64(tc.limits.BurnThreshold), tc.limits.CPUTarget)
	}
	for _, x := range odd {
		f.Add(math.MaxInt, x, x, 1.0, int64(1), x, x, x, 0, x, x, x, 1, MaxReplicas, int64(time.Minute), 25.0)
		f.Add(math.MinInt, 1.0, x, x, int64(-1), x, x, x, -1, x, x, 1.0, 1, 1, int64(1), 0.0)
	}
	f.Fuzz(func(t *testing.T, n int, throughput, backlog, prev float64, elapsed int64, pulls, cpu, busy float64, parallel int, ongoing, cpus, free float64,
		least, most int, burn int64, target float64) {
		s := Signals{
			Replicas: n, Throughput: throughput, Backlog: backlog, PrevBacklog: prev, Elapsed: time.Duration(elapsed), Pulls: pulls, CPU: cpu, Busy: busy,
			Parallel: parallel, Ongoing: ongoing, NumCPUs: cpus, FreeCPUs: free,
		}
		l := Defaults()
		l.Min, l.Max, l.Start = least, most, least
		l.BurnThreshold, l.CPUTarget = time.Duration(burn), target
		if l.Validate() != nil {
			return
		}
		checkDecision(t, s, l, Decide(s, l))
		checkDecision(t, s, l, DecideOngoing(s, l))
	})
}

func BenchmarkDecide(b *testing.B) {
	for _, tc := range []struct {
		name   string
		change func(*Signals)
	}{
		{"hold", func(s *Signals) {}},
		{"grow", func(s *Signals) { s.Backlog = 60000 }},
		{"shrink", func(s *Signals) { s.CPU = 5 }},
	} {
		b.Run(tc.name, func(b *testing.B) {
			s, l := steady()
			tc.change(&s)
			b.ReportAllocs()
			for b.Loop() {
				Decide(s, l)
			}
		})
	}
}
