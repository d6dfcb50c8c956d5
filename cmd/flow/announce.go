package main

import (
	"fmt"
	"log/slog"
	"strings"
	"text/tabwriter"

	"github.com/flowkit-go/flow"
)

// announce tells what runs where.
func (s *session) announce(b *build) {
	var text strings.Builder
	what := count(len(b.graph.Processors), "processor")
	if !b.verbs {
		what = "runs as it is, without flow.Main"
	}
	fmt.Fprintf(&text, "flow %s    %s, built in %s\n", s.talk.bold(b.graph.Flow), what, seconds(b.took))
	attrs := []any{"flow", b.graph.Flow, "build_seconds", b.took.Seconds(), "data", s.data}
	s.fronts.each(func(f *front) {
		pages := ""
		if f.what == "admin" {
			pages = "  /livez /readyz /metrics /state"
		}
		fmt.Fprintf(&text, "  %-8s %s%s\n", f.what, f.url(), pages)
		attrs = append(attrs, f.what, f.url())
	})
	if b.kafka != "" {
		fmt.Fprintf(&text, "  %s\n", kafkaLine(b))
		attrs = append(attrs, "kafka", b.kafka)
	}
	fmt.Fprintf(&text, "  %-8s %s\n\n", "data", s.data)
	tab := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	var processors []map[string]string
	for _, n := range b.graph.Processors {
		name, way := nameAndWay(n)
		fmt.Fprintf(tab, "  %s\t%s\t%s\t%s\t%s\n", n.Kind, name, way, n.At, replicaRange(n))
		processors = append(processors, map[string]string{"kind": string(n.Kind), "name": n.Name, "at": n.At})
	}
	_ = tab.Flush()
	text.WriteString("\n")
	lines := strings.Split(text.String(), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	s.talk.block(strings.Join(lines, "\n"), "flow starts", append(attrs, slog.Any("processors", processors))...)
}

// nameAndWay are the columns of a processor: its name, unless that is its pattern,
// and what it reads and writes.
func nameAndWay(n flow.GraphNode) (name, way string) {
	way = n.Source
	if way == "" {
		way = n.Pattern
	}
	if n.Sink != "" {
		way += " -> " + n.Sink
	}
	if n.Name != n.Pattern {
		name = n.Name
	}
	return name, way
}

// replicaRange says how many replicas a processor has when it is not one.
func replicaRange(n flow.GraphNode) string {
	value := map[string]string{}
	for _, s := range n.Settings {
		value[s.Option] = s.Value
	}
	lowest, highest := value["min_replicas"], value["max_replicas"]
	switch {
	case highest == "" || highest == "1":
		return ""
	case lowest == highest:
		return "replicas " + highest
	}
	return "replicas " + lowest + ".." + highest
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// kafkaLine says where the broker is that a program was given.
func kafkaLine(b *build) string {
	return fmt.Sprintf("%-8s %s  a stand-in inside of this command, as %s is not set", "kafka", b.kafka, kafkaVariable)
}
