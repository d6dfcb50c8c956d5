package kafka_test

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/flowkit-go/flow"
	"github.com/flowkit-go/flow/primitives/kafka"
)

type order struct {
	ID    int
	Cents int64
}

type line struct {
	Order string
	Euros float64
}

// A flow reads JSON from one topic and writes JSON to another, keyed, in every way
// of committing.
func TestFlow(t *testing.T) {
	for name, options := range map[string][]flow.ConsumerOption{
		"default":      nil,
		"by key":       {flow.Ordered(flow.ByKey), flow.ConcurrentTasks(8)},
		"commit each":  {flow.CommitEach()},
		"exactly once": {flow.ExactlyOnce()},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := kfake.NewCluster(kfake.NumBrokers(3), kfake.SeedTopics(4, "orders"), kfake.SeedTopics(3, "lines"))
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			testFlow(t, c, options)
		})
	}
}

func testFlow(t *testing.T, c *kfake.Cluster, options []flow.ConsumerOption) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	t.Setenv("KAFKA_BROKERS", c.ListenAddrs()[0])
	const n = 1000
	client, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...), kgo.ConsumeTopics("lines"),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for i := range n {
		client.Produce(ctx, &kgo.Record{Topic: "orders", Key: fmt.Append(nil, i%100), Value: fmt.Appendf(nil, `{"ID":%d,"Cents":%d}`, i, i*100)}, nil)
	}
	if err := client.Flush(ctx); err != nil {
		t.Fatal(err)
	}

	orders := kafka.Topic[order]{Name: "orders", Group: "shop.billing", Start: kafka.Earliest}
	lines := kafka.Topic[line]{Name: "lines", Key: func(l line) string { return l.Order }}
	app := flow.New("billing", flow.Logger(slog.New(slog.DiscardHandler)), flow.HTTPAddr("127.0.0.1:0"), flow.AdminAddr("127.0.0.1:0"))
	flow.Consumer(app, "bill", orders, lines, func(_ context.Context, o order) (line, error) {
		return line{Order: fmt.Sprint(o.ID), Euros: float64(o.Cents) / 100}, nil
	}, options...)
	running, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- app.Run(running) }()

	seen := map[string]int{}
	for len(seen) < n {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			stop()
			t.Fatalf("%d of %d lines: %v; the flow: %v", len(seen), n, err, <-ended)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			seen[string(r.Key)]++
			if want := fmt.Sprintf(`{"Order":%q,"Euros":%s}`, r.Key, r.Key); string(r.Value) != want {
				t.Errorf("line %s, want %s", r.Value, want)
			}
		})
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("the flow ended with %v", err)
	}
	for key, times := range seen {
		if times != 1 {
			t.Errorf("line %s was written %d times", key, times)
		}
	}
	total := int64(0)
	for _, commits := range c.GroupInfo("shop.billing").Commits {
		for _, commit := range commits {
			total += commit.Offset
		}
	}
	if total < n { // more with the markers of transactions
		t.Errorf("offsets committed: %d in all, want %d", total, n)
	}
}
