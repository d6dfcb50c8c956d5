package runtime

import (
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/flowkit-go/flow/autoscale"
	"github.com/flowkit-go/flow/autoscale/cpu"
)

// stillWanted is for how long CPU use is measured after somebody has asked for it.
const stillWanted = 2 * time.Minute

// newMeter makes what measures the CPU use of all processors with replicas, while the
// loop decides about the size of one of them, or somebody asks for it from outside.
func (e *Engine) newMeter() *cpu.Meter {
	busy := map[string]func() time.Duration{}
	for _, c := range e.consumers {
		busy[c.spec.Name] = func() time.Duration { return c.busyTime(time.Now()) }
	}
	if e.web != nil {
		for _, r := range e.web.routes {
			if r.pool != nil {
				busy[r.Name] = r.busyTime
			}
		}
	}
	m := cpu.NewMeter(cpu.Config{Busy: busy, Needed: func() bool {
		if at := e.wanted.Load(); at != 0 && time.Since(time.Unix(0, at)) < stillWanted {
			return true
		}
		for name := range busy {
			if s, err := e.loop.Status(name); err == nil && s.Mode == autoscale.Auto {
				return true
			}
		}
		return false
	}})
	for _, c := range e.consumers {
		c.usage = m
	}
	if e.web != nil {
		for _, r := range e.web.routes {
			r.usage = m
		}
	}
	return m
}

// profile is pprof.Profile. The meter leaves the profiler to it.
func (e *Engine) profile(w http.ResponseWriter, r *http.Request) {
	if release, err := e.meter.Yield(r.Context()); err == nil {
		defer release()
		pprof.Profile(w, r)
	}
}
