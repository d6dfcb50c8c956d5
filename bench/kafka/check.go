package main

import (
	"errors"
	"fmt"
	"slices"
)

// A goal is what a program of Flow must reach in a job.
type goal struct {
	job, program, figure string
	min, max             float64 // zero for none
	against              string  // a program whose median the limits are multiples of
}

var goals = []goal{
	{job: "copy", program: "flow", figure: "ratio", min: 3},
	{job: "copy", program: "flow-each-behind", figure: "rate", min: 0.95, against: "flow"},
	{job: "latency", program: "flow", figure: "p50_ms", max: 1, against: "sarama"},
	{job: "latency", program: "flow", figure: "p99_ms", max: 1, against: "sarama"},
	{job: "waiting", program: "flow", figure: "of_ideal", min: 0.9},
	{job: "each", program: "flow", figure: "ratio", min: 4},
	{job: "collect", program: "flow", figure: "ratio", min: 1},
	{job: "collect", program: "flow", figure: "p99_ms", max: 1, against: "sarama"},
	{job: "copy", program: "flow", figure: "peak_mib", max: 256},
	{job: "memory", program: "flow", figure: "peak_mib", max: 256},
	{job: "soak", program: "flow", figure: "last_mib", max: 1.1, against: "flow"}, // see check
}

// check says which goals of the jobs that were run are missed.
func (b *bench) check() error {
	var errs []error
	for _, g := range goals {
		got, ok := b.median(g.job, g.program, g.figure)
		if !ok {
			continue
		}
		unit := 1.0
		if g.against != "" {
			figure := g.figure
			if g.job == "soak" {
				figure = "first_mib" // the end of a soak is compared with its beginning
			}
			if unit, ok = b.median(g.job, g.against, figure); !ok {
				continue
			}
		}
		if (g.min > 0 && got < g.min*unit) || (g.max > 0 && got > g.max*unit) {
			errs = append(errs, fmt.Errorf("%s: %s of %s is %s, want %s", g.job, g.figure, g.program, number(got), g.want(unit)))
		}
	}
	return errors.Join(errs...)
}

func (g goal) want(unit float64) string {
	if g.min > 0 {
		return "at least " + number(g.min*unit)
	}
	return "at most " + number(g.max*unit)
}

func (b *bench) median(job, program, figure string) (float64, bool) {
	i := slices.IndexFunc(b.results, func(r *result) bool { return r.Job == job && r.Program == program })
	if i < 0 || b.results[i].Summary == nil {
		return 0, false
	}
	return b.results[i].Summary[figure].Median, true
}
