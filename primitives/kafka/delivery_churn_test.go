package kafka

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/flowkit-go/flow/primitives/primitivetest"
)

// churn is what members of a group have got between them.
type churn struct {
	mu   sync.Mutex
	seen map[string]int
}

// take works on what a member gets until ctx ends, committing now and then.
func (c *churn) take(ctx context.Context, m *member, rng *rand.Rand) {
	var open []primitivetest.Delivery
	for {
		ds, err := m.in.Take(ctx, 50)
		if err != nil {
			return
		}
		c.mu.Lock()
		for _, d := range ds {
			c.seen[string(d.Record.Value)]++
		}
		c.mu.Unlock()
		open = append(open, ds...)
		if rng.IntN(3) == 0 {
			// A partition may be gone by now; what is not committed comes again.
			_ = m.Commit(ctx, commitsOf(open))
			open = nil
		}
	}
}

// Members that join, leave in good order and vanish: every record comes to one of them,
// those of a partition in order to each owner, and no member is stuck.
func testChurn(t *testing.T, c Cluster, name string, b Balance, long time.Duration) {
	const records = 4000
	all := &churn{seen: map[string]int{}}
	topic := quick(c, name+"-"+string(b))
	topic.Name, topic.Balance = name, []Balance{b}
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	churning, end := context.WithTimeout(ctx, long)
	defer end()

	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 0; i < records; i += 100 {
			write(t, topic, numbered(i, 100)...)
			select {
			case <-time.After(long / (records / 100)):
			case <-ctx.Done():
			}
		}
	})
	for worker := range 5 {
		rng := rand.New(rand.NewPCG(uint64(worker), 1))
		wg.Go(func() {
			for churning.Err() == nil {
				m := newMember(t, topic, primitivetest.NewIntake(200))
				m.in.OnRevoke = func(context.Context, []*primitivetest.Lane) error { return nil }
				m.start()
				staying, leave := context.WithTimeout(churning, time.Duration(200+rng.IntN(800))*time.Millisecond)
				all.take(staying, m, rng)
				leave()
				m.leave()
			}
		})
	}
	wg.Wait()
	last := join(t, topic, 1000)
	for {
		all.mu.Lock()
		n := len(all.seen)
		all.mu.Unlock()
		if n == records {
			break
		}
		ds, err := last.in.Take(ctx, 100)
		if err != nil {
			t.Fatalf("%d of %d records: %v %v", n, records, err, last.last())
		}
		all.mu.Lock()
		for _, d := range ds {
			all.seen[string(d.Record.Value)]++
		}
		all.mu.Unlock()
	}
	deliveries := 0
	for _, n := range all.seen {
		deliveries += n
	}
	t.Logf("%d records, %d deliveries", records, deliveries)
}

func TestDelivery_094_churn(t *testing.T) {
	for _, b := range []Balance{CooperativeSticky, Range} {
		t.Run(string(b), func(t *testing.T) {
			c, err := kfake.NewCluster(kfake.NumBrokers(3), kfake.SeedTopics(8, "in"))
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			testChurn(t, at(c), "in", b, 5*time.Second)
		})
	}
}

func TestDelivery_094_churn_real(t *testing.T) {
	brokers := realBrokers(t)
	for i, b := range []Balance{CooperativeSticky, Range} {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			testChurn(t, Cluster{Brokers: brokers}, create(t, brokers, 8, nil), b, 10*time.Second)
		})
	}
}
