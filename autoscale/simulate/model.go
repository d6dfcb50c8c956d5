package simulate

import (
	"math"
	"slices"
	"time"
)

// tick is the time that one step of the model takes.
const tick = time.Second

// A model is a queue and the replicas that work it off, as a fluid: records have no
// size, and those that arrive in a tick can be handled in it. What is measured of it
// has the records that replicas are at as well, see watcher.
type model struct {
	options Options

	now      time.Duration
	backlog  float64         // records not resolved
	ready    int             // replicas that work
	starting []time.Duration // when each of the others will, in order
	busy     float64         // share of those that work which are in a handler

	done  float64 // records handled with success so far
	since window  // since the policy looked last
}

// A window sums up what a policy is told of the time between two looks.
type window struct {
	elapsed   float64 // s
	replicas  float64 // replica-seconds that worked
	attempts  float64 // records, those that failed too
	succeeded float64 // records
	busy      float64 // replica-seconds in a handler
	cpu       float64 // percent times seconds times replicas
	idle      bool    // some task waited for records
}

func newModel(o Options) *model {
	return &model{options: o, backlog: o.Backlog, ready: o.Limits.Start}
}

// replicas are those that were asked for and are paid for.
func (m *model) replicas() int { return m.ready + len(m.starting) }

// resize takes effect at once where it shrinks, the youngest replicas first, and
// after the delay where it grows.
func (m *model) resize(n int) {
	for ; m.replicas() < n; m.begin() {
		if m.options.StartDelay > 0 {
			m.starting = append(m.starting, m.now+m.options.StartDelay)
		} else {
			m.ready++
		}
	}
	if drop := m.replicas() - n; drop > 0 {
		cancelled := min(drop, len(m.starting))
		m.starting = m.starting[:len(m.starting)-cancelled]
		m.ready -= drop - cancelled
	}
}

// begin lets replicas work whose start is over.
func (m *model) begin() {
	n := 0
	for n < len(m.starting) && m.starting[n] <= m.now {
		n++
	}
	m.starting = slices.Delete(m.starting, 0, n)
	m.ready += n
}

// possible are the attempts per second that the replicas can make.
func (m *model) possible(p Point) float64 {
	all := float64(m.ready) * m.options.Capacity * p.Factor
	if p.Shared > 0 {
		return math.Min(all, p.Shared)
	}
	return all
}

// burn is the time that the backlog takes at what the replicas can complete right
// now: with a backlog and replicas that complete nothing it is infinite.
func (m *model) burn(p Point) float64 {
	if m.backlog <= 0 {
		return 0
	}
	return m.backlog / (m.possible(p) * (1 - p.Failing))
}

// advance plays one tick.
func (m *model) advance(p Point) {
	dt := tick.Seconds()
	m.begin()

	demand := m.backlog/dt + p.Rate
	possible := m.possible(p)
	attempts := math.Min(demand, possible)
	succeeded := attempts * (1 - p.Failing)
	m.backlog = math.Max(0, m.backlog+(p.Rate-succeeded)*dt)

	w := &m.since
	w.elapsed += dt
	w.replicas += float64(m.ready) * dt
	w.attempts += attempts * dt
	w.succeeded += succeeded * dt
	m.done += succeeded * dt
	m.busy = 1 // those that the shared limit holds up wait in their handlers
	if demand < possible {
		w.idle = true
		m.busy = attempts / (m.options.Capacity * p.Factor) / float64(m.ready)
	}
	w.busy += m.busy * float64(m.ready) * dt
	// A record takes the CPU that it takes, however long its handler waits.
	w.cpu += m.options.CPU * attempts / m.options.Capacity * dt
	m.now += tick
}

// take returns the window and begins the next.
func (m *model) take() window {
	w := m.since
	m.since = window{}
	return w
}
