package flow_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/flowkit-go/flow"
	"github.com/flowkit-go/flow/primitives/memory"
)

// The dead letters cannot be written: what was handled before is written all the same.
func TestWrittenBesideDeadLetter(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.fill(0, 0, 3)
		r.broker.Control(func(op memory.Op) error {
			if op.Kind == memory.OpWrite && op.Partition == 0 && string(op.Records[0].Value) == "2" {
				time.Sleep(time.Hour) // the dead letter
			} else if op.Kind == memory.OpWrite {
				time.Sleep(100 * time.Millisecond)
			}
			return nil
		})
		out := r.out()
		out.Async = 4
		f := r.start(flow.NewConsumer("p", r.in(1), out, func(_ context.Context, v int) (int, error) {
			if v == 2 {
				return 0, flow.Permanent(errors.New("poison"))
			}
			time.Sleep(2 * time.Millisecond) // a turn of its own
			return v, nil
		}, flow.DeadLetter(r.dead())))
		time.Sleep(time.Minute)
		equal(t, "written", r.written(), []string{"0", "1"})
		equal(t, "committed", r.committed(0), 2)
		time.Sleep(2 * time.Hour)
		f.stopped()
	})
}
