package autoscale

import (
	"strings"
	"testing"
	"time"
)

func TestDefaultsAreValid(t *testing.T) {
	if err := Defaults().Validate(); err != nil {
		t.Error(err)
	}
}

func TestLimitsOutOfRange(t *testing.T) {
	for _, tc := range []struct {
		option string
		change func(*Limits)
	}{
		{"min_replicas is 0", func(l *Limits) { l.Min = 0 }},
		{"max_replicas is 0", func(l *Limits) { l.Max = 0 }},
		{"max_replicas is 100001", func(l *Limits) { l.Max = MaxReplicas + 1 }},
		{"num_replicas is 2", func(l *Limits) { l.Start = 2 }},
		{"num_replicas is 0", func(l *Limits) { l.Start = 0 }},
		{"autoscale_frequency_secs is 999ms", func(l *Limits) { l.Frequency = 999 * time.Millisecond }},
		{"consumer_backlog_burn_threshold is 0s", func(l *Limits) { l.BurnThreshold = 0 }},
		{"consumer_cpu_percent_target is -1", func(l *Limits) { l.CPUTarget = -1 }},
		{"consumer_cpu_percent_target is 100.5", func(l *Limits) { l.CPUTarget = 100.5 }},
		{"target_num_ongoing_requests_per_replica is 0", func(l *Limits) { l.TargetOngoing = 0 }},
		{"max_concurrent_queries is 0", func(l *Limits) { l.MaxConcurrency = 0 }},
	} {
		t.Run(tc.option, func(t *testing.T) {
			l := Defaults()
			tc.change(&l)
			if err := l.Validate(); err == nil || !strings.Contains(err.Error(), tc.option) {
				t.Errorf("error %v", err)
			}
		})
	}
}
