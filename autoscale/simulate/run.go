package simulate

import (
	"math"
	"math/rand/v2"
	"time"

	"github.com/flowkit-go/flow/autoscale"
)

// A Result is what a policy made of a trace.
type Result struct {
	Trace  string
	Policy string
	Length time.Duration

	Over           time.Duration // that burn time was over the threshold
	ReplicaSeconds float64       // of the replicas asked for, those that start too
	Resizes        int
	PeakBurn       float64 // longest burn time in seconds; +Inf when replicas completed nothing
	Left           float64 // backlog at the end

	Samples []Sample // of each moment, at most 2,000 of a run
	Changes []Change // the resizes, in order
}

// A Sample is a moment of a run, or the mean of some where a trace is long.
type Sample struct {
	At       time.Duration
	Rate     float64 // records per second that arrived
	Backlog  float64 // records, the most of the moments
	Burn     float64 // seconds, the most of the moments
	Replicas float64
	Impaired bool // attempts failed, or replicas could handle less than their capacity
}

// A Change is a resize.
type Change struct {
	At       time.Duration
	From, To int
	Why      string
}

// samples is the number that a run keeps at most: more than a plot has pixels.
const samples = 2000

// Run plays a trace with a policy, from Limits.Start replicas. It errs when trace or
// options are not valid.
//
// Time goes in steps of a second. Burn time, at the end of each, is the backlog over
// what the replicas that work could complete with success in a second at that moment;
// with a backlog and nothing that can be completed, it is over any threshold. That is
// the same for all policies, whatever they look at themselves.
func Run(t Trace, o Options, p Policy) (Result, error) {
	if err := t.Validate(); err != nil {
		return Result{}, err
	}
	if err := o.Validate(); err != nil {
		return Result{}, err
	}
	r := Result{Trace: t.Name, Policy: p.Name(), Length: t.Length}
	m := newModel(o)
	w := newWatcher(o)
	k := o.Limits.BurnThreshold.Seconds()
	every := max(p.Every().Truncate(tick), tick)
	due := every
	var glances time.Duration
	g, _ := p.(glancer)
	if g != nil {
		glances = g.Glances()
	}
	perSample := (t.Length/tick + samples - 1) / samples
	var sum Sample

	for m.now < t.Length {
		point := t.at(m.now)
		m.advance(point)
		r.ReplicaSeconds += float64(m.replicas()) * tick.Seconds()
		burn := m.burn(point)
		if burn > k {
			r.Over += tick
		}
		r.PeakBurn = math.Max(r.PeakBurn, burn)

		sum.Rate += point.Rate
		sum.Replicas += float64(m.replicas())
		sum.Impaired = sum.Impaired || point.impaired()
		sum.Backlog, sum.Burn = math.Max(sum.Backlog, m.backlog), math.Max(sum.Burn, burn)
		if m.now%(perSample*tick) == 0 {
			sum.At = m.now
			sum.Rate /= float64(perSample)
			sum.Replicas /= float64(perSample)
			r.Samples = append(r.Samples, sum)
			sum = Sample{}
		}

		if m.now >= t.Length {
			break
		}
		early := glances > 0 && m.now < due && m.now%glances == 0 && g.Urgent(m.glance(w))
		if early || m.now == due {
			due = m.now + every
			from := m.replicas()
			decide := p.Next
			if early {
				decide = g.Early
			}
			to, why := decide(w.look(m))
			if to != from {
				m.resize(to)
				r.Resizes++
				r.Changes = append(r.Changes, Change{m.now, from, to, why})
			}
		}
	}
	r.Left = m.backlog
	return r, nil
}

// A watcher measures for a policy. The backlog that it tells has the records in flight:
// one for each replica that is in a handler at that moment, by chance as often as
// replicas are busy. So a backlog is hardly ever 0 and never the same twice, as real
// ones are, and a rule that takes any growth for growth shows.
type watcher struct {
	chance  *rand.Rand // nil tells no records in flight
	backlog float64    // at the last look; NaN before it
	looked  bool
}

func newWatcher(o Options) *watcher {
	w := &watcher{backlog: math.NaN()}
	if !o.Exact {
		w.chance = rand.New(rand.NewPCG(o.Seed, 0))
	}
	return w
}

// inFlight are the records that replicas are at.
func (w *watcher) inFlight(m *model) float64 {
	n := 0
	for range m.ready {
		if w.chance != nil && w.chance.Float64() < m.busy {
			n++
		}
	}
	return float64(n)
}

// glance is what a glance sees.
func (m *model) glance(w *watcher) autoscale.Glance {
	return autoscale.Glance{Time: time.Unix(0, 0).UTC().Add(m.now), Replicas: m.replicas(), Done: m.done, Backlog: m.backlog + w.inFlight(m)}
}

// buffer is the work of this time that the replicas have fetched ahead, where there
// is as much.
const buffer = time.Second

func (w *watcher) look(m *model) Observation {
	since := m.take()
	backlog := m.backlog + w.inFlight(m)
	s := autoscale.Signals{
		Time:        time.Unix(0, 0).UTC().Add(m.now),
		Replicas:    m.replicas(),
		Throughput:  since.succeeded / since.elapsed,
		Backlog:     backlog,
		PrevBacklog: w.backlog,
		Pulls:       since.attempts / since.elapsed,
		CPU:         since.cpu / since.replicas,
		Busy:        since.busy / since.replicas,
		NumCPUs:     1,
		FreeCPUs:    math.Inf(1),
	}
	if since.idle {
		s.Pulls = math.Inf(1)
	}
	if s.Throughput > 0 {
		s.Queueing = time.Duration(math.Min(m.backlog/s.Throughput, buffer.Seconds()) * float64(time.Second))
	}
	if w.looked {
		s.Elapsed = time.Duration(since.elapsed * float64(time.Second))
	}
	w.backlog, w.looked = backlog, true
	return Observation{Signals: s, Ready: m.ready}
}

// Compare runs each of the policies, by name, with each of the traces: results by
// trace, then by policy.
func Compare(traces []Trace, o Options, policies []string) ([]Result, error) {
	var all []Result
	for _, t := range traces {
		for _, name := range policies {
			p, err := NewPolicy(name, o)
			if err != nil {
				return nil, err
			}
			r, err := Run(t, o, p)
			if err != nil {
				return nil, err
			}
			all = append(all, r)
		}
	}
	return all, nil
}
