package flow

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/primitives/memory"
	"github.com/flowkit-go/flow/runtime"
)

type parcel struct {
	ID    string `json:"id"`
	Grams int    `json:"grams"`
}

// A depot is a flow whose ends a test can look into.
type depot struct {
	*Flow
	broker  *memory.Broker
	parcels memory.Topic[parcel]
	dead    memory.Topic[Raw]
}

var errHeavy = errors.New("too heavy")

func newDepot(opts ...ConsumerOption) *depot { return newDepotOn(memory.NewBroker(), opts...) }

func newDepotOn(b *memory.Broker, opts ...ConsumerOption) *depot {
	d := &depot{
		broker:  b,
		parcels: memory.Topic[parcel]{Broker: b, Name: "parcels", Partitions: 3, Group: "depot", Key: func(p parcel) string { return p.ID }},
		dead:    memory.Topic[Raw]{Broker: b, Name: "parcels.dead", Partitions: 2},
		Flow:    New("depot", HTTPAddr("off"), AdminAddr("off"), Logger(slog.New(slog.DiscardHandler))),
	}
	sent := memory.Topic[parcel]{Broker: b, Name: "sent"}
	log := memory.Queue[parcel]{Broker: b, Name: "log"}
	weigh := func(_ context.Context, p parcel) (parcel, error) {
		if p.Grams > 1000 {
			return p, Permanent(errHeavy)
		}
		return p, nil
	}
	Consumer(d.Flow, "weigh", d.parcels, Tee[parcel](sent, log), weigh, append(opts, DeadLetter(d.dead))...)
	Consumer(d.Flow, "count", Messages(sent), Discard, Do(func(context.Context, Msg[parcel]) error { return nil }))
	Collector(d.Flow, "POST /parcels", d.parcels, Pass[parcel])
	Endpoint(d.Flow, "GET /healthy", func(context.Context, None) (string, error) { return "yes", nil })
	return d
}

// verb runs a command line and returns what it prints and its exit code.
func (d *depot) verb(args ...string) (stdout, stderr string, code int) {
	return d.verbIn("", args...)
}

func (d *depot) verbIn(stdin string, args ...string) (stdout, stderr string, code int) {
	var out, errs bytes.Buffer
	code = d.execute(context.Background(), args, strings.NewReader(stdin), &out, &errs)
	return out.String(), errs.String(), code
}

// ok is verb for what has to go well.
func (d *depot) ok(t *testing.T, args ...string) string {
	t.Helper()
	stdout, stderr, code := d.verb(args...)
	if code != ExitOK {
		t.Fatalf("%s: exit code %d\n%s%s", strings.Join(args, " "), code, stdout, stderr)
	}
	return stdout
}

// bury makes dead letters as the runtime does: one for each offset of partition 1.
func (d *depot) bury(processor string, offsets ...int64) {
	for _, o := range offsets {
		header := func(name, value string) primitives.Header { return primitives.Header{Name: name, Value: []byte(value)} }
		d.broker.Append("parcels.dead", int32(o%2), Raw{
			Key: fmt.Appendf(nil, "p%d", o), Value: fmt.Appendf(nil, `{"id":"p%d","grams":2000}`, o),
			Headers: []primitives.Header{
				header("trace", "t"), header(runtime.HeaderDeadFlow, "depot"), header(runtime.HeaderDeadProcessor, processor),
				header(runtime.HeaderDeadTopic, "parcels"), header(runtime.HeaderDeadPartition, "1"),
				header(runtime.HeaderDeadOffset, fmt.Sprint(o)), header(runtime.HeaderDeadTime, "2026-11-20T10:00:00Z"),
				header(runtime.HeaderDeadAttempt, "3"), header(runtime.HeaderDeadError, "too heavy\nby far"),
			},
		})
	}
}

// listed are the positions that dlq list prints.
func (d *depot) listed(t *testing.T, processor string) []string {
	t.Helper()
	var positions []string
	for line := range strings.Lines(d.ok(t, "dlq", "list", processor)) {
		positions = append(positions, strings.Fields(line)[0])
	}
	return positions
}

// returned are the keys of what is in the source.
func (d *depot) returned() []string {
	var keys []string
	d.broker.Look(func(s *memory.State) {
		for p := range int32(3) {
			for _, r := range s.Records("parcels", p) {
				keys = append(keys, string(r.Key))
			}
		}
	})
	return keys
}

func TestVerbMistakes(t *testing.T) {
	d := newDepot()
	d.bury("weigh", 4)
	d.bury("count", 5)
	d.broker.Append("parcels", 2, Raw{})
	for _, tt := range []struct{ args, want string }{
		{"tail", "takes one processor or primitive"},
		{"tail nobody", `no processor and no primitive "nobody": use one of memory:parcels, memory:sent, memory:log, memory:parcels.dead, weigh, count, "POST /parcels", "GET /healthy"`},
		{"tail GET_/healthy", `has no source and no sink`},
		{"tail parcels --from yesterday", `--from "yesterday": want earliest, latest`},
		{"tail parcels --format xml", "--format \"xml\": want one of text, json, value"},
		{"tail parcels -n -1", "want 0 or more"},
		{"send", "takes a processor or primitive"},
		{"send nobody x", `no primitive "nobody"`},
		{"send parcels --header x x", "want name=value"},
		{`send parcels {"id":7}`, `value 1: decode flow.parcel: field id`},
		{"replay weigh", "--from is missing"},
		{"replay nobody --from earliest", `no processor "nobody": use one of weigh, count, "POST /parcels", "GET /healthy"`},
		{"replay POST_/parcels --from earliest", "reads no source"},
		{"replay weigh --from 9@1", `no partition "9": use one of parcels/0, parcels/1, parcels/2`},
		{"replay weigh --from 1@x", "is no position"},
		{"replay weigh --from 1@2 --from earliest", "is no position"},
		{"replay weigh --from 1@2 --from 1@3", "names partition parcels/1 twice"},
		{"dlq lost", `"lost" is not a command of dlq`},
		{"dlq list nobody", `no processor "nobody"`},
		{"dlq list count", `"count" has no dead letters: give it flow.DeadLetter(sink)`},
		{"dlq show weigh", "takes a consumer and positions"},
		{"dlq show weigh 0@7", `no dead letter of "weigh" at 0@7`},
		{"dlq show weigh 7", "2 partitions can be meant: write the position as parcels.dead/0@7"},
		{"dlq show weigh 5@7", `no partition "5": use one of parcels.dead/0, parcels.dead/1`},
		{"dlq retry weigh", "name positions, as 3@812, or give --all"},
		{"dlq retry weigh 0@0 --all", "one of both"},
		{"dlq drop weigh 0@0 0@9", `no dead letter of "weigh" at 0@9`},
	} {
		args := strings.Fields(tt.args)
		for i := range args {
			args[i] = strings.ReplaceAll(args[i], "_/", " /")
		}
		stdout, stderr, code := d.verb(args...)
		if code != ExitUsage || stdout != "" || !strings.Contains(stderr, tt.want) {
			t.Errorf("%s: exit code %d, stdout %q, stderr %q, want %q", tt.args, code, stdout, stderr, tt.want)
		}
	}
	if got := d.listed(t, "weigh"); !cmp.Equal(got, []string{"parcels.dead/0@0"}) {
		t.Errorf("mistakes have changed what is listed: %v", got)
	}
}

func TestVerbsNeedAValidFlow(t *testing.T) {
	d := newDepot(ConcurrentTasks(0))
	if _, stderr, code := d.verb("tail", "parcels"); code != ExitUsage || !strings.Contains(stderr, "num_concurrent_tasks") {
		t.Errorf("exit code %d, %s", code, stderr)
	}
}

func TestTailShowsTheLast(t *testing.T) {
	d := newDepot()
	at := time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC)
	for i := range 12 {
		r := Raw{Key: fmt.Appendf(nil, "k%d", i), Value: fmt.Appendf(nil, `{"id":"%d"}`, i), Time: at.Add(time.Duration(i) * time.Minute), Headers: []primitives.Header{{Name: "h", Value: []byte{0xff}}}}
		d.broker.Append("parcels", int32(i%3), r)
	}
	d.broker.Advance("parcels", 0, 40) // a hole at the end of one partition
	want := "parcels/0@3  2026-11-20T10:09:00.000Z  k9  {\"id\":\"9\"}\nparcels/1@3  2026-11-20T10:10:00.000Z  k10  {\"id\":\"10\"}\nparcels/2@3  2026-11-20T10:11:00.000Z  k11  {\"id\":\"11\"}\n"
	for _, name := range []string{"parcels", "memory:parcels", "weigh", "POST /parcels"} {
		if got := d.ok(t, "tail", name, "-n", "3", "--follow=false"); got != want {
			t.Errorf("tail %s: %q, want %q", name, got, want)
		}
	}
	if got := strings.Count(d.ok(t, "tail", "weigh", "--follow=false"), "\n"); got != 10 {
		t.Errorf("%d lines, want the last 10", got)
	}
	if got := strings.Count(d.ok(t, "tail", "weigh", "--follow=false", "--from", "2026-11-20T10:06:00Z"), "\n"); got != 6 {
		t.Errorf("%d lines from a time on, want 6", got)
	}
	if got, want := d.ok(t, "tail", "weigh", "--from", "earliest", "-n", "2", "--format", "value"), "{\"id\":\"0\"}\n{\"id\":\"3\"}\n"; got != want {
		t.Errorf("two from the earliest: %q, want %q", got, want)
	}
	got := d.ok(t, "tail", "weigh", "--from", "3", "-n", "1", "--format", "json")
	if want := `{"topic":"parcels","partition":0,"offset":3,"time":"2026-11-20T10:09:00Z","key":"k9","value":"{\"id\":\"9\"}","headers":[{"name":"h","value_base64":"/w=="}]}` + "\n"; got != want {
		t.Errorf("json: %s, want %s", got, want)
	}
	if next := d.broker.Committed("depot", "parcels", 0); next != -1 {
		t.Errorf("tail has committed %d", next)
	}
}

// lines is a writer that hands over each line.
type lines struct{ more chan string }

func (l *lines) Write(p []byte) (int, error) {
	l.more <- string(p)
	return len(p), nil
}

func TestTailFollows(t *testing.T) {
	d := newDepot()
	d.broker.Append("parcels", 2, Raw{Value: []byte("old")}) // makes all three partitions
	ctx, cancel := context.WithCancel(t.Context())
	out := &lines{more: make(chan string)}
	ended := make(chan int, 1)
	go func() {
		ended <- d.execute(ctx, []string{"tail", "weigh", "--format", "value"}, strings.NewReader(""), out, io.Discard)
	}()
	if got := <-out.more; got != "old\n" {
		t.Errorf("first line %q", got)
	}
	for i := range 3 {
		d.broker.Append("parcels", int32(i), Raw{Value: fmt.Appendf(nil, "new\x00%d", i)})
		if got, want := <-out.more, fmt.Sprintf("new\x00%d\n", i); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	cancel()
	if code := <-ended; code != ExitOK {
		t.Errorf("exit code %d after Ctrl-C", code)
	}
}

func TestSend(t *testing.T) {
	d := newDepot()
	stdout := d.ok(t, "send", "parcels", `{"id":"a","grams":1}`, `{"id":"b","grams":2}`, "--header", "from=test", "--header", "x=a=b")
	if want := "sent 2 records to memory:parcels\n"; stdout != want {
		t.Errorf("stdout %q, want %q", stdout, want)
	}
	stdout, stderr, code := d.verbIn("{\"id\":\"c\"}\r\n\n  \n{\"id\":\"d\"}", "send", "weigh", "--key", "mine")
	if code != ExitOK || stdout != "sent 2 records to memory:parcels\n" {
		t.Errorf("exit code %d, %s%s", code, stdout, stderr)
	}
	got := map[string]string{}
	for p := range int32(3) {
		for _, r := range d.broker.Records("parcels", p) {
			got[string(r.Value)] = fmt.Sprintf("%s %v", r.Key, r.Headers)
		}
	}
	headers := fmt.Sprint([]primitives.Header{{Name: "from", Value: []byte("test")}, {Name: "x", Value: []byte("a=b")}})
	want := map[string]string{
		`{"id":"a","grams":1}`: "a " + headers, `{"id":"b","grams":2}`: "b " + headers, // the keys are those of the Key function
		`{"id":"c"}`: "mine []", `{"id":"d"}`: "mine []",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("stored (-want +got):\n%s", diff)
	}
}

func TestSendStopsAtAMistake(t *testing.T) {
	d := newDepot()
	_, stderr, code := d.verbIn("{\"id\":\"a\"}\n{\"id\":1}\n{\"id\":\"c\"}\n", "send", "parcels")
	if code != ExitUsage || !strings.Contains(stderr, "line 2: decode flow.parcel: field id") || !strings.Contains(stderr, "sent 1 record to memory:parcels before") {
		t.Errorf("exit code %d, %s", code, stderr)
	}
	if got := d.returned(); !cmp.Equal(got, []string{"a"}) {
		t.Errorf("stored %v, want what stands before the mistake", got)
	}
	if got := d.ok(t, "send", "parcels", "--raw", "nonsense"); got != "sent 1 record to memory:parcels\n" {
		t.Errorf("raw: %q", got)
	}
	undo := d.broker.Control(func(op memory.Op) error {
		if op.Kind == memory.OpWrite {
			return errors.New("the disk is full")
		}
		return nil
	})
	defer undo()
	if _, stderr, code := d.verb("send", "parcels", `{"id":"x"}`); code != ExitFailed || !strings.Contains(stderr, "the disk is full") {
		t.Errorf("exit code %d, %s", code, stderr)
	}
}

func TestReplay(t *testing.T) {
	d := newDepot()
	for i := range 12 {
		d.broker.Append("parcels", int32(i%3), Raw{Value: []byte(`{"id":"a"}`), Time: time.Date(2026, 11, 20, i, 0, 0, 0, time.UTC)})
	}
	run := d.start(t)
	run.settle(t, "parcels", 12)
	_, stderr, code := d.verb("replay", "weigh", "--from", "earliest")
	if code != ExitUsage || !strings.Contains(stderr, `"weigh" is running: group depot reads memory:parcels (weigh-1): stop it, then replay`) {
		t.Errorf("replay of a running consumer: exit code %d, %s", code, stderr)
	}
	if got := d.ok(t, "replay", "weigh", "--from", "earliest", "--dry-run"); !strings.HasPrefix(got, "group depot would be set to\n  parcels/0@0  (was 4, -4)\n") {
		t.Errorf("dry run: %s", got)
	}
	run.stop(t)
	committed := func() (all []int64) {
		for p := range int32(3) {
			all = append(all, d.broker.Committed("depot", "parcels", p))
		}
		return all
	}
	if diff := cmp.Diff([]int64{4, 4, 4}, committed()); diff != "" {
		t.Errorf("before (-want +got):\n%s", diff)
	}
	for _, tt := range []struct {
		from []string
		want []int64
	}{
		{[]string{"1@2"}, []int64{4, 2, 4}},
		{[]string{"earliest"}, []int64{0, 0, 0}},
		{[]string{"latest"}, []int64{4, 4, 4}},
		{[]string{"2026-11-20T05:00:00Z"}, []int64{2, 2, 1}},
		{[]string{"3"}, []int64{3, 3, 3}},
		{[]string{"parcels/0@1", "2@99"}, []int64{1, 3, 4}},
	} {
		args := []string{"replay", "weigh"}
		for _, f := range tt.from {
			args = append(args, "--from", f)
		}
		d.ok(t, args...)
		if diff := cmp.Diff(tt.want, committed()); diff != "" {
			t.Errorf("--from %v (-want +got):\n%s", tt.from, diff)
		}
	}
}

// started is a run of a depot.
type started struct {
	*depot
	cancel context.CancelFunc
	result chan error
}

func (d *depot) start(t *testing.T) *started {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	run := &started{d, cancel, make(chan error, 1)}
	ready := make(chan struct{})
	d.AddReady(func(Addresses) { close(ready) })
	go func() { run.result <- d.Run(ctx) }()
	select {
	case <-ready:
	case err := <-run.result:
		t.Fatalf("the flow did not start: %v", err)
	}
	return run
}

// settle waits until the group has committed n records of a topic.
func (r *started) settle(t *testing.T, topic string, n int64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	err := r.broker.Wait(ctx, func(s *memory.State) bool {
		sum := int64(0)
		for p := range int32(3) {
			sum += max(s.Committed("depot", topic, p), 0)
		}
		return sum >= n
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (r *started) stop(t *testing.T) {
	t.Helper()
	r.cancel()
	if err := <-r.result; err != nil {
		t.Fatal(err)
	}
}
