package kafka_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
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

// A record whose handler fails leaves its partition and comes again through a delay topic;
// what fails for good ends in the dead letters, with where it was read first.
func TestFlowRetryLater(t *testing.T) {
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(2, "orders"), kfake.SeedTopics(1, "lines", "dead", "g.retry-50ms"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	t.Setenv("KAFKA_BROKERS", c.ListenAddrs()[0])
	client, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...), kgo.ConsumeTopics("lines", "dead"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for i := range 20 {
		r := &kgo.Record{Topic: "orders", Key: fmt.Append(nil, i), Value: fmt.Appendf(nil, `{"ID":%d}`, i)}
		if err := client.ProduceSync(ctx, r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	orders := kafka.Topic[order]{Name: "orders", Group: "g", Start: kafka.Earliest, RetryDelays: []time.Duration{50 * time.Millisecond}}
	lines := kafka.Topic[line]{Name: "lines"}
	dead := kafka.Topic[flow.Raw]{Name: "dead"}
	app := flow.New("billing", flow.Logger(slog.New(slog.DiscardHandler)), flow.HTTPAddr("127.0.0.1:0"), flow.AdminAddr("127.0.0.1:0"))
	flow.Consumer(app, "bill", flow.Messages(orders), lines, func(_ context.Context, m flow.Msg[order]) (line, error) {
		switch {
		case m.Value.ID == 13:
			return line{}, errors.New("never")
		case m.Value.ID%5 == 0 && m.Attempt < 3:
			return line{}, errors.New("not yet")
		}
		return line{Order: fmt.Sprint(m.Value.ID, " ", m.Attempt)}, nil
	}, flow.RetryLater(3, flow.Constant(10*time.Millisecond)), flow.DeadLetter(dead))
	running, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- app.Run(running) }()
	got := map[string]bool{}
	var letters []*kgo.Record
	for len(got) < 19 || len(letters) < 1 {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			stop()
			t.Fatalf("%d lines, %d dead letters: %v; the flow: %v", len(got), len(letters), err, <-ended)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if r.Topic == "dead" {
				letters = append(letters, r)
				return
			}
			got[string(r.Value)] = true
		})
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("the flow ended with %v", err)
	}
	for i := range 20 {
		attempt := 1
		if i%5 == 0 {
			attempt = 3
		}
		if want := fmt.Sprintf(`{"Order":"%d %d","Euros":0}`, i, attempt); i != 13 && !got[want] {
			t.Errorf("there is no line %s", want)
		}
	}
	if len(letters) != 1 || string(letters[0].Value) != `{"ID":13}` || string(letters[0].Key) != "13" {
		t.Fatalf("dead letters %v", letters)
	}
	headers := map[string]string{}
	for _, h := range letters[0].Headers {
		headers[h.Key] = string(h.Value)
	}
	t.Logf("headers of the dead letter: %v", headers)
	if !slices.Contains(slices.Collect(maps.Values(headers)), "orders") {
		t.Errorf("the dead letter does not say that it is of orders: %v", headers)
	}
	for name := range headers {
		if strings.HasPrefix(name, "flow-due") || strings.HasPrefix(name, "flow-attempt") || strings.HasPrefix(name, "flow-time") {
			t.Errorf("the dead letter has the header %s of the delay topic", name)
		}
	}
}
