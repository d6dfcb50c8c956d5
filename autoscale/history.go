package autoscale

import "time"

// A history keeps the wants that may yet be the highest of a window: each is lower
// than those before it.
type history []pastWant

type pastWant struct {
	at       time.Time
	replicas int
}

// add notes a want.
func (h *history) add(now time.Time, replicas int) {
	kept := *h
	for len(kept) > 0 && kept[len(kept)-1].replicas <= replicas {
		kept = kept[:len(kept)-1]
	}
	*h = append(kept, pastWant{now, replicas})
}

// highest returns the highest want of the window before now, 0 when there is none, and
// forgets those before the window.
func (h *history) highest(now time.Time, window time.Duration) int {
	old := 0
	for old < len(*h) && now.Sub((*h)[old].at) > window {
		old++
	}
	*h = append((*h)[:0], (*h)[old:]...)
	if len(*h) == 0 {
		return 0
	}
	return (*h)[0].replicas
}
