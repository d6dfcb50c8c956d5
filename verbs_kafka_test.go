package flow

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/primitives/kafka"
)

// kafkaVerbs are the commands of a flow on Kafka.
type kafkaVerbs struct {
	t    *testing.T
	made func() *Flow
}

func (k kafkaVerbs) run(args ...string) (stdout, stderr string, code int) {
	k.t.Helper()
	var out, errs bytes.Buffer
	code = k.made().execute(k.t.Context(), args, strings.NewReader(""), &out, &errs)
	return out.String(), errs.String(), code
}

func (k kafkaVerbs) ok(args ...string) string {
	k.t.Helper()
	stdout, stderr, code := k.run(args...)
	if code != ExitOK {
		k.t.Fatalf("%s: exit code %d\n%s%s", strings.Join(args, " "), code, stdout, stderr)
	}
	return stdout
}

// start runs the flow until the returned function is called.
func (k kafkaVerbs) start() (stop func()) {
	k.t.Helper()
	ctx, cancel := context.WithCancel(k.t.Context())
	app := k.made()
	ready, ended := make(chan struct{}), make(chan error, 1)
	app.AddReady(func(Addresses) { close(ready) })
	go func() { ended <- app.Run(ctx) }()
	select {
	case <-ready:
	case err := <-ended:
		k.t.Fatalf("the flow did not start: %v", err)
	}
	return func() {
		cancel()
		if err := <-ended; err != nil {
			k.t.Errorf("the flow ended with %v", err)
		}
	}
}

// until polls what the commands print: brokers tell nobody of a change.
func (k kafkaVerbs) until(what string, done func() bool) {
	k.t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for late := time.After(30 * time.Second); !done(); {
		select {
		case <-tick.C:
		case <-late:
			k.t.Fatalf("not in 30 s: %s", what)
		}
	}
}

func (k kafkaVerbs) values(topic string) []string {
	k.t.Helper()
	all := strings.Fields(k.ok("tail", topic, "--from", "earliest", "--follow=false", "--format", "value"))
	slices.Sort(all)
	return all
}

func TestVerbsOnKafka(t *testing.T) {
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(3, "in", "out"), kfake.SeedTopics(2, "dead"), kfake.GroupMinSessionTimeout(time.Second))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	testVerbsOnKafka(t, kafka.Cluster{Brokers: c.ListenAddrs()}, "in", "out", "dead")
}

func TestVerbsOnRealKafka(t *testing.T) {
	brokers := os.Getenv("FLOW_KAFKA_BROKERS")
	if brokers == "" {
		t.Skip("FLOW_KAFKA_BROKERS is not set: no real brokers")
	}
	cluster := kafka.Cluster{Brokers: strings.Split(brokers, ",")}
	client, err := kgo.NewClient(kgo.SeedBrokers(cluster.Brokers...))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	var topics []string
	for _, what := range []string{"in", "out", "dead"} {
		topics = append(topics, fmt.Sprintf("verbs-%s-%d", what, time.Now().UnixNano()))
	}
	made, err := kadm.NewClient(client).CreateTopics(t.Context(), 3, -1, nil, topics...)
	if err = errors.Join(err, made.Error()); err != nil {
		t.Fatal(err)
	}
	testVerbsOnKafka(t, cluster, topics[0], topics[1], topics[2])
}

func testVerbsOnKafka(t *testing.T, cluster kafka.Cluster, in, out, dead string) {
	allowed := "" // what the handler takes besides what is light
	k := kafkaVerbs{t, func() *Flow {
		app := New("depot", HTTPAddr("off"), AdminAddr("off"), Logger(slog.New(slog.DiscardHandler)))
		src := kafka.Topic[parcel]{Name: in, Group: in, Cluster: cluster, Start: kafka.Earliest, Key: func(p parcel) string { return p.ID }}
		Consumer(app, "weigh", src, kafka.Topic[parcel]{Name: out, Cluster: cluster}, func(_ context.Context, p parcel) (parcel, error) {
			if p.Grams > 1000 && p.ID != allowed {
				return p, Permanent(errors.New("too heavy"))
			}
			return p, nil
		}, DeadLetter(kafka.Topic[Raw]{Name: dead, Cluster: cluster}), CommitEvery(50*time.Millisecond, 0))
		return app
	}}
	k.ok("send", in, `{"id":"a","grams":1}`, `{"id":"b","grams":2000}`, `{"id":"c","grams":3000}`, "--header", "trace=t")
	k.ok("send", in, "--raw", "no JSON")
	stop := k.start()
	letters := func() (positions []string) {
		for line := range strings.Lines(k.ok("dlq", "list", "weigh")) {
			positions = append(positions, strings.Fields(line)[0])
		}
		return positions
	}
	k.until("three dead letters", func() bool { return len(letters()) == 3 })
	_, stderr, code := k.run("replay", "weigh", "--from", "earliest")
	if code != ExitUsage || !strings.Contains(stderr, "stop it, then replay") {
		t.Errorf("replay of what runs: exit code %d, %s", code, stderr)
	}
	stop()

	var b string
	for _, at := range letters() {
		if strings.Contains(k.ok("dlq", "show", "weigh", at), `{"id":"b","grams":2000}`) {
			b = at
		}
	}
	allowed = "b"
	k.ok("dlq", "retry", "weigh", b)
	if got := letters(); len(got) != 2 || slices.Contains(got, b) {
		t.Errorf("listed after %s was sent back: %v", b, got)
	}
	stop = k.start()
	k.until("what was sent back is handled", func() bool { return len(k.values(out)) == 2 })
	stop()
	if diff := cmp.Diff([]string{`{"id":"a","grams":1}`, `{"id":"b","grams":2000}`}, k.values(out)); diff != "" {
		t.Errorf("outputs (-want +got):\n%s", diff)
	}
	sent := k.ok("tail", in, "--from", "earliest", "--follow=false", "--format", "json")
	if n := strings.Count(sent, `"key":"b"`); n != 2 || strings.Contains(sent, "flow-dead") || strings.Count(sent, `{"name":"trace","value":"t"}`) != 4 {
		t.Errorf("%d records of b, want the first and the one sent back, with their headers:\n%s", n, sent)
	}

	k.ok("replay", "weigh", "--from", "earliest")
	stop = k.start()
	k.until("all is handled again", func() bool { return len(k.values(out)) >= 5 }) // a, and b as it was and sent back
	k.until("what cannot be handled is listed again", func() bool { return len(letters()) == 4 })
	stop()
	if got := k.ok("dlq", "drop", "weigh", "--all"); got != "4 dead letters of weigh dropped\n" {
		t.Errorf("drop: %s", got)
	}
	if got := letters(); len(got) != 0 {
		t.Errorf("listed after all were dropped: %v", got)
	}
}

// The graph names what the flow command has to provide: each topic once, and none
// whose brokers are given in code.
func TestGraphNamesNeeds(t *testing.T) {
	app := New("depot")
	in := kafka.Topics[parcel]{Names: []string{"a", "b"}, RetryDelays: []time.Duration{time.Second}}
	own := kafka.Topic[parcel]{Name: "own", Cluster: kafka.Cluster{Brokers: []string{"kafka:9092"}}}
	Consumer(app, "weigh", Messages(in), Tee[parcel](kafka.Topic[parcel]{Name: "b"}, kafka.Topic[parcel]{Name: "c"}, own),
		func(_ context.Context, m Msg[parcel]) (parcel, error) { return m.Value, nil }, DeadLetter(kafka.Topic[Raw]{Name: "dead"}))
	want := []primitives.Need{{System: "kafka", Variable: "KAFKA_BROKERS", Names: []string{"a", "b", "depot.weigh.retry-1s", "c", "dead"}}}
	if diff := cmp.Diff(want, app.Graph().Needs); diff != "" {
		t.Errorf("needs (-want +got):\n%s", diff)
	}
	if got := newDepot().Graph().Needs; got != nil {
		t.Errorf("a flow without Kafka needs %v", got)
	}
}
