package memory_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/primitives/memory"
	"github.com/flowkit-go/flow/primitives/primitivetest"
)

// open makes a reader of a topic and starts it. stop ends it.
func open(t *testing.T, src primitives.Source[[]byte], in *primitivetest.Intake) (r primitives.Reader, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r, err := src.OpenSource(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	result := make(chan error, 1)
	go func() { result <- r.Run(ctx, in) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-result; err != nil {
			t.Errorf("Run: %v", err)
		}
		if err := r.Close(context.Background()); err != nil {
			t.Errorf("Close: %v", err)
		}
		if err := in.Check(); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(stop)
	return r, stop
}

func take(t *testing.T, in *primitivetest.Intake, n int) []primitivetest.Delivery {
	t.Helper()
	var out []primitivetest.Delivery
	for len(out) < n {
		d, err := in.Take(t.Context(), n-len(out))
		if err != nil {
			t.Fatalf("after %d of %d records: %v", len(out), n, err)
		}
		out = append(out, d...)
	}
	return out
}

func values(n int) []primitives.Record {
	out := make([]primitives.Record, n)
	for i := range out {
		out[i].Value = fmt.Appendf(nil, "%d", i)
	}
	return out
}

func TestTwoReadersShareAndRebalance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.NewBroker()
		topic := memory.Topic[[]byte]{Broker: b, Name: "orders", Partitions: 4}
		in1, in2 := primitivetest.NewIntake(100), primitivetest.NewIntake(100)
		r1, stop1 := open(t, topic, in1)
		synctest.Wait()
		if n := len(in1.Lanes()); n != 4 {
			t.Fatalf("alone: %d lanes, want 4", n)
		}
		for p := range int32(4) {
			b.Append("orders", p, values(3)...)
		}
		take(t, in1, 12)
		in1.OnRevoke = func(ctx context.Context, lanes []*primitivetest.Lane) error {
			for _, l := range lanes {
				if err := r1.Commit(ctx, []primitives.Commit{{Partition: l.Partition, Next: 2}}); err != nil {
					return err
				}
			}
			return nil
		}
		_, stop2 := open(t, topic, in2)
		synctest.Wait()
		if a, b := len(in1.Lanes()), len(in2.Lanes()); a != 2 || b != 2 {
			t.Fatalf("lanes after the second joined: %d and %d, want 2 and 2", a, b)
		}
		for _, d := range take(t, in2, 2) {
			if d.Record.Offset != 2 {
				t.Errorf("%s starts at %d, want what was committed while it was given back: 2", d.Lane.Partition, d.Record.Offset)
			}
		}
		stop1()
		synctest.Wait()
		if n := len(in2.Lanes()); n != 4 {
			t.Errorf("after the first left: %d lanes, want 4", n)
		}
		take(t, in2, 6)
		stop2()
	})
}
