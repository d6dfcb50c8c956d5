package primitives

import (
	stdjson "encoding/json"
	"errors"
	"math/big"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

type name string

type blob []byte

// roundTrip writes v with the codec that its type asks for, compares the bytes
// and reads them back.
func roundTrip[T any](t *testing.T, v T, want string) {
	t.Helper()
	c, err := CodecFor[T]()
	if err != nil {
		t.Errorf("%T: %v", v, err)
		return
	}
	data, err := c.Append([]byte("before:"), v)
	if err != nil || string(data) != "before:"+want {
		t.Errorf("%T: %q, %v, want %q", v, data, err, want)
		return
	}
	got, err := c.Decode(data[len("before:"):])
	if err != nil {
		t.Errorf("%T: %v", v, err)
		return
	}
	if diff := cmp.Diff(v, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
		cmp.Comparer(func(a, b *big.Int) bool { return a.Cmp(b) == 0 }), protocmp.Transform()); diff != "" {
		t.Errorf("%T: %s", v, diff)
	}
}

func TestCodecForChoosesByType(t *testing.T) {
	addr, at := netip.MustParseAddr("10.0.0.1"), time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC)
	roundTrip(t, []byte("\x00\xff"), "\x00\xff")
	roundTrip(t, "a\"b", "a\"b")
	roundTrip(t, name("n"), `"n"`)
	roundTrip(t, blob("hi"), `"aGk="`)
	roundTrip(t, stdjson.RawMessage(`{"a":1}`), `{"a":1}`)
	roundTrip(t, 42, `42`)
	roundTrip(t, true, `true`)
	roundTrip(t, order{ID: "x"}, `{"id":"x","lines":null}`)
	roundTrip(t, &order{ID: "x"}, `{"id":"x","lines":null}`)
	roundTrip(t, []order{{ID: "x"}}, `[{"id":"x","lines":null}]`)
	roundTrip(t, map[string]int{"a": 1}, `{"a":1}`)
	roundTrip[any](t, map[string]any{"a": 1.0}, `{"a":1}`)
	roundTrip(t, addr, "10.0.0.1")
	roundTrip(t, &addr, "10.0.0.1")
	roundTrip(t, at, "2024-05-06T07:08:09Z")
	roundTrip(t, level(3), "L3")
	roundTrip(t, big.NewInt(12), "12")
	roundTrip(t, wrapperspb.String("hi"), "\n\x02hi")
}

func TestCodecForProtoValue(t *testing.T) {
	c, err := CodecFor[wrapperspb.StringValue]()
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.Decode([]byte("\n\x02hi"))
	if err != nil || got.GetValue() != "hi" {
		t.Errorf("%q, %v", got.GetValue(), err)
	}
	if _, err := c.Decode([]byte("\n")); err == nil {
		t.Error("no error")
	}
}

func TestRawNamedTypes(t *testing.T) {
	s, err := Raw[name]().Decode([]byte("n"))
	if err != nil || s != "n" {
		t.Errorf("%q, %v", s, err)
	}
	data, err := Raw[blob]().Append([]byte("a"), blob("b"))
	if err != nil || string(data) != "ab" {
		t.Errorf("%q, %v", data, err)
	}
}

func TestRawStringIsACopy(t *testing.T) {
	data := []byte("abc")
	s, err := Raw[string]().Decode(data)
	if err != nil {
		t.Fatal(err)
	}
	clear(data)
	if s != "abc" {
		t.Errorf("%q refers to the input", s)
	}
}

func FuzzRaw(f *testing.F) {
	f.Add([]byte(nil), []byte("x"))
	f.Add([]byte("\xff\x00"), []byte{})
	f.Fuzz(func(t *testing.T, dst, data []byte) {
		b, err := Raw[[]byte]().Decode(data)
		if err != nil || string(b) != string(data) {
			t.Fatalf("%q, %v", b, err)
		}
		s, err := Raw[string]().Decode(data)
		if err != nil || s != string(data) {
			t.Fatalf("%q, %v", s, err)
		}
		want := string(dst) + s
		out, err := Raw[string]().Append(dst, s)
		if err != nil || string(out) != want {
			t.Fatalf("%q, %v", out, err)
		}
	})
}

func TestTextErrors(t *testing.T) {
	_, err := Text[netip.Addr]().Decode([]byte("10.0.0"))
	if want := `decode netip.Addr: ParseAddr("10.0.0"): IPv4 address too short`; text(err) != want {
		t.Errorf("%v, want %s", err, want)
	}
	checkDecodeError(t, err, 6)

	c, err := CodecFor[*big.Int]()
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Decode([]byte("x"))
	if want := `decode *big.Int: math/big: cannot unmarshal "x" into a *big.Int`; text(err) != want {
		t.Errorf("%v, want %s", err, want)
	}
	var e *EncodeError
	if _, err := c.Append(nil, nil); !errors.As(err, &e) || err.Error() != "encode *big.Int: nil pointer" {
		t.Errorf("nil: %v", err)
	}
	far := time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)
	if _, err := Text[time.Time]().Append(nil, far); !errors.As(err, &e) {
		t.Errorf("year 10000: %v", err)
	}
}

func TestProto(t *testing.T) {
	c := Proto[*structpb.Struct]()
	v, err := structpb.NewStruct(map[string]any{"a": 1.0, "b": "x", "c": []any{true, nil}, "d": map[string]any{"e": 2.0}})
	if err != nil {
		t.Fatal(err)
	}
	first, err := c.Append([]byte("before"), v)
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if again, err := c.Append([]byte("before"), v); err != nil || string(again) != string(first) {
			t.Fatalf("%q, %v, before %q", again, err, first)
		}
	}
	got, err := c.Decode(first[len("before"):])
	if err != nil || !proto.Equal(v, got) {
		t.Errorf("%v, %v", got, err)
	}
	if got, err := c.Decode(nil); err != nil || got == nil {
		t.Errorf("an empty message: %v, %v", got, err)
	}

	_, err = c.Decode([]byte{0xff})
	checkDecodeError(t, err, 1)
	var e *EncodeError
	if _, err := c.Append(nil, nil); !errors.As(err, &e) || err.Error() != "encode *structpb.Struct: nil pointer" {
		t.Errorf("nil: %v", err)
	}
	if _, err := Proto[*wrapperspb.StringValue]().Append(nil, wrapperspb.String("\xff")); !errors.As(err, &e) {
		t.Errorf("invalid UTF-8: %v", err)
	}
}

type (
	wrapped struct {
		*wrapperspb.StringValue
		Extra int
	}
	anyMessage struct{ proto.Message }
)

type (
	job struct {
		ID   string
		Done chan error
		//lint:ignore U1000 what is not exported is not carried anyway
		local chan int
	}
	batch  struct{ Jobs []job }
	tagged struct {
		Done chan error `json:"-"`
	}
	dashed struct {
		//lint:ignore SA5008 this names the field "-"
		Done chan error `json:"-,"`
	}
	hooks   struct{ After map[string]*func() }
	base    struct{ C complex128 }
	derived struct{ base }
	keyed   struct{ ByPlace map[struct{ X int }]string }
	linked  struct {
		Next *linked
		V    any
		Big  *big.Int
		At   map[netip.Addr]time.Time
	}
)

func TestCodecForRefuses(t *testing.T) {
	for _, tt := range []struct {
		choose func() error
		want   string
	}{
		{choose[job], "JSON cannot carry primitives.job: field Done has type chan error: tag it `json:\"-\"`, or give the primitive a Codec"},
		{choose[*batch], "JSON cannot carry *primitives.batch: field Jobs.Done has type chan error: tag it `json:\"-\"`, or give the primitive a Codec"},
		{choose[hooks], "JSON cannot carry primitives.hooks: field After has type func(): tag it `json:\"-\"`, or give the primitive a Codec"},
		{choose[derived], "JSON cannot carry primitives.derived: field base.C has type complex128: tag it `json:\"-\"`, or give the primitive a Codec"},
		{choose[keyed], "JSON cannot carry primitives.keyed: field ByPlace has type map[struct { X int }]string with keys that are no text: tag it `json:\"-\"`, or give the primitive a Codec"},
		{choose[dashed], "JSON cannot carry primitives.dashed: field Done has type chan error: tag it `json:\"-\"`, or give the primitive a Codec"},
		{choose[chan int], "JSON cannot carry chan int: give the primitive a Codec"},
		{choose[[]func()], "JSON cannot carry func(): give the primitive a Codec"},
		{choose[wrapped], "primitives.wrapped is a protobuf message only because it embeds *wrapperspb.StringValue: give the primitive a Codec, as JSON[primitives.wrapped]()"},
		{choose[*anyMessage], "*primitives.anyMessage is a protobuf message only because it embeds protoreflect.ProtoMessage: give the primitive a Codec, as JSON[*primitives.anyMessage]()"},
		{choose[tagged], ""},
		{choose[linked], ""},
		{choose[everything], ""},
		{choose[any], ""},
		{choose[error], ""},
		{choose[proto.Message], ""},
	} {
		if got := text(tt.choose()); got != tt.want {
			t.Errorf("\n%s, want\n%s", got, tt.want)
		}
	}
}

func TestProtoRefusesWhatIsNoMessageType(t *testing.T) {
	for _, c := range []struct {
		name string
		err  func() error
	}{
		{"interface", func() error { _, err := DecoderOf(Proto[proto.Message]()); return err }},
		{"embedding", func() error { _, err := DecoderOf(Proto[wrapped]()); return err }},
		{"interface, unchecked", func() error { _, err := Proto[proto.Message]().Decode(nil); return err }},
		{"embedding, unchecked", func() error { _, err := Proto[wrapped]().Decode(nil); return err }},
		{"nil interface", func() error { _, err := Proto[proto.Message]().Append(nil, nil); return err }},
	} {
		if c.err() == nil {
			t.Errorf("%s: no error", c.name)
		}
	}
}

func choose[T any]() error {
	_, err := CodecFor[T]()
	return err
}
