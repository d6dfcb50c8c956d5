package flow

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/primitives/memory"
)

// What a flow has buried is listed, sent back without the headers of a dead letter
// and handled again; what fails again is a new letter.
func TestDeadLettersOfARun(t *testing.T) {
	d := newDepot()
	d.ok(t, "send", "parcels", `{"id":"light","grams":1}`, `{"id":"heavy","grams":2000}`, `{"id":"heavier","grams":3000}`, "--header", "trace=t")
	d.broker.Append("parcels", 0, Raw{Key: []byte("k"), Value: []byte("no JSON")})
	run := d.start(t)
	run.settle(t, "parcels", 4)
	run.stop(t)
	stdout, stderr, code := d.verb("dlq", "list")
	if code != ExitOK || strings.Count(stdout, "\n") != 3 || stderr != "3 dead letters of weigh in memory:parcels.dead\n" {
		t.Fatalf("list: exit code %d\n%s%s", code, stdout, stderr)
	}
	var heavy string
	for line := range strings.Lines(stdout) {
		if strings.Contains(line, "too heavy") && heavy == "" {
			heavy = strings.Fields(line)[0]
		}
	}
	d.ok(t, "dlq", "retry", "weigh", heavy)
	if got := d.listed(t, "weigh"); len(got) != 2 || slices.Contains(got, heavy) {
		t.Errorf("listed after one was sent back: %v", got)
	}
	if _, stderr, code := d.verb("dlq", "retry", "weigh", heavy); code != ExitUsage || !strings.Contains(stderr, "is done already") {
		t.Errorf("the same again: exit code %d, %s", code, stderr)
	}
	var back Raw
	for p := range int32(3) {
		if all := d.broker.Records("parcels", p); len(all) > 0 {
			if last := all[len(all)-1]; last.Time.After(back.Time) {
				back = last
			}
		}
	}
	if diff := cmp.Diff([]primitives.Header{{Name: "trace", Value: []byte("t")}}, back.Headers); diff != "" || !strings.HasPrefix(string(back.Key), "heav") {
		t.Errorf("sent back: key %s, headers (-want +got):\n%s", back.Key, diff)
	}

	next := newDepotOn(d.broker) // the same program, started again
	again := next.start(t)
	again.settle(t, "parcels", 5)
	again.stop(t)
	if got := next.listed(t, "weigh"); len(got) != 3 || slices.Contains(got, heavy) {
		t.Errorf("listed after it has failed again: %v", got)
	}
	if got := next.ok(t, "dlq", "drop", "weigh", "--all"); got != "3 dead letters of weigh dropped\n" {
		t.Errorf("drop: %s", got)
	}
	if got := next.listed(t, "weigh"); len(got) != 0 {
		t.Errorf("listed after all were dropped: %v", got)
	}
}

func TestDlqShow(t *testing.T) {
	d := newDepot()
	d.bury("weigh", 4)
	want := `position  parcels.dead/0@0
origin    parcels/1@4
time      2026-11-20T10:00:00Z
attempt   3
error     too heavy
          by far
key       p4
header    trace=t
value     {"id":"p4","grams":2000}
`
	if diff := cmp.Diff(want, d.ok(t, "dlq", "show", "weigh", "0@0")); diff != "" {
		t.Errorf("show (-want +got):\n%s", diff)
	}
	var got shownLetter
	line := d.ok(t, "dlq", "list", "weigh", "--json")
	if err := json.Unmarshal([]byte(line), &got); err != nil || got.Consumer != "weigh" || got.Origin != "parcels/1@4" || got.Error != "too heavy\nby far" || *got.Value != `{"id":"p4","grams":2000}` {
		t.Errorf("json: %v\n%s", err, line)
	}
}

// Letters that are named singly, out of order and in runs are done, and no other.
func TestDlqOfALogTakesSingleLetters(t *testing.T) {
	d := newDepot()
	d.bury("weigh", 0, 1, 2, 3, 4, 5, 6, 7, 8, 9) // even ones in partition 0
	d.bury("count", 10, 11)
	d.bury("weigh", 12)
	d.ok(t, "dlq", "drop", "weigh", "0@3", "parcels.dead/1@1-2")
	d.ok(t, "dlq", "retry", "weigh", "0@0")
	want := []string{"parcels.dead/0@1", "parcels.dead/0@2", "parcels.dead/0@4", "parcels.dead/0@6", "parcels.dead/1@0", "parcels.dead/1@3", "parcels.dead/1@4"}
	got := d.listed(t, "weigh")
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("listed (-want +got):\n%s", diff)
	}
	if got := d.returned(); !cmp.Equal(got, []string{"p0"}) {
		t.Errorf("sent back: %v", got)
	}
	_, stderr, _ := d.verb("dlq", "list", "weigh")
	if stderr != "7 dead letters of weigh in memory:parcels.dead, and 2 records of others\n" {
		t.Errorf("stderr %q", stderr)
	}
	d.ok(t, "dlq", "retry", "weigh", "--all")
	if got := d.listed(t, "weigh"); len(got) != 0 {
		t.Errorf("listed: %v", got)
	}
	back := d.returned()
	slices.Sort(back)
	if diff := cmp.Diff([]string{"p0", "p1", "p12", "p2", "p4", "p7", "p8", "p9"}, slices.Compact(back)); diff != "" {
		t.Errorf("sent back (-want +got):\n%s", diff)
	}
}

// Where the source refuses records, exactly those stay listed.
func TestDlqRetryThatFailsInPart(t *testing.T) {
	d := newDepot()
	d.broker.Append("parcels", 2, Raw{})
	d.bury("weigh", 0, 2, 4, 6, 8, 10)
	refused := errors.New("no room")
	mend := d.broker.Control(func(op memory.Op) error {
		if op.Kind == memory.OpWrite && op.Name == "parcels" && op.Partition == 1 {
			return refused
		}
		return nil
	})
	before := d.listed(t, "weigh")
	stdout, stderr, code := d.verb("dlq", "retry", "weigh", "--all")
	if code != ExitFailed || stdout != "" || !strings.Contains(stderr, "no room") {
		t.Fatalf("exit code %d, %s%s", code, stdout, stderr)
	}
	after := d.listed(t, "weigh")
	sent := len(d.returned()) - 1
	if sent == 0 || len(after) == 0 || sent+len(after) != len(before) {
		t.Errorf("%d letters, %d sent back, %d listed: want each in one of both places", len(before), sent, len(after))
	}
	if want := fmt.Sprintf("(%s of weigh sent back to memory:parcels before)", counted(sent, "dead letter")); !strings.Contains(stderr, want) {
		t.Errorf("stderr %q, want %q", stderr, want)
	}
	mend()
	d.ok(t, "dlq", "retry", "weigh", "--all")
	if got := d.returned(); len(got)-1 != len(before) {
		t.Errorf("%d records sent back in all, want %d", len(got)-1, len(before))
	}
}

// A letter that cannot be marked stays listed, and the command says so.
func TestDlqMarkThatFails(t *testing.T) {
	d := newDepot()
	d.bury("weigh", 0)
	mend := d.broker.Control(func(op memory.Op) error {
		if op.Kind == memory.OpWrite && op.Name == "parcels.dead" {
			return errors.New("read only")
		}
		return nil
	})
	_, stderr, code := d.verb("dlq", "retry", "weigh", "--all")
	if code != ExitFailed || !strings.Contains(stderr, "not marked as done") {
		t.Errorf("exit code %d, %s", code, stderr)
	}
	mend()
	if got := d.listed(t, "weigh"); len(got) != 1 {
		t.Errorf("listed: %v", got)
	}
}

// In a queue, what is done is deleted, and nothing else.
func TestDlqOfAQueue(t *testing.T) {
	b := memory.NewBroker()
	app := New("depot", HTTPAddr("off"), AdminAddr("off"))
	src := memory.Queue[string]{Broker: b, Name: "in"}
	dead := memory.Queue[Raw]{Broker: b, Name: "dead"}
	Consumer(app, "weigh", src, Discard, Do(func(context.Context, string) error { return nil }), DeadLetter(Tee[Raw](dead)))
	d := &depot{Flow: app, broker: b}
	source := newDepot()
	source.bury("weigh", 0, 2, 4, 6)
	w, err := dead.OpenSink(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	written := make(chan error, 1)
	w.Write(t.Context(), source.broker.Records("parcels.dead", 0), func(err error) { written <- err })
	if err := <-written; err != nil {
		t.Fatal(err)
	}
	d.ok(t, "dlq", "retry", "weigh", "2")
	d.ok(t, "dlq", "drop", "weigh", "0@0")
	if diff := cmp.Diff([]string{"dead/0@1", "dead/0@3"}, d.listed(t, "weigh")); diff != "" {
		t.Errorf("listed (-want +got):\n%s", diff)
	}
	b.Look(func(s *memory.State) {
		if s.Queued("dead") != 2 || s.Queued("in") != 1 {
			t.Errorf("%d dead letters and %d records in the source, want 2 and 1", s.Queued("dead"), s.Queued("in"))
		}
	})
}

func TestRunsOfOffsets(t *testing.T) {
	var r runs
	has := map[int64]bool{}
	for _, run := range [][2]int64{{5, 5}, {1, 2}, {7, 9}, {6, 6}, {3, 3}, {20, 30}, {25, 40}, {0, 0}, {12, 12}} {
		r = r.add(run[0], run[1])
		for o := run[0]; o <= run[1]; o++ {
			has[o] = true
		}
	}
	if diff := cmp.Diff(runs{{0, 3}, {5, 9}, {12, 12}, {20, 40}}, r); diff != "" {
		t.Errorf("runs (-want +got):\n%s", diff)
	}
	for o := range int64(50) {
		if r.has(o) != has[o] {
			t.Errorf("has(%d) = %v", o, r.has(o))
		}
	}
}

// Marks come back as they were written, however many runs they name.
func TestMarksKeepWhatIsDone(t *testing.T) {
	want := done{}
	for _, p := range []primitives.Partition{{Topic: "a/b", ID: 3}, {Topic: "a-b.c", ID: 0}} {
		for o := range int64(3 * mostRuns) {
			want[p] = want[p].add(o*3, o*3+o%2)
		}
	}
	texts := want.text()
	if len(texts) < 6 {
		t.Errorf("%d marks for %d runs", len(texts), 6*mostRuns)
	}
	got := done{}
	for _, text := range texts {
		if err := got.read([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("read (-want +got):\n%s", diff)
	}
	for _, bad := range []string{"a/b", "3@4", "a/b@4", "a/1@4-x"} {
		if err := (done{}).read([]byte(bad)); err == nil {
			t.Errorf("mark %q was read", bad)
		}
	}
}
