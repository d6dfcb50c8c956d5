package simulate

import (
	"encoding/csv"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/flowkit-go/flow/autoscale"
)

// The rows of these kinds are what BuildFlow's own unit tests want, and what its
// formula gives when it is executed.
func TestBuildFlowIsItsFormula(t *testing.T) {
	rows := decisionRows(t)
	if len(rows) < 20 {
		t.Fatalf("%d rows, want more", len(rows))
	}
	for _, row := range rows {
		t.Run(row["id"], func(t *testing.T) {
			p := newBuildFlow(Options{Limits: autoscale.Limits{
				Min: int(row.number(t, "min")), Max: int(row.number(t, "max")), CPUTarget: row.number(t, "G"),
				BurnThreshold: time.Duration(row.number(t, "K") * float64(time.Second)),
			}})
			now := time.Unix(1_000_000, 0)
			if row["prevB"] != "" {
				p.backlog, p.at = row.number(t, "prevB"), now.Add(-time.Duration(row.number(t, "dt")*float64(time.Second)))
			}
			got, why := p.Next(Observation{Signals: autoscale.Signals{
				Time: now, Replicas: int(row.number(t, "n")), Throughput: row.number(t, "T"), Backlog: row.number(t, "B"),
				CPU: row.number(t, "C"), Pulls: row.number(t, "P"), NumCPUs: row.number(t, "cpus"), FreeCPUs: row.number(t, "free"),
			}})
			if want := int(row.number(t, "want")); got != want {
				t.Errorf("%d replicas (%s), want %d", got, why, want)
			}
			if want := int(row.number(t, "wanted_cpus")); p.wanted != want {
				t.Errorf("%d CPUs wanted, want %d", p.wanted, want)
			}
		})
	}
}

// What is wrong in the formula stays wrong here.
func TestBuildFlowKeepsItsFlaws(t *testing.T) {
	limits := autoscale.Defaults()
	limits.Max = 1000
	now := time.Unix(1_000_000, 0)
	for _, tc := range []struct {
		name string
		prev float64 // backlog a minute ago
		s    autoscale.Signals
		want int
	}{
		{"nothing done, CPU idle: no growth", 1e6, autoscale.Signals{Replicas: 2, Backlog: 1e6, Pulls: 1}, 2},
		{"nothing done, backlog grew: fails", 1000, autoscale.Signals{Replicas: 2, Backlog: 2000, CPU: 100, Pulls: 1}, 2},
		{"one record more: a replica more", 50000, autoscale.Signals{Replicas: 4, Throughput: 4000, Backlog: 50001, CPU: 100, Pulls: 1}, 5},
		{"no CPU used: no shrinking", 0, autoscale.Signals{Replicas: 4, Throughput: 100, Pulls: 1}, 4},
		{"one record more: idle replicas stay", 0, autoscale.Signals{Replicas: 4, Throughput: 100, Backlog: 1, CPU: 5, Pulls: 1}, 4},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := newBuildFlow(Options{Limits: limits})
			p.backlog, p.at = tc.prev, now.Add(-time.Minute)
			tc.s.Time, tc.s.NumCPUs, tc.s.FreeCPUs = now, 1, 32
			if got, why := p.Next(Observation{Signals: tc.s}); got != tc.want {
				t.Errorf("%d replicas (%s), want %d", got, why, tc.want)
			}
		})
	}
}

// A check that failed leaves the snapshot of the one before.
func TestBuildFlowForgetsAFailedCheck(t *testing.T) {
	limits := autoscale.Defaults()
	limits.Max = 1000
	p := newBuildFlow(Options{Limits: limits})
	now := time.Unix(1_000_000, 0)
	p.backlog, p.at = 1000, now.Add(-time.Minute)
	s := autoscale.Signals{Time: now, Replicas: 2, Backlog: 2000, CPU: 100, Pulls: 1, NumCPUs: 1, FreeCPUs: 32}
	p.Next(Observation{Signals: s})
	if p.backlog != 1000 || !p.at.Equal(now.Add(-time.Minute)) {
		t.Errorf("the backlog of before is %v at %v", p.backlog, p.at)
	}
}

func TestBuildFlowLooksAtMultiplesOfItsLoop(t *testing.T) {
	for frequency, want := range map[time.Duration]time.Duration{
		time.Second: 5 * time.Second, 5 * time.Second: 5 * time.Second, 12 * time.Second: 15 * time.Second, time.Minute: time.Minute,
	} {
		o := Defaults()
		o.Limits.Frequency = frequency
		if got := newBuildFlow(o).Every(); got != want {
			t.Errorf("every %v for a frequency of %v, want %v", got, frequency, want)
		}
	}
}

type decisionRow map[string]string

func (r decisionRow) number(t *testing.T, column string) float64 {
	t.Helper()
	v, err := strconv.ParseFloat(r[column], 64)
	if err != nil {
		t.Fatalf("%s: %s: %v", r["id"], column, err)
	}
	return v
}

// decisionRows are the rows of the decision's own table that BuildFlow's formula
// agrees with.
func decisionRows(t *testing.T) []decisionRow {
	t.Helper()
	f, err := os.Open("../testdata/decide.csv")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r := csv.NewReader(f)
	r.Comment = '#'
	lines, err := r.ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	var rows []decisionRow
	for _, line := range lines[1:] {
		row := decisionRow{}
		for i, name := range lines[0] {
			row[name] = line[i]
		}
		if row["kind"] == "original" || row["kind"] == "same" {
			rows = append(rows, row)
		}
	}
	return rows
}
