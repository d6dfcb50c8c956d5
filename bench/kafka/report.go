package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"runtime"
	"slices"
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
}

// median, lowest and highest of a figure over the rounds.
func (r *result) spread(name string) (median, lowest, highest float64, ok bool) {
	var all []float64
	for _, f := range r.Rounds {
		if v, ok := f[name]; ok {
			all = append(all, v)
		}
	}
	if len(all) == 0 {
		return 0, 0, 0, false
	}
	slices.Sort(all)
	return all[len(all)/2], all[0], all[len(all)-1], true
}

// columns are the figures of each job that tables show, the first one with its ratio to that
// of the job's first program.
var columns = map[string][]string{
	"copy":    {"rate", "cpu_s_per_million", "peak_mib", "repeated"},
	"latency": {"p50_ms", "p99_ms", "max_ms"},
	"waiting": {"rate", "of_ideal", "cpu_s_per_million", "repeated"},
	"each":    {"rate"},
	"collect": {"rate", "p50_ms", "p99_ms", "cpu_us_per_request"},
	"memory":  {"peak_mib"},
	"soak":    {"first_mib", "last_mib", "peak_mib", "rate"},
}

func (b *bench) print(w io.Writer) {
	var jobs []string
	for _, r := range b.results {
		if !slices.Contains(jobs, r.Job) {
			jobs = append(jobs, r.Job)
		}
	}
	for _, job := range jobs {
		fmt.Fprintf(w, "\n%s\n", job)
		t := tabwriter.NewWriter(w, 0, 0, 3, ' ', tabwriter.AlignRight)
		fmt.Fprint(t, "program\tratio\t")
		for _, name := range columns[job] {
			fmt.Fprintf(t, "%s\tlowest\thighest\t", name)
		}
		fmt.Fprintln(t)
		var base float64
		for _, r := range b.results {
			if r.Job != job || len(r.Rounds) == 0 {
				continue
			}
			first, _, _, _ := r.spread(columns[job][0])
			if base == 0 {
				base = first
			}
			fmt.Fprintf(t, "%s\t%.2f\t", r.Program, first/base)
			for _, name := range columns[job] {
				if median, lowest, highest, ok := r.spread(name); ok {
					fmt.Fprintf(t, "%s\t%s\t%s\t", number(median), number(lowest), number(highest))
				} else {
					fmt.Fprint(t, "\t\t\t")
				}
			}
			fmt.Fprintln(t)
		}
		_ = t.Flush()
	}
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
