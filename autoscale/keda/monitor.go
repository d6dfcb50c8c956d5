package keda

import (
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/flowkit-go/flow/autoscale"
)

// A State is what a Scaler knows of a processor: its last look and its last decision.
type State struct {
	Processor  string             `json:"processor"`
	Time       time.Time          `json:"time"`
	Error      string             `json:"error,omitempty"` // nothing is known
	Processes  int                `json:"processes"`
	Replicas   int                `json:"replicas"` // of all processes; the processes where those are not asked
	Counted    bool               `json:"counted"`  // decisions are in replicas; else in processes
	Unanswered []string           `json:"unanswered,omitempty"`
	Backlog    *float64           `json:"backlog"`    // nil: not known
	Shared     bool               `json:"shared"`     // the backlog is the largest that a process told, as all told of one source
	Throughput *float64           `json:"throughput"` // records per second; nil: not known
	Ongoing    *float64           `json:"ongoing,omitempty"`
	Partitions int                `json:"partitions,omitempty"`
	Decision   autoscale.Decision `json:"decision"`
	Each       int                `json:"replicas_per_process"` // that one process runs at most, by its bounds and, once that was seen, its CPUs
	Wanted     int                `json:"wanted"`               // processes

	ran int // processes when it was decided
}

// monitor follows one processor. Its update is called by one goroutine.
type monitor struct {
	p          *Processor
	poll, idle time.Duration

	governor *autoscale.Governor // none while there is no process
	turn     time.Time           // of the last time that it was time to decide
	decided  time.Time           // by the governor; zero before the first
	backlog  float64             // at the last decision
	last     map[string]int64    // position by partition
	moved    float64             // positions that the group has moved in all
	full     int                 // replicas that the CPUs of one process have room for; 0 not known
	seen     time.Time           // of the last look that found a process; zero before the first

	mu      sync.Mutex
	samples []sample // oldest first
	state   State
	err     error
	changed chan struct{} // closed, and made anew, by each update
}

// sample is what is kept of a look.
type sample struct {
	look
	moved float64 // positions, of all looks
}

func newMonitor(p *Processor, poll, idle time.Duration) *monitor {
	return &monitor{
		p: p, poll: poll, idle: idle, changed: make(chan struct{}),
		err:   fmt.Errorf("%w: nothing was found out yet", errUnknown),
		state: State{Processor: p.Name},
	}
}

// update takes a look in, and decides when it is time for that: when the clock passes
// a multiple of autoscale_frequency, so that several Scalers of one flow decide at the
// same time and see the same.
func (m *monitor) update(l look) {
	for part, next := range l.committed {
		if before, known := m.last[part]; known {
			m.moved += float64(max(0, next-before)) // one that was set back says nothing about speed
		}
	}
	if l.committed != nil {
		m.last = l.committed
	}
	if l.full > 0 {
		m.full = l.full
	} else if m.full > 0 {
		m.full = max(m.full, l.most)
	}
	gone := m.gone(&l)
	m.mu.Lock()
	m.samples = append(m.samples, sample{l, m.moved})
	m.forget(l.at)
	signals := m.signals(l)
	state, d, ran := m.stateAt(l, signals), m.state.Decision, m.state.ran
	m.mu.Unlock()

	every := m.p.Limits.Frequency
	due := !m.turn.Truncate(every).Equal(l.at.Truncate(every))
	switch {
	case l.err != nil: // what was decided is not known to be right any longer
	case gone:
	case l.processes == 0:
		d, ran = first(l), 0
		m.governor, m.turn, m.decided, m.backlog = nil, l.at, l.at, l.backlog
	case m.governor != nil && !due:
	case m.arriving(signals, l):
		m.turn = l.at
	default:
		d, ran = m.decide(signals, l), l.processes
	}

	m.mu.Lock()
	defer m.mu.Unlock()
	state.Decision, state.ran = d, ran
	if !d.Time.IsZero() {
		state.Wanted = m.processes(state, 0)
	}
	m.state, m.err = state, nil
	if l.err != nil {
		m.err = fmt.Errorf("%w: %w", errUnknown, l.err)
	}
	close(m.changed)
	m.changed = make(chan struct{})
}

// first is the decision while there is no process: how many are needed is seen when
// one has shown how fast it is.
func first(l look) autoscale.Decision {
	return autoscale.Decision{
		Time: l.at, Want: 1, Replicas: 1, Rule: autoscale.RuleStart,
		Reason: "no process runs: the first one shows how fast it is",
	}
}

// patience is how long processes that were asked for may take to come.
const patience = 5 * time.Minute

// gone reports whether no process is found under a name that had some a moment ago, where
// nobody else knows how many there are: that may be the name's doing, and shrinks nothing.
func (m *monitor) gone(l *look) bool {
	if l.err == nil && l.processes > 0 {
		m.seen = l.at
	}
	if l.err != nil || l.processes > 0 || l.grouped || m.seen.IsZero() || l.at.Sub(m.seen) >= patience {
		return false
	}
	l.unanswered = append(l.unanswered, fmt.Sprintf("no process is found any more, as there was %v ago", l.at.Sub(m.seen).Round(time.Second)))
	return true
}

// arriving reports whether what was decided is still being done: fewer processes run
// than are wanted, and what is known now asks for no more. A governor compares what its
// decisions bring, so that one has to be done before the next.
func (m *monitor) arriving(s autoscale.Signals, l look) bool {
	d := m.state.Decision
	return m.governor != nil && d.Replicas > d.From && l.processes < m.state.Wanted && l.at.Sub(m.decided) < patience &&
		autoscale.Decide(s, m.p.limits()).Replicas <= d.Replicas
}

// decide asks the governor. What is not known, or not of all processes, shrinks nothing
// that was decided before.
func (m *monitor) decide(s autoscale.Signals, l look) autoscale.Decision {
	fresh := m.governor == nil
	if fresh {
		m.governor = autoscale.NewGovernor()
		s.Elapsed = 0
	}
	next := m.governor.Next
	if m.p.Requests {
		next = m.governor.NextOngoing
	}
	d := next(s, m.p.limits())
	blind := d.Rule == autoscale.RuleUnknown || len(l.unanswered) > 0
	if held := max(m.state.Decision.Replicas, s.Replicas); blind && !fresh && d.Replicas < held {
		d.Reason += fmt.Sprintf("; kept at %d, as not all is known", held)
		d.Replicas = held
	}
	if n := len(l.unanswered); n > 0 {
		d.Reason += fmt.Sprintf("; not known of %s", l.unanswered[0])
		if n > 1 {
			d.Reason += fmt.Sprintf(" and %d more", n-1)
		}
	}
	m.turn, m.decided, m.backlog = l.at, l.at, l.backlog
	return d
}

// signals are those of all processes together. mu is held.
func (m *monitor) signals(l look) autoscale.Signals {
	s := autoscale.Signals{
		Time: l.at, Replicas: l.size(), Processes: 1, // it is that of all
		Throughput: m.throughput(l), Backlog: l.backlog, PrevBacklog: m.backlog,
		Pulls: math.Inf(1), // whether tasks come to take records is each process's own concern
		CPU:   l.cpu, Busy: math.NaN(), Ongoing: m.ongoing(l),
		NumCPUs: m.p.NumCPUs, FreeCPUs: math.Inf(1), // machines are what is asked for
	}
	if !m.decided.IsZero() {
		s.Elapsed = l.at.Sub(m.decided)
	}
	if l.working > 0 {
		s.Parallel = l.working
		if l.counted {
			s.Parallel = m.p.parallel(l.working)
		}
	}
	if l.paused {
		s.Throughput, s.CPU = math.NaN(), math.NaN() // what rests says nothing about what is needed
	}
	return s
}

// throughput is that of the last autoscale_frequency. It is not known to a Scaler that
// looks for less than that: another one that looks for longer would come to something
// else. Where the number of processes has changed it is that of the time since: one
// that starts or ends takes partitions along, and what moves meanwhile is no measure;
// that must be half of autoscale_frequency. mu is held.
func (m *monitor) throughput(l look) float64 {
	if !l.grouped || l.err != nil {
		return l.throughput
	}
	whole := m.p.Limits.Frequency - m.poll/2 // looks are not quite on time
	from, least := m.samples[len(m.samples)-1], whole
	for i := len(m.samples) - 2; i >= 0 && l.at.Sub(from.at) < whole; i-- {
		s := m.samples[i]
		if s.err != nil {
			continue
		}
		if s.processes != l.processes {
			least = m.p.Limits.Frequency / 2
			break
		}
		from = s
	}
	span := l.at.Sub(from.at)
	if span < least || span <= 0 {
		return math.NaN()
	}
	return (m.moved - from.moved) / span.Seconds()
}

// ongoing is the mean over the last autoscale_frequency. mu is held.
func (m *monitor) ongoing(l look) float64 {
	sum, n := 0.0, 0
	for _, s := range m.samples {
		if s.err == nil && l.at.Sub(s.at) < m.p.Limits.Frequency && !math.IsNaN(s.ongoing) {
			sum += s.ongoing
			n++
		}
	}
	if n == 0 || math.IsNaN(l.ongoing) {
		return math.NaN()
	}
	return sum / float64(n)
}

// forget drops samples that nothing is measured by any longer, and the positions of
// the others. mu is held.
func (m *monitor) forget(now time.Time) {
	keep := max(m.p.Limits.Frequency, m.idle) + m.poll
	old := 0
	for old < len(m.samples)-2 && now.Sub(m.samples[old+1].at) > keep {
		old++
	}
	m.samples = append(m.samples[:0], m.samples[old:]...)
	m.samples[len(m.samples)-1].committed = nil
}

// active reports whether the processor has something to do, or had within the idle
// time. What is not known counts as that. mu is held.
func (m *monitor) active(threshold float64) bool {
	if m.p.Requests || len(m.samples) == 0 {
		return true // a request that nobody takes is lost
	}
	now := m.samples[len(m.samples)-1]
	if now.err != nil || !now.told {
		return true // where no process runs nobody would tell that there is something to do
	}
	if now.processes == 0 && !(math.IsNaN(now.backlog)) {
		return now.backlog > threshold
	}
	for i := len(m.samples) - 1; i > 0; i-- {
		s := m.samples[i]
		if !s.idle(threshold, s.moved-m.samples[i-1].moved) {
			return true
		}
		if now.at.Sub(m.samples[i-1].at) >= m.idle {
			return false
		}
	}
	return true // not looked at for long enough
}

// processes is how many are needed for what was decided, with so many replicas in each;
// 0 is as many as one runs at most. Those that ran when it was decided stay, unless
// fewer replicas are needed: then as many go as come to the same share, so that what is
// left has to take over no more than it can by growing.
func (m *monitor) processes(s State, each int) int {
	n := s.Decision.Replicas
	if s.Counted {
		if each == 0 {
			each = s.Each
		}
		stay := s.ran
		if from := s.Decision.From; n < from {
			stay = (s.ran*n + from - 1) / from
		}
		n = max((n+each-1)/each, stay)
	}
	if s.Partitions > 0 {
		n = min(n, s.Partitions) // one more would get none
	}
	return max(n, 1)
}

// stateAt describes a look.
func (m *monitor) stateAt(l look, s autoscale.Signals) State {
	each := m.p.replicasPerProcess()
	if m.full > 0 {
		each = min(each, m.full)
	}
	st := State{
		Each:      each,
		Processor: m.p.Name, Time: l.at, Processes: l.processes, Replicas: l.replicas, Counted: l.counted,
		Unanswered: l.unanswered, Shared: l.shared, Partitions: l.partitions,
		Backlog: orNil(l.backlog), Throughput: orNil(s.Throughput), Ongoing: orNil(l.ongoing),
	}
	if l.err != nil {
		st.Error = l.err.Error()
	}
	return st
}

func orNil(x float64) *float64 {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return nil
	}
	return &x
}
