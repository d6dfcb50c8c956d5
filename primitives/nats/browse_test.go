package nats

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/primitives/primitivetest"
)

func browseConfig(url string) primitivetest.Config {
	var streams atomic.Int32
	return primitivetest.Config{
		Features: primitivetest.Features{Keys: true, Headers: true, Redelivery: true, Commits: true, Leases: true},
		New: func(testing.TB) primitivetest.Ends {
			s := Stream[[]byte]{Name: fmt.Sprintf("browse-%d", streams.Add(1)), Durable: "suite", URL: url, Retention: Limits, AckWait: 2 * time.Second}
			return primitivetest.Ends{Source: s, Sink: s}
		},
	}
}

func TestBrowseEmbedded(t *testing.T) { primitivetest.RunBrowse(t, browseConfig("")) }

func TestBrowseRemote(t *testing.T) { primitivetest.RunBrowse(t, browseConfig(startRemote(t).url())) }

func TestBrowseOfNoStream(t *testing.T) {
	s := Stream[string]{Name: "nowhere"}
	if _, err := s.Browse(testContext(t), place(t, "look")); err == nil || !strings.Contains(err.Error(), "nats: look at stream nowhere") {
		t.Errorf("error %v", err)
	}
}

// A record whose id the server knows already is stored again all the same when it
// is sent back: a dead letter that is retried within the window is not dropped.
func TestReturnIsNotADuplicate(t *testing.T) {
	ctx, env := testContext(t), place(t, "read")
	s := Stream[string]{Name: "orders", MsgID: func(v string) string { return v }}
	encode, err := s.Encoder()
	if err != nil {
		t.Fatal(err)
	}
	var out primitives.Outputs
	if err := encode("a", &out); err != nil {
		t.Fatal(err)
	}
	w := openTestWriter(t, ctx, env, s)
	for range 2 { // the second is a duplicate
		if err := write(ctx, w, out.Records...); err != nil {
			t.Fatal(err)
		}
	}
	look, err := s.Browse(ctx, env)
	if err != nil {
		t.Fatal(err)
	}
	defer look.Close(ctx)
	stored := func() (all []primitives.Record) {
		spans, err := look.Spans(ctx, time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		if err := look.Read(ctx, spans, func(r primitives.Record) error { all = append(all, r); return nil }); err != nil {
			t.Fatal(err)
		}
		return all
	}
	first := stored()
	if len(first) != 1 {
		t.Fatalf("%d records stored, want 1: the test sees no duplicates", len(first))
	}
	back, err := s.OpenReturn(ctx, env, "orders")
	if err != nil {
		t.Fatal(err)
	}
	defer back.Close(ctx)
	if err := write(ctx, back, primitives.Record{Value: first[0].Value, Headers: first[0].Headers}); err != nil {
		t.Fatal(err)
	}
	again := stored()
	if len(again) != 2 {
		t.Fatalf("%d records stored after a return, want 2", len(again))
	}
	if diff := cmp.Diff(first[0].Headers, again[1].Headers); diff != "" {
		t.Errorf("headers (-want +got):\n%s", diff)
	}
	if _, err := s.OpenReturn(ctx, env, "other"); err == nil {
		t.Error("it was opened for another stream")
	}
}

// What was acknowledged and removed cannot come again; what is skipped is gone.
func TestResetOfAQueue(t *testing.T) {
	ctx, env := testContext(t), place(t, "read")
	s := Stream[string]{Name: "orders"}
	w := openTestWriter(t, ctx, env, s)
	if err := write(ctx, w, values(0, 10)...); err != nil {
		t.Fatal(err)
	}
	p, err := s.OpenProgress(ctx, env)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close(ctx)
	if got, err := p.Committed(ctx); err != nil || got != nil {
		t.Errorf("committed %v, %v before there is a consumer", got, err)
	}
	at := func(next int64) []primitives.Commit {
		return []primitives.Commit{{Partition: primitives.Partition{Topic: "orders"}, Next: next}}
	}
	if err := p.Reset(ctx, at(4)); err != nil {
		t.Fatal(err)
	}
	got, err := p.Committed(ctx)
	if diff := cmp.Diff(at(4), got); err != nil || diff != "" {
		t.Errorf("%v, committed (-want +got):\n%s", err, diff)
	}
	for _, bad := range [][]primitives.Commit{at(-1), {{Partition: primitives.Partition{Topic: "x"}}}} {
		if err := p.Reset(ctx, bad); err == nil {
			t.Errorf("reset to %v", bad)
		}
	}
}
