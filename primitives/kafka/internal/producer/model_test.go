package producer

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/flowkit-go/flow/primitives"
)

// TestRandomFaults writes from several callers at once while answers, connections
// and leaders change at random, and compares the log with a simple model: what
// was confirmed is there once; what failed is there at most once; the records of
// one caller that are there are in the order in which it wrote them.
func TestRandomFaults(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			randomFaults(t, rand.New(rand.NewPCG(seed, 1)))
		})
	}
}

func randomFaults(t *testing.T, rnd *rand.Rand) {
	const partitions, callers, batches = 3, 4, 250
	c := fake(t, kfake.NumBrokers(3), kfake.SeedTopics(partitions, "orders"))
	var n proxyNet
	p := open(t, n.client(t, c.ListenAddrs()), Config{Topic: "orders", MaxMessageBytes: 2000, MaxBuffered: 20_000})

	// Answers in place of the work, after it, and connections that break before it or after it.
	var mu sync.Mutex
	chance := func(f float64) bool {
		mu.Lock()
		defer mu.Unlock()
		return rnd.Float64() < f
	}
	answers := []*kerr.Error{
		kerr.NotLeaderForPartition, kerr.RequestTimedOut, kerr.NotEnoughReplicas, kerr.NotEnoughReplicasAfterAppend,
		kerr.OutOfOrderSequenceNumber, kerr.UnknownProducerID, kerr.PolicyViolation, kerr.MessageTooLarge, kerr.InvalidRecord,
	}
	for _, err := range answers {
		for part := range int32(partitions) {
			c.Fault(kfake.Fault{
				Keys: []kmsg.Key{kmsg.Produce}, Topic: "orders", Partitions: []int32{part}, Err: err, Count: -1,
				When: func(kmsg.Request) bool { return chance(0.01) },
			})
		}
	}
	stop := make(chan struct{})
	var chaos sync.WaitGroup
	chaos.Go(func() {
		for {
			if chance(0.5) {
				n.cut()
			}
			if chance(0.5) {
				mu.Lock()
				part, node := rnd.Int32N(partitions), rnd.Int32N(3)
				mu.Unlock()
				if err := c.MoveTopicPartition("orders", part, node); err != nil {
					t.Error(err)
				}
			}
			select {
			case <-time.After(40 * time.Millisecond):
			case <-stop:
				return
			}
		}
	})

	type fate struct {
		mu     sync.Mutex
		failed map[string]error // by value; nil: confirmed
	}
	fates := fate{failed: map[string]error{}}
	ctx := testContext(t)
	var wg, dones sync.WaitGroup
	for caller := range callers {
		wg.Go(func() {
			for b := range batches {
				batch := make([]primitives.Record, 1+(b+caller)%7)
				for i := range batch {
					batch[i] = primitives.Record{
						Value:     fmt.Appendf(nil, "%d:%d:%d", caller, b, i),
						Partition: &primitives.Partition{ID: int32((b + i) % partitions)},
					}
				}
				dones.Add(1)
				p.Write(ctx, batch, func(err error) {
					defer dones.Done()
					var be *primitives.BatchError
					each := map[int]error{}
					if errors.As(err, &be) {
						for _, f := range be.Failed {
							each[f.Index] = f.Err
						}
						err = nil
					}
					fates.mu.Lock()
					defer fates.mu.Unlock()
					for i := range batch {
						v := string(batch[i].Value)
						if _, twice := fates.failed[v]; twice {
							t.Errorf("%s has ended twice", v)
						}
						fates.failed[v] = err
						if err == nil {
							fates.failed[v] = each[i]
						}
					}
				})
			}
		})
	}
	wg.Wait()
	dones.Wait()
	close(stop)
	chaos.Wait()

	seen := map[string]bool{}
	for part, rs := range readAll(t, c.ListenAddrs(), "orders") {
		last := map[int]int{}
		for _, r := range rs {
			v := string(r.Value)
			if seen[v] {
				t.Errorf("%s is there twice", v)
			}
			seen[v] = true
			if _, ok := fates.failed[v]; !ok {
				t.Errorf("%s was never written", v)
			}
			var caller, b, i int
			if _, err := fmt.Sscanf(strings.ReplaceAll(v, ":", " "), "%d %d %d", &caller, &b, &i); err != nil {
				t.Fatal(err)
			}
			at := b*10 + i
			if was, ok := last[caller]; ok && at <= was {
				t.Errorf("partition %d: caller %d: %s comes after %d", part, caller, v, was)
			}
			last[caller] = at
		}
	}
	confirmed, failed := 0, 0
	for v, err := range fates.failed {
		switch {
		case err == nil && !seen[v]:
			t.Errorf("%s was confirmed and is not there", v)
		case err == nil:
			confirmed++
		default:
			failed++
			if seen[v] && !strings.Contains(err.Error(), "may be stored") {
				t.Errorf("%s is there, and was said to be refused: %v", v, err)
			}
		}
	}
	if confirmed < failed {
		t.Errorf("%d records were confirmed and %d have failed: the faults are too many to show anything", confirmed, failed)
	}
	t.Logf("%d confirmed, %d failed, epochs raised %d times", confirmed, failed, epochs(p))
}
