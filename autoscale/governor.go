package autoscale

import "time"

// A Governor makes decisions that follow one another: what Decide wants of one look,
// calmed by what was wanted before. The zero value is ready. It has no clock but
// Signals.Time, and is not safe for concurrent use.
type Governor struct {
	wants history
}

// NewGovernor returns a Governor that knows nothing yet.
func NewGovernor() *Governor { return &Governor{} }

// Next is the decision for a consumer.
func (g *Governor) Next(s Signals, l Limits) Decision {
	return g.calm(s, l, wish(s, l))
}

// NextOngoing is the decision for a collector or an endpoint.
func (g *Governor) NextOngoing(s Signals, l Limits) Decision {
	return g.calm(s, l, wishOngoing(s, l))
}

// calm shrinks to no less than the highest want of the window.
func (g *Governor) calm(s Signals, l Limits, w want) Decision {
	w.replicas = max(w.replicas, min(g.wants.highest(s.Time, l.ScaleDownWindow, w.replicas), s.Replicas))
	return settle(s, l, w)
}

// A history keeps the wants that may yet be the highest of a window: each is lower
// than those before it.
type history []pastWant

type pastWant struct {
	at       time.Time
	replicas int
}

// highest adds a want and returns the highest of the window that ends with it.
func (h *history) highest(now time.Time, window time.Duration, replicas int) int {
	kept := *h
	for len(kept) > 0 && kept[len(kept)-1].replicas <= replicas {
		kept = kept[:len(kept)-1]
	}
	kept = append(kept, pastWant{now, replicas})
	old := 0
	for now.Sub(kept[old].at) > window {
		old++
	}
	*h = append(kept[:0], kept[old:]...)
	return (*h)[0].replicas
}
