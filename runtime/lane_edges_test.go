package runtime

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/flowkit-go/flow/primitives"
)

// claims is a Transactor whose claims wait.
type claims struct{ granted chan struct{} }

func (c claims) Claim(ctx context.Context, _ primitives.Reader, _ primitives.Partition) (int64, error) {
	select {
	case <-c.granted:
		return -1, nil
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

func (claims) Begin(context.Context, primitives.Reader, primitives.Partition) (primitives.Transaction, error) {
	return nil, primitives.ErrLost
}

// A lane takes nothing before the writing for its partition is claimed, and says so.
func TestNothingFreeBeforeTheClaim(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := idleConsumer(t, ByPartition, &counting{})
		x := claims{make(chan struct{})}
		c.transactor = x
		in := intake{c}
		l := in.Assign(primitives.Partition{Topic: "in"}, 0).(*lane)
		synctest.Wait()
		if n := l.Free(); n != 0 {
			t.Errorf("%d are free before the claim, want 0", n)
		}
		close(x.granted)
		synctest.Wait()
		if l.Free() == 0 {
			t.Error("nothing is free after the claim")
		}
		in.Lose(l)
		synctest.Wait()
	})
}

// Outputs that wait behind a write when their lane is lost do not keep it busy: a drain
// would wait for them in vain.
func TestLostLaneWithOutputsThatWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := idleConsumer(t, ByPartition, &counting{})
		in := intake{c}
		l := in.Assign(primitives.Partition{Topic: "in"}, 0).(*lane)
		if _, err := push(l, 2, 1); err != nil {
			t.Fatal(err)
		}
		outputs := func() *batch {
			seqs, _ := l.begin(nil, 1)
			b := c.newBatch()
			b.add(ref{l, seqs[0]}, 0)
			return b
		}
		first := c.place(outputs())
		l.end(nil)
		if waits := c.place(outputs()); first == nil || waits != nil {
			t.Fatal("the second outputs do not wait for the first")
		}
		l.end(nil)
		in.Lose(l)
		c.finished(first)
		select {
		case <-l.quiet():
		default:
			t.Error("the lane is busy")
		}
	})
}

// A partition that is assigned anew while it is paused by hand is paused.
func TestPauseWhileAssignedAnew(t *testing.T) {
	c := idleConsumer(t, ByPartition, &counting{})
	in := intake{c}
	p := primitives.Partition{Topic: "in"}
	l := in.Assign(p, 0).(*lane)
	for i := range 20_000 {
		on := i%2 == 0
		var paused error
		var pausing sync.WaitGroup
		pausing.Go(func() { paused = c.pausePartitions(on, []primitives.Partition{p}) })
		in.Lose(l)
		l = in.Assign(p, 0).(*lane)
		pausing.Wait()
		if paused == nil && l.paused.Load() != on {
			t.Fatalf("round %d: paused is %t, want %t", i, !on, on)
		}
		if err := c.pausePartitions(on, []primitives.Partition{p}); err != nil {
			t.Fatal(err)
		}
	}
	in.Lose(l)
}
