package simulate

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

var (
	seeds  = flag.Int("seeds", 4, "number of seeds that TestFlowOnOtherSeeds plays")
	origin = flag.Uint64("first-seed", 5000, "the first of these seeds; what there is to choose was chosen by 1000 to 1039")
)

// A verdict is how flow did on the seven traces of one seed.
type verdict struct {
	won, lost       []string // better than buildflow by 20 % in one and not worse in the other; worse than a rival in both
	flow, buildflow map[string]Result
}

func judge(results []Result) verdict {
	v := verdict{flow: map[string]Result{}, buildflow: map[string]Result{}}
	for byTrace := range slices.Chunk(results, len(Policies())) {
		flow, buildflow := byTrace[0], byTrace[1]
		if beats(flow, buildflow) {
			v.won = append(v.won, flow.Trace)
		}
		for _, rival := range byTrace[1:] {
			if better(rival, flow) {
				v.lost = append(v.lost, flow.Trace+" to "+rival.Policy)
			}
		}
		v.flow[flow.Trace], v.buildflow[flow.Trace] = flow, buildflow
	}
	return v
}

// verdicts plays so many settings, some at a time.
func verdicts(t *testing.T, n int, setting func(i int) (Options, float64)) []verdict {
	t.Helper()
	traces := make([][]Trace, n)
	options := make([]Options, n)
	for i := range n {
		o, peak := setting(i)
		options[i], traces[i] = o, generated(t, o, peak, o.Seed)
	}
	out, errs := make([]verdict, n), make([]error, n)
	var all sync.WaitGroup
	some := make(chan struct{}, 4)
	for i := range n {
		some <- struct{}{}
		all.Go(func() {
			defer func() { <-some }()
			results, err := Compare(traces[i], options[i], Policies())
			if errs[i] = err; err == nil {
				out[i] = judge(results)
			}
		})
	}
	all.Wait()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// A summary counts verdicts.
type summary struct {
	seeds, five, beaten, third int
	lost                       map[string]int
}

func summarize(t *testing.T, name string, all []verdict) summary {
	t.Helper()
	s := summary{seeds: len(all), lost: map[string]int{}}
	type row struct {
		won           int
		over, overOf  float64
		cost          float64
		resizes, ofBF int
	}
	rows := map[string]*row{}
	var sum row
	for _, kind := range Kinds() {
		rows[kind] = &row{}
	}
	for _, v := range all {
		flow, buildflow := 0, 0
		for kind, r := range rows {
			a, b := v.flow[kind], v.buildflow[kind]
			r.over, r.overOf = r.over+a.Over.Seconds(), r.overOf+b.Over.Seconds()
			r.cost += a.ReplicaSeconds / b.ReplicaSeconds
			flow, buildflow = flow+a.Resizes, buildflow+b.Resizes
		}
		for _, kind := range v.won {
			rows[kind].won++
		}
		for _, what := range v.lost {
			s.lost[what]++
		}
		sum.resizes, sum.ofBF = sum.resizes+flow, sum.ofBF+buildflow
		s.five += count(len(v.won) >= 5)
		s.beaten += count(len(v.lost) > 0)
		s.third += count(3*flow <= buildflow)
	}
	var out strings.Builder
	fmt.Fprintf(&out, "%s: five of seven on %d of %d seeds; a rival is better in both on %d %v; resizes %d, buildflow %d, at most a third on %d\n",
		name, s.five, s.seeds, s.beaten, s.lost, sum.resizes, sum.ofBF, s.third)
	for _, kind := range Kinds() {
		r, n := rows[kind], float64(len(all))
		fmt.Fprintf(&out, "  %-16s won on %2d, over %.0f s, buildflow %.0f s, %.0f%% of its replica-seconds\n", kind, r.won, r.over/n, r.overOf/n, 100*r.cost/n)
	}
	t.Log(out.String())
	return s
}

func count(b bool) int {
	if b {
		return 1
	}
	return 0
}

// Seeds that nothing was chosen by: Flow beats BuildFlow's formula on five of the seven
// traces for nearly all of them, and no rival is better in both on any.
func TestFlowOnOtherSeeds(t *testing.T) {
	if testing.Short() {
		t.Skip("seven traces for many settings")
	}
	for _, setting := range []struct {
		name   string
		change func(*Options)
		five   bool // for all seeds but one of twenty
		third  bool // resizes are a third of BuildFlow's at most
	}{
		{"defaults", func(*Options) {}, true, true},
		{"exact", func(o *Options) { o.Exact = true }, true, false},
		{"15 s", func(o *Options) { o.Limits.Frequency = 15 * time.Second }, true, true},
		{"15 s, exact", func(o *Options) { o.Limits.Frequency, o.Exact = 15*time.Second, true }, false, false},
	} {
		s := summarize(t, setting.name, verdicts(t, *seeds, func(i int) (Options, float64) {
			o := Defaults()
			setting.change(&o)
			o.Seed = *origin + uint64(i)
			return o, 10
		}))
		if missed := s.seeds - s.five; setting.five && missed > max(s.seeds/20, 1) {
			t.Errorf("%s: flow beats buildflow on five traces for %d of %d seeds", setting.name, s.five, s.seeds)
		}
		if s.beaten > 0 {
			t.Errorf("%s: a rival is better in both: %v", setting.name, s.lost)
		}
		if setting.third && s.third < s.seeds {
			t.Errorf("%s: flow resizes a third as often as buildflow for %d of %d seeds", setting.name, s.third, s.seeds)
		}
	}

	// Replicas that need 10 to 100 % of their CPUs, at peaks of 15 to 90 % of the maximum.
	rng := rand.New(rand.NewPCG(*origin, 11))
	summarize(t, "drawn", verdicts(t, *seeds, func(i int) (Options, float64) {
		o := Defaults()
		o.CPU = []float64{10, 25, 40, 60, 80, 100}[rng.IntN(6)]
		o.Capacity = []float64{3, 30, 100, 1000, 2500}[rng.IntN(5)]
		o.StartDelay = []time.Duration{0, 30 * time.Second}[rng.IntN(2)]
		o.Limits.Frequency = []time.Duration{60 * time.Second, 15 * time.Second}[rng.IntN(2)]
		o.Exact = rng.IntN(2) == 0
		o.Seed = *origin + uint64(i)
		return o, 20 * (0.15 + 0.75*rng.Float64())
	}))
}
