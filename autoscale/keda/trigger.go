package keda

import (
	"fmt"
	"strconv"
	"strings"
)

// The keys of a trigger's metadata. KEDA adds its own, such as scalerAddress.
const (
	// MetaProcessor names the processor. It may be left out where there is one only,
	// or one Consumer only.
	MetaProcessor = "processor"

	// MetaReplicas is how many replicas one process runs at most. The default is
	// max_replicas, or fewer once a process has said that its CPUs have no room for
	// more.
	MetaReplicas = "replicasPerProcess"

	// MetaActivation is the backlog that does not count as something to do. Default 0.
	MetaActivation = "activationBacklog"
)

// A trigger is what a ScaledObject wants to know.
type trigger struct {
	m          *monitor
	replicas   int // per process; 0 the default
	activation float64
}

// trigger reads the metadata of a ScaledObject.
func (s *Scaler) trigger(meta map[string]string) (trigger, error) {
	m, err := s.monitor(meta[MetaProcessor])
	if err != nil {
		return trigger{}, fmt.Errorf("metadata %s: %w", MetaProcessor, err)
	}
	t := trigger{m: m}
	if v := meta[MetaReplicas]; v != "" {
		if t.replicas, err = strconv.Atoi(v); err != nil || t.replicas < 1 {
			return trigger{}, fmt.Errorf("metadata %s is %q, want a whole number above 0", MetaReplicas, v)
		}
	}
	if v := meta[MetaActivation]; v != "" {
		if t.activation, err = strconv.ParseFloat(v, 64); err != nil || !(t.activation >= 0) {
			return trigger{}, fmt.Errorf("metadata %s is %q, want a number of records", MetaActivation, v)
		}
	}
	return t, nil
}

// metric is the name of the processor's metric, with what Kubernetes takes in one.
func (t trigger) metric() string {
	return "flow-" + strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '_', r == '.':
			return r
		}
		return '-'
	}, t.m.p.Name)
}

// wanted is how many processes are needed now. It errs while that is not known.
func (t trigger) wanted() (int, error) {
	t.m.mu.Lock()
	defer t.m.mu.Unlock()
	if t.m.err != nil {
		return 0, fmt.Errorf("processor %s: %w", t.m.p.Name, t.m.err)
	}
	return t.m.processes(t.m.state, t.replicas), nil
}

// active is whether there is something to do, and a channel that is closed when that
// may have changed.
func (t trigger) active() (bool, <-chan struct{}) {
	t.m.mu.Lock()
	defer t.m.mu.Unlock()
	return t.m.active(t.activation), t.m.changed
}
