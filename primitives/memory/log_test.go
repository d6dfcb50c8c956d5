package memory_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/primitives/memory"
	"github.com/flowkit-go/flow/primitives/primitivetest"
	"github.com/google/go-cmp/cmp"
)

func offsets(recs []primitives.Record) []int64 {
	var out []int64
	for _, r := range recs {
		out = append(out, r.Offset)
	}
	return out
}

func TestHolesAndAdvance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.NewBroker()
		b.Append("t", 0, primitives.Record{Offset: 300}, primitives.Record{Offset: 344}, primitives.Record{})
		b.Append("t", 0, primitives.Record{Offset: 2_288_752_002})
		if diff := cmp.Diff([]int64{300, 344, 345, 2_288_752_002}, offsets(b.Records("t", 0))); diff != "" {
			t.Errorf("offsets (-want +got):\n%s", diff)
		}
		in := primitivetest.NewIntake(10)
		r, stop := open(t, memory.Topic[[]byte]{Broker: b, Name: "t"}, in)
		ds := take(t, in, 4)
		if ds[0].Lane.Start != 300 {
			t.Errorf("start %d, want the oldest record's offset 300", ds[0].Lane.Start)
		}
		b.Advance("t", 0, 2_288_752_010)
		synctest.Wait()
		if got := ds[0].Lane.Advanced(); got != 2_288_752_010 {
			t.Errorf("the lane was advanced to %d", got)
		}
		if err := r.Commit(t.Context(), []primitives.Commit{{Partition: ds[0].Lane.Partition, Next: 320}}); err != nil {
			t.Fatal(err)
		}
		backlog, err := r.(primitives.Backlogger).Backlog(t.Context())
		if err != nil || backlog[0].Records != 3 {
			t.Errorf("backlog %v, %v: want the 3 records above 320", backlog, err)
		}
		stop()

		in = primitivetest.NewIntake(10)
		_, _ = open(t, memory.Topic[[]byte]{Broker: b, Name: "t"}, in)
		if d := take(t, in, 3); d[0].Lane.Start != 320 || d[0].Record.Offset != 344 {
			t.Errorf("after a restart: lane from %d, first record %d; want 320 and 344", d[0].Lane.Start, d[0].Record.Offset)
		}
	})
}

func TestRetainDropsTheOldest(t *testing.T) {
	b := memory.NewBroker()
	topic := memory.Topic[[]byte]{Broker: b, Name: "t", Retain: 1000, StopAtEnd: true}
	w, err := topic.OpenSink(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		w.Write(t.Context(), values(500), func(err error) {
			if err != nil {
				t.Error(err)
			}
		})
	}
	got := b.Records("t", 0)
	if n := len(got); n < 1000 || n > 1500 {
		t.Errorf("%d records are kept, want 1000 and not a batch more", n)
	}
	if last := got[len(got)-1].Offset; last != 49_999 {
		t.Errorf("last offset %d, want 49999", last)
	}
	in := primitivetest.NewIntake(2000)
	_, _ = open(t, topic, in)
	if d := take(t, in, len(got)); d[0].Record.Offset != got[0].Offset || d[0].Lane.Start != got[0].Offset {
		t.Errorf("reading starts at %d (lane at %d), want %d", d[0].Record.Offset, d[0].Lane.Start, got[0].Offset)
	}
}

// Offsets are dense and in order whatever the sizes of the batches.
func TestSegments(t *testing.T) {
	b := memory.NewBroker()
	var want []string
	for i, n := range []int{1, 15, 1, 64, 3, 63, 200, 1, 1, 17, 2000, 5} {
		var recs []primitives.Record
		for j := range n {
			v := fmt.Sprintf("%d/%d", i, j)
			want = append(want, v)
			recs = append(recs, primitives.Record{Value: []byte(v)})
		}
		b.Append("t", 0, recs...)
	}
	for start := range int64(len(want)) {
		if start%97 > 1 {
			continue
		}
		in := primitivetest.NewIntake(len(want))
		group := fmt.Sprint("g", start)
		topic := memory.Topic[[]byte]{Broker: b, Name: "t", Group: group, Burst: 50}
		commit(t, topic, start)
		_, stop := open(t, topic, in)
		for i, d := range take(t, in, len(want)-int(start)) {
			if d.Record.Offset != start+int64(i) || string(d.Record.Value) != want[d.Record.Offset] {
				t.Fatalf("from %d: record %d is %q at %d", start, i, d.Record.Value, d.Record.Offset)
			}
		}
		stop()
	}
}

// commit makes a group start at a position.
func commit(t *testing.T, topic memory.Topic[[]byte], next int64) {
	t.Helper()
	in := primitivetest.NewIntake(1)
	r, stop := open(t, topic, in)
	if err := in.Wait(t.Context(), func() bool { return len(in.Lanes()) == 1 }); err != nil {
		t.Fatal(err)
	}
	if err := r.Commit(t.Context(), []primitives.Commit{{Partition: primitives.Partition{Topic: topic.Name}, Next: next}}); err != nil {
		t.Fatal(err)
	}
	stop()
}

func TestTopicsOfAFlowShareABroker(t *testing.T) {
	env := &primitives.Env{Shared: &primitives.Shared{}}
	topic := memory.Topic[[]byte]{Name: "t"}
	w, err := topic.OpenSink(t.Context(), env)
	if err != nil {
		t.Fatal(err)
	}
	r, err := topic.OpenSource(t.Context(), env)
	if err != nil {
		t.Fatal(err)
	}
	w.Write(t.Context(), values(2), func(err error) {
		if err != nil {
			t.Error(err)
		}
	})
	backlog, err := r.(primitives.Backlogger).Backlog(t.Context())
	if err != nil || len(backlog) != 1 || backlog[0].Records != 2 {
		t.Errorf("backlog %v, %v: want 2 records", backlog, err)
	}
	if err := w.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if err := r.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if r, err = topic.OpenSource(t.Context(), env); err != nil {
		t.Fatal(err)
	}
	backlog, err = r.(primitives.Backlogger).Backlog(t.Context())
	if err != nil || backlog[0].Records != 0 {
		t.Errorf("a new run starts with backlog %v, %v, want none", backlog, err)
	}
	if err := r.Close(context.Background()); err != nil {
		t.Error(err)
	}
	if _, err := topic.OpenSource(t.Context(), nil); err == nil {
		t.Error("a topic with neither a broker nor a flow was opened")
	}
}
