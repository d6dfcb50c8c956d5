package flow_test

import (
	"context"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flowkit-go/flow"
	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/primitives/memory"
)

// With a decision every minute, a load that jumps is seen within seconds, so that the
// backlog stays below the burn threshold.
func TestScaleEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const each = 100 * time.Millisecond // one replica does 10 records per second
		broker := memory.NewBroker()
		in := memory.Topic[int]{Broker: broker, Name: "in", Group: "g", Partitions: 32}
		var got tallied
		app := flow.New("shop", quiet(), flow.CPUs(2), flow.AdminAddr("off"))
		flow.Consumer(app, "bill", in, flow.Discard, flow.Do(func(_ context.Context, v int) error {
			time.Sleep(each)
			got.add(v)
			return nil
		}), flow.Replicas(1, 16), flow.NumCPUs(0.1), flow.Ordered(flow.Unordered))
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- app.Run(ctx) }()
		sent, longest := 0, 0.0
		replicas := func() int { return app.Snapshot().Processors[0].Replicas }
		pass := func(d time.Duration, rate int) {
			for range d / time.Second {
				for range rate {
					broker.Append("in", int32(sent%32), primitives.Record{Value: []byte(strconv.Itoa(sent))})
					sent++
				}
				time.Sleep(time.Second)
				longest = max(longest, float64(sent-got.len())*each.Seconds()/float64(replicas()))
			}
		}
		time.Sleep(500 * time.Millisecond) // records come between glances, not at the same moment
		pass(123*time.Second, 2)
		equal(t, "replicas with little to do", replicas(), 1)

		// Four times of what one replica does: a minute's work waits after 20 s.
		for since := 0; replicas() == 1; since++ {
			if pass(time.Second, 40); since > 16 {
				t.Fatal("nothing is done about it for 16 s")
			}
		}
		pass(5*time.Minute, 40)
		path, last := sizes(t, app, "bill")
		t.Logf("%v, the backlog took up to %.0f s; then %s", path, longest, last.Reason)
		if longest > 60 {
			t.Errorf("the backlog took up to %.0f s, more than the threshold", longest)
		}
		if burn := float64(sent-got.len()) * each.Seconds() / float64(replicas()); burn > 15 { // 4 replicas keep it at 9 s, 5 work it off
			t.Errorf("the backlog still takes %.0f s with %d replicas", burn, replicas())
		}
		if len(path) > 3 {
			t.Errorf("%d resizes: %v", len(path), path)
		}
		stop()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
	})
}
