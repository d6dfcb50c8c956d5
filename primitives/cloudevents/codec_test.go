package cloudevents

import (
	"bytes"
	"context"
	stdjson "encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/flowkit-go/flow/primitives"
)

type order struct {
	ID    string `json:"id"`
	Cents int64  `json:"cents"`
}

func TestRequiredAttributesAreNamed(t *testing.T) {
	whole := Event[order]{ID: "1", Source: "/shop", Type: "placed"}
	for field, change := range map[string]func(*Event[order]){
		"id":         func(e *Event[order]) { e.ID = "" },
		"source":     func(e *Event[order]) { e.Source = "" },
		"type":       func(e *Event[order]) { e.Type = "" },
		"subject":    func(e *Event[order]) { e.Subject = "a\nb" },
		"dataschema": func(e *Event[order]) { e.DataSchema = "relative" },
		"time":       func(e *Event[order]) { e.Time = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) },
		"Shop":       func(e *Event[order]) { e.Extensions = map[string]any{"Shop": "x"} },
		"data":       func(e *Event[order]) { e.Extensions = map[string]any{"data": "x"} },
		"shop":       func(e *Event[order]) { e.Extensions = map[string]any{"shop": 1.5} },
		"big":        func(e *Event[order]) { e.Extensions = map[string]any{"big": int64(1) << 40} },
	} {
		for _, mode := range []Mode{Binary, BinaryNATS, Structured} {
			e := whole
			change(&e)
			var out primitives.Outputs
			_, err := (&Codec[order]{Mode: mode}).AppendRecord(&out, e)
			if !primitives.IsPermanent(err) || !strings.Contains(err.Error(), "attribute "+field+":") {
				t.Errorf("mode %d, %s: got %v, want a permanent error that names it", mode, field, err)
			}
		}
	}
}

func TestReadingNamesWhatIsMissing(t *testing.T) {
	all := []string{"ce_specversion", "1.0", "ce_id", "1", "ce_source", "/s", "ce_type", "t"}
	c := &Codec[order]{}
	for i := 0; i < len(all); i += 2 {
		field := strings.TrimPrefix(all[i], "ce_")
		left := append(append([]string{}, all[:i]...), all[i+2:]...)
		_, err := c.DecodeRecord(&primitives.Record{Headers: asHeaders(left...), Value: []byte(`{}`)})
		wantField(t, err, field)

		doc := map[string]any{}
		for k := 0; k < len(left); k += 2 {
			doc[strings.TrimPrefix(left[k], "ce_")] = left[k+1]
		}
		text, _ := stdjson.Marshal(doc)
		_, err = c.Decode(text)
		wantField(t, err, field)
	}
}

func wantField(t *testing.T, err error, field string) {
	t.Helper()
	var d *primitives.DecodeError
	if !errors.As(err, &d) || d.Field != field || !primitives.IsPermanent(err) {
		t.Errorf("got %v, want a decode error at %q", err, field)
	}
}

func TestBadEventsAreRefused(t *testing.T) {
	const head = `{"specversion":"1.0","id":"1","source":"/s","type":"t"`
	for _, c := range []struct{ name, doc, field string }{
		{"no JSON", `{"specversion":`, ""},
		{"no object", `["1.0"]`, ""},
		{"old version", `{"specversion":"0.3","id":"1","source":"/s","type":"t"}`, "specversion"},
		{"number as version", `{"specversion":1.0,"id":"1","source":"/s","type":"t"}`, "specversion"},
		{"number as id", `{"specversion":"1.0","id":1,"source":"/s","type":"t"}`, "id"},
		{"time", head + `,"time":"yesterday"}`, "time"},
		{"fraction", head + `,"ext":1.5}`, "ext"},
		{"large number", head + `,"ext":3000000000}`, "ext"},
		{"object as extension", head + `,"ext":{"a":1}}`, "ext"},
		{"both kinds of data", head + `,"data":{},"data_base64":""}`, "data_base64"},
		{"base64", head + `,"data_base64":"***"}`, "data_base64"},
		{"base64 no string", head + `,"data_base64":7}`, "data_base64"},
		{"object for text", head + `,"datacontenttype":"text/plain","data":{}}`, "data"},
		{"data", head + `,"data":{"id":"x","cents":"y"}}`, "data.cents"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := (&Codec[order]{}).Decode([]byte(c.doc))
			wantField(t, err, c.field)
		})
	}
	for _, media := range []string{"application/cloudevents-batch+json", "application/cloudevents+avro", "Application/CloudEvents+XML; x=y"} {
		_, err := (&Codec[order]{}).DecodeRecord(&primitives.Record{Headers: asHeaders("Content-Type", media), Value: []byte("{}")})
		wantField(t, err, "")
	}
}

func TestReadsWhateverModeARecordIsIn(t *testing.T) {
	e := Event[order]{
		ID: "1", Source: "/shop", Type: "placed", Subject: "o/1", DataContentType: "application/json",
		Time: time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC), DataSchema: "https://example.com/order",
		Extensions: map[string]any{"partitionkey": "c-1"}, Data: order{"o-1", 250},
	}
	for _, written := range []Mode{Binary, BinaryNATS, Structured} {
		r := record(t, &Codec[order]{Mode: written}, e)
		if !r.Time.Equal(e.Time) {
			t.Errorf("mode %d: the record's time is %v, want the event's", written, r.Time)
		}
		for _, reader := range []Mode{Binary, Structured} {
			decode, err := primitives.DecoderOf[Event[order]](&Codec[order]{Mode: reader})
			if err != nil {
				t.Fatal(err)
			}
			got, err := decode([]primitives.Record{r})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(e, got); diff != "" {
				t.Errorf("mode %d (-want +got):\n%s", written, diff)
			}
		}
	}
	r := record(t, &Codec[order]{Mode: Structured}, e)
	r.Headers = nil // a system that has none
	if got, err := (&Codec[order]{}).DecodeRecord(&r); err != nil || got.Data != e.Data {
		t.Errorf("without headers: %+v, %v", got, err)
	}
}

func TestCodecStandsInForSourceAndType(t *testing.T) {
	c := &Codec[order]{Source: "/shop", Type: "placed"}
	got, err := c.DecodeRecord(new(record(t, c, Event[order]{ID: "1", Type: "changed"})))
	if err != nil || got.Source != "/shop" || got.Type != "changed" {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestEventWithoutData(t *testing.T) {
	c := &Codec[order]{}
	got, err := c.DecodeRecord(&primitives.Record{Headers: asHeaders("ce_specversion", "1.0", "ce_id", "1", "ce_source", "/s", "ce_type", "deleted")})
	if err != nil || got.Data != (order{}) {
		t.Errorf("binary: %+v, %v", got, err)
	}
	if got, err = c.Decode([]byte(`{"specversion":"1.0","id":"1","source":"/s","type":"deleted"}`)); err != nil || got.Data != (order{}) {
		t.Errorf("structured: %+v, %v", got, err)
	}
	r := record(t, &Codec[[]byte]{}, Event[[]byte]{ID: "1", Source: "/s", Type: "t"})
	if r.Value != nil {
		t.Errorf("nil bytes have the value %q, want none", r.Value)
	}
	doc, err := (&Codec[[]byte]{}).Append(nil, Event[[]byte]{ID: "1", Source: "/s", Type: "t"})
	if err != nil || bytes.Contains(doc, []byte("data")) {
		t.Errorf("nil bytes give %s, %v, want no data", doc, err)
	}
}

func TestProtobufData(t *testing.T) {
	e := Event[*wrapperspb.StringValue]{ID: "1", Source: "/s", Type: "t", Data: wrapperspb.String("hello")}
	for _, mode := range []Mode{Binary, Structured} {
		c := &Codec[*wrapperspb.StringValue]{Mode: mode}
		r := record(t, c, e)
		got, err := c.DecodeRecord(&r)
		if err != nil {
			t.Fatal(err)
		}
		if got.DataContentType != "application/protobuf" {
			t.Errorf("content type %q", got.DataContentType)
		}
		if diff := cmp.Diff(e.Data, got.Data, protocmp.Transform()); diff != "" {
			t.Errorf("mode %d (-want +got):\n%s", mode, diff)
		}
	}
	empty, err := (&Codec[*wrapperspb.StringValue]{}).DecodeRecord(new(record(t, &Codec[*wrapperspb.StringValue]{},
		Event[*wrapperspb.StringValue]{ID: "1", Source: "/s", Type: "t", Data: wrapperspb.String("")})))
	if err != nil || empty.Data == nil || !proto.Equal(empty.Data, wrapperspb.String("")) {
		t.Errorf("an empty message became %v, %v", empty.Data, err)
	}
}

// hexCodec stands for a codec of the user's, which may need another system.
type hexCodec struct {
	media string
	err   error
}

func (c hexCodec) Decode(data []byte) (v int, err error) {
	if c.err != nil {
		return 0, c.err
	}
	_, err = fmt.Sscanf(string(data), "%x", &v)
	return v, err
}
func (c hexCodec) Append(dst []byte, v int) ([]byte, error) { return fmt.Appendf(dst, "%x", v), c.err }
func (c hexCodec) ContentType() string                      { return c.media }
func (c hexCodec) StartCodec(context.Context) error         { return c.err }

func TestDataCodecOfTheUser(t *testing.T) {
	if _, err := primitives.EncoderOf[Event[int]](&Codec[int]{Data: hexCodec{}}, nil); err == nil || !strings.Contains(err.Error(), "ContentType is empty") {
		t.Errorf("no content type: %v", err)
	}
	if _, err := primitives.DecoderOf[Event[int]](&Codec[int]{Data: hexCodec{}}); err != nil {
		t.Errorf("a reader needs no content type: %v", err)
	}
	c := &Codec[int]{Data: hexCodec{media: "text/x-hex"}, Mode: Structured}
	e := Event[int]{ID: "1", Source: "/s", Type: "t", Data: 255}
	doc, err := c.Append(nil, e)
	if err != nil || !bytes.HasSuffix(doc, []byte(`"datacontenttype":"text/x-hex","data":"ff"}`)) {
		t.Fatalf("%s, %v", doc, err)
	}
	if got, err := c.Decode(doc); err != nil || got.Data != 255 {
		t.Errorf("got %+v, %v", got, err)
	}
	if _, err := (&Codec[int]{Data: hexCodec{}, ContentType: "application/json"}).Append(nil, e); err == nil || !strings.Contains(err.Error(), "not JSON") {
		t.Errorf("data that is not the JSON it claims to be: %v", err)
	}

	away := primitives.RetryAfter(time.Second, errors.New("registry away"))
	gone := &Codec[int]{Data: hexCodec{media: "application/x", err: away}}
	if _, err := gone.DecodeRecord(&primitives.Record{Headers: asHeaders("ce_specversion", "1.0", "ce_id", "1", "ce_source", "/s", "ce_type", "t"), Value: []byte("1")}); err == nil || primitives.IsPermanent(err) {
		t.Errorf("decode: %v, want an error that passes", err)
	}
	if _, err := gone.Append(nil, e); err == nil || primitives.IsPermanent(err) {
		t.Errorf("encode: %v, want an error that passes", err)
	}
	if err := primitives.StartCodec[Event[int]](t.Context(), gone); !errors.Is(err, away) {
		t.Errorf("start: %v", err)
	}
}

func TestMistakesShowAtRegistration(t *testing.T) {
	if _, err := primitives.DecoderOf[Event[chan int]](&Codec[chan int]{}); err == nil {
		t.Error("a type that nothing can carry was accepted")
	}
	for want, c := range map[string]*Codec[order]{
		"Mode":        {Mode: 9},
		"Source":      {Source: "http://a b/"},
		"ContentType": {ContentType: "a\nb"},
	} {
		if _, err := primitives.EncoderOf[Event[order]](c, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", want, err)
		}
	}
}

func TestRoundTripOfAnyEvent(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	text := func() string {
		alphabet := []rune("abc/:.-_%\"\\ ÄÖ€😀<>&'09")
		b := make([]rune, rng.IntN(12))
		for i := range b {
			b[i] = alphabet[rng.IntN(len(alphabet))]
		}
		return string(b)
	}
	for range 3000 {
		e := Event[map[string]string]{
			ID: "i" + text(), Source: "/s", Type: "t" + text(), Subject: text(),
			DataContentType: "application/json", Data: map[string]string{text(): text()},
		}
		if rng.IntN(2) == 0 {
			e.Time = time.Unix(rng.Int64N(4e9), rng.Int64N(1e9)).UTC()
		}
		for range rng.IntN(3) {
			if e.Extensions == nil {
				e.Extensions = map[string]any{}
			}
			e.Extensions["x"+string('a'+rune(rng.IntN(26)))] = "v" + text()
		}
		for _, mode := range []Mode{Binary, BinaryNATS, Structured} {
			c := &Codec[map[string]string]{Mode: mode}
			r := record(t, c, e)
			got, err := c.DecodeRecord(&r)
			if err != nil {
				t.Fatalf("mode %d: %v\n%+v", mode, err, e)
			}
			if diff := cmp.Diff(e, got); diff != "" {
				t.Fatalf("mode %d (-want +got):\n%s", mode, diff)
			}
		}
	}
}

// The event must not hold the record's memory, which is used again.
func TestEventOutlivesItsRecord(t *testing.T) {
	for _, mode := range []Mode{Binary, Structured} {
		c := &Codec[order]{Mode: mode}
		e := Event[order]{ID: "1", Source: "/shop", Type: "placed", DataContentType: "application/json", Extensions: map[string]any{"k": "v"}, Data: order{"o-1", 1}}
		r := record(t, c, e)
		value := bytes.Clone(r.Value)
		copied := primitives.Record{Value: value}
		for _, h := range r.Headers {
			copied.Headers = append(copied.Headers, primitives.Header{Name: h.Name, Value: bytes.Clone(h.Value)})
		}
		got, err := c.DecodeRecord(&copied)
		if err != nil {
			t.Fatal(err)
		}
		clear(value)
		for _, h := range copied.Headers {
			clear(h.Value)
		}
		if diff := cmp.Diff(e, got); diff != "" {
			t.Errorf("mode %d (-want +got):\n%s", mode, diff)
		}
	}
}

func TestExtensionText(t *testing.T) {
	e := Event[int]{Extensions: map[string]any{
		"partitionkey": "k", "n": 5, "b": true, "raw": []byte{1}, "at": time.Unix(0, 0).UTC(), "odd": 1.5,
	}}
	got := []string{PartitionKey(e), e.Extension("n"), e.Extension("b"), e.Extension("raw"), e.Extension("at"), e.Extension("odd"), e.Extension("none")}
	want := []string{"k", "5", "true", "AQ==", "1970-01-01T00:00:00Z", "", ""}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func FuzzStructured(f *testing.F) {
	f.Add([]byte(`{"specversion":"1.0","id":"1","source":"/s","type":"t","time":"2018-04-05T17:31:00Z","x":5,"y":true,"z":null,"data":{"a":[1,"}"]}}`))
	f.Add([]byte(`{"specversion":"1.0","id":"\u00e4\\","source":"/s","type":"t","datacontenttype":"text/plain","data":"a\"b"}`))
	f.Add([]byte(`{"specversion":"1.0","id":"1","source":"/s","type":"t","data_base64":"AAEC"} `))
	f.Add([]byte(` { } `))
	f.Fuzz(func(t *testing.T, doc []byte) {
		if stdjson.Valid(doc) && startsObject(doc) {
			same(t, doc)
		}
		c := &Codec[[]byte]{}
		e, err := c.Decode(doc)
		if err != nil {
			if !primitives.IsPermanent(err) {
				t.Fatalf("not permanent: %v", err)
			}
			return
		}
		again, err := c.Append(nil, e)
		if err != nil {
			return // what is read leniently may not be written
		}
		back, err := c.Decode(again)
		if err != nil {
			t.Fatalf("%v\nin  %s\nout %s", err, doc, again)
		}
		if e.DataContentType == "" { // data is JSON then, or base64: told apart only by the member
			back.Data, e.Data = nil, nil
		}
		if diff := cmp.Diff(e, back); diff != "" {
			t.Fatalf("(-first +second):\n%s", diff)
		}
	})
}

// same compares members with encoding/json.
func same(t *testing.T, doc []byte) {
	want := map[string]stdjson.RawMessage{}
	if stdjson.Unmarshal(doc, &want) != nil {
		return
	}
	got := map[string]stdjson.RawMessage{}
	for name, value := range members(doc) {
		got[name] = value
	}
	if !utf8.Valid(doc) {
		return // names are mended in different ways
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("members (-want +got):\n%s", diff)
	}
}

func FuzzHeaders(f *testing.F) {
	f.Add("ce-id", "a%20b", "ce_type", "t", []byte("x"))
	f.Add("content-type", "application/cloudevents+json", "CE_ID", "1", []byte(`{"specversion":"1.0"}`))
	f.Fuzz(func(t *testing.T, n1, v1, n2, v2 string, value []byte) {
		r := primitives.Record{Value: value, Headers: asHeaders("ce_specversion", "1.0", "ce_id", "1", "ce_source", "/s", "ce_type", "t", n1, v1, n2, v2)}
		if _, err := (&Codec[[]byte]{}).DecodeRecord(&r); err != nil && !primitives.IsPermanent(err) {
			t.Fatalf("not permanent: %v", err)
		}
	})
}

func BenchmarkCodec(b *testing.B) {
	e := Event[order]{
		ID: "1234-1234-1234", Source: "/shop/eu/orders", Type: "com.example.order.placed", Subject: "o-1",
		Time: specTime, Data: order{"o-1", 250},
	}
	for name, mode := range map[string]Mode{"binary": Binary, "nats": BinaryNATS, "structured": Structured} {
		c := &Codec[order]{Mode: mode}
		encode, _ := primitives.EncoderOf[Event[order]](c, nil)
		decode, _ := primitives.DecoderOf[Event[order]](c)
		var out primitives.Outputs
		b.Run(name+"/encode", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := encode(e, &out); err != nil {
					b.Fatal(err)
				}
				if len(out.Records) == 64 {
					out.Reset()
				}
			}
		})
		out.Reset()
		if err := encode(e, &out); err != nil {
			b.Fatal(err)
		}
		b.Run(name+"/decode", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := decode(out.Records); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func Example() {
	codec := &Codec[order]{Source: "/shop/eu", Type: "com.example.order.placed"}
	encode, err := primitives.EncoderOf[Event[order]](codec, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	var out primitives.Outputs
	if err := encode(Event[order]{ID: "o-1", Data: order{"o-1", 250}}, &out); err != nil {
		fmt.Println(err)
		return
	}
	for _, h := range out.Records[0].Headers {
		fmt.Printf("%s: %s\n", h.Name, h.Value)
	}
	fmt.Printf("%s\n", out.Records[0].Value)
	// Output:
	// ce_specversion: 1.0
	// ce_id: o-1
	// ce_source: /shop/eu
	// ce_type: com.example.order.placed
	// content-type: application/json
	// {"id":"o-1","cents":250}
}
