package kafka

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/flowkit-go/flow/primitives"
)

// What waits for a whole group, from outside of it: nothing is committed at first, so
// that Start counts, and what is in a delay topic waits whatever Start says.
func TestBacklogOfAGroup(t *testing.T) {
	c := fake(t, kfake.SeedTopics(1, "g.retry-1m"))
	ctx := testContext(t)
	topic := Topic[string]{Name: "in", Group: "g", Cluster: at(c), RetryDelays: []time.Duration{time.Minute}}
	write(t, topic, append(in(0, 0, 5), in(2, 5, 7)...)...)
	write(t, Topic[string]{Name: "g.retry-1m", Cluster: at(c)}, in(0, 0, 3)...)
	waiting := func(start Start) (map[string]int64, error) {
		t.Helper()
		topic.Start = start
		p, err := topic.OpenProgress(ctx, place(t, "read"))
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close(ctx)
		parts, err := p.(primitives.Backlogger).Backlog(ctx)
		all := map[string]int64{}
		for _, b := range parts {
			all[b.Partition.String()] = b.Records
		}
		return all, err
	}
	expect := func(what string, start Start, want map[string]int64) {
		t.Helper()
		got, err := waiting(start)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got):\n%s", what, err, diff)
		}
	}
	expect("from the earliest", Earliest, map[string]int64{"in/0": 5, "in/1": 0, "in/2": 7, "in/3": 0, "g.retry-1m/0": 3})
	expect("from the latest", Latest, map[string]int64{"in/0": 0, "in/1": 0, "in/2": 0, "in/3": 0, "g.retry-1m/0": 3})
	if all, err := waiting(Stop); err == nil || !strings.Contains(err.Error(), "in/0: group g has committed no offset: set Start") {
		t.Errorf("with Stop: %v, %v", all, err)
	}

	p, err := topic.OpenProgress(ctx, place(t, "read"))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close(ctx)
	if err := p.Reset(ctx, []primitives.Commit{
		{Partition: primitives.Partition{Topic: "in", ID: 2}, Next: 6}, {Partition: primitives.Partition{Topic: "g.retry-1m"}, Next: 3},
	}); err != nil {
		t.Fatal(err)
	}
	expect("with some committed", Earliest, map[string]int64{"in/0": 5, "in/1": 0, "in/2": 1, "in/3": 0, "g.retry-1m/0": 0})
}
