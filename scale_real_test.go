package flow_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"testing"
	"time"

	"github.com/flowkit-go/flow"
	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/primitives/nats"
)

// eventually polls what happens outside of the test's reach.
func eventually(t *testing.T, within time.Duration, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for late := time.After(within); !done(); {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("not within %v: %s", within, what)
		}
	}
}

// On the durable queue, in real time: a backlog of ten minutes' work of one replica.
func TestScaleOnTheDurableQueue(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes 15 seconds")
	}
	t.Parallel()
	const (
		each      = 200 * time.Millisecond // one replica does 5 records per second
		backlog   = 10 * 60 * 5
		threshold = 6 * time.Second
		slack     = 6 * time.Second // for a machine that does other things
	)
	queue := nats.Stream[int]{Name: "load", Dir: t.TempDir(), AckWait: time.Minute}
	fill(t, queue, backlog)
	var got tallied
	app := flow.New("shop", quiet(), flow.AdminAddr("off"), flow.CPUs(2))
	flow.Consumer(app, "bill", queue, flow.Discard, flow.Do(func(_ context.Context, v int) error {
		<-time.After(each)
		got.add(v)
		return nil
	}), flow.Replicas(1, 128), flow.NumCPUs(0.01), flow.Ordered(flow.Unordered), flow.BacklogBurnThreshold(threshold),
		flow.AutoscaleFrequency(time.Second), flow.ScaleDownWindow(2*time.Second))
	ctx, stop := context.WithCancel(t.Context())
	ready, ended := make(chan struct{}), make(chan error, 1)
	app.AddReady(func(flow.Addresses) { close(ready) })
	go func() { ended <- app.Run(ctx) }()
	<-ready
	began := time.Now()
	eventually(t, threshold+slack, "the backlog is worked off", func() bool { return got.len() == backlog })
	path, _ := sizes(t, app, "bill")
	t.Logf("worked off in %v: %v", time.Since(began).Round(10*time.Millisecond), path)
	eventually(t, 30*time.Second, "it is at its minimum", func() bool { return app.Snapshot().Processors[0].Replicas == 1 })
	path, last := sizes(t, app, "bill")
	t.Logf("after %v: %v; then %s", time.Since(began).Round(10*time.Millisecond), path, last.Reason)
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	got.once(t, backlog)
}

// fill writes numbers from 0 to a sink.
func fill(t *testing.T, sink flow.Sink[int], n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	w, err := sink.OpenSink(ctx, &primitives.Env{Flow: "fill", Processor: "fill", Shared: &primitives.Shared{}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	var records []primitives.Record
	for v := range n {
		records = append(records, primitives.Record{Value: []byte(strconv.Itoa(v))})
	}
	written := make(chan error, 1)
	w.Write(ctx, records, func(err error) { written <- err })
	if err := errors.Join(<-written, w.Close(ctx)); err != nil {
		t.Fatal(err)
	}
}

// Two processes of one group, each with its own loop: resizing is no rebalance, each
// grows for its own partitions and no further, and none grows again because the other
// has changed.
func TestScale_kafka_twoProcesses(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes 15 seconds")
	}
	onFake(t, func(t *testing.T, k *kafkaRig) {
		const partitions, n, each = 8, 400, 20 * time.Millisecond
		k.create(partitions, "in")
		var got tallied
		launch := func() *running {
			f := k.start(flow.NewConsumer("p", k.in(), flow.Discard, flow.Do(func(_ context.Context, v int) error {
				<-time.After(each)
				got.add(v)
				return nil
			}), flow.Replicas(1, 8), flow.NumCPUs(0.1), flow.BacklogBurnThreshold(5*time.Second),
				flow.AutoscaleFrequency(time.Second), flow.ScaleDownWindow(2*time.Second)))
			<-f.ready
			return f
		}
		both := []*running{launch(), launch()}
		k.until("the partitions are shared out", func() bool {
			return len(both[0].processor().Lanes) == partitions/2 && len(both[1].processor().Lanes) == partitions/2
		})
		for p := range int32(partitions) {
			k.fill(p, 0, n)
		}
		eventually(t, time.Minute, "all is handled", func() bool { return got.len() == partitions*n })
		for i, f := range both {
			eventually(t, 30*time.Second, "it is at its minimum", func() bool { return f.processor().Replicas == 1 })
			decisions, err := f.app.Decisions("p")
			if err != nil {
				t.Fatal(err)
			}
			most, shrunk, path := 1, false, []string(nil)
			for _, d := range decisions {
				most = max(most, d.Replicas)
				if d.Replicas == d.From {
					continue
				}
				path = append(path, fmt.Sprintf("%d->%d", d.From, d.Replicas))
				if d.Replicas > d.From && shrunk {
					t.Errorf("process %d grew again: %s", i, d.Reason)
				}
				shrunk = shrunk || d.Replicas < d.From
			}
			t.Logf("process %d: %v", i, path)
			if most < 2 || most > partitions/2 {
				t.Errorf("process %d had up to %d replicas, want more than 1 and no more than its partitions, %d", i, most, partitions/2)
			}
			if lanes := len(f.processor().Lanes); lanes != partitions/2 {
				t.Errorf("process %d holds %d partitions after it was resized", i, lanes)
			}
		}
		for _, f := range both {
			f.stopped()
		}
		for v, times := range got.times {
			if times != 1 {
				t.Errorf("record %d was handled %d times", v, times)
			}
		}
	})
}
