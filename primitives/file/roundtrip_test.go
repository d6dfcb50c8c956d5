package file_test

import (
	"math"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/primitives/file"
)

type base struct {
	ID   int64 `csv:"id" json:"id"`
	Name string
}

// every has a field of each kind that CSV and Parquet share.
type every struct {
	base
	Small    int8
	Unsigned uint64 `csv:"un, signed"`
	Ratio    float64
	Half     float32
	OK       bool `json:"ok,omitempty"`
	At       time.Time
	MaybeInt *int
	MaybeAt  *time.Time
	Hidden   chan int `csv:"-" json:"-" parquet:"-"`
	secret   string
}

func everies() []every {
	n, at := -7, time.Date(2024, 2, 29, 23, 59, 59, 123456789, time.UTC)
	return []every{
		{base: base{1, `plain`}, Small: -128, Unsigned: math.MaxUint64, Ratio: 0.1, Half: 1.5, OK: true, At: at, MaybeInt: &n, MaybeAt: &at, secret: ""},
		{base: base{2, "a,\"quoted\",\n\ttext\\ <&> \u2028 é 漢 \x01"}, Ratio: math.MaxFloat64, At: at},
		{base: base{-3, " spaces "}, Ratio: -1e-300, At: at},
		{base: base{4, ""}, At: at},
	}
}

var cmpEvery = cmp.Options{cmp.AllowUnexported(every{}), cmpopts.EquateApproxTime(0)}

func TestRoundTripCSVOfEveryKind(t *testing.T) {
	for _, comma := range []rune{0, ';', '\t'} {
		f := file.File[every]{Path: filepath.Join(t.TempDir(), "x.csv"), Comma: comma}
		store(t, f, everies()[:2]...)
		store(t, f, everies()[2:]...) // appends, with one header
		if d := cmp.Diff(everies(), values(t, f), cmpEvery); d != "" {
			t.Errorf("comma %q: %s", comma, d)
		}
		if n := strings.Count(readFile(t, f.Path), "MaybeInt"); n != 1 {
			t.Errorf("comma %q: %d headers", comma, n)
		}
	}
}

type network struct {
	Addr netip.Addr  `csv:"addr"`
	Peer *netip.Addr `csv:"peer"`
	Kind kind
}

type kind string

func TestRoundTripCSVTextMarshalers(t *testing.T) {
	a := netip.MustParseAddr("10.0.0.1")
	want := []network{{Addr: a, Kind: "x"}, {Addr: a, Peer: &a}}
	f := file.File[network]{Path: filepath.Join(t.TempDir(), "x.csv")}
	store(t, f, want...)
	if d := cmp.Diff(want, values(t, f), cmpopts.EquateComparable(netip.Addr{})); d != "" {
		t.Error(d)
	}
	if got := readFile(t, f.Path); got != "addr,peer,Kind\n10.0.0.1,,x\n10.0.0.1,10.0.0.1,\n" {
		t.Errorf("file: %q", got)
	}
}

type nested struct {
	ID    string            `json:"id" parquet:"id"`
	Lines []line            `json:"lines" parquet:"lines"`
	Tags  map[string]string `json:"tags" parquet:"tags"`
	Note  *string           `json:"note" parquet:"note"`
	Raw   []byte            `json:"raw" parquet:"raw"`
	Count uint32            `json:"count" parquet:"count"`
	At    time.Time         `json:"at" parquet:"at"`
}

type line struct {
	SKU   string  `json:"sku" parquet:"sku"`
	Price float64 `json:"price" parquet:"price"`
}

func nesteds() []nested {
	note, at := "n\nl", time.Date(2024, 2, 29, 23, 59, 59, 123456789, time.UTC)
	return []nested{
		{ID: "a", Lines: []line{{"x", 1.5}, {"y", 2}}, Tags: map[string]string{"k": "v"}, Note: &note, Raw: []byte{0, 255}, Count: 9, At: at},
		{ID: "b", At: at},
	}
}

func TestRoundTripNested(t *testing.T) {
	for _, name := range []string{"x.jsonl", "x.ndjson", "x.parquet"} {
		f := file.File[nested]{Path: filepath.Join(t.TempDir(), name)}
		store(t, f, nesteds()...)
		store(t, f, nesteds()[1])
		want := append(nesteds(), nesteds()[1])
		if d := cmp.Diff(want, values(t, f), cmpopts.EquateEmpty(), cmpopts.EquateApproxTime(0)); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}

func TestRoundTripParquetOfEveryKind(t *testing.T) {
	f := file.File[every]{Path: filepath.Join(t.TempDir(), "x.parquet")}
	store(t, f, everies()...)
	got := values(t, f)
	if d := cmp.Diff(everies(), got, cmpEvery); d != "" {
		t.Error(d)
	}
}

func TestRoundTripJSONLinesOfOtherTypes(t *testing.T) {
	dir := t.TempDir()
	texts := file.File[string]{Path: filepath.Join(dir, "s.jsonl")}
	store(t, texts, "a\nb", "", "ü")
	if d := cmp.Diff([]string{"a\nb", "", "ü"}, values(t, texts)); d != "" {
		t.Error(d)
	}
	times := file.File[time.Time]{Path: filepath.Join(dir, "t.jsonl")}
	at := time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)
	store(t, times, at)
	if got := readFile(t, times.Path); got != "\"2024-01-01T00:00:00Z\"\n" {
		t.Errorf("a time is not JSON: %q", got)
	}
	raw := file.File[[]byte]{Path: filepath.Join(dir, "r.jsonl")}
	store(t, raw, []byte("{\n  \"a\": 1\n}"), []byte("2"))
	if got := readFile(t, raw.Path); got != "{\"a\":1}\n2\n" {
		t.Errorf("raw documents: %q", got)
	}
	encode, err := raw.Encoder()
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"", "{", "a"} {
		if err := encode([]byte(bad), &primitives.Outputs{}); !primitives.IsPermanent(err) {
			t.Errorf("%q is written to a file of JSON: %v", bad, err)
		}
	}
}

func TestRoundTripRecords(t *testing.T) {
	want := []primitives.Record{
		{Key: []byte("k"), Value: []byte("{\"a\": \"<b>\"}\n"), Time: time.Date(2024, 1, 1, 0, 0, 0, 5, time.UTC),
			Headers: []primitives.Header{{Name: "h", Value: []byte("1")}, {Name: "h", Value: []byte{0xff, 0}}}},
		{Value: []byte{0xff, 0xfe}},
	}
	f := file.File[primitives.Record]{Path: filepath.Join(t.TempDir(), "dead.jsonl")}
	store(t, f, want...)
	if d := cmp.Diff(want, values(t, f)); d != "" {
		t.Error(d)
	}
	if got := readFile(t, f.Path); !strings.HasPrefix(got, `{"key":"k","value":"{\"a\": \"<b>\"}\n",`) {
		t.Errorf("not to be read by people: %s", got)
	}
}

func TestRoundTripText(t *testing.T) {
	f := file.File[string]{Path: filepath.Join(t.TempDir(), "x.txt")}
	store(t, f, "one", "", `"three"`)
	if d := cmp.Diff([]string{"one", "", `"three"`}, values(t, f)); d != "" {
		t.Error(d)
	}
	addr := file.File[netip.Addr]{Path: filepath.Join(t.TempDir(), "a.txt")}
	store(t, addr, netip.MustParseAddr("::1"))
	if got := values(t, addr); got[0].String() != "::1" {
		t.Errorf("got %v", got)
	}
	bytes := file.File[[]byte]{Path: f.Path}
	if got := values(t, bytes); string(got[2]) != `"three"` {
		t.Errorf("got %q", got)
	}
}
