package primitives

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func mustDecoder[T any](t testing.TB, c Codec[T]) Decoder[T] {
	t.Helper()
	d, err := DecoderOf(c)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func mustEncoder[T any](t testing.TB, c Codec[T], key func(T) string) Encoder[T] {
	t.Helper()
	e, err := EncoderOf(c, key)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestDecoderOfRecordIsTheRecord(t *testing.T) {
	want := Record{
		Key: []byte("k"), Value: []byte("v"), Headers: []Header{{"h", []byte("x")}},
		Time: time.Unix(1, 2), Offset: 7, Attempt: 3, Route: 1, Lease: "lease",
	}
	got, err := mustDecoder[Record](t, nil)([]Record{want})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestEncoderOfRecordKeepsWhatAnOutputHas(t *testing.T) {
	in := Record{
		Key: []byte("k"), Value: []byte("v"), Headers: []Header{{"h", []byte("x")}},
		Time: time.Unix(1, 2), Offset: 7, Attempt: 3, Route: 1, Lease: "lease",
	}
	for _, tt := range []struct {
		name string
		key  func(Record) string
		want string
	}{
		{"own key", nil, "k"},
		{"key of the sink", func(r Record) string { return string(r.Value) + "!" }, "v!"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out Outputs
			if err := mustEncoder(t, nil, tt.key)(in, &out); err != nil {
				t.Fatal(err)
			}
			want := []Record{{Key: []byte(tt.want), Value: in.Value, Headers: in.Headers, Time: in.Time}}
			if diff := cmp.Diff(want, out.Records); diff != "" {
				t.Error(diff)
			}
			if in.Key[0] != 'k' {
				t.Error("the input's key was changed")
			}
		})
	}
}

func TestEncoderOfKeys(t *testing.T) {
	key := func(o order) string { return o.ID }
	for _, tt := range []struct {
		name   string
		encode func(out *Outputs) error
		want   Record
	}{
		{"struct", func(out *Outputs) error { return mustEncoder[order](t, nil, nil)(order{ID: "a"}, out) }, Record{Value: []byte(`{"id":"a","lines":null}`)}},
		{"struct, key", func(out *Outputs) error { return mustEncoder(t, nil, key)(order{ID: "a"}, out) }, Record{Key: []byte("a"), Value: []byte(`{"id":"a","lines":null}`)}},
		{"struct, empty key", func(out *Outputs) error { return mustEncoder(t, nil, key)(order{}, out) }, Record{Value: []byte(`{"id":"","lines":null}`)}},
		{"bytes", func(out *Outputs) error { return mustEncoder[[]byte](t, nil, nil)([]byte("ab"), out) }, Record{Value: []byte("ab")}},
		{"bytes, key", func(out *Outputs) error {
			return mustEncoder(t, nil, func(b []byte) string { return string(b[:1]) })([]byte("ab"), out)
		}, Record{Key: []byte("a"), Value: []byte("ab")}},
		{"string, key", func(out *Outputs) error {
			return mustEncoder(t, nil, func(s string) string { return s[:1] })("ab", out)
		}, Record{Key: []byte("a"), Value: []byte("ab")}},
		{"bytes as JSON", func(out *Outputs) error { return mustEncoder(t, JSON[[]byte](), nil)([]byte("ab"), out) }, Record{Value: []byte(`"YWI="`)}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out Outputs
			if err := tt.encode(&out); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]Record{tt.want}, out.Records); diff != "" {
				t.Error(diff)
			}
			if want := len(tt.want.Key) + len(tt.want.Value); out.Size() != want {
				t.Errorf("size %d, want %d", out.Size(), want)
			}
		})
	}
}

func TestEncoderOfAddsNothingOnError(t *testing.T) {
	var out Outputs
	encode := mustEncoder[map[string]any](t, nil, nil)
	if err := encode(map[string]any{"a": "x"}, &out); err != nil {
		t.Fatal(err)
	}
	var e *EncodeError
	if err := encode(map[string]any{"a": "x", "c": make(chan int)}, &out); !errors.As(err, &e) || !IsPermanent(err) {
		t.Fatalf("got %v", err)
	}
	if err := encode(map[string]any{"b": "y"}, &out); err != nil {
		t.Fatal(err)
	}
	want := []Record{{Value: []byte(`{"a":"x"}`)}, {Value: []byte(`{"b":"y"}`)}}
	if diff := cmp.Diff(want, out.Records); diff != "" {
		t.Error(diff)
	}
}

func TestDecoderOfRefusesTypesOfAnExplicitCodec(t *testing.T) {
	if _, err := DecoderOf(JSON[chan int]()); err == nil {
		t.Error("decoder: no error")
	}
	if _, err := EncoderOf(JSON[chan int](), nil); err == nil {
		t.Error("encoder: no error")
	}
}

// Values stay intact while the buffer that they came from grows and moves.
func TestOutputsKeepValuesWhileGrowing(t *testing.T) {
	var out Outputs
	encode := mustEncoder(t, nil, func(s string) string { return "key-" + s[:min(len(s), 8)] })
	var want []string
	for round := range 3 {
		want = want[:0]
		for i := range 2000 {
			s := fmt.Sprintf("%d-%d-%s", round, i, bytes.Repeat([]byte{byte('a' + i%26)}, i%700))
			if err := encode(s, &out); err != nil {
				t.Fatal(err)
			}
			want = append(want, s)
		}
		for i, r := range out.Records {
			if string(r.Value) != want[i] || string(r.Key) != "key-"+want[i][:min(len(want[i]), 8)] {
				t.Fatalf("round %d, record %d: key %q value %.40q, want %.40q", round, i, r.Key, r.Value, want[i])
			}
			if cap(r.Value) != len(r.Value) {
				t.Fatalf("record %d: capacity %d lets an append run into the next value", i, cap(r.Value))
			}
		}
		out.Reset()
		if len(out.Records) != 0 || out.Size() != 0 {
			t.Fatalf("after Reset: %d records, %d bytes", len(out.Records), out.Size())
		}
	}
}

func TestOutputsResetReusesMemory(t *testing.T) {
	var out Outputs
	encode := mustEncoder(t, Raw[string](), func(string) string { return "key" })
	fill := func() {
		for range 20 {
			if err := encode("some value of a record", &out); err != nil {
				t.Fatal(err)
			}
		}
		out.Reset()
	}
	if n := testing.AllocsPerRun(100, fill); n != 0 {
		t.Errorf("%v allocations per round, want 0", n)
	}
}

func TestCodecAllocations(t *testing.T) {
	recs := []Record{{Key: []byte("key"), Value: []byte(`{"id":12,"cents":345}`)}}
	var out Outputs
	allocs := func(name string, pooled bool, want float64, f func() error) {
		t.Helper()
		if pooled && raceEnabled {
			return
		}
		if n := testing.AllocsPerRun(1000, func() {
			if err := f(); err != nil {
				t.Fatal(err)
			}
			out.Reset()
		}); n > want {
			t.Errorf("%s: %v allocations, want %v", name, n, want)
		}
	}

	decodeBytes, encodeBytes := mustDecoder[[]byte](t, nil), mustEncoder[[]byte](t, nil, nil)
	allocs("decode []byte", false, 0, func() error { _, err := decodeBytes(recs); return err })
	allocs("encode []byte", false, 0, func() error { return encodeBytes(recs[0].Value, &out) })
	decodeRecord, encodeRecord := mustDecoder[Record](t, nil), mustEncoder[Record](t, nil, nil)
	allocs("decode Record", false, 0, func() error { _, err := decodeRecord(recs); return err })
	allocs("encode Record", false, 0, func() error { return encodeRecord(recs[0], &out) })
	decodeString, encodeString := mustDecoder[string](t, nil), mustEncoder[string](t, nil, nil)
	allocs("decode string", false, 1, func() error { _, err := decodeString(recs); return err })
	allocs("encode string", false, 0, func() error { return encodeString("some text", &out) })

	type numbers struct {
		ID    int   `json:"id"`
		Cents int64 `json:"cents"`
	}
	decodeStruct, encodeStruct := mustDecoder[numbers](t, nil), mustEncoder[numbers](t, nil, nil)
	allocs("decode struct", true, 0, func() error { _, err := decodeStruct(recs); return err })
	allocs("encode struct", true, 0, func() error { return encodeStruct(numbers{1, 2}, &out) })
	flat := []Record{{Value: payload(t, flat200())}}
	decodeFlat, encodeFlat := mustDecoder[flatOrder](t, nil), mustEncoder[flatOrder](t, nil, nil)
	allocs("decode struct with 5 strings", true, 5, func() error { _, err := decodeFlat(flat); return err })
	allocs("encode struct with 5 strings", true, 0, func() error { return encodeFlat(flat200(), &out) })
}
