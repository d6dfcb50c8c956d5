package kafka

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/primitives/kafka/driver"
	"github.com/flowkit-go/flow/primitives/kafka/internal/client"
	"github.com/flowkit-go/flow/primitives/primitivetest"
)

// faulty is the usual driver whose answers about offsets are replaced while there is a fault.
type faulty struct {
	client.Driver
	*faults
}

type faults struct {
	committed func(next []int64) error // may change what is found
	offsets   error
	on        atomic.Bool
}

func (d faulty) OpenConsumer(ctx context.Context, c driver.Cluster, with driver.Consuming) (driver.Consumer, error) {
	inner, err := d.Driver.OpenConsumer(ctx, c, with)
	return faultyConsumer{inner, d.faults}, err
}

type faultyConsumer struct {
	driver.Consumer
	*faults
}

func (c faultyConsumer) Committed(ctx context.Context, group string, ps []primitives.Partition, stable bool) ([]int64, error) {
	next, err := c.Consumer.Committed(ctx, group, ps, stable)
	if err == nil && c.on.Load() && c.committed != nil {
		err = c.committed(next)
	}
	return next, err
}

func (c faultyConsumer) Offsets(ctx context.Context, ps []primitives.Partition, at driver.Position) ([]int64, error) {
	if c.on.Load() && c.offsets != nil {
		return nil, c.offsets
	}
	return c.Consumer.Offsets(ctx, ps, at)
}

// strict returns what is permanent, as the runtime does.
type strict struct{ *primitivetest.Intake }

func (in strict) Retry(ctx context.Context, err error) error {
	if primitives.IsPermanent(err) {
		return err
	}
	return in.Intake.Retry(ctx, err)
}

// A partition that cannot be begun anew, and never will be, ends the reader with the reason.
func TestReclaimThatIsRefused(t *testing.T) {
	none := func(next []int64) error { next[0] = -1; return nil }
	refused := primitives.Permanent(errors.New("refused"))
	for _, tc := range []struct {
		name  string
		start Start
		*faults
		want string
	}{
		{"what is committed", Earliest, &faults{committed: func([]int64) error { return refused }}, "refused"},
		{"the first position", Earliest, &faults{committed: none, offsets: refused}, "refused"},
		{"nothing is committed any longer", Stop, &faults{committed: none}, "has committed no offset"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := fake(t)
			ctx := testContext(t)
			p := primitives.Partition{Topic: "out"}
			commitFor(t, c, "g", p.Topic, p.ID, 0)
			cluster := at(c)
			cluster.Driver = faulty{faults: tc.faults}
			topic := Topic[[]byte]{Name: p.Topic, Group: "g", Cluster: cluster, Start: tc.start}
			write(t, topic, in(0, 0, 5)...)
			m := newMember(t, topic, primitivetest.NewIntake(100))
			m.startWith(strict{m.in})
			m.take(ctx, 5)
			tc.on.Store(true)
			m.Reclaim(p, m.in.Lanes()[0].Epoch())
			if err := m.end(); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("Run returns %v, want %q in it", err, tc.want)
			}
		})
	}
}

// A drain does not end the reader while a partition is begun anew: others have still to be
// committed.
func TestReclaimWhileDraining(t *testing.T) {
	c := fake(t)
	ctx := testContext(t)
	p := primitives.Partition{Topic: "out"}
	tried := make(chan struct{}, 1)
	fault := &faults{committed: func([]int64) error {
		select {
		case tried <- struct{}{}:
		default:
		}
		return errors.New("it will pass")
	}}
	cluster := at(c)
	cluster.Driver = faulty{faults: fault}
	topic := Topic[[]byte]{Name: p.Topic, Group: "g", Cluster: cluster, Start: Earliest}
	write(t, topic, in(0, 0, 5)...)
	m := newMember(t, topic, primitivetest.NewIntake(100))
	m.startWith(strict{m.in})
	m.take(ctx, 5)
	fault.on.Store(true)
	m.in.Drain()
	m.Reclaim(p, m.in.Lanes()[0].Epoch())
	<-tried
	m.tasks.Wait()
	select {
	case err := <-m.ended:
		m.over = true
		t.Errorf("Run returns %v while the flow drains", err)
	default:
	}
}
