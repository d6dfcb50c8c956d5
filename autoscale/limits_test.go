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

func TestDefaultsScale(t *testing.T) {
	if l := Defaults(); !l.Enabled || l.ScaleDownWindow != 5*time.Minute || l.Cooldown != 0 {
		t.Errorf("defaults: %+v", l)
	}
}

// Both may be off: shrinking at once and no cooldown are choices that a user can make.
func TestLimitsWithoutCalming(t *testing.T) {
	l := Defaults()
	l.Enabled, l.ScaleDownWindow, l.Cooldown = false, 0, 0
	if err := l.Validate(); err != nil {
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
		{"autoscale_down_window_secs is -1s", func(l *Limits) { l.ScaleDownWindow = -time.Second }},
		{"autoscale_down_window_secs is 24h0m1s", func(l *Limits) { l.ScaleDownWindow = MaxCalm + time.Second }},
		{"autoscale_cooldown_secs is -1s", func(l *Limits) { l.Cooldown = -time.Second }},
		{"autoscale_cooldown_secs is 24h0m1s", func(l *Limits) { l.Cooldown = MaxCalm + time.Second }},
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
