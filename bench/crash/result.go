package main

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"
)

// result is what a run has shown.
type result struct {
	phases []phaseResult
	kills  int
	stops  int             // with SIGTERM and exit code 0
	starts []time.Duration // from the start of the process until it was ready
	took   time.Duration
	verdict
}

type phaseResult struct {
	phase
	took time.Duration
}

// print writes the summary.
func (r *result) print(w io.Writer, conf config, c *client) {
	tab := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line := func(name, format string, args ...any) {
		fmt.Fprintf(tab, "%s\t%s\n", name, fmt.Sprintf(format, args...))
	}
	size := float64(conf.records) * float64(conf.size) / 1e6
	line("records", "%d of %d bytes: %.1f MB, seed %d", conf.records, conf.size, size, conf.seed)
	line("time", "%.1f s, and the comparison", r.took.Seconds())
	for _, p := range r.phases {
		line("  "+p.name, "%.1f s, %d kills", p.took.Seconds(), p.kills)
	}
	line("killed with SIGKILL", "%d times", r.kills)
	line("stopped with SIGTERM", "%d times, each with exit code 0", r.stops)
	if len(r.starts) > 0 {
		slices.Sort(r.starts)
		line("ready after", "%v in the middle, %v at most", r.starts[len(r.starts)/2].Round(time.Millisecond), r.starts[len(r.starts)-1].Round(time.Millisecond))
	}
	line("requests", "%d answered with success, %d without an answer, %d with 503", c.requests.Load(), c.unanswered.Load(), c.refused.Load())
	line("records acknowledged", "%d; %d were sent again", c.acked.Load(), c.again.Load())
	line("deliveries stored", "%d: %d of records stored before, %d that the queue had delivered before", r.handled, r.repeated, r.redelivered)
	line("records in the table", "%d", r.present)
	line("missing", "%d", r.missing)
	if r.missing > 0 {
		line("  the first", "%d", r.first)
	}
	line("altered", "%d", r.altered)
	line("integrity of the file", "%s", r.integrity)
	_ = tab.Flush()
}
