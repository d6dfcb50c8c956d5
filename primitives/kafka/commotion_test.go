package kafka

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/primitives/primitivetest"
)

// Pause, Resume, Reclaim, Seek, commits and questions at any time, while members come
// and go: nothing waits for ever, no partition has two lanes, and all is read in the end.
func TestCommotion(t *testing.T) {
	c := fake(t)
	ctx := testContext(t)
	topic := quick(at(c), "g")
	write(t, topic, numbered(0, 400)...)
	over := time.Now().Add(3 * time.Second)
	var members sync.WaitGroup
	for seed := range uint64(3) {
		members.Go(func() {
			random := rand.New(rand.NewPCG(seed, 7))
			for time.Now().Before(over) {
				commotion(ctx, t, newMember(t, topic, primitivetest.NewIntake(20)), random)
			}
		})
	}
	members.Wait()
	m := join(t, topic, 1000)
	m.owns(ctx, 4)
	for _, l := range m.in.Lanes() {
		if err := m.Seek(ctx, l.Partition, 0); err != nil {
			t.Fatal(err)
		}
	}
	seen := map[string]bool{}
	for len(seen) < 400 {
		for _, d := range m.take(ctx, 1) {
			seen[string(d.Record.Value)] = true
		}
	}
}

// commotion is the life of one member.
func commotion(ctx context.Context, t *testing.T, m *member, random *rand.Rand) {
	m.start()
	defer m.leave()
	var calls sync.WaitGroup
	defer calls.Wait()
	for range 20 + random.IntN(20) {
		lanes := m.in.Lanes()
		short, cancel := context.WithTimeout(ctx, time.Duration(5+random.IntN(20))*time.Millisecond)
		ds, _ := m.in.Take(short, 1+random.IntN(20))
		cancel()
		if len(lanes) == 0 {
			continue
		}
		l := lanes[random.IntN(len(lanes))]
		one := []primitives.Partition{l.Partition}
		what, next := random.IntN(7), int64(random.IntN(50))
		calls.Go(func() {
			switch what {
			case 0:
				m.Pause(one)
				m.Resume(one)
			case 1:
				m.Reclaim(l.Partition, l.Epoch())
			case 2:
				_ = m.Seek(ctx, l.Partition, next) // may not be ours by now
			case 3:
				_, _ = m.Backlog(ctx)
			case 4:
				_, _ = m.GroupCommitted(ctx)
			}
		})
		if what > 4 {
			_ = m.commit(ctx, ds)
		}
	}
}
