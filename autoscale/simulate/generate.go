package simulate

import (
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"strings"
	"time"
)

// Kinds are the names of the traces that Generate makes:
//
//   - step: a fifth of the peak, suddenly the peak, and back
//   - ramp: from a fifth of the peak slowly to the peak, and back
//   - diurnal: a day of a service, low at night, with a noisy peak
//   - spikes: a fifth of the peak with spikes of half a minute to four minutes
//   - poison: half of the peak all the time; for a while, many attempts fail
//   - slow-downstream: half of the peak all the time; for a while, handlers wait for
//     something that lets through less than what arrives, however many wait
//   - on-off: bursts of some minutes, nothing between them
func Kinds() []string {
	kinds := make([]string, len(generators))
	for i, g := range generators {
		kinds[i] = g.kind
	}
	return kinds
}

// Load says what a generated trace is like.
type Load struct {
	Peak   float64       // records per second at the busiest time, about
	Length time.Duration // in whole seconds; 0 a day for diurnal, two hours for others
	Seed   uint64        // other times, heights and noise for each
}

// grain is the time between two points of a generated trace: noise changes with it.
const grain = 10 * time.Second

type generator struct {
	kind  string
	hours float64
	make  func(*noise, float64) func(at, length float64) Point
}

var generators = [...]generator{
	{"step", 2, step},
	{"ramp", 2, ramp},
	{"diurnal", 24, diurnal},
	{"spikes", 2, spikes},
	{"poison", 2, poison},
	{"slow-downstream", 2, slowDownstream},
	{"on-off", 2, onOff},
}

// Generate makes the trace of a kind, the same for the same load. It errs for a kind
// that there is not and a load that cannot be played.
func Generate(kind string, load Load) (Trace, error) {
	for _, g := range generators {
		if g.kind != kind {
			continue
		}
		if load.Length == 0 {
			load.Length = time.Duration(g.hours * float64(time.Hour))
		}
		return generate(g, load)
	}
	return Trace{}, fmt.Errorf("simulate: trace %q is not known, want one of %s", kind, strings.Join(Kinds(), ", "))
}

func generate(g generator, load Load) (Trace, error) {
	t := Trace{Name: g.kind, Length: load.Length}
	if math.IsNaN(load.Peak) || load.Peak < 0 || load.Peak > MaxRate/10 {
		return Trace{}, fmt.Errorf("simulate: trace %s: the peak is %v, want records per second from 0 to %v", g.kind, load.Peak, MaxRate/10)
	}
	if load.Length < time.Second || load.Length > MaxLength {
		return Trace{}, errors.New("simulate: trace " + g.kind + ": its length is " + load.Length.String() + ", want it from 1s to " + MaxLength.String())
	}
	h := fnv.New64a()
	_, _ = h.Write([]byte(g.kind))
	n := &noise{rand.New(rand.NewPCG(load.Seed, h.Sum64()))}
	shape := g.make(n, load.Peak)
	for at := time.Duration(0); at < load.Length; at += grain {
		p := shape(at.Seconds(), load.Length.Seconds())
		p.At = at
		p.Rate = math.Max(0, p.Rate*(1+0.03*n.NormFloat64()))
		t.Points = append(t.Points, p)
	}
	return t, nil
}

// noise is what a seed varies.
type noise struct{ *rand.Rand }

// between is a number from low to high, each as likely.
func (n *noise) between(low, high float64) float64 { return low + (high-low)*n.Float64() }

func step(n *noise, peak float64) func(at, length float64) Point {
	low, up, down := n.between(0.15, 0.25), n.between(0.2, 0.3), n.between(0.65, 0.75)
	return func(at, length float64) Point {
		p := Point{Rate: low * peak, Factor: 1}
		if x := at / length; x >= up && x < down {
			p.Rate = peak
		}
		return p
	}
}

func ramp(n *noise, peak float64) func(at, length float64) Point {
	low := n.between(0.15, 0.25)
	up, top, down := n.between(0.1, 0.2), n.between(0.4, 0.5), n.between(0.55, 0.65)
	end := n.between(0.8, 0.9)
	return func(at, length float64) Point {
		x := at / length
		share := math.Min((x-up)/(top-up), (end-x)/(end-down))
		return Point{Rate: peak * (low + (1-low)*math.Max(0, math.Min(1, share))), Factor: 1}
	}
}

func diurnal(n *noise, peak float64) func(at, length float64) Point {
	low, phase, width := n.between(0.05, 0.2), n.between(0.4, 0.6), n.between(1, 2.5)
	drift := 0.0 // wanders, so that one hour is not like the next
	return func(at, length float64) Point {
		drift = 0.98*drift + 0.01*n.NormFloat64()
		day := math.Pow(0.5+0.5*math.Cos(2*math.Pi*(at/length-phase)), width)
		return Point{Rate: peak * (low + (1-low)*day) * math.Max(0, 1+drift), Factor: 1}
	}
}

func spikes(n *noise, peak float64) func(at, length float64) Point {
	low := n.between(0.15, 0.25)
	begin, end, height := 0.0, n.between(120, 600), low
	high := false
	return func(at, _ float64) Point {
		for at >= end {
			begin, high = end, !high
			if high {
				end, height = begin+n.between(30, 240), n.between(0.5, 1)
			} else {
				end, height = begin+n.between(240, 1200), low
			}
		}
		return Point{Rate: height * peak, Factor: 1}
	}
}

func poison(n *noise, peak float64) func(at, length float64) Point {
	begin, end, share := n.between(0.25, 0.35), n.between(0.45, 0.6), n.between(0.4, 0.8)
	return func(at, length float64) Point {
		p := Point{Rate: peak / 2, Factor: 1}
		if x := at / length; x >= begin && x < end {
			p.Failing = share
		}
		return p
	}
}

func slowDownstream(n *noise, peak float64) func(at, length float64) Point {
	begin, end := n.between(0.25, 0.35), n.between(0.45, 0.6)
	factor, limit := n.between(0.3, 0.5), n.between(0.6, 0.9)
	return func(at, length float64) Point {
		p := Point{Rate: peak / 2, Factor: 1}
		if x := at / length; x >= begin && x < end {
			p.Factor, p.Shared = factor, limit*peak/2
		}
		return p
	}
}

func onOff(n *noise, peak float64) func(at, length float64) Point {
	end, height := n.between(60, 300), 0.0
	on := false
	return func(at, _ float64) Point {
		for at >= end {
			on = !on
			if on {
				end, height = end+n.between(180, 600), n.between(0.6, 1)
			} else {
				end, height = end+n.between(300, 900), 0
			}
		}
		return Point{Rate: height * peak, Factor: 1}
	}
}
