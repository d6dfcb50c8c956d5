package memory_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/primitives/memory"
	"github.com/flowkit-go/flow/primitives/primitivetest"
)

// A member is a reader that takes records and commits them, some late.
type member struct {
	*testing.T
	r      primitives.Reader
	in     *primitivetest.Intake
	cancel context.CancelFunc
	ended  chan struct{}
	seen   func(primitives.Partition, int64)
}

func join(t *testing.T, topic memory.Topic[[]byte], seen func(primitives.Partition, int64)) *member {
	m := &member{T: t, in: primitivetest.NewIntake(4), ended: make(chan struct{}), seen: seen}
	var err error
	if m.r, err = topic.OpenSource(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	m.in.OnRevoke = func(ctx context.Context, _ []*primitivetest.Lane) error {
		select {
		case <-time.After(time.Second): // what is running takes a while
		case <-ctx.Done():
		}
		return nil
	}
	ctx, cancel := context.WithCancel(t.Context())
	m.cancel = cancel
	go func() {
		defer close(m.ended)
		result := make(chan error, 1)
		go func() { result <- m.r.Run(ctx, m.in) }()
		for {
			ds, err := m.in.Take(ctx, 3)
			if err != nil {
				break
			}
			for _, d := range ds {
				m.seen(d.Lane.Partition, d.Record.Offset)
				gone, _ := d.Lane.Released()
				err := m.r.Commit(ctx, []primitives.Commit{{Partition: d.Lane.Partition, Next: d.Record.Offset + 1}})
				if err != nil && !errors.Is(err, primitives.ErrNotAssigned) && !gone {
					t.Errorf("commit: %v", err)
				}
			}
		}
		if err := <-result; err != nil {
			t.Errorf("Run: %v", err)
		}
		if err := m.r.Close(context.Background()); err != nil {
			t.Errorf("Close: %v", err)
		}
		if err := m.in.Check(); err != nil {
			t.Error(err)
		}
	}()
	return m
}

func (m *member) leave() {
	m.cancel()
	<-m.ended
}

// Members come and go, partitions are revoked, lost and given back at random:
// every record reaches someone, and in the end each partition has one reader and
// is read to its end.
func TestGroupLosesNothing(t *testing.T) {
	for seed := range uint64(30) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rng := rand.New(rand.NewPCG(seed, 1))
				b := memory.NewBroker()
				const partitions = 5
				topic := memory.Topic[[]byte]{Broker: b, Name: "t", Partitions: partitions, Burst: 3, RevokeTimeout: 3 * time.Second}
				type place struct {
					p      int32
					offset int64
				}
				met := make(chan place, 100_000)
				seen := func(p primitives.Partition, o int64) { met <- place{p.ID, o} }
				members := []*member{join(t, topic, seen)}
				written := [partitions]int64{}
				for range 200 {
					p := rng.Int32N(partitions)
					switch k := rng.IntN(10); {
					case k < 4:
						n := rng.IntN(9)
						b.Append("t", p, values(n)...)
						written[p] += int64(n)
					case k == 4 && len(members) < 4:
						members = append(members, join(t, topic, seen))
					case k == 5 && len(members) > 1:
						i := rng.IntN(len(members))
						members[i].leave()
						members = append(members[:i], members[i+1:]...)
					case k == 6:
						b.Revoke("default", "t", p)
					case k == 7:
						b.Lose("default", "t", p)
					case k == 8:
						b.Assign("default", "t", p)
					default:
						time.Sleep(time.Duration(rng.IntN(1500)) * time.Millisecond)
					}
				}
				b.Assign("default", "t")
				wait(t, b, func(s *memory.State) bool {
					for p := range int32(partitions) {
						if s.Holder("default", "t", p) == "" || written[p] > 0 && s.Committed("default", "t", p) != written[p] {
							return false
						}
					}
					return true
				})
				time.Sleep(time.Minute) // what was being moved to balance the members has moved
				lanes := 0
				for _, m := range members {
					n := len(m.in.Lanes())
					if low, high := partitions/len(members), (partitions+len(members)-1)/len(members); n < low || n > high {
						t.Errorf("a member of %d has %d partitions of %d", len(members), n, partitions)
					}
					lanes += n
				}
				if lanes != partitions {
					t.Errorf("%d lanes for %d partitions", lanes, partitions)
				}
				for _, m := range members {
					m.leave()
				}
				close(met)
				all := map[place]bool{}
				for pl := range met {
					all[pl] = true
				}
				for p, n := range written {
					for o := range n {
						if !all[place{int32(p), o}] {
							t.Errorf("t/%d@%d reached nobody", p, o)
						}
					}
				}
			})
		})
	}
}
