package nats

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	natsgo "github.com/nats-io/nats.go"

	"github.com/flowkit-go/flow/primitives"
)

func fields(pairs ...string) []primitives.Header {
	var out []primitives.Header
	for pair := range slices.Chunk(pairs, 2) {
		out = append(out, primitives.Header{Name: pair[0], Value: []byte(pair[1])})
	}
	return out
}

func TestHeadersRoundTrip(t *testing.T) {
	for _, c := range []struct {
		name   string
		rec    primitives.Record
		packed bool
	}{
		{name: "plain", rec: primitives.Record{Key: []byte("k"), Headers: fields("a", "1", "b", "2")}},
		{name: "repeated", rec: primitives.Record{Headers: fields("a", "1", "a", "0", "b", "2")}},
		{name: "order", rec: primitives.Record{Headers: fields("b", "2", "a", "1")}, packed: true},
		{name: "interleaved", rec: primitives.Record{Headers: fields("a", "1", "b", "2", "a", "3")}, packed: true},
		{name: "empty key", rec: primitives.Record{Key: []byte{}}},
		{name: "binary key", rec: primitives.Record{Key: []byte("a\r\nb\x00")}, packed: true},
		{name: "binary value", rec: primitives.Record{Key: []byte("k"), Headers: fields("a", "\x00\r\n")}, packed: true},
		{name: "blanks around", rec: primitives.Record{Headers: fields("a", " x ")}, packed: true},
		{name: "empty value", rec: primitives.Record{Headers: fields("a", "")}},
		{name: "empty name", rec: primitives.Record{Headers: fields("", "x")}, packed: true},
		{name: "reserved", rec: primitives.Record{Headers: fields("Nats-Msg-Id", "x", "Status", "503")}, packed: true},
		{name: "own", rec: primitives.Record{Key: []byte("k"), Headers: fields("Flow-Key", "x", "Flow-Headers", "y", "Flow-Time", "z")}, packed: true},
		{name: "time", rec: primitives.Record{Time: time.Unix(1, 23).UTC()}},
		{name: "utf-8", rec: primitives.Record{Key: []byte("schlüssel"), Headers: fields("a", "größe")}},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := natsgo.Header{}
			encodeHeaders(h, &c.rec, false)
			if _, packed := h[packedHeader]; packed != c.packed {
				t.Errorf("packed: %v, want %v", packed, c.packed)
			}
			var got primitives.Record
			decodeHeaders(overTheWire(t, h), &got)
			if diff := cmp.Diff(c.rec, got); diff != "" {
				t.Errorf("want -, got +:\n%s", diff)
			}
		})
	}
}

// overTheWire is what the client makes of headers that it has sent.
func overTheWire(t testing.TB, h natsgo.Header) natsgo.Header {
	t.Helper()
	if len(h) == 0 {
		return nil
	}
	var b bytes.Buffer
	b.WriteString("NATS/1.0\r\n")
	for name, values := range h {
		for _, v := range values {
			b.WriteString(name + ": " + v + "\r\n")
		}
	}
	b.WriteString("\r\n")
	got, err := natsgo.DecodeHeadersMsg(b.Bytes())
	if err != nil {
		t.Fatalf("the headers %q do not travel: %v", h, err)
	}
	return got
}

// Headers that someone adds to a message on its way are kept.
func TestHeadersAdded(t *testing.T) {
	h := natsgo.Header{}
	rec := primitives.Record{Headers: fields("b", "2", "a", "1")}
	encodeHeaders(h, &rec, false)
	h["trace"] = []string{"x"}
	var got primitives.Record
	decodeHeaders(h, &got)
	if diff := cmp.Diff(append(rec.Headers, fields("trace", "x")...), got.Headers); diff != "" {
		t.Errorf("want -, got +:\n%s", diff)
	}
}

func FuzzHeaders(f *testing.F) {
	f.Add([]byte("key"), "name", []byte("value"), "other", []byte("\r\n"))
	f.Fuzz(func(t *testing.T, key []byte, n1 string, v1 []byte, n2 string, v2 []byte) {
		rec := primitives.Record{Key: key, Headers: []primitives.Header{{Name: n1, Value: v1}, {Name: n2, Value: v2}}}
		h := natsgo.Header{}
		encodeHeaders(h, &rec, false)
		var got primitives.Record
		decodeHeaders(overTheWire(t, h), &got)
		if !bytes.Equal(got.Key, key) || len(got.Headers) != 2 {
			t.Fatalf("got %+v, want %+v", got, rec)
		}
		for i, want := range rec.Headers {
			if got.Headers[i].Name != want.Name || !bytes.Equal(got.Headers[i].Value, want.Value) {
				t.Fatalf("header %d: got %+v, want %+v", i, got.Headers[i], want)
			}
		}
	})
}

func FuzzUnpack(f *testing.F) {
	f.Add("AWEBYg==")
	f.Fuzz(func(t *testing.T, s string) {
		if got, err := unpack(s); err == nil && len(got) == 0 {
			t.Error("no fields and no error")
		}
	})
}

func TestParseDelivery(t *testing.T) {
	want := delivery{count: 3, number: 55, stored: time.Unix(0, 1700000000123456789)}
	for _, c := range []struct {
		subject string
		ok      bool
	}{
		{"$JS.ACK.orders.bill.3.44.55.1700000000123456789.7", true},
		{"$JS.ACK.hub.ACC.orders.bill.3.44.55.1700000000123456789.7", true},
		{"$JS.ACK.hub.ACC.orders.bill.3.44.55.1700000000123456789.7.rnd", true},
		{"$JS.ACK.orders.bill.x.44.55.1700000000123456789.7", false},
		{"$JS.ACK.orders.bill.3.44.55", false},
		{"_INBOX.a.b.c.d.e.f.g.h", false},
		{"", false},
	} {
		got, ok := parseDelivery(c.subject)
		if ok != c.ok || ok && got != want {
			t.Errorf("%s: got %v, %v", c.subject, got, ok)
		}
	}
}

func TestIncludes(t *testing.T) {
	for _, c := range []struct {
		wide, narrow string
		want         bool
	}{
		{"a", "a", true}, {"a", "b", false}, {"a.*", "a.b", true}, {"a.*", "a.b.c", false}, {"a.>", "a.b.c", true},
		{"a.>", "a", false}, {"a.b", "a.*", false}, {"a.*", "a.*", true}, {"a.*", "a.>", false}, {">", "a.>", true}, {"*.b", "a.b", true},
	} {
		if got := covers([]string{"other", c.wide}, c.narrow); got != c.want {
			t.Errorf("%s includes %s: %v", c.wide, c.narrow, got)
		}
	}
}

func TestDurableName(t *testing.T) {
	for processor, want := range map[string]string{"bill": "bill", "Bill-2_x": "Bill-2_x", "a.b": "a_b-", "a b": "a_b-", "größe": "größe"} {
		got := durableName(&config{}, processor)
		if !isName(got) || len(got) < len(want) || got[:len(want)] != want {
			t.Errorf("%s: got %s", processor, got)
		}
	}
	if durableName(&config{}, "a.b") == durableName(&config{}, "a b") {
		t.Error("two processors share a consumer")
	}
}

func TestReplaceUnsafeKeepsLength(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 1000 {
		b := make([]byte, rng.IntN(20))
		for i := range b {
			b[i] = byte(rng.IntN(128))
		}
		if got := replaceUnsafe(string(b)); len(got) != len(b) || replaceUnsafe(got) != got {
			t.Fatalf("%q became %q", b, got)
		}
	}
}
