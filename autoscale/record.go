package autoscale

import "sync"

// kept is how many decisions about a processor are kept.
const kept = 1000

// record keeps the last decisions and counts all.
type record struct {
	mu     sync.Mutex
	ring   []Decision
	next   int // where the next goes once the ring is full
	counts map[Kind]int64
}

// A Kind is what decisions are counted by.
type Kind struct {
	Direction string // up, down, hold
	Rule      Rule
}

// Direction is where a decision leads: up, down or hold.
func (d Decision) Direction() string {
	switch {
	case d.Replicas > d.From:
		return "up"
	case d.Replicas < d.From:
		return "down"
	}
	return "hold"
}

func (r *record) add(d Decision) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.counts == nil {
		r.counts = map[Kind]int64{}
	}
	r.counts[Kind{d.Direction(), d.Rule}]++
	if len(r.ring) < kept {
		r.ring = append(r.ring, d)
		return
	}
	r.ring[r.next] = d
	r.next = (r.next + 1) % kept
}

// last returns the newest.
func (r *record) last() (Decision, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.ring) == 0 {
		return Decision{}, false
	}
	return r.ring[(r.next+len(r.ring)-1)%len(r.ring)], true
}

// list returns all that are kept, the newest last.
func (r *record) list() []Decision {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append(append(make([]Decision, 0, len(r.ring)), r.ring[r.next:]...), r.ring[:r.next]...)
}

func (r *record) kinds() map[Kind]int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make(map[Kind]int64, len(r.counts))
	for k, n := range r.counts {
		out[k] = n
	}
	return out
}
