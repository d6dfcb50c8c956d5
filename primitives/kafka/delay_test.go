package kafka

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/flowkit-go/flow/primitives"
)

// A record that is delayed comes again when its delay is over, as it was, also to another
// process and to one that starts at the end of the topic.
func TestDelays(t *testing.T) {
	c := fake(t, kfake.SeedTopics(1, "g.retry-300ms", "g.retry-1m"))
	ctx := testContext(t)
	topic := quick(at(c), "g")
	topic.Start, topic.RetryDelays = Latest, []time.Duration{time.Minute, 300 * time.Millisecond}
	if got := topic.RetryTopics(); !slices.Equal(got, []string{"g.retry-300ms", "g.retry-1m"}) {
		t.Fatalf("RetryTopics %v", got)
	}
	m := join(t, topic, 100)
	m.owns(ctx, 6)
	if got := m.Delays(); !slices.Equal(got, []time.Duration{300 * time.Millisecond, time.Minute}) {
		t.Errorf("Delays %v", got)
	}
	want := primitives.Record{
		Key: []byte("k"), Value: []byte("v"), Attempt: 3, Time: time.UnixMilli(1_000),
		Headers: []primitives.Header{{Name: "trace", Value: []byte("x")}},
	}
	start := time.Now()
	from := want
	from.Partition, from.Offset = &primitives.Partition{Topic: "in", ID: 3}, 17
	if err := m.Delay(ctx, from, 200*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	bare := primitives.Record{Value: []byte("bare"), Attempt: 2}
	if err := m.Delay(ctx, bare, time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if err := m.Delay(ctx, bare, time.Hour); err != nil { // the longest that there is
		t.Fatal(err)
	}
	m.leave() // before any is due
	other := join(t, topic, 100)
	ds := other.take(ctx, 2)
	if took := time.Since(start); took < 290*time.Millisecond {
		t.Errorf("came again after %v", took)
	}
	for i, want := range []primitives.Record{want, bare} {
		got := ds[i].Record
		got.Offset = 0
		if d := cmp.Diff(want, got); d != "" {
			t.Error(d)
		}
	}
	if err := other.commit(ctx, ds); err != nil {
		t.Error(err)
	}
	b, err := other.Backlog(ctx)
	if err != nil {
		t.Fatal(err)
	}
	total := int64(0)
	for _, each := range b {
		total += each.Records
	}
	if total != 1 { // what waits for a minute
		t.Errorf("backlog %d, want 1", total)
	}
	if n, _ := other.in.Pushed(); n != 2 {
		t.Errorf("%d records were pushed, want 2", n)
	}
}

func TestDelayTopicsMustExist(t *testing.T) {
	topic := quick(at(fake(t)), "g")
	topic.RetryDelays = []time.Duration{90 * time.Second}
	if _, err := topic.OpenSource(testContext(t), place(t, "p")); err == nil || !strings.Contains(err.Error(), "g.retry-1m30s") {
		t.Errorf("error %v, want one that names the topic", err)
	}
	topic.RetryDelays = []time.Duration{time.Second, time.Second, time.Microsecond}
	if err := topic.Validate(); err == nil || !strings.Contains(err.Error(), "twice") || !strings.Contains(err.Error(), "milliseconds") {
		t.Errorf("Validate: %v", err)
	}
}
