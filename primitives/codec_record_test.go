package primitives

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// labelled is a value with something that travels in a header.
type labelled struct{ Tag, Text string }

// labelledCodec is a RecordCodec. Its plain methods are never to be called.
type labelledCodec struct{ decodeErr, encodeErr, startErr error }

func (labelledCodec) Decode([]byte) (labelled, error) { panic("Decode of a RecordCodec was called") }
func (labelledCodec) Append([]byte, labelled) ([]byte, error) {
	panic("Append of a RecordCodec was called")
}

func (labelledCodec) DecodeRecord(r *Record) (labelled, error) {
	tag, ok := r.Header("tag")
	if !ok {
		return labelled{}, &DecodeError{Type: "labelled", Offset: -1, Err: errors.New("no header tag")}
	}
	return labelled{string(tag), string(r.Value)}, nil
}

func (labelledCodec) AppendRecord(out *Outputs, v labelled) (Record, error) {
	if v.Tag == "" {
		return Record{}, &EncodeError{Type: "labelled", Err: errors.New("the tag is empty")}
	}
	tag := out.Take(append(out.Buffer(), v.Tag...))
	value := out.Take(append(out.Buffer(), v.Text...))
	return Record{Key: []byte("by codec"), Value: value, Headers: []Header{{Name: "tag", Value: tag}}}, nil
}

func (c labelledCodec) CheckDecode() error               { return c.decodeErr }
func (c labelledCodec) CheckEncode() error               { return c.encodeErr }
func (c labelledCodec) StartCodec(context.Context) error { return c.startErr }

var (
	_ RecordCodec[labelled] = labelledCodec{}
	_ CodecChecker          = labelledCodec{}
	_ CodecStarter          = labelledCodec{}
)

func TestRecordCodecGetsTheWholeRecord(t *testing.T) {
	encode, err := EncoderOf[labelled](labelledCodec{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	decode, err := DecoderOf[labelled](labelledCodec{})
	if err != nil {
		t.Fatal(err)
	}
	var out Outputs
	in := []labelled{{"a", "one"}, {"b", ""}, {"c", strings.Repeat("long ", 5000)}}
	for _, v := range in {
		if err := encode(v, &out); err != nil {
			t.Fatal(err)
		}
	}
	if err := encode(labelled{}, &out); !IsPermanent(err) {
		t.Errorf("a value that cannot be encoded gives %v, want a permanent error", err)
	}
	if len(out.Records) != len(in) {
		t.Fatalf("%d records, want %d", len(out.Records), len(in))
	}
	for i, r := range out.Records {
		if string(r.Key) != "by codec" {
			t.Errorf("record %d has the key %q, want the codec's", i, r.Key)
		}
		got, err := decode(out.Records[i : i+1])
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(in[i], got); diff != "" {
			t.Errorf("record %d (-want +got):\n%s", i, diff)
		}
	}
	if _, err := decode([]Record{{Value: []byte("x")}}); !IsPermanent(err) {
		t.Errorf("a record without the header gives %v, want a permanent error", err)
	}
}

func TestRecordCodecKeyOfThePrimitiveWins(t *testing.T) {
	encode, err := EncoderOf(Codec[labelled](labelledCodec{}), func(v labelled) string { return v.Text })
	if err != nil {
		t.Fatal(err)
	}
	var out Outputs
	for _, v := range []labelled{{"a", "key"}, {"b", ""}} {
		if err := encode(v, &out); err != nil {
			t.Fatal(err)
		}
	}
	if got := string(out.Records[0].Key); got != "key" {
		t.Errorf("key %q, want that of the primitive", got)
	}
	if out.Records[1].Key != nil {
		t.Errorf("key %q, want none", out.Records[1].Key)
	}
}

func TestCodecCheckedInItsDirection(t *testing.T) {
	wrong := errors.New("field Subject is empty")
	if _, err := DecoderOf[labelled](labelledCodec{encodeErr: wrong}); err != nil {
		t.Errorf("decoder: %v, but only encoding is wrong", err)
	}
	if _, err := EncoderOf[labelled](labelledCodec{decodeErr: wrong}, nil); err != nil {
		t.Errorf("encoder: %v, but only decoding is wrong", err)
	}
	if _, err := DecoderOf[labelled](labelledCodec{decodeErr: wrong}); !errors.Is(err, wrong) {
		t.Errorf("decoder: %v, want %v", err, wrong)
	}
	if _, err := EncoderOf[labelled](labelledCodec{encodeErr: wrong}, nil); !errors.Is(err, wrong) {
		t.Errorf("encoder: %v, want %v", err, wrong)
	}
}

func TestStartCodec(t *testing.T) {
	away := errors.New("connection refused")
	if err := StartCodec[labelled](t.Context(), labelledCodec{startErr: away}); !errors.Is(err, away) {
		t.Errorf("got %v, want %v", err, away)
	}
	if err := StartCodec(t.Context(), JSON[labelled]()); err != nil {
		t.Errorf("a codec without a start: %v", err)
	}
	if err := StartCodec[labelled](t.Context(), nil); err != nil {
		t.Errorf("no codec: %v", err)
	}
}

// The functions that processors call for ordinary codecs, beside the codec alone.
func BenchmarkCodecFuncs(b *testing.B) {
	raw, order := []byte(strings.Repeat("x", 180)), flat200()
	b.Run("raw/decode", func(b *testing.B) {
		decode, _ := DecoderOf[[]byte](Raw[[]byte]())
		benchDecode(b, decode, raw)
	})
	b.Run("json/decode", func(b *testing.B) {
		decode, _ := DecoderOf[flatOrder](nil)
		benchDecode(b, decode, payload(b, order))
	})
	b.Run("raw/encode", func(b *testing.B) {
		encode, _ := EncoderOf[[]byte](Raw[[]byte](), nil)
		benchEncode(b, encode, raw)
	})
	b.Run("json/encode", func(b *testing.B) {
		encode, _ := EncoderOf[flatOrder](nil, nil)
		benchEncode(b, encode, order)
	})
	b.Run("json/encode keyed", func(b *testing.B) {
		encode, _ := EncoderOf(nil, func(o flatOrder) string { return o.Customer })
		benchEncode(b, encode, order)
	})
}

func benchDecode[T any](b *testing.B, decode Decoder[T], value []byte) {
	recs := []Record{{Value: value}}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := decode(recs); err != nil {
			b.Fatal(err)
		}
	}
}

func benchEncode[T any](b *testing.B, encode Encoder[T], v T) {
	var out Outputs
	b.ReportAllocs()
	for b.Loop() {
		if err := encode(v, &out); err != nil {
			b.Fatal(err)
		}
		if len(out.Records) == 64 {
			out.Reset()
		}
	}
}

func ExampleRecordCodec() {
	encode, _ := EncoderOf[labelled](labelledCodec{}, nil)
	var out Outputs
	if err := encode(labelled{"urgent", "call back"}, &out); err != nil {
		fmt.Println(err)
	}
	tag, _ := out.Records[0].Header("tag")
	fmt.Printf("%s: %s\n", tag, out.Records[0].Value)
	// Output: urgent: call back
}
