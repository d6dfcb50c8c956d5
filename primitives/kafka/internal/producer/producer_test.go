package producer

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/flowkit-go/flow/primitives"
)

func TestWriteRoundTrip(t *testing.T) {
	c := fake(t, kfake.NumBrokers(3), kfake.SeedTopics(4, "orders"))
	p := open(t, client(t, c.ListenAddrs()), Config{Topic: "orders"})
	at := time.UnixMilli(1_700_000_000_123)
	records := []primitives.Record{
		{Key: []byte("a"), Value: []byte("one"), Time: at},
		{Key: []byte("a"), Value: nil, Headers: []primitives.Header{{Name: "h", Value: []byte("v")}, {Name: "h", Value: nil}, {Name: "", Value: []byte("w")}}},
		{Key: []byte{}, Value: []byte{}},
		{Value: []byte("no key"), Time: at.Add(-time.Hour)},
		{Key: []byte("a"), Value: []byte("there"), Partition: &primitives.Partition{Topic: "orders", ID: 3}},
	}
	before := time.Now().Add(-time.Millisecond)
	if err := put(t, p, records...); err != nil {
		t.Fatal(err)
	}
	got := all(readAll(t, c.ListenAddrs(), "orders"))
	if len(got) != len(records) {
		t.Fatalf("%d records, want %d", len(got), len(records))
	}
	find := func(value []byte, key []byte) *kgo.Record {
		for _, r := range got {
			if cmp.Equal(r.Value, value) && cmp.Equal(r.Key, key) {
				return r
			}
		}
		t.Fatalf("no record with key %q and value %q", key, value)
		return nil
	}
	if r := find([]byte("one"), []byte("a")); !r.Timestamp.Equal(at) {
		t.Errorf("time is %s, want %s", r.Timestamp, at)
	}
	if r := find(nil, []byte("a")); r.Timestamp.Before(before) || !cmp.Equal(r.Headers, []kgo.RecordHeader{{Key: "h", Value: []byte("v")}, {Key: "h"}, {Key: "", Value: []byte("w")}}) {
		t.Errorf("time %s, headers %v", r.Timestamp, r.Headers)
	}
	find([]byte{}, []byte{})
	if r := find([]byte("no key"), nil); !r.Timestamp.Equal(at.Add(-time.Hour)) {
		t.Errorf("time is %s, want an hour before %s", r.Timestamp, at)
	}
	if r := find([]byte("there"), []byte("a")); r.Partition != 3 {
		t.Errorf("partition %d, want 3", r.Partition)
	}
}

func TestWriteManyInOrder(t *testing.T) {
	c := fake(t, kfake.NumBrokers(3), kfake.SeedTopics(6, "orders"))
	p := open(t, client(t, c.ListenAddrs()), Config{Topic: "orders"})
	want := writeMany(t, p, 8, 100, 50)
	checkNumbered(t, readAll(t, c.ListenAddrs(), "orders"), want)
}

// writeMany writes as many callers do at once, each with two keys of its own and
// without waiting for the end of a batch.
func writeMany(t testing.TB, p primitives.Writer, callers, batches, size int) map[string]int {
	t.Helper()
	ctx := testContext(t)
	want := map[string]int{}
	var g group
	var wg sync.WaitGroup
	for c := range callers {
		keys := [2]string{fmt.Sprintf("c%d-a", c), fmt.Sprintf("c%d-b", c)}
		want[keys[0]], want[keys[1]] = batches*size, batches*size
		wg.Go(func() {
			n := 0
			for range batches {
				var batch []primitives.Record
				for range size {
					batch = append(batch, record(keys[0], n), record(keys[1], n))
					n++
				}
				g.write(ctx, p, batch)
			}
		})
	}
	wg.Wait()
	if err := g.wait(); err != nil {
		t.Fatal(err)
	}
	return want
}
