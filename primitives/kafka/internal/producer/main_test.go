package producer

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"github.com/flowkit-go/flow/primitives"
)

func TestMain(m *testing.M) {
	// The metrics library that sarama uses has one ticking goroutine per process.
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/rcrowley/go-metrics.(*meterArbiter).tick"))
}

// brokersVar names brokers of a real cluster for the tests that need one.
const brokersVar = "FLOW_KAFKA_BROKERS"

func testContext(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// fake starts a cluster in this process.
func fake(t testing.TB, opts ...kfake.Opt) *kfake.Cluster {
	t.Helper()
	c, err := kfake.NewCluster(opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// real returns the brokers of a real cluster, or skips the test.
func real(t testing.TB) []string {
	t.Helper()
	v := os.Getenv(brokersVar)
	if v == "" {
		t.Skipf("needs Apache Kafka: set %s to its brokers", brokersVar)
	}
	return strings.Split(v, ",")
}

func client(t testing.TB, addrs []string, change ...func(*sarama.Config)) sarama.Client {
	t.Helper()
	conf := sarama.NewConfig()
	conf.Version = sarama.MaxVersion
	conf.Metadata.AllowAutoTopicCreation = false
	conf.Metadata.Retry.Backoff = 50 * time.Millisecond
	for _, f := range change {
		f(conf)
	}
	cl, err := sarama.NewClient(addrs, conf)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cl.Close(); err != nil && !errors.Is(err, sarama.ErrClosedClient) {
			t.Error(err)
		}
	})
	return cl
}

func open(t testing.TB, cl sarama.Client, cfg Config) *Producer {
	t.Helper()
	p, err := Open(testContext(t), cl, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := p.Close(ctx); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return p
}

// put writes a batch and waits for its end.
func put(t testing.TB, p primitives.Writer, records ...primitives.Record) error {
	t.Helper()
	done := make(chan error, 2)
	p.Write(testContext(t), records, func(err error) { done <- err })
	return <-done
}

// group waits for many batches and keeps their errors.
type group struct {
	wg   sync.WaitGroup
	mu   sync.Mutex
	errs []error
}

func (g *group) write(ctx context.Context, p primitives.Writer, records []primitives.Record) {
	g.wg.Add(1)
	p.Write(ctx, records, func(err error) {
		if err != nil {
			g.mu.Lock()
			g.errs = append(g.errs, err)
			g.mu.Unlock()
		}
		g.wg.Done() // panics when called twice
	})
}

func (g *group) wait() error {
	g.wg.Wait()
	g.mu.Lock()
	defer g.mu.Unlock()
	return errors.Join(g.errs...)
}

// record numbers its values, so that order and duplicates show.
func record(key string, n int) primitives.Record {
	r := primitives.Record{Value: fmt.Appendf(nil, "%s:%d", key, n)}
	if key != "" {
		r.Key = []byte(key)
	}
	return r
}

// readAll returns what a topic holds now, by partition and in order.
func readAll(t testing.TB, addrs []string, topic string, opts ...kgo.Opt) map[int32][]*kgo.Record {
	t.Helper()
	ctx := testContext(t)
	cl, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(addrs...), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.KeepControlRecords()}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	ends, err := kadm.NewClient(cl).ListCommittedOffsets(ctx, topic)
	if err != nil || ends.Error() != nil {
		t.Fatal(err, ends.Error())
	}
	out := map[int32][]*kgo.Record{}
	left := map[int32]int64{}
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			left[o.Partition] = o.Offset
		}
	})
	for len(left) > 0 {
		fs := cl.PollFetches(ctx)
		if err := fs.Err0(); err != nil {
			t.Fatalf("read %s: %v, left %v", topic, err, left)
		}
		fs.EachRecord(func(r *kgo.Record) {
			if !r.Attrs.IsControl() {
				out[r.Partition] = append(out[r.Partition], r)
			}
			if r.Offset >= left[r.Partition]-1 {
				delete(left, r.Partition)
			}
		})
	}
	return out
}

// all is every record in readAll's result.
func all(m map[int32][]*kgo.Record) []*kgo.Record {
	var out []*kgo.Record
	for _, rs := range m {
		out = append(out, rs...)
	}
	return out
}

// checkNumbered fails the test unless each key's values key:0 to key:n-1 are
// there once and in order.
func checkNumbered(t testing.TB, got map[int32][]*kgo.Record, want map[string]int) {
	t.Helper()
	next := map[string]int{}
	for part, rs := range got {
		for _, r := range rs {
			key := string(r.Key)
			var n int
			if _, err := fmt.Sscanf(strings.TrimPrefix(string(r.Value), key), ":%d", &n); err != nil {
				t.Fatalf("%q in partition %d: %v", r.Value, part, err)
			}
			if n != next[key] {
				t.Fatalf("partition %d offset %d: key %q has %d where %d was next", part, r.Offset, key, n, next[key])
			}
			next[key]++
		}
	}
	for key, n := range want {
		if next[key] != n {
			t.Errorf("key %q has %d records, want %d", key, next[key], n)
		}
	}
}

// createTopic makes a topic with a new name.
func createTopic(t testing.TB, addrs []string, partitions int) string {
	t.Helper()
	topic := "test-" + strings.ToLower(rand.Text()[:10])
	cl, err := kgo.NewClient(kgo.SeedBrokers(addrs...))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	adm := kadm.NewClient(cl)
	r, err := adm.CreateTopic(testContext(t), int32(partitions), -1, nil, topic)
	// The client asks again when a busy broker takes its time: then it exists already.
	if err = errors.Join(err, r.Err); err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
		t.Fatal(err)
	}
	waitFor(t, "leaders of "+topic, func() bool {
		m, err := adm.Metadata(testContext(t), topic)
		if err != nil || len(m.Topics[topic].Partitions) < partitions {
			return false
		}
		for _, p := range m.Topics[topic].Partitions {
			if p.Leader < 0 || p.Err != nil {
				return false
			}
		}
		return true
	})
	return topic
}

// waitFor polls what happens outside of this process.
func waitFor(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	ctx := testContext(t)
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("no %s", what)
		}
	}
}
