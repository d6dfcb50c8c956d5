package pulse_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/primitives/primitivetest"
	"github.com/flowkit-go/flow/primitives/pulse"
)

// fed is a pulse that sends what the suite wants to read.
type fed struct{ items []primitives.Record }

func (f *fed) String() string { return "pulse:fed" }

func (f *fed) OpenSource(ctx context.Context, env *primitives.Env) (primitives.Reader, error) {
	items := f.items
	if len(items) == 0 {
		items = []primitives.Record{{Value: []byte("x")}}
	}
	p := pulse.Items[primitives.Record]{Items: items, Every: 10 * time.Microsecond, Count: len(items)}
	r, err := p.OpenSource(ctx, env)
	return nudging{r}, err
}

// nudging makes the suite's intake look again while a Push waits: the intake
// does not notice by itself that a Push of a single record has begun to wait.
type nudging struct{ primitives.Reader }

func (r nudging) Run(ctx context.Context, in primitives.Intake) error {
	return r.Reader.Run(ctx, nudgingIntake{in})
}

type nudgingIntake struct{ primitives.Intake }

func (in nudgingIntake) Assign(p primitives.Partition, start int64) primitives.Lane {
	return nudgingLane{in.Intake.Assign(p, start), in.Intake}
}

type nudgingLane struct {
	primitives.Lane
	in primitives.Intake
}

func (l nudgingLane) Push(ctx context.Context, burst []primitives.Record) (int, error) {
	waiting, pushed := context.WithCancel(ctx)
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		select {
		case <-time.After(time.Millisecond):
		case <-waiting.Done():
		}
		for waiting.Err() == nil && l.in.Retry(waiting, errors.New("a push waits")) == nil {
		}
	}()
	n, err := l.Lane.Push(ctx, burst)
	pushed()
	<-stopped
	return n, err
}

func TestConformance(t *testing.T) {
	primitivetest.RunSource(t, primitivetest.Config{
		New: func(testing.TB) primitivetest.Ends {
			f := &fed{}
			return primitivetest.Ends{Source: f, Feed: func(_ context.Context, records []primitives.Record) error {
				f.items = append(f.items, records...)
				return nil
			}}
		},
		Value:    func(i int) []byte { return fmt.Appendf(nil, "%d", i) },
		Features: primitivetest.Features{Ordered: true, Keys: true, Bounded: true, Redelivery: true, Duplicates: true},
	})
}
