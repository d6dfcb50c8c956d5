package flow_test

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flowkit-go/flow"
	"github.com/flowkit-go/flow/autoscale"
	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/primitives/memory"
)

// tallied is how often each value was handled.
type tallied struct {
	mu    sync.Mutex
	times map[int]int
}

func (c *tallied) add(v int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.times == nil {
		c.times = map[int]int{}
	}
	c.times[v]++
}

// once complains about values from 0 to n that were not handled exactly once.
func (c *tallied) once(t *testing.T, n int) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	for v := range n {
		if c.times[v] != 1 {
			t.Errorf("record %d was handled %d times", v, c.times[v])
			return
		}
	}
	equal(t, "values handled", len(c.times), n)
}

func (c *tallied) len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.times)
}

// sizes follows the number of replicas through the decisions about a processor.
func sizes(t *testing.T, app *flow.Flow, processor string) (path []string, last autoscale.Decision) {
	t.Helper()
	decisions, err := app.Decisions(processor)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range decisions {
		if last = d; d.Replicas != d.From {
			path = append(path, fmt.Sprintf("%d->%d", d.From, d.Replicas))
		}
	}
	return path, last
}

// A backlog of ten minutes makes a processor grow until it is worked off within the burn
// threshold; then it goes back to its minimum. A replica that is retired finishes its
// record: none is lost or handled twice.
func TestScaleBurnsABacklog(t *testing.T) {
	for name, order := range map[string]flow.Order{"partition": flow.ByPartition, "none": flow.Unordered} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const (
					each      = 100 * time.Millisecond // one replica does 10 records per second
					trickle   = 2                      // records per second that arrive all the time
					backlog   = 10 * 60 * 10           // ten minutes of one replica's work
					threshold = time.Minute
					every     = 10 * time.Second
				)
				broker := memory.NewBroker()
				in := memory.Topic[int]{Broker: broker, Name: "in", Group: "g", Partitions: 32}
				var got tallied
				var setups, teardowns, running atomic.Int32
				app := flow.New("shop", quiet(), flow.CPUs(2), flow.AdminAddr("off"))
				flow.Consumer(app, "bill", in, flow.Discard, flow.Do(func(_ context.Context, v int) error {
					running.Add(1)
					defer running.Add(-1)
					time.Sleep(each)
					got.add(v)
					return nil
				}), flow.Replicas(1, 16), flow.NumCPUs(0.1), flow.Ordered(order), flow.BacklogBurnThreshold(threshold), flow.AutoscaleFrequency(every),
					flow.Setup(func(ctx context.Context) (context.Context, error) { setups.Add(1); return ctx, nil }),
					flow.Teardown(func(context.Context) error { teardowns.Add(1); return nil }))
				ctx, stop := context.WithCancel(t.Context())
				ended := make(chan error, 1)
				go func() { ended <- app.Run(ctx) }()
				sent := 0
				fill := func(n int) {
					for range n {
						broker.Append("in", int32(sent%32), primitives.Record{Value: []byte(strconv.Itoa(sent))})
						sent++
					}
				}
				replicas := func() int { return app.Snapshot().Processors[0].Replicas }
				pass := func(d time.Duration) {
					for range d / time.Second {
						fill(trickle)
						time.Sleep(time.Second)
					}
				}
				pass(2 * time.Minute)
				equal(t, "replicas with little to do", replicas(), 1)

				fill(backlog)
				began, most := time.Now(), 0
				for sent-got.len() > 10*trickle {
					if pass(time.Second); time.Since(began) > 10*time.Minute {
						t.Fatalf("%d records are left after ten minutes with %d replicas", sent-got.len(), replicas())
					}
					most = max(most, replicas())
				}
				took := time.Since(began)
				path, last := sizes(t, app, "bill")
				t.Logf("worked off in %v with up to %d replicas: %v; then %s", took, most, path, last.Reason)
				if took > threshold+2*every {
					t.Errorf("working it off took %v, want %v after the decision to grow", took, threshold)
				}
				if n := int(running.Load()); n > most {
					t.Errorf("%d handlers run with %d replicas", n, most)
				}

				pass(20 * time.Minute)
				path, last = sizes(t, app, "bill")
				t.Logf("%v; then %s", path, last.Reason)
				equal(t, "replicas when it has been calm for long", replicas(), 1)
				stop()
				if err := <-ended; err != nil {
					t.Fatal(err)
				}
				got.once(t, sent)
				equal(t, "teardowns", teardowns.Load(), setups.Load())
				if len(path) > 6 {
					t.Errorf("%d resizes: %v", len(path), path)
				}
			})
		})
	}
}
