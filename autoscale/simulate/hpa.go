package simulate

import (
	"fmt"
	"math"
	"time"

	"github.com/flowkit-go/flow/autoscale"
)

// What the controller of a HorizontalPodAutoscaler does unless it is told otherwise,
// from the documentation of Kubernetes' autoscaling/v2.
const (
	hpaSync       = 15 * time.Second
	hpaTolerance  = 0.1
	hpaDownWindow = 5 * time.Minute
	hpaUpPods     = 4 // in 15 s
	hpaUpFactor   = 2 // in 15 s
)

// hpa is the rule of Kubernetes' HorizontalPodAutoscaler for CPU utilisation:
// ceil(n * current / target), held within a tolerance of 10 %, grown by 100 % or by 4
// in 15 s, whichever is more, and shrunk to no less than the highest recommendation
// of 5 minutes.
type hpa struct {
	limits autoscale.Limits
	target float64 // percent of CPU
	calm   stabiliser
}

var _ Policy = (*hpa)(nil)

func newHPA(o Options) *hpa { return &hpa{limits: o.Limits, target: o.hpaTarget()} }

func (h *hpa) Name() string { return "hpa" }

func (h *hpa) Every() time.Duration { return hpaSync }

func (h *hpa) Next(o Observation) (int, string) {
	return h.calm.next(o, h.limits, h.recommend(o)), fmt.Sprintf("CPU %.0f%% of target %.0f%%", o.CPU, h.target)
}

// recommend is the rule alone.
func (h *hpa) recommend(o Observation) int {
	// Without a pod to measure there is no metric, and the controller holds.
	if o.Ready == 0 || h.target <= 0 || math.IsNaN(o.CPU) {
		return o.Replicas
	}
	ratio, counted := o.CPU/h.target, o.Ready
	if ratio > 1 && o.Ready < o.Replicas {
		// Pods that are not ready yet count as using nothing, lest the same load is
		// answered twice. That may hold, and must not shrink.
		ratio, counted = ratio*float64(o.Ready)/float64(o.Replicas), o.Replicas
		if ratio < 1 {
			return o.Replicas
		}
	}
	if withinTolerance(ratio) {
		return o.Replicas
	}
	return ceil(ratio * float64(counted))
}

func withinTolerance(ratio float64) bool { return math.Abs(ratio-1) <= hpaTolerance+1e-9 }

// ceil rounds up, not minding what floating point adds to an integer.
func ceil(x float64) int {
	return int(math.Min(math.Ceil(x*(1-1e-9)), autoscale.MaxReplicas))
}

// A stabiliser calms recommendations as the default behavior of an HPA does.
type stabiliser struct {
	past []recommendation // of the window
}

type recommendation struct {
	at       time.Time
	replicas int
}

func (s *stabiliser) next(o Observation, l autoscale.Limits, n int) int {
	kept := s.past[:0]
	for _, r := range s.past {
		if o.Time.Sub(r.at) < hpaDownWindow {
			kept = append(kept, r)
		}
	}
	s.past = append(kept, recommendation{o.Time, n})
	if n < o.Replicas {
		for _, r := range s.past {
			n = max(n, r.replicas)
		}
		n = min(n, o.Replicas)
	}
	// A sync is as long as the period of the policies: all of a step is open again.
	n = min(n, max(o.Replicas*hpaUpFactor, o.Replicas+hpaUpPods))
	return min(max(n, l.Min), l.Max)
}
