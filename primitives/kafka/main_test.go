package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/primitives/primitivetest"
)

// realVar names brokers that the tests of real ones use.
const realVar = "FLOW_KAFKA_BROKERS"

func TestMain(m *testing.M) {
	for _, name := range []string{brokersVar, clientIDVar, mechanismVar, usernameVar, passwordVar, tlsVar, caVar, certVar, keyVar} {
		os.Unsetenv(name)
	}
	goleak.VerifyTestMain(m, meters)
}

// meters ignores the one goroutine that the metrics library of sarama starts,
// which counts fetches in a global registry whatever registry it is given.
var meters = goleak.IgnoreTopFunction("github.com/rcrowley/go-metrics.(*meterArbiter).tick")

// fake is a cluster in this process, with the topic "in" of four partitions and
// "out" of one.
func fake(t testing.TB, opts ...kfake.Opt) *kfake.Cluster {
	t.Helper()
	c, err := kfake.NewCluster(append([]kfake.Opt{
		kfake.NumBrokers(1), kfake.SeedTopics(4, "in"), kfake.SeedTopics(1, "out"),
		kfake.GroupMinSessionTimeout(100 * time.Millisecond),
	}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func at(c *kfake.Cluster) Cluster { return Cluster{Brokers: c.ListenAddrs()} }

// admin is a client of another library, to look at what really is.
func admin(t testing.TB, brokers []string) *kadm.Client {
	t.Helper()
	return kadm.NewClient(plain(t, brokers))
}

// plain is a client of another library for requests of any kind.
func plain(t testing.TB, brokers []string) *kgo.Client {
	t.Helper()
	c, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// place is a process of its own, in a test.
func place(t testing.TB, processor string) *primitives.Env {
	log := slog.New(slog.DiscardHandler)
	if testing.Verbose() {
		log = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	return &primitives.Env{Flow: "test", Processor: processor, Logger: log, DataDir: t.TempDir(), Shared: &primitives.Shared{}}
}

func testContext(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(context.Background(), 30*time.Second, errors.New("not within 30 s"))
	t.Cleanup(cancel)
	return ctx
}

// member is a reader that runs.
type member struct {
	*reader
	t      testing.TB
	in     *primitivetest.Intake
	cancel context.CancelFunc
	ended  chan error
	over   bool
}

func join[T any](t testing.TB, topic Topic[T], capacity int) *member {
	t.Helper()
	return joinWith(t, topic, primitivetest.NewIntake(capacity), fmt.Sprintf("p%d", processors.Add(1)))
}

var processors atomic.Int32

func joinWith[T any](t testing.TB, topic Topic[T], in *primitivetest.Intake, processor string) *member {
	t.Helper()
	m := openMember(t, topic, in, processor)
	m.start()
	return m
}

func newMember[T any](t testing.TB, topic Topic[T], in *primitivetest.Intake) *member {
	t.Helper()
	return openMember(t, topic, in, fmt.Sprintf("p%d", processors.Add(1)))
}

func openMember[T any](t testing.TB, topic Topic[T], in *primitivetest.Intake, processor string) *member {
	t.Helper()
	r, err := topic.OpenSource(testContext(t), place(t, processor))
	if err != nil {
		t.Fatal(err)
	}
	return &member{reader: r.(*reader), t: t, in: in, ended: make(chan error, 1)}
}

func (m *member) start() { m.startWith(m.in) }

// startWith is start with an intake that stands before the member's own.
func (m *member) startWith(in primitives.Intake) {
	ctx, cancel := context.WithCancel(context.Background())
	m.cancel = cancel
	go func() { m.ended <- m.Run(ctx, in) }()
	m.t.Cleanup(m.leave)
}

// leave ends a member as the runtime does.
func (m *member) leave() {
	m.t.Helper()
	m.cancel()
	if !m.over {
		m.over = true
		select {
		case err := <-m.ended:
			if err != nil {
				m.t.Errorf("Run: %v", err)
			}
		case <-time.After(10 * time.Second):
			m.t.Error("Run does not return")
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := m.Close(ctx); err != nil {
		m.t.Errorf("Close: %v", err)
	}
	if err := m.in.Check(); err != nil {
		m.t.Errorf("the reader: %v", err)
	}
}

// end waits for Run to return by itself.
func (m *member) end() error {
	m.t.Helper()
	select {
	case err := <-m.ended:
		m.over = true
		return err
	case <-time.After(20 * time.Second):
		m.t.Fatal("Run does not return")
		return nil
	}
}

// owns waits until the member has n lanes.
func (m *member) owns(ctx context.Context, n int) {
	m.t.Helper()
	if err := m.in.Wait(ctx, func() bool { return len(m.in.Lanes()) == n }); err != nil {
		m.t.Fatalf("the member has %d lanes, want %d: %v %v", len(m.in.Lanes()), n, err, m.last())
	}
}

// last is the last error that the reader met.
func (m *member) last() error {
	retries := m.in.Retries()
	if len(retries) == 0 {
		return nil
	}
	return retries[len(retries)-1]
}

func (m *member) take(ctx context.Context, n int) []primitivetest.Delivery {
	m.t.Helper()
	var out []primitivetest.Delivery
	for len(out) < n {
		d, err := m.in.Take(ctx, n-len(out))
		out = append(out, d...)
		if err != nil {
			m.t.Fatalf("%d of %d records: %v %v", len(out), n, err, m.last())
		}
	}
	return out
}

// commit commits what was taken.
func (m *member) commit(ctx context.Context, ds []primitivetest.Delivery) error {
	return m.Commit(ctx, commitsOf(ds))
}

func commitsOf(ds []primitivetest.Delivery) []primitives.Commit {
	next := map[*primitivetest.Lane]int64{}
	for _, d := range ds {
		next[d.Lane] = max(next[d.Lane], d.Record.Offset+1)
	}
	var out []primitives.Commit
	for lane, n := range next {
		out = append(out, primitives.Commit{Partition: lane.Partition, Epoch: lane.Epoch(), Next: n})
	}
	return out
}

// write writes records and waits for their end.
func write[T any](t testing.TB, topic Topic[T], records ...primitives.Record) {
	t.Helper()
	ctx := testContext(t)
	w, err := topic.OpenSink(ctx, place(t, "writer"))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	w.Write(ctx, records, func(err error) { done <- err })
	if err := errors.Join(<-done, w.Close(ctx)); err != nil {
		t.Fatal(err)
	}
}

// numbered returns n records with different keys.
func numbered(from, n int) []primitives.Record {
	out := make([]primitives.Record, n)
	for i := range out {
		out[i].Key = fmt.Appendf(nil, "key-%d", (from+i)%32)
		out[i].Value = fmt.Appendf(nil, "value-%d", from+i)
	}
	return out
}

// in returns n records of one partition.
func in(p int32, from, n int) []primitives.Record {
	out := numbered(from, n)
	for i := range out {
		out[i].Partition = &primitives.Partition{ID: p}
	}
	return out
}

// committed asks another library what a group has committed.
func committed(t testing.TB, brokers []string, group string, p primitives.Partition) int64 {
	t.Helper()
	offsets, err := admin(t, brokers).FetchOffsets(testContext(t), group)
	if err != nil {
		t.Fatal(err)
	}
	if o, ok := offsets.Lookup(p.Topic, p.ID); ok {
		return o.At
	}
	return -1
}

// realBrokers returns the brokers of a real cluster, or skips the test.
func realBrokers(t testing.TB) []string {
	t.Helper()
	list := os.Getenv(realVar)
	if list == "" {
		t.Skipf("%s is not set: see scripts/kafka", realVar)
	}
	return strings.Split(list, ",")
}

// create makes a topic of its own on a real cluster.
func create(t testing.TB, brokers []string, partitions int32, configs map[string]*string) string {
	t.Helper()
	name := fmt.Sprintf("flow-%s-%d", strings.NewReplacer("/", "-", " ", "-").Replace(strings.ToLower(t.Name())), time.Now().UnixNano())
	if len(name) > 200 {
		name = name[len(name)-200:]
	}
	if _, err := admin(t, brokers).CreateTopic(testContext(t), partitions, -1, configs, name); err != nil {
		t.Fatal(err)
	}
	return name
}
