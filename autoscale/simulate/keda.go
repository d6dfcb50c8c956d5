package simulate

import (
	"fmt"
	"math"
	"time"

	"github.com/flowkit-go/flow/autoscale"
)

// keda is KEDA's rule for the length of a backlog, such as a consumer group's lag: an
// HPA is given the lag as an external metric with an average of lagThreshold for each
// replica, so that it wants ceil(lag/lagThreshold), with the HPA's sync, tolerance and
// stabilisation. The limit at the number of partitions is left out, as for all.
//
// KEDA's polling interval, 30 s, is for the step from none to one replica. The HPA
// asks KEDA anew at every sync unless useCachedMetrics is set, which KEDAPolling is.
type keda struct {
	limits    autoscale.Limits
	threshold float64       // records for each replica
	polling   time.Duration // 0 looks at every sync

	lag  float64 // that was seen last
	seen time.Time
	calm stabiliser
}

var _ Policy = (*keda)(nil)

func newKEDA(o Options) *keda {
	return &keda{limits: o.Limits, threshold: o.kedaLag(), polling: o.KEDAPolling}
}

func (k *keda) Name() string { return "keda" }

func (k *keda) Every() time.Duration { return hpaSync }

func (k *keda) Next(o Observation) (int, string) {
	if k.seen.IsZero() || o.Time.Sub(k.seen) >= k.polling {
		k.lag, k.seen = o.Backlog, o.Time
	}
	return k.calm.next(o, k.limits, k.recommend(o.Replicas)), fmt.Sprintf("lag %.0f, threshold %.0f", k.lag, k.threshold)
}

// recommend is the rule alone.
func (k *keda) recommend(n int) int {
	if math.IsNaN(k.lag) || n > 0 && withinTolerance(k.lag/(k.threshold*float64(n))) {
		return n
	}
	return ceil(k.lag / k.threshold)
}
