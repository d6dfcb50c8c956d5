package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// figures are what one round of a program gave, by name.
type figures map[string]float64

// A result is what all rounds of a program in a job gave.
type result struct {
	Job     string    `json:"job"`
	Program string    `json:"program"`
	Rounds  []figures `json:"rounds"`

	Summary map[string]spread `json:"summary"`
}

// A spread is the median of a figure over the rounds, the lowest and the highest.
type spread struct {
	Median  float64 `json:"median"`
	Lowest  float64 `json:"lowest"`
	Highest float64 `json:"highest"`
}

func spreadOf(all []float64) spread {
	all = slices.Sorted(slices.Values(all))
	return spread{all[len(all)/2], all[0], all[len(all)-1]}
}

// String is the median with the lowest and highest, where there are several.
func (s spread) String() string {
	if s.Lowest == s.Highest {
		return number(s.Median)
	}
	return fmt.Sprintf("%s (%s..%s)", number(s.Median), number(s.Lowest), number(s.Highest))
}

// summarise fills in the spreads of a result, and the ratio of its first figure to that of
// the job's first program in the same round: what disturbs one often disturbs the other.
func (r *result) summarise(base *result) {
	r.Summary = map[string]spread{}
	for name := range r.Rounds[0] {
		var all []float64
		for _, f := range r.Rounds {
			all = append(all, f[name])
		}
		r.Summary[name] = spreadOf(all)
	}
	first := columns[r.Job][0]
	var ratios []float64
	for i := range min(len(r.Rounds), len(base.Rounds)) {
		ratios = append(ratios, r.Rounds[i][first]/base.Rounds[i][first])
	}
	r.Summary["ratio"] = spreadOf(ratios)
}

// columns are the figures of each job that tables show. The ratio is that of the first.
var columns = map[string][]string{
	"copy":    {"rate", "cpu_s_per_million", "peak_mib", "repeated"},
	"latency": {"p50_ms", "p99_ms", "max_ms"},
	"waiting": {"rate", "of_ideal", "cpu_s_per_million", "repeated"},
	"each":    {"rate"},
	"collect": {"rate", "p50_ms", "p99_ms", "cpu_us_per_request"},
	"memory":  {"peak_mib", "records"},
	"soak":    {"first_mib", "last_mib", "peak_mib", "rate"},
}

// print writes a table per job.
func (b *bench) print(w io.Writer) {
	bases := map[string]*result{}
	job := ""
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', tabwriter.AlignRight)
	for _, r := range b.results {
		if len(r.Rounds) == 0 {
			continue // the run has ended before
		}
		if bases[r.Job] == nil {
			bases[r.Job] = r
		}
		r.summarise(bases[r.Job])
		if r.Job != job {
			_ = t.Flush()
			job = r.Job
			fmt.Fprintf(w, "\n%s, %d round(s)\n", job, len(r.Rounds))
			fmt.Fprintf(t, "program\tratio\t%s\t\n", strings.Join(columns[job], "\t"))
		}
		fmt.Fprintf(t, "%s\t%s\t", r.Program, r.Summary["ratio"])
		for _, name := range columns[job] {
			fmt.Fprintf(t, "%s\t", r.Summary[name])
		}
		fmt.Fprintln(t)
	}
	_ = t.Flush()
}

// number has three digits that matter.
func number(v float64) string {
	switch {
	case v >= 100 || v == float64(int64(v)):
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	default:
		return fmt.Sprintf("%.2f", v)
	}
}

// write puts all figures into a file.
func (b *bench) write(path string) error {
	all := struct {
		Time    time.Time      `json:"time"`
		Go      string         `json:"go"`
		CPUs    int            `json:"cpus"`
		Flags   map[string]any `json:"flags"`
		Results []*result      `json:"results"`
	}{time.Now().UTC().Truncate(time.Second), runtime.Version(), runtime.NumCPU(), map[string]any{
		"rounds": b.rounds, "records": b.records, "rate": b.rate, "length": b.length.String(), "wait": b.wait.String(), "tasks": b.tasks,
		"waiting_records": b.waiting, "conns": b.conns, "partitions": b.parts, "soak": b.soak.String(),
	}, b.results}
	data, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(data, '\n'), 0o644)
}

func (f figures) String() string {
	s := ""
	for _, name := range slices.Sorted(maps.Keys(f)) {
		s += fmt.Sprintf(" %s=%s", name, number(f[name]))
	}
	return s
}
