package flow

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/flowkit-go/flow/primitives"
)

// A Graph is a flow's processors and what they read and write: its structure, as
// it is registered, without anything running.
type Graph struct {
	Flow         string      `json:"flow"`
	HTTP         string      `json:"http"`          // where collectors and endpoints listen: host:port or "off"
	Admin        string      `json:"admin"`         // where health, metrics and state are served
	DrainTimeout string      `json:"drain_timeout"` // as "25s"
	Processors   []GraphNode `json:"processors"`

	// Needs are the systems whose address the primitives take from the environment.
	Needs []primitives.Need `json:"needs,omitempty"`
}

// A GraphNode is one processor of a Graph.
type GraphNode struct {
	Kind       Kind      `json:"kind"` // consumer, collector, endpoint or handler
	Name       string    `json:"name"`
	Pattern    string    `json:"pattern,omitempty"` // of HTTP requests
	Source     string    `json:"source,omitempty"`
	Sink       string    `json:"sink,omitempty"`
	DeadLetter string    `json:"dead_letter,omitempty"`
	Ends       bool      `json:"ends,omitempty"` // a consumer whose source may end
	At         string    `json:"at"`             // file:line
	Settings   []Setting `json:"settings,omitempty"`
}

// Graph returns the flow's structure, in the order of registration, with the
// effective options of each processor.
func (f *Flow) Graph() Graph {
	opts, _ := f.opts.settled()
	g := Graph{
		Flow: f.name, HTTP: opts.httpAddr, Admin: opts.adminAddr, DrainTimeout: opts.drain.String(),
		Processors: []GraphNode{},
	}
	_, _ = f.config() // fills in the effective settings; mistakes are Validate's
	f.checking.Lock()
	defer f.checking.Unlock()
	for _, p := range f.processors {
		n := GraphNode{Kind: p.kind, Name: p.name(), Pattern: p.pattern, Source: p.source, Sink: p.sink, At: p.at}
		n.Ends = p.consumer != nil && p.consumer(&p.settings.spec).Source.Bounded
		if dead := p.settings.spec.deadLetter; dead != nil {
			n.DeadLetter = dead.String()
		}
		if p.effective != nil {
			n.Settings = p.effective.list()
		}
		g.Processors = append(g.Processors, n)
	}
	g.Needs = f.needs()
	for _, h := range f.handlers {
		g.Processors = append(g.Processors, GraphNode{Kind: "handler", Name: h.pattern, Pattern: h.pattern, At: h.at})
	}
	return g
}

// GraphFormats are the formats that Write knows.
func GraphFormats() []string { return []string{"text", "json", "mermaid", "dot"} }

// Write writes the graph in one of GraphFormats.
func (g Graph) Write(w io.Writer, format string) error {
	switch format {
	case "text", "":
		return g.text(w)
	case "json":
		out := json.NewEncoder(w)
		out.SetIndent("", "  ")
		return out.Encode(g)
	case "mermaid":
		return g.mermaid(w)
	case "dot":
		return g.dot(w)
	}
	return fmt.Errorf("graph format %q is not known: use one of %s", format, strings.Join(GraphFormats(), ", "))
}

// from and to are what a node reads and writes, as text.
func (n GraphNode) from() string {
	if n.Source != "" {
		return n.Source
	}
	return n.Pattern
}

// line describes a node in the columns of the text format.
func (n GraphNode) line() string {
	name := n.Name
	if n.Name == n.Pattern {
		name = ""
	}
	way := n.from()
	if n.Sink != "" {
		way += " -> " + n.Sink
	}
	if n.DeadLetter != "" {
		way += "  (dead letters: " + n.DeadLetter + ")"
	}
	return fmt.Sprintf("%s\t%s\t%s\t%s", n.Kind, name, way, n.At)
}

func (g Graph) text(w io.Writer) error {
	tab := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, n := range g.Processors {
		fmt.Fprintf(tab, "%s\n", strings.TrimRight(n.line(), "\t"))
	}
	return tab.Flush()
}

// edges calls f for each arrow of the graph; a resource that one processor writes
// and another reads is one node.
func (g Graph) edges(f func(from, to, label string)) {
	for _, n := range g.Processors {
		self := "processor " + n.Name
		f(n.from(), self, "")
		if n.Sink != "" {
			f(self, n.Sink, "")
		}
		if n.DeadLetter != "" {
			f(self, n.DeadLetter, "dead letters")
		}
	}
}

// ids gives each node of a drawing a short name, in the order of appearance.
type ids struct {
	names map[string]string
	order []string
}

func (i *ids) of(node string) string {
	if i.names == nil {
		i.names = map[string]string{}
	}
	if i.names[node] == "" {
		i.names[node] = fmt.Sprintf("n%d", len(i.names)+1)
		i.order = append(i.order, node)
	}
	return i.names[node]
}

func label(node string) (text string, processor bool) {
	return strings.CutPrefix(node, "processor ")
}

func (g Graph) mermaid(w io.Writer) error {
	var ids ids
	var arrows strings.Builder
	g.edges(func(from, to, note string) {
		arrow := "-->"
		if note != "" {
			arrow = "-. " + note + " .->"
		}
		fmt.Fprintf(&arrows, "  %s %s %s\n", ids.of(from), arrow, ids.of(to))
	})
	var b strings.Builder
	b.WriteString("flowchart LR\n")
	for _, node := range ids.order {
		text, processor := label(node)
		text = strings.ReplaceAll(text, `"`, "#quot;")
		if processor {
			fmt.Fprintf(&b, "  %s[\"%s\"]\n", ids.of(node), text)
		} else {
			fmt.Fprintf(&b, "  %s([\"%s\"])\n", ids.of(node), text)
		}
	}
	_, err := io.WriteString(w, b.String()+arrows.String())
	return err
}

func (g Graph) dot(w io.Writer) error {
	var ids ids
	var arrows strings.Builder
	g.edges(func(from, to, note string) {
		style := ""
		if note != "" {
			style = fmt.Sprintf(" [style=dashed label=%q]", note)
		}
		fmt.Fprintf(&arrows, "  %s -> %s%s\n", ids.of(from), ids.of(to), style)
	})
	var b strings.Builder
	fmt.Fprintf(&b, "digraph %q {\n  rankdir=LR\n", g.Flow)
	for _, node := range ids.order {
		text, processor := label(node)
		shape := "ellipse"
		if processor {
			shape = "box"
		}
		fmt.Fprintf(&b, "  %s [label=%q shape=%s]\n", ids.of(node), text, shape)
	}
	_, err := io.WriteString(w, b.String()+arrows.String()+"}\n")
	return err
}
