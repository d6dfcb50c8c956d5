package flow_test

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/flowkit-go/flow"
)

// A health check that never comes back does not keep the flow from ending.
func TestHeartbeatWithHungCheck(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		release := make(chan struct{})
		r.options = []flow.Option{
			flow.HeartbeatFile(filepath.Join(t.TempDir(), "beat")),
			flow.HealthCheck(func(context.Context) error { <-release; return nil }),
		}
		f := r.start(flow.NewConsumer("p", r.in(1), r.out(), unchanged))
		time.Sleep(5 * time.Second)
		began := time.Now()
		f.stopped()
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("the end took %v", took)
		}
		close(release)
	})
}
