package autoscale

import (
	"errors"
	"fmt"
	"time"
)

// Limits are a processor's bounds and targets for scaling. The zero value is not
// valid; start from Defaults.
type Limits struct {
	Start int // replicas at the start, from num_replicas
	Min   int // replicas at least, from min_replicas
	Max   int // replicas at most, from max_replicas

	// Enabled lets decisions resize the pool, from enable_autoscaler. Without it the
	// pool keeps its size until somebody scales it by hand.
	Enabled bool

	Frequency     time.Duration // time between two regular decisions, from autoscale_frequency_secs; see GlanceEvery
	BurnThreshold time.Duration // time to work off the backlog above which to grow, from consumer_backlog_burn_threshold
	CPUTarget     float64       // percent of a replica's CPUs below which to shrink, from consumer_cpu_percent_target

	// For the Governor.
	ScaleDownWindow time.Duration // shrink to no less than the highest want of this long, from autoscale_down_window_secs; 0 shrinks at once
	Cooldown        time.Duration // time between two resizes at least, from autoscale_cooldown_secs; 0 any decision may resize

	// For collectors and endpoints.
	TargetOngoing  int // requests in progress per replica to aim at, from target_num_ongoing_requests_per_replica
	MaxConcurrency int // requests in progress per replica at most, from max_concurrent_queries
}

// Defaults are one replica, with the autoscaler enabled, a decision every 60 s, a
// burn threshold of 60 s and a CPU target of 25 %, a window of 5 minutes for
// shrinking and no cooldown; one ongoing request per replica as target, 100 at most.
func Defaults() Limits {
	return Limits{
		Start: 1, Min: 1, Max: 1, Enabled: true,
		Frequency: 60 * time.Second, BurnThreshold: 60 * time.Second, CPUTarget: 25,
		ScaleDownWindow: 5 * time.Minute,
		TargetOngoing:   1, MaxConcurrency: 100,
	}
}

// Validate returns an error for each limit that is out of range, naming its option.
func (l Limits) Validate() error {
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	check(l.Min >= 1, "min_replicas is %d, want at least 1", l.Min)
	check(l.Max >= l.Min, "max_replicas is %d, want at least min_replicas, which is %d", l.Max, l.Min)
	check(l.Start >= l.Min && l.Start <= l.Max, "num_replicas is %d, want it from min_replicas %d to max_replicas %d", l.Start, l.Min, l.Max)
	check(l.Max <= MaxReplicas, "max_replicas is %d, want at most %d", l.Max, MaxReplicas)
	check(l.Frequency >= time.Second, "autoscale_frequency_secs is %v, want at least 1s", l.Frequency)
	check(l.BurnThreshold > 0, "consumer_backlog_burn_threshold is %v, want more than 0", l.BurnThreshold)
	check(l.CPUTarget >= 0 && l.CPUTarget <= 100, "consumer_cpu_percent_target is %v, want it from 0 to 100", l.CPUTarget)
	check(l.ScaleDownWindow >= 0 && l.ScaleDownWindow <= MaxCalm, "autoscale_down_window_secs is %v, want it from 0s to %v", l.ScaleDownWindow, MaxCalm)
	check(l.Cooldown >= 0 && l.Cooldown <= MaxCalm, "autoscale_cooldown_secs is %v, want it from 0s to %v", l.Cooldown, MaxCalm)
	check(l.TargetOngoing >= 1, "target_num_ongoing_requests_per_replica is %d, want at least 1", l.TargetOngoing)
	check(l.MaxConcurrency >= 1, "max_concurrent_queries is %d, want at least 1", l.MaxConcurrency)
	return errors.Join(errs...)
}

// MaxReplicas is the highest number of replicas that can be asked for.
const MaxReplicas = 100_000

// MaxCalm is the longest ScaleDownWindow and the longest Cooldown.
const MaxCalm = 24 * time.Hour

// A Pool is what can be resized: the part of a running processor that scaling needs.
type Pool interface {
	// Replicas is the number wanted by the last Resize.
	Replicas() int
	// Resize starts or retires replicas. Retired ones finish the record that they
	// are at. It returns once the new number is in effect for further records; an
	// error comes from the user's Setup of a new replica.
	Resize(n int) error
}
