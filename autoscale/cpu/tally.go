package cpu

import (
	"errors"
	"time"

	"github.com/google/pprof/profile"
)

var errNoSamples = errors.New("cpu: the profile has too few samples for the CPU time that was used")

// sum adds up a profile's CPU time by label, and over all.
func sum(p *profile.Profile) (byName map[string]time.Duration, all time.Duration, err error) {
	at := -1
	for i, t := range p.SampleType {
		if t.Type == "cpu" && t.Unit == "nanoseconds" {
			at = i
		}
	}
	if at < 0 {
		return nil, 0, errors.New("cpu: the profile has no CPU times")
	}
	byName = map[string]time.Duration{}
	for _, s := range p.Sample {
		d := time.Duration(s.Value[at])
		all += d
		if names := s.Label[Label]; len(names) > 0 {
			byName[names[0]] += d
		}
	}
	return byName, all, nil
}

// tally is what the process and its processors have used up to a moment. The zero tally
// is none.
type tally struct {
	at   time.Time
	used time.Duration // CPU time of the process; negative when not known
	busy map[string]time.Duration
}

func (m *Meter) tally() tally {
	t := tally{time.Now(), processTime(), make(map[string]time.Duration, len(m.Busy))}
	for name, busy := range m.Busy {
		t.busy[name] = busy()
	}
	return t
}

// since shares out the CPU time between two tallies.
func (t tally) since(before tally) look {
	l := look{end: t.at, took: t.at.Sub(before.at), source: Unknown}
	if before.at.IsZero() || l.took <= 0 || t.used < 0 || before.used < 0 {
		return l
	}
	l.source, l.cores = Shared, make(map[string]float64, len(t.busy))
	all := time.Duration(0)
	for name, busy := range t.busy {
		all += max(0, busy-before.busy[name])
	}
	for name, busy := range t.busy {
		if busy = max(0, busy-before.busy[name]); busy == 0 {
			l.cores[name] = 0
			continue
		}
		share := float64(t.used-before.used) * float64(busy) / float64(all)
		l.cores[name] = min(share, float64(busy)) / float64(l.took)
	}
	return l
}
