package main

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/flowkit-go/flow"
)

const (
	defaultMaxPods = 10
	defaultVolume  = "1Gi"

	// settleSecs is added to the drain's time: for the program to end, and its log to
	// be read.
	settleSecs = 5
	// leaveSecs is for proxies to take note that a pod leaves. A flow that drains no
	// longer listens, so requests have to have stopped by then.
	leaveSecs = 5

	baseMemory = 256 << 20 // of a program whose buffers are empty
	leastCPU   = 0.1       // requested for what registers no processor with num_cpus
)

// A plan is what the manifests of a flow are filled with.
type plan struct {
	Flow, Name, Namespace, Image string
	ImageGiven                   bool

	HTTPPort, AdminPort int    // 0: it does not listen
	DrainSecs           int    // rounded up
	Volume              string // size of the data folder's volume; "" for none
	Stateful            []string
	alone               []string // what one process has for itself, Stateful among it
	Config              []variable
	Needs               []need
	Workloads           []*workload
	Scales              bool // some workload does
}

// App is the name that all objects of the flow share, whichever workload is asked.
func (p *plan) App() string { return p.Name }

// A variable is a line of the ConfigMap.
type variable struct{ Name, Value string }

// A need is a system that the flow reaches, and the variable that says where.
type need struct {
	System, Variable, Value string
	Names                   []string
	Secrets                 []string // variables that belong into the Secret
}

// A workload is a Deployment, or a Job where its input ends.
type workload struct {
	*plan
	Name       string
	Processors []flow.GraphNode
	Only       string // for FLOW_ONLY; "" for all
	HTTP       bool
	Ends       bool
	CPU        string
	CPUSum     []string // what it adds up from
	Memory     string
	GoMemory   string // of the Go runtime, below Memory
	Triggers   []flow.GraphNode
	MaxPods    int
}

// local is what belongs to one process, or to one machine: no other pod can see it.
var local = regexp.MustCompile(`\b(memory|nats|sqlite|file|watch):[^,()\s]*`)

// secretsOf are the variables of a system that no ConfigMap should have.
var secretsOf = map[string][]string{"kafka": {"KAFKA_USERNAME", "KAFKA_PASSWORD"}}

type planFlags struct {
	name, namespace, image, data string
	perProcessor, noKEDA         bool
	maxPods                      int
}

// newPlan decides what is printed. It errs for what no manifest can make work.
func newPlan(d described, f planFlags) (*plan, error) {
	g := d.graph
	p := &plan{Flow: g.Flow, Name: f.name, Namespace: f.namespace, Image: f.image, ImageGiven: f.image != ""}
	if !p.ImageGiven {
		p.Image = p.Name + ":latest"
	}
	if g.Admin != "off" {
		p.AdminPort = portOf(g.Admin, flow.DefaultAdminAddr)
	}
	if g.HTTP != "off" && slices.ContainsFunc(g.Processors, answers) {
		p.HTTPPort = portOf(g.HTTP, flow.DefaultHTTPAddr)
	}
	p.DrainSecs = drainSecs(g)
	if err := p.state(d, f); err != nil {
		return nil, err
	}
	p.configure(d)
	if err := p.divide(g.Processors, f); err != nil {
		return nil, err
	}
	for _, w := range p.Workloads {
		w.size()
		if f.noKEDA || p.AdminPort == 0 || len(p.Stateful) > 0 || w.Ends {
			continue
		}
		w.MaxPods = f.maxPods
		for _, n := range w.Processors {
			if scales(n) && !slices.Contains(p.alone, n.Source) {
				w.Triggers = append(w.Triggers, n)
				p.Scales = true
			}
		}
	}
	return p, nil
}

// answers reports whether requests come to it.
func answers(n flow.GraphNode) bool { return n.Pattern != "" }

// scales reports whether more pods are of use to a consumer.
func scales(n flow.GraphNode) bool {
	return n.Kind == flow.KindConsumer && !n.Ends && setting(n, "enable_autoscaler") != "false"
}

// state finds what pods cannot share, and the volume that it needs.
func (p *plan) state(d described, f planFlags) error {
	for _, n := range d.graph.Processors {
		for _, end := range []string{n.Source, n.Sink, n.DeadLetter} {
			for _, name := range local.FindAllString(end, -1) {
				if strings.HasPrefix(name, "nats:") && d.env.get("NATS_URL") != "" || slices.Contains(p.alone, name) {
					continue // a server, which all can reach
				}
				p.alone = append(p.alone, name)
				if !strings.HasPrefix(name, "memory:") {
					p.Stateful = append(p.Stateful, name)
				}
			}
		}
	}
	if f.perProcessor && len(p.alone) > 0 {
		hint := "leave out --per-processor"
		if slices.ContainsFunc(p.alone, func(s string) bool { return strings.HasPrefix(s, "nats:") }) {
			hint += ", or set NATS_URL to a server that all pods reach"
		}
		return usagef("the flow keeps %s inside of one process or its data folder, which pods do not share: %s", strings.Join(p.alone, ", "), hint)
	}
	switch {
	case f.data == "none":
		p.Stateful = nil
	case f.data != "":
		p.Volume = f.data
		if len(p.Stateful) == 0 {
			p.Stateful = []string{"what --data says"}
		}
	case len(p.Stateful) > 0:
		p.Volume = defaultVolume
	}
	return nil
}

// configure collects what the ConfigMap says: where systems are, and the options
// that come from the environment.
func (p *plan) configure(d described) {
	for _, n := range d.graph.Needs {
		p.Needs = append(p.Needs, need{System: n.System, Variable: n.Variable, Names: n.Names,
			Value: d.env.get(n.Variable), Secrets: secretsOf[n.System]})
	}
	if url := d.env.get("NATS_URL"); url != "" {
		var streams []string
		for _, n := range d.graph.Processors {
			for _, end := range []string{n.Source, n.Sink, n.DeadLetter} {
				if name, ok := strings.CutPrefix(end, "nats:"); ok && !slices.Contains(streams, name) {
					streams = append(streams, name)
				}
			}
		}
		if len(streams) > 0 {
			p.Needs = append(p.Needs, need{System: "nats", Variable: "NATS_URL", Value: url, Names: streams})
		}
	}
	p.Config = carried(d, "FLOW_DRAIN_TIMEOUT", "FLOW_LOG_LEVEL", "FLOW_CPUS")
}

// carried are the options that the environment sets, where the command runs: those of
// the flow that are named, and those of processors.
func carried(d described, ofFlow ...string) (all []variable) {
	for _, name := range ofFlow {
		if v := d.env.get(name); v != "" {
			all = append(all, variable{name, v})
		}
	}
	for _, n := range d.graph.Processors {
		for _, s := range n.Settings {
			if s.From == "env "+s.Env {
				all = append(all, variable{s.Env, s.Value})
			}
		}
	}
	return all
}

// divide makes the workloads: one, or one per consumer and one for all that answers
// requests, which have one address.
func (p *plan) divide(nodes []flow.GraphNode, f planFlags) error {
	if !f.perProcessor {
		p.Workloads = []*workload{{plan: p, Name: p.Name, Processors: nodes}}
		return nil
	}
	for _, n := range nodes {
		if strings.Contains(n.Name, ",") {
			return usagef("processor %q has a comma in its name, which separates names in FLOW_ONLY: give it another with flow.Name", n.Name)
		}
	}
	names := newTakenNames(p.Name)
	add := func(name string, nodes ...flow.GraphNode) {
		var only []string
		for _, n := range nodes {
			only = append(only, n.Name)
		}
		p.Workloads = append(p.Workloads, &workload{plan: p, Name: names.of(name), Processors: nodes, Only: strings.Join(only, ",")})
	}
	consumers := slices.DeleteFunc(slices.Clone(nodes), answers)
	if http := slices.DeleteFunc(slices.Clone(nodes), func(n flow.GraphNode) bool { return !answers(n) }); len(http) > 0 {
		add("http", http...)
	}
	for _, n := range consumers {
		add(n.Name, n)
	}
	return nil
}

// size adds up what the processors of a workload ask for.
func (w *workload) size() {
	var cpus float64
	memory := int64(baseMemory)
	w.Ends = true
	for _, n := range w.Processors {
		w.Ends = w.Ends && n.Ends
		w.HTTP = w.HTTP || answers(n) && w.HTTPPort > 0
		each, replicas := numberSetting(n, "num_cpus"), numberSetting(n, "min_replicas")
		if each > 0 {
			cpus += each * replicas
			w.CPUSum = append(w.CPUSum, fmt.Sprintf("%s: %v x %v", n.Name, each, replicas))
		}
		// The garbage collector lets memory in use double before it is done.
		memory += 2 * int64(numberSetting(n, "buffer_bytes"))
	}
	const step = 64 << 20
	memory = (memory + step - 1) / step * step
	w.CPU, w.Memory = cpuQuantity(max(cpus, leastCPU)), mebi(memory)
	w.GoMemory = fmt.Sprintf("%dMiB", memory/10*9>>20)
}

// Grace is how long a pod may take to end: longer than the drain in any case.
func (w *workload) Grace() int {
	if w.HTTP {
		return w.DrainSecs + settleSecs + leaveSecs
	}
	return w.DrainSecs + settleSecs
}

// Leave is the pause before a pod that answers requests is told to end.
func (w *workload) Leave() int { return leaveSecs }
