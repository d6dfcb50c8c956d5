package simulate

import (
	"fmt"
	"io"
	"math"
	"strings"
	"text/tabwriter"
	"time"
)

// WriteTable writes a line for each result, and the resizes of each policy in all.
func WriteTable(w io.Writer, results []Result) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "trace\tpolicy\tseconds over\tlongest burn\treplica-seconds\tmean\tresizes\tleft\t")
	for i, r := range results {
		trace := r.Trace
		if i > 0 && results[i-1].Trace == trace {
			trace = ""
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%.1f\t%d\t%s\t\n", trace, r.Policy, thousands(r.Over.Seconds()), duration(r.PeakBurn),
			thousands(r.ReplicaSeconds), r.ReplicaSeconds/r.Length.Seconds(), r.Resizes, thousands(r.Left))
	}
	for i, s := range sums(results) {
		trace := ""
		if i == 0 {
			trace = "all"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%.1f\t%d\t%s\t\n", trace, s.Policy, thousands(s.Over.Seconds()), duration(s.PeakBurn),
			thousands(s.ReplicaSeconds), s.ReplicaSeconds/s.Length.Seconds(), s.Resizes, thousands(s.Left))
	}
	return table.Flush()
}

// WriteMarkdown writes a table for a document: a row for each trace, a column for
// each policy.
func WriteMarkdown(w io.Writer, results []Result) error {
	var b strings.Builder
	all := sums(results)
	b.WriteString("| trace |")
	for _, s := range all {
		fmt.Fprintf(&b, " %s |", s.Policy)
	}
	b.WriteString("\n|---|" + strings.Repeat("--:|", len(all)) + "\n")
	row := ""
	for _, r := range append(results[:len(results):len(results)], all...) {
		if r.Trace != row {
			if row != "" {
				b.WriteString("\n")
			}
			row = r.Trace
			fmt.Fprintf(&b, "| %s |", row)
		}
		fmt.Fprintf(&b, " %s / %s / %d |", thousands(r.Over.Seconds()), thousands(r.ReplicaSeconds), r.Resizes)
	}
	b.WriteString("\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// sums adds up the results of each policy, in order of its first.
func sums(results []Result) []Result {
	var all []Result
	index := map[string]int{}
	for _, r := range results {
		i, ok := index[r.Policy]
		if !ok {
			i = len(all)
			index[r.Policy] = i
			all = append(all, Result{Trace: "all", Policy: r.Policy})
		}
		s := &all[i]
		s.Length += r.Length
		s.Over += r.Over
		s.ReplicaSeconds += r.ReplicaSeconds
		s.Resizes += r.Resizes
		s.PeakBurn = math.Max(s.PeakBurn, r.PeakBurn)
		s.Left += r.Left
	}
	return all
}

// thousands writes a whole number as 1,234,567.
func thousands(x float64) string {
	s := fmt.Sprintf("%.0f", x)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// duration writes seconds.
func duration(seconds float64) string {
	switch {
	case seconds > MaxLength.Seconds():
		return "for ever"
	case seconds < 10:
		return fmt.Sprintf("%.1fs", seconds)
	}
	return time.Duration(math.Round(seconds) * float64(time.Second)).String()
}
