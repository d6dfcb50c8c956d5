package kafka

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/primitives/kafka/driver"
)

// What is written in any compression is read, here and by another library.
func TestCompression(t *testing.T) {
	c := fake(t)
	ctx := testContext(t)
	value := bytes.Repeat([]byte("compressible "), 100)
	client, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...), kgo.ConsumeTopics("out"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	m := join(t, Topic[[]byte]{Name: "out", Group: "g", Cluster: at(c), Start: Earliest}, 100)
	for _, compression := range []Compression{driver.NoCompression, Gzip, Snappy, LZ4, Zstd} {
		write(t, Topic[[]byte]{Name: "out", Cluster: at(c), Compression: compression}, primitives.Record{Value: value})
		if ds := m.take(ctx, 1); !bytes.Equal(ds[0].Record.Value, value) {
			t.Errorf("%s: %q", compression, ds[0].Record.Value)
		}
		for _, r := range client.PollFetches(ctx).Records() {
			if !bytes.Equal(r.Value, value) {
				t.Errorf("%s, read by another library: %q", compression, r.Value)
			}
		}
	}
}

// A record that is too large is refused for good; the others of its batch are durable.
func TestTooLarge(t *testing.T) {
	c := fake(t)
	ctx := testContext(t)
	w, err := Topic[[]byte]{Name: "out", Cluster: at(c), MaxMessageBytes: 1000}.OpenSink(ctx, place(t, "p"))
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close(ctx)
	done := make(chan error, 1)
	w.Write(ctx, []primitives.Record{{Value: []byte("a")}, {Value: make([]byte, 2000)}, {Value: []byte("b")}}, func(err error) { done <- err })
	var some *primitives.BatchError
	if err := <-done; !errors.As(err, &some) || len(some.Failed) != 1 || some.Failed[0].Index != 1 || !primitives.IsPermanent(err) {
		t.Errorf("Write: %v", err)
	}
}

// Outputs and progress of a partition are seen together, or not at all.
func TestTransactions(t *testing.T) {
	c := two(t, 10)
	if err := c.CreateTopic("out", 1, nil); err != nil {
		t.Fatal(err)
	}
	ctx := testContext(t)
	m := join(t, quick(at(c), "g"), 100)
	ds := m.take(ctx, 20)
	lane := ds[0].Lane
	open := func() *writer {
		w, err := Topic[[]byte]{Name: "out", Cluster: at(c)}.OpenSink(ctx, place(t, "p"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = w.Close(context.WithoutCancel(ctx)) })
		return w.(*writer)
	}
	first, second := open(), open()
	begin := func(w *writer) primitives.Transaction {
		t.Helper()
		tx, err := w.Begin(ctx, m.reader, lane.Partition)
		if err != nil {
			t.Fatal(err)
		}
		return tx
	}
	put := func(tx primitives.Transaction, w *writer, value string) error {
		done := make(chan error, 1)
		tx.Write(ctx, w, []primitives.Record{{Value: []byte(value)}}, func(err error) { done <- err })
		return <-done
	}
	if _, err := first.Begin(ctx, m.reader, lane.Partition); !errors.Is(err, primitives.ErrLost) {
		t.Errorf("Begin without Claim: %v", err)
	}
	if next, err := first.Claim(ctx, m.reader, lane.Partition); err != nil || next != -1 {
		t.Fatalf("Claim: %d, %v", next, err)
	}
	tx := begin(first)
	if err := put(tx, first, "aborted"); err != nil {
		t.Fatal(err)
	}
	if err := tx.Abort(ctx); err != nil {
		t.Fatal(err)
	}
	tx = begin(first)
	if err := errors.Join(put(tx, first, "one"), put(tx, second, "two")); err != nil { // of another writer
		t.Fatal(err)
	}
	commit := primitives.Commit{Partition: lane.Partition, Epoch: lane.Epoch(), Next: 4}
	if got := committed(t, c.ListenAddrs(), "g", lane.Partition); got != -1 {
		t.Errorf("committed %d before the transaction", got)
	}
	if err := tx.Commit(ctx, commit); err != nil {
		t.Fatal(err)
	}
	if got := committed(t, c.ListenAddrs(), "g", lane.Partition); got != 4 {
		t.Errorf("committed %d, want 4", got)
	}
	// A late lane cannot commit.
	tx = begin(first)
	late := commit
	late.Epoch, late.Next = lane.Epoch()+7, 9
	if err := tx.Commit(ctx, late); !errors.Is(err, primitives.ErrLost) {
		t.Errorf("a commit of another lane: %v", err)
	}
	// Who claims the partition fences off who had it.
	tx = begin(first)
	if err := put(tx, first, "fenced"); err != nil {
		t.Fatal(err)
	}
	if next, err := second.Claim(ctx, m.reader, lane.Partition); err != nil || next != 4 {
		t.Fatalf("Claim: %d, %v; want 4", next, err)
	}
	commit.Next = 5
	if err := tx.Commit(ctx, commit); !errors.Is(err, primitives.ErrLost) {
		t.Errorf("the commit of who was fenced off: %v, want ErrLost", err)
	}
	tx = begin(second)
	if err := put(tx, second, "three"); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(ctx, commit); err != nil {
		t.Fatal(err)
	}
	r := join(t, Topic[[]byte]{Name: "out", Group: "out", Cluster: at(c), Start: Earliest}, 100)
	for i, want := range []string{"one", "two", "three"} {
		if got := string(r.take(ctx, 1)[0].Record.Value); got != want {
			t.Errorf("record %d is %q, want %q", i, got, want)
		}
	}
	// Another cluster has no part in it.
	other := join(t, quick(at(two(t, 0)), "g"), 100)
	if _, err := first.Claim(ctx, other.reader, lane.Partition); !primitives.IsPermanent(err) || !strings.Contains(err.Error(), "Cluster") {
		t.Errorf("Claim for a source of another cluster: %v", err)
	}
	var foreign primitives.Reader = struct{ primitives.Reader }{}
	if _, err := first.Begin(ctx, foreign, lane.Partition); !primitives.IsPermanent(err) {
		t.Errorf("Begin for a source of another system: %v", err)
	}
}
