package registry

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/sr"
)

func TestWireFormatBytes(t *testing.T) {
	for _, c := range []struct {
		id      int
		indexes []int
		want    string
	}{
		{1, []int{0}, "\x00\x00\x00\x00\x01\x00"},
		{258, []int{1}, "\x00\x00\x00\x01\x02\x02\x02"},
		{1 << 31, []int{1, 0}, "\x00\x80\x00\x00\x00\x04\x02\x00"},
		{7, []int{2, 70}, "\x00\x00\x00\x00\x07\x04\x04\x8c\x01"},
	} {
		if got := appendIndexes(appendHeader(nil, c.id), c.indexes); string(got) != c.want {
			t.Errorf("%d %v: got % x, want % x", c.id, c.indexes, got, c.want)
		}
	}
}

// What is written and read is the same as with the client's own implementation.
func TestWireFormatAgreesWithTheClient(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	var theirs sr.ConfluentHeader
	for range 2000 {
		id := int(rng.Uint32())
		indexes := make([]int, 1+rng.IntN(5))
		for i := range indexes {
			indexes[i] = rng.IntN(300)
		}
		want, err := theirs.AppendEncode(nil, id, indexes)
		if err != nil {
			t.Fatal(err)
		}
		got := appendIndexes(appendHeader(nil, id), indexes)
		if !bytes.Equal(got, want) {
			t.Fatalf("%d %v: got % x, want % x", id, indexes, got, want)
		}
		gotID, rest, err := cutHeader(append(got, "payload"...))
		if err != nil {
			t.Fatal(err)
		}
		raw, rest, err := cutIndexes(rest)
		if err != nil {
			t.Fatal(err)
		}
		if gotID != id || string(rest) != "payload" || !cmp.Equal(indexesOf(raw), indexes) {
			t.Fatalf("read %d %v %q, want %d %v", gotID, indexesOf(raw), rest, id, indexes)
		}
	}
}

func FuzzWireFormat(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x00\x01\x00rest"))
	f.Add([]byte("\x00\x00\x00\x00\x01\x04\x02\x00rest"))
	f.Add([]byte("\x00\x00\x00\x00\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"))
	f.Fuzz(func(t *testing.T, value []byte) {
		id, rest, err := cutHeader(value)
		if err != nil {
			return
		}
		raw, payload, err := cutIndexes(rest)
		if err != nil {
			return
		}
		indexes := indexesOf(raw)
		if len(raw)+len(payload) != len(rest) || len(indexes) == 0 || len(indexes) > maxDepth {
			t.Fatalf("raw % x, payload % x, indexes %v", raw, payload, indexes)
		}
		again, _, err := cutIndexes(appendIndexes(nil, indexes))
		if err != nil || !cmp.Equal(indexesOf(again), indexes) {
			t.Fatalf("%v became %v, %v", indexes, indexesOf(again), err)
		}
		if back, _, _ := cutHeader(appendHeader(nil, id)); back != id {
			t.Fatalf("id %d became %d", id, back)
		}
	})
}
