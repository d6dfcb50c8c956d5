package simulate

import (
	"fmt"
	"strings"
	"time"

	"github.com/flowkit-go/flow/autoscale"
)

// A Policy decides how many replicas there are. It keeps what it has to remember for
// one run, so that every run needs its own.
type Policy interface {
	Name() string
	// Every is the time between two looks.
	Every() time.Duration
	// Next is the number of replicas from now on, within the limits, and why.
	Next(Observation) (replicas int, why string)
}

// An Observation is what every policy is told: what was measured since its last look.
type Observation struct {
	autoscale.Signals
	Ready int // of the replicas, those that work; others are starting
}

// A glancer looks between decisions whether the next one can wait.
type glancer interface {
	// Glances is the time between two glances, 0 never.
	Glances() time.Duration
	// Urgent takes a glance in, and tells whether the next decision is to be Early.
	Urgent(autoscale.Glance) bool
	// Early is Next, ahead of its time.
	Early(Observation) (replicas int, why string)
}

type maker struct {
	name string
	make func(Options) Policy
}

var makers = [...]maker{
	{"flow", func(o Options) Policy { return newFlow(o) }},
	{"buildflow", func(o Options) Policy { return newBuildFlow(o) }},
	{"hpa", func(o Options) Policy { return newHPA(o) }},
	{"keda", func(o Options) Policy { return newKEDA(o) }},
}

// Policies are the names that NewPolicy knows: flow first, then its rivals.
func Policies() []string {
	names := make([]string, len(makers))
	for i, m := range makers {
		names[i] = m.name
	}
	return names
}

// NewPolicy makes a policy for one run with these options. It errs for a name that
// is not one of Policies.
func NewPolicy(name string, o Options) (Policy, error) {
	for _, m := range makers {
		if m.name == name {
			return m.make(o), nil
		}
	}
	return nil, fmt.Errorf("simulate: policy %q is not known, want one of %s", name, strings.Join(Policies(), ", "))
}

// flow is the decision of package autoscale.
type flow struct {
	limits   autoscale.Limits
	governor *autoscale.Governor
}

var (
	_ Policy  = (*flow)(nil)
	_ glancer = (*flow)(nil)
)

func newFlow(o Options) *flow { return &flow{o.Limits, autoscale.NewGovernor()} }

func (f *flow) Name() string { return "flow" }

func (f *flow) Every() time.Duration { return f.limits.Frequency }

func (f *flow) Next(o Observation) (int, string) {
	d := f.governor.Next(o.Signals, f.limits)
	return d.Replicas, d.Reason
}

func (f *flow) Glances() time.Duration { return f.limits.GlanceEvery().Truncate(tick) }

func (f *flow) Urgent(g autoscale.Glance) bool { return f.governor.Urgent(g, f.limits) }

func (f *flow) Early(o Observation) (int, string) {
	d := f.governor.Early(o.Signals, f.limits)
	return d.Replicas, d.Reason
}
