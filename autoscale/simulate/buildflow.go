package simulate

import (
	"fmt"
	"math"
	"time"

	"github.com/flowkit-go/flow/autoscale"
)

// buildFlow is the formula of BuildFlow's autoscaler, with what is wrong in it: the
// first rule that applies hides the others, a growing backlog with idle CPUs blocks
// shrinking, throughput 0 with a backlog asks for nothing or fails, CPU 0 does not
// shrink, and nothing calms it. It is given better signals than it had itself: there,
// records that failed counted as throughput, and a fresh replica inflated it.
type buildFlow struct {
	limits  autoscale.Limits
	backlog float64 // at the last look that did not fail; NaN before it
	at      time.Time
	wanted  int // CPUs that it asked its cluster for
}

var _ Policy = (*buildFlow)(nil)

func newBuildFlow(o Options) *buildFlow {
	return &buildFlow{limits: o.Limits, backlog: math.NaN()}
}

func (b *buildFlow) Name() string { return "buildflow" }

// Every is the frequency, as a multiple of the 5 s of BuildFlow's own loop.
func (b *buildFlow) Every() time.Duration {
	const loop = 5 * time.Second
	return (b.limits.Frequency + loop - 1) / loop * loop
}

func (b *buildFlow) Next(o Observation) (int, string) {
	n, want, why, ok := b.decide(o.Signals)
	if !ok {
		return o.Replicas, why // the check raised: nothing is remembered
	}
	b.backlog, b.at = o.Backlog, o.Time
	if want >= 0 {
		b.wanted = want
	}
	return n, why
}

// decide returns the replicas and the CPUs that the cluster is asked for, -1 when
// that is left as it was. It is false where BuildFlow divides by zero.
func (b *buildFlow) decide(s autoscale.Signals) (replicas, cpus int, why string, ok bool) {
	n := float64(s.Replicas)
	cpu, target := s.CPU, b.limits.CPUTarget
	k := b.limits.BurnThreshold.Seconds()
	d := n
	switch {
	case s.Throughput > 0 && s.Backlog/s.Throughput > k:
		// want = B/K records per second, at T/n each
		d, why = math.Ceil(s.Backlog/k/(s.Throughput/n)), fmt.Sprintf("backlog burns in %.0f s", s.Backlog/s.Throughput)
	case b.backlog < s.Backlog:
		why = "backlog grew, CPU idle"
		if cpu > target {
			grew := (s.Backlog - b.backlog) / s.Time.Sub(b.at).Seconds()
			if s.Throughput == 0 || math.IsInf(grew, 0) {
				return 0, 0, "failed: division by zero", false
			}
			d, why = math.Ceil((s.Throughput+grew)/(s.Throughput/n)), fmt.Sprintf("backlog grew by %.0f/s", grew)
		}
	case s.Pulls == 0:
		d, why = n+1, "no pulls"
	case cpu > 0 && cpu < target:
		d, why = math.Floor(n*cpu/target), fmt.Sprintf("CPU %.0f%%", cpu)
	}
	d = math.Max(d, 1)
	if most := float64(b.limits.Max); d > most {
		d = most
	} else if least := float64(b.limits.Min); d < least {
		d = least
	}
	switch free := math.Floor(s.FreeCPUs / s.NumCPUs); {
	case d <= n:
		return int(d), 0, why, true
	case d-n > free:
		return int(n + free), int(math.Ceil((n + free) * s.NumCPUs * 2)), why, true
	}
	return int(d), -1, why, true
}
