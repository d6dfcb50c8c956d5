package sqlite

import (
	"database/sql"
	"encoding/json"
	"errors"
	"io"
	"math"
	"math/big"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flowkit-go/flow/primitives"
)

type level int

func (l level) MarshalText() ([]byte, error) {
	if l < 0 {
		return nil, errors.New("negative level")
	}
	return []byte(strings.Repeat("+", int(l))), nil
}

func (l *level) UnmarshalText(b []byte) error {
	*l = level(len(b))
	return nil
}

type place struct {
	Lat, Lon float64
	Names    []string `json:"names"`
}

type base struct {
	ID      string
	Created time.Time
}

type named string

type everything struct {
	base
	Bool    bool
	Int     int
	Int8    int8
	Int16   int16
	Int32   int32
	Int64   int64
	Uint    uint
	Uint8   uint8
	Uint16  uint16
	Uint32  uint32
	Uint64  uint64
	Float32 float32
	Float64 float64
	String  string
	Named   named `json:"other_name"`
	Bytes   []byte
	Digest  [4]byte
	Time    time.Time
	Dur     time.Duration
	Addr    netip.Addr
	Level   level
	Big     *big.Int
	Raw     json.RawMessage
	Place   place
	Places  []place
	Counts  map[string]int
	Array   [2]int
	Any     any
	PtrInt  *int
	PtrStr  *string
	PtrTime *time.Time
	PtrObj  *place
	NullStr sql.NullString
	NullF   sql.NullFloat64
	NullT   sql.NullTime
	Null8   sql.Null[uint8]
	Skipped chan int `db:"-"`
	hidden  int
}

func TestEveryKindRoundTrips(t *testing.T) {
	at := time.Date(2026, 11, 21, 12, 30, 1, 120, time.FixedZone("x", 3600))
	n, s := 7, "x\x00y"
	full := everything{
		base: base{ID: "full", Created: at},
		Bool: true, Int: math.MinInt64, Int8: -128, Int16: -32768, Int32: math.MinInt32, Int64: math.MaxInt64,
		Uint: 1, Uint8: 255, Uint16: 65535, Uint32: math.MaxUint32, Uint64: math.MaxInt64,
		Float32: math.MaxFloat32, Float64: math.Inf(-1), String: "näm'e\x00\"", Named: "n", Bytes: []byte{0, 255},
		Digest: [4]byte{1, 2, 3, 4}, Time: at, Dur: time.Minute, Addr: netip.MustParseAddr("::1"), Level: 3,
		Big: big.NewInt(1).Lsh(big.NewInt(1), 100), Raw: json.RawMessage(`{"a":1}`),
		Place: place{1, 2, []string{"a"}}, Places: []place{{Lat: 3}}, Counts: map[string]int{"k": 1}, Array: [2]int{1, 2},
		Any: "text", PtrInt: &n, PtrStr: &s, PtrTime: &at, PtrObj: &place{Lon: 9},
		NullStr: sql.NullString{String: "", Valid: true}, NullF: sql.NullFloat64{Float64: 2.5, Valid: true},
		NullT: sql.NullTime{Time: at, Valid: true}, Null8: sql.Null[uint8]{V: 8, Valid: true},
	}
	zero := everything{base: base{ID: "zero"}}

	env := newEnv(t)
	table := Table[everything]{Name: "all kinds", Key: "id"}
	w := open(t, table, env)
	full.hidden = 1
	w.mustWrite(t, full, zero)
	full.hidden = 0
	got, err := reader(t, table).Select(t.Context(), "order by id")
	if err != nil {
		t.Fatal(err)
	}
	zero.Raw = json.RawMessage("null")
	if diff := cmp.Diff([]everything{full, zero}, got,
		cmp.AllowUnexported(everything{}, big.Int{}), cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
		cmp.Transformer("utc", func(t time.Time) string { return t.UTC().Format(timeLayout) })); diff != "" {
		t.Error(diff)
	}
}

func TestColumnNames(t *testing.T) {
	type row struct {
		OrderID    string
		HTTPStatus int
		A          int
		JSONName   int `json:"Wire,omitempty"`
		Options    int `json:",omitempty"`
		DB         int `json:"x" db:"own"`
		Not        int `json:"-"`
		ÄÖ         int
	}
	s, err := Table[row]{Name: "t"}.schema()
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"order_id", "http_status", "a", "Wire", "options", "own", "äö"}
	if diff := cmp.Diff(want, s.names()); diff != "" {
		t.Error(diff)
	}
}

func TestWhatCannotBeStoredIsRefusedByEncoder(t *testing.T) {
	check := func(name string, err error, parts ...string) {
		t.Run(name, func(t *testing.T) {
			if err == nil {
				t.Fatal("no error")
			}
			for _, part := range parts {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q does not mention %q", err, part)
				}
			}
		})
	}
	check("chan", encoderError[struct{ C chan int }](), "field C", "chan int")
	check("func", encoderError[struct{ F func() }](), "field F", "func()")
	check("complex", encoderError[struct{ Z complex128 }](), "field Z", "complex128")
	check("uintptr", encoderError[struct{ P uintptr }](), "field P", "uintptr")
	check("interface", encoderError[struct{ R io.Reader }](), "field R", "io.Reader")
	check("pointer to pointer", encoderError[struct{ P **int }](), "field P", "**int")
	check("within", encoderError[struct{ S struct{ In []chan int } }](), "field S", "In", "chan int")
	check("map key", encoderError[struct{ M map[float64]int }](), "field M", "map[float64]int")
	check("embedded pointer", encoderError[struct{ *base }](), "field base", "by value")
	check("twice", encoderError[struct {
		A int
		B int `db:"a"`
	}](), "A", "B", `"a"`)
	check("no fields", encoderError[struct{ a int }](), "no exported fields")
	check("no struct", encoderError[int](), "struct", "int")
	check("pointer", encoderError[*base](), "struct", "*sqlite.base")
}

func encoderError[T any]() error {
	_, err := Table[T]{Name: "t"}.Encoder()
	return err
}

func TestRecursiveTypeIsJSON(t *testing.T) {
	type node struct {
		Children []*node
	}
	if err := encoderError[struct{ Root node }](); err != nil {
		t.Error(err)
	}
}

func TestValuesThatCannotBeStored(t *testing.T) {
	env := newEnv(t)
	w := open(t, Table[everything]{Name: "t"}, env)
	for name, row := range map[string]everything{
		"Uint64":  {Uint64: 1 << 63},
		"Float64": {Float64: math.NaN()},
		"Time":    {Time: time.Date(12026, 1, 1, 0, 0, 0, 0, time.UTC)},
		"Level":   {Level: -1},
		"Any":     {Any: func() {}},
	} {
		_, err := w.records(row)
		if err == nil || !strings.Contains(err.Error(), "field "+name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestEncodingDoesNotAllocate(t *testing.T) {
	encode, err := Table[quake]{Name: "t"}.Encoder()
	if err != nil {
		t.Fatal(err)
	}
	if raceEnabled {
		t.Skip("the race detector makes sync.Pool forget")
	}
	q := makeQuake(1)
	var out primitives.Outputs
	allocs := testing.AllocsPerRun(200, func() {
		out.Reset()
		if err := encode(q, &out); err != nil {
			t.Fatal(err)
		}
	})
	if allocs > 0 {
		t.Errorf("%v allocations per row", allocs)
	}
}
