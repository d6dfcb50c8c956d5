package kafka_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/flowkit-go/flow"
	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/primitives/kafka"
	"github.com/flowkit-go/flow/primitives/kafka/driver"
	"github.com/flowkit-go/flow/primitives/kafka/internal/client"
)

// forgetful is the usual driver with a fault: it pauses a partition that is read for the
// first time, and nobody resumes it.
type forgetful struct {
	client.Driver
	id int32
}

func (d forgetful) OpenConsumer(ctx context.Context, c driver.Cluster, with driver.Consuming) (driver.Consumer, error) {
	inner, err := d.Driver.OpenConsumer(ctx, c, with)
	return &forgetfulConsumer{Consumer: inner, id: d.id}, err
}

type forgetfulConsumer struct {
	driver.Consumer
	id   int32
	once sync.Once
}

func (c *forgetfulConsumer) Read(p primitives.Partition, offset int64, paused bool, s driver.Stream) {
	if p.ID == c.id {
		c.once.Do(func() { paused = true })
	}
	c.Consumer.Read(p, offset, paused, s)
}

// heard keeps what a flow has logged, without attributes but the partition's.
type heard struct {
	mu    sync.Mutex
	lines []string
}

func (h *heard) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelInfo }

func (h *heard) Handle(_ context.Context, r slog.Record) error {
	line := r.Level.String() + " " + r.Message
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "partition" || a.Key == "cause" {
			line += " " + a.Value.String()
		}
		return true
	})
	h.mu.Lock()
	h.lines = append(h.lines, line)
	h.mu.Unlock()
	return nil
}

func (h *heard) WithAttrs([]slog.Attr) slog.Handler { return h }
func (h *heard) WithGroup(string) slog.Handler      { return h }

// find returns what begins so.
func (h *heard) find(prefix string) (found []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, l := range h.lines {
		if strings.HasPrefix(l, prefix) {
			found = append(found, l)
		}
	}
	return found
}

// testPausedForGood: a partition stays paused in the client although there is room. The
// flow says so, once, and begins the partition anew, which mends it; the other one is not
// disturbed.
func testPausedForGood(t *testing.T, brokers []string) {
	const n, stallAfter = 50, time.Second
	ctx, cancel := context.WithTimeoutCause(t.Context(), 30*time.Second, errors.New("not within 30 s"))
	defer cancel()
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	name := fmt.Sprintf("flow-stall-%d", time.Now().UnixNano())
	if _, err := admin.CreateTopic(ctx, 2, -1, nil, name); err != nil {
		t.Fatal(err)
	}
	for p := range int32(2) {
		for v := range n {
			client.Produce(ctx, &kgo.Record{Topic: name, Partition: p, Value: fmt.Append(nil, v)}, nil)
		}
	}
	if err := client.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	in := kafka.Topic[int]{Name: name, Group: name, Start: kafka.Earliest, Cluster: kafka.Cluster{Brokers: brokers, Driver: forgetful{id: 1}}}
	var mu sync.Mutex
	handled := map[int32][]int{}
	var log heard
	app := flow.New("test", flow.Logger(slog.New(&log)), flow.HTTPAddr("off"), flow.AdminAddr("off"))
	flow.Consumer(app, "p", flow.Messages(in), flow.Discard, flow.Do(func(_ context.Context, m flow.Msg[int]) error {
		mu.Lock()
		defer mu.Unlock()
		handled[m.Partition.ID] = append(handled[m.Partition.ID], m.Value)
		return nil
	}), flow.StallAfter(stallAfter), flow.CommitEvery(20*time.Millisecond, 0))
	running, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	began := time.Now()
	go func() { ended <- app.Run(running) }()

	committed := func(p int32) int64 {
		offsets, err := admin.FetchOffsets(ctx, name)
		if err != nil && ctx.Err() != nil {
			t.Fatal(context.Cause(ctx))
		}
		if o, ok := offsets.Lookup(name, p); err == nil && ok {
			return o.At
		}
		return -1
	}
	await := func(what string, p int32) {
		t.Helper()
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for committed(p) != n {
			select {
			case <-tick.C:
			case err := <-ended:
				t.Fatalf("%s: the flow ended with %v", what, err)
			case <-ctx.Done():
				t.Fatalf("%s: %v; %q", what, context.Cause(ctx), log.lines)
			}
		}
	}
	await("the other partition is committed", 0)
	if c := committed(1); c != -1 {
		t.Errorf("the partition that is paused is committed at %d", c)
	}
	await("the partition is healed", 1)
	if took := time.Since(began); took < stallAfter {
		t.Errorf("healed after %v: it was not paused", took)
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("the flow ended with %v", err)
	}
	part := primitives.Partition{Topic: name, ID: 1}.String()
	if told := log.find("ERROR partition does not advance"); len(told) != 1 || !strings.HasSuffix(told[0], " "+part) {
		t.Errorf("told: %q, want one line of %s", told, part)
	}
	if told := log.find("WARN partition is begun anew"); len(told) != 1 || !strings.HasSuffix(told[0], " "+part) {
		t.Errorf("begun anew: %q, want one line of %s", told, part)
	}
	mu.Lock()
	defer mu.Unlock()
	for p := range int32(2) {
		for v, got := range handled[p] {
			if got != v {
				t.Fatalf("partition %d: record %d was handled as number %d", p, got, v)
			}
		}
		if len(handled[p]) != n {
			t.Errorf("partition %d: %d records were handled, want each once: %d", p, len(handled[p]), n)
		}
	}
}

func TestDelivery_139_paused_for_good(t *testing.T) {
	c, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	testPausedForGood(t, c.ListenAddrs())
}

func TestDelivery_139_paused_for_good_real(t *testing.T) {
	list := os.Getenv("FLOW_KAFKA_BROKERS")
	if list == "" {
		t.Skip("FLOW_KAFKA_BROKERS is not set: see scripts/kafka")
	}
	testPausedForGood(t, strings.Split(list, ","))
}
