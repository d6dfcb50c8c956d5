package nats

import (
	"context"
	"testing"
	"time"

	"github.com/flowkit-go/flow/primitives"
)

// drainingLane takes some records of the first burst and then drains.
type drainingLane struct {
	primitives.Intake
	primitives.Lane
	take  int
	taken chan int
}

func (l *drainingLane) Assign(primitives.Partition, int64) primitives.Lane { return l }
func (l *drainingLane) Free() int                                          { return 100 }
func (l *drainingLane) Push(_ context.Context, records []primitives.Record) (int, error) {
	n := min(l.take, len(records))
	l.taken <- n
	return n, primitives.ErrDraining
}

// What a draining reader has fetched and its lane has not taken goes to another
// reader at once, not when the leases end; the leases that were taken stay.
func TestDrainGivesBack(t *testing.T) {
	ctx, env := testContext(t), place(t, "p")
	s := Stream[[]byte]{Name: "q"} // with leases of 30 s
	w := openTestWriter(t, ctx, env, s)
	first, second := openTestReader(t, ctx, env, s), openTestReader(t, ctx, env, s)
	if err := write(ctx, w, values(0, 100)...); err != nil {
		t.Fatal(err)
	}
	lane := &drainingLane{take: 3, taken: make(chan int, 1)}
	running, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- first.Run(running, lane) }()
	taken := <-lane.taken
	start := time.Now()
	readAll(t, ctx, second, 100-taken)
	if d := time.Since(start); d > 10*time.Second {
		t.Errorf("the other reader had the rest after %v", d)
	}
	select {
	case err := <-ended:
		t.Errorf("Run has returned before its context ended: %v", err)
	default:
	}
	if b, err := second.Backlog(ctx); err != nil || b[0].Records != int64(taken) {
		t.Errorf("backlog %v, %v; want the %d records that the first reader holds", b, err, taken)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
