package simulate

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// better says whether a rival costs less than flow in both.
func better(rival, flow Result) bool {
	return rival.Over < flow.Over && rival.ReplicaSeconds < flow.ReplicaSeconds
}

// beats says whether flow is better by 20 % in one and not worse in the other.
func beats(flow, rival Result) bool {
	return flow.Over*10 <= rival.Over*8 && rival.Over > 0 && flow.ReplicaSeconds <= rival.ReplicaSeconds ||
		flow.ReplicaSeconds <= 0.8*rival.ReplicaSeconds && flow.Over <= rival.Over
}

// generated are all kinds of traces that the options can carry at a peak in replicas.
func generated(t testing.TB, o Options, peak float64, seed uint64) []Trace {
	t.Helper()
	var traces []Trace
	for _, kind := range Kinds() {
		trace, err := Generate(kind, Load{Peak: peak * o.Capacity, Seed: seed})
		if err != nil {
			t.Fatal(err)
		}
		traces = append(traces, trace)
	}
	return traces
}

func compare(t testing.TB, traces []Trace, o Options) []Result {
	t.Helper()
	results, err := Compare(traces, o, Policies())
	if err != nil {
		t.Fatal(err)
	}
	return results
}

// On the traces of docs/autoscaling.md: no rival is better in both seconds over the
// threshold and replica-seconds; on five of seven Flow beats BuildFlow's formula by
// 20 % in one of them at no loss in the other; and it resizes a third as often.
func TestFlowIsNotBeaten(t *testing.T) {
	o := Defaults()
	o.Seed = 1
	results := compare(t, generated(t, o, 10, o.Seed), o)
	var table strings.Builder
	if err := WriteTable(&table, results); err != nil {
		t.Fatal(err)
	}
	t.Logf("\n%s", table.String())

	var beaten []string
	resizes := map[string]int{}
	for byTrace := range slices.Chunk(results, len(Policies())) {
		flow := byTrace[0]
		resizes[flow.Policy] += flow.Resizes
		for _, rival := range byTrace[1:] {
			resizes[rival.Policy] += rival.Resizes
			if better(rival, flow) {
				t.Errorf("%s: %s is over for %v with %.0f replica-seconds, flow for %v with %.0f",
					flow.Trace, rival.Policy, rival.Over, rival.ReplicaSeconds, flow.Over, flow.ReplicaSeconds)
			}
			if rival.Policy == "buildflow" {
				t.Logf("%s: %d resizes, buildflow %d", flow.Trace, flow.Resizes, rival.Resizes)
				if beats(flow, rival) {
					beaten = append(beaten, flow.Trace)
				}
			}
		}
	}
	if len(beaten) < 5 {
		t.Errorf("flow beats buildflow by 20%% on %v, want five traces", beaten)
	}
	if 3*resizes["flow"] > resizes["buildflow"] {
		t.Errorf("flow resizes %d times, want at most a third of buildflow's %d", resizes["flow"], resizes["buildflow"])
	}
}

var sweep = flag.Int("sweep", 24, "number of settings that TestFlowIsNotBeatenElsewhere draws")

// Shares of the traces of the sweep on which no rival is better in both: with the
// rivals' thresholds as they are by default, and with KEDA's lagThreshold at half of
// that, which keeps a distance to the burn threshold and resizes all the time.
const (
	held      = 0.98
	heldTuned = 0.96
)

// Traces, replicas and limits that nothing was tuned on.
func TestFlowIsNotBeatenElsewhere(t *testing.T) {
	settings := *sweep
	if testing.Short() {
		settings = 4
	}
	rng := rand.New(rand.NewPCG(7, 7))
	var plain, tuned tally
	for range settings {
		o, peak, seed := draw(rng)
		name := fmt.Sprintf("capacity %v cpu %v delay %v frequency %v K %v max %d peak %.1f hpa %.0f exact %t seed %d",
			o.Capacity, o.CPU, o.StartDelay, o.Limits.Frequency, o.Limits.BurnThreshold, o.Limits.Max, peak, o.hpaTarget(), o.Exact, seed)
		traces := generated(t, o, peak, seed)
		results := compare(t, traces, o)
		plain.add(t, results, name)
		o.KEDALag = o.kedaLag() / 2
		for i, trace := range traces {
			r, err := Run(trace, o, newKEDA(o))
			if err != nil {
				t.Fatal(err)
			}
			results[(i+1)*len(Policies())-1] = r // KEDA is the last
		}
		tuned.add(t, results, "")
	}
	plain.check(t, "thresholds by default", held)
	tuned.check(t, "KEDA with half of its threshold", heldTuned)
}

// draw returns a setting, the peak in replicas and the seed of its traces.
func draw(rng *rand.Rand) (Options, float64, uint64) {
	o := Defaults()
	o.Capacity = []float64{3, 100, 2500}[rng.IntN(3)]
	o.CPU = []float64{100, 60, 30}[rng.IntN(3)]
	o.StartDelay = []time.Duration{0, 0, 30 * time.Second}[rng.IntN(3)]
	o.Limits.Frequency = []time.Duration{60 * time.Second, 60 * time.Second, 15 * time.Second}[rng.IntN(3)]
	o.Limits.BurnThreshold = []time.Duration{60 * time.Second, 60 * time.Second, 20 * time.Second, 5 * time.Minute}[rng.IntN(4)]
	o.Limits.Max = []int{20, 50}[rng.IntN(2)]
	o.HPATarget = []float64{0.8, 0.8, 0.6}[rng.IntN(3)] * o.CPU
	o.Exact = rng.IntN(3) == 0
	peak := float64(o.Limits.Max) * (0.15 + 0.75*rng.Float64())
	o.Seed = rng.Uint64N(1000) + 100
	return o, peak, o.Seed
}

// A tally counts the traces of a sweep.
type tally struct {
	traces, unbeaten, beats int
	losses, resizes         map[string]int
}

// add counts the results of a setting, and logs those on which a rival is better when
// the setting has a name.
func (y *tally) add(t *testing.T, results []Result, setting string) {
	if y.losses == nil {
		y.losses, y.resizes = map[string]int{}, map[string]int{}
	}
	for byTrace := range slices.Chunk(results, len(Policies())) {
		flow := byTrace[0]
		y.traces++
		lost := false
		for _, rival := range byTrace {
			y.resizes[rival.Policy] += rival.Resizes
			if !better(rival, flow) {
				continue
			}
			lost = true
			y.losses[rival.Policy]++
			if setting != "" {
				t.Logf("%s: %s over %v with %.0f replica-seconds, flow %v with %.0f: %s",
					flow.Trace, rival.Policy, rival.Over, rival.ReplicaSeconds, flow.Over, flow.ReplicaSeconds, setting)
			}
		}
		if !lost {
			y.unbeaten++
		}
		if beats(flow, byTrace[1]) {
			y.beats++
		}
	}
}

func (y *tally) check(t *testing.T, what string, want float64) {
	share := float64(y.unbeaten) / float64(y.traces)
	t.Logf("%s: on %d of %d traces (%.1f%%) no rival is better in both; rivals that are: %v; 20%% better than buildflow on %d; resizes %v",
		what, y.unbeaten, y.traces, 100*share, y.losses, y.beats, y.resizes)
	if share < want {
		t.Errorf("%s: no rival is better on %.1f%% of traces, want %.0f%%", what, 100*share, 100*want)
	}
}

// BenchmarkRun is a day of one-second steps.
func BenchmarkRun(b *testing.B) {
	o := Defaults()
	trace, err := Generate("diurnal", Load{Peak: 1000, Seed: 1})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := Run(trace, o, newFlow(o)); err != nil {
			b.Fatal(err)
		}
	}
}
