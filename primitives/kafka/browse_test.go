package kafka

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/primitives/primitivetest"
)

func TestBrowseFake(t *testing.T) {
	c := fake(t)
	browseSuite(t, at(c), func(t testing.TB, name string, partitions int32) {
		if err := c.CreateTopic(name, partitions, nil); err != nil {
			t.Fatal(err)
		}
	})
}

func TestBrowseReal(t *testing.T) {
	brokers := os.Getenv(realVar)
	if brokers == "" {
		t.Skipf("%s is not set: no real brokers to look into", realVar)
	}
	adm := admin(t, strings.Split(brokers, ","))
	browseSuite(t, Cluster{Brokers: strings.Split(brokers, ",")}, func(t testing.TB, name string, partitions int32) {
		if _, err := adm.CreateTopic(t.Context(), partitions, -1, nil, name); err != nil {
			t.Fatal(err)
		}
	})
}

var browseTopics atomic.Int64

func browseSuite(t *testing.T, cluster Cluster, create func(testing.TB, string, int32)) {
	for name, partitions := range map[string]int32{"OnePartition": 1, "FourPartitions": 4} {
		t.Run(name, func(t *testing.T) {
			primitivetest.RunBrowse(t, primitivetest.Config{
				Features: primitivetest.Features{Keys: true, Headers: true, Partitions: partitions > 1, Redelivery: true, Commits: true},
				Timeout:  60 * time.Second,
				Leaks:    []goleak.Option{meters},
				New: func(t testing.TB) primitivetest.Ends {
					name := fmt.Sprintf("browse-%d-%d", time.Now().UnixNano(), browseTopics.Add(1))
					create(t, name, partitions)
					topic := Topic[[]byte]{Name: name, Group: name, Cluster: cluster, Start: Earliest}
					return primitivetest.Ends{Source: topic, Sink: topic}
				},
			})
		})
	}
}

// A look ends where a reader does: markers and what transactions have taken back
// are no records, and what is open is not waited for.
func TestBrowseTransactions(t *testing.T) {
	c := fake(t)
	client, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...), kgo.TransactionalID("browse"), kgo.DefaultProduceTopic("out"))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx := testContext(t)
	for i, end := range []kgo.TransactionEndTry{kgo.TryCommit, kgo.TryAbort, kgo.TryCommit} {
		if err := client.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		for j := range 3 {
			client.Produce(ctx, kgo.StringRecord(fmt.Sprintf("%d-%d", i, j)), nil)
		}
		if err := client.Flush(ctx); err != nil {
			t.Fatal(err)
		}
		if err := client.EndTransaction(ctx, end); err != nil {
			t.Fatal(err)
		}
	}
	if err := client.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	if err := client.ProduceSync(ctx, kgo.StringRecord("open")).FirstErr(); err != nil {
		t.Fatal(err)
	}
	got := browsedValues(t, Topic[string]{Name: "out", Cluster: at(c)})
	if diff := cmp.Diff([]string{"0-0", "0-1", "0-2", "2-0", "2-1", "2-2"}, got); diff != "" {
		t.Errorf("committed (-want +got):\n%s", diff)
	}
	got = browsedValues(t, Topic[string]{Name: "out", Cluster: at(c), Isolation: ReadUncommitted})
	if len(got) != 10 || got[9] != "open" {
		t.Errorf("not committed: %v", got)
	}
	if err := client.EndTransaction(ctx, kgo.TryAbort); err != nil {
		t.Fatal(err)
	}
}

func browsedValues(t *testing.T, b primitives.Browser) (values []string) {
	t.Helper()
	ctx := testContext(t)
	look, err := b.Browse(ctx, place(t, "look"))
	if err != nil {
		t.Fatal(err)
	}
	defer look.Close(ctx)
	spans, err := look.Spans(ctx, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	err = look.Read(ctx, spans, func(r primitives.Record) error { values = append(values, string(r.Value)); return nil })
	if err != nil {
		t.Fatal(err)
	}
	return values
}

// What retention takes away while someone looks is left out.
func TestBrowseOfWhatIsGone(t *testing.T) {
	c := fake(t)
	ctx := testContext(t)
	client, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...), kgo.DefaultProduceTopic("out"))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for i := range 10 {
		if err := client.ProduceSync(ctx, kgo.StringRecord(fmt.Sprint(i))).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	look, err := Topic[string]{Name: "out", Cluster: at(c)}.Browse(ctx, place(t, "look"))
	if err != nil {
		t.Fatal(err)
	}
	defer look.Close(ctx)
	spans, err := look.Spans(ctx, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		gone int64
		want int
	}{{4, 6}, {10, 0}} {
		if err := c.DeleteRecords("out", 0, tt.gone); err != nil {
			t.Fatal(err)
		}
		n := 0
		if err := look.Read(ctx, spans, func(primitives.Record) error { n++; return nil }); err != nil || n != tt.want {
			t.Errorf("%d records and %v when %d are gone, want %d", n, err, tt.gone, tt.want)
		}
	}
}

func TestBrowseMistakes(t *testing.T) {
	c := fake(t)
	ctx, env := testContext(t), place(t, "look")
	if _, err := (Topic[string]{Name: "nowhere", Cluster: at(c)}).Browse(ctx, env); err == nil || !strings.Contains(err.Error(), "topic nowhere: topic does not exist at") {
		t.Errorf("a topic that is not there: %v", err)
	}
	if _, err := (Topic[string]{Name: "in"}).Browse(ctx, env); err == nil || !strings.Contains(err.Error(), "set KAFKA_BROKERS") {
		t.Errorf("no brokers: %v", err)
	}
	if _, err := (Topics[string]{Names: []string{"in"}, Cluster: at(c)}).OpenReturn(ctx, env, "out"); err == nil || !strings.Contains(err.Error(), "topic out is not one of kafka:in") {
		t.Errorf("a topic that is not read: %v", err)
	}
}

// The offsets of a group are set in one request, and not while it has members.
func TestResetOfSomeTopics(t *testing.T) {
	c := fake(t)
	ctx := testContext(t)
	adm := admin(t, c.ListenAddrs())
	topics := Topics[string]{Names: []string{"in", "out"}, Group: "g", Cluster: at(c)}
	p, err := topics.OpenProgress(ctx, place(t, "read"))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close(ctx)
	before, err := p.Committed(ctx)
	if err != nil || len(before) != 0 {
		t.Fatalf("committed %v, %v, want nothing", before, err)
	}
	to := []primitives.Commit{{Partition: primitives.Partition{Topic: "in", ID: 3}, Next: 7}, {Partition: primitives.Partition{Topic: "out"}, Next: 0}}
	if err := p.Reset(ctx, to); err != nil {
		t.Fatal(err)
	}
	after, err := p.Committed(ctx)
	if diff := cmp.Diff(to, after); err != nil || diff != "" {
		t.Errorf("committed, %v (-want +got):\n%s", err, diff)
	}
	really, err := adm.FetchOffsets(ctx, "g")
	if err != nil || really["in"][3].At != 7 || really["out"][0].At != 0 {
		t.Errorf("another client sees %v, %v", really, err)
	}
	member, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...), kgo.ConsumerGroup("g"), kgo.ConsumeTopics("in"), kgo.ClientID("someone"))
	if err != nil {
		t.Fatal(err)
	}
	defer member.Close()
	if _, err := c.WaitGroupStable(ctx, "g", 1); err != nil {
		t.Fatal(err)
	}
	if who, err := p.Members(ctx); err != nil || len(who) != 1 || !strings.HasPrefix(who[0], "someone on ") {
		t.Errorf("members %q, %v", who, err)
	}
	if err := p.Reset(ctx, to); !errors.Is(err, primitives.ErrInUse) {
		t.Errorf("reset with a member: %v", err)
	}
	if err := p.(*progress).groups.SetOffsets(ctx, "g", nil); err != nil {
		t.Errorf("no offsets: %v", err)
	}
}

func TestNeeds(t *testing.T) {
	need := func(names ...string) []primitives.Need {
		return []primitives.Need{{System: "kafka", Variable: "KAFKA_BROKERS", Names: names}}
	}
	topic := Topic[string]{Name: "a", RetryDelays: []time.Duration{time.Minute, time.Second}}
	env := &primitives.Env{Flow: "shop", Processor: "bill"}
	for _, tt := range []struct{ got, want []primitives.Need }{
		{topic.Needs(nil), need("a")},
		{topic.Needs(env), need("a", "shop.bill.retry-1s", "shop.bill.retry-1m")},
		{Topics[string]{Names: []string{"a", "b"}}.Needs(env), need("a", "b")},
		{Topic[string]{Name: "a", Cluster: Cluster{Brokers: []string{"x:1"}}}.Needs(env), nil},
	} {
		if diff := cmp.Diff(tt.want, tt.got); diff != "" {
			t.Errorf("needs (-want +got):\n%s", diff)
		}
	}
}
