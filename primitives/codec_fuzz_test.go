package primitives

import (
	"bytes"
	stdjson "encoding/json"
	"errors"
	"math"
	"math/big"
	"net/netip"
	"reflect"
	"strconv"
	"testing"
	"time"
)

// everything has a field for each way in which encoding/json decodes.
type everything struct {
	Int     int                `json:"int"`
	Int8    int8               `json:"int8"`
	Int16   int16              `json:"int16"`
	Int32   int32              `json:"int32"`
	Int64   int64              `json:"int64"`
	Uint    uint               `json:"uint"`
	Uint8   uint8              `json:"uint8"`
	Uint16  uint16             `json:"uint16"`
	Uint32  uint32             `json:"uint32"`
	Uint64  uint64             `json:"uint64"`
	F32     float32            `json:"f32"`
	F64     float64            `json:"f64"`
	Str     string             `json:"str"`
	Bool    bool               `json:"bool"`
	PInt    *int               `json:"pint"`
	PStr    *string            `json:"pstr,omitempty"`
	PPBool  **bool             `json:"ppbool,omitempty"`
	Ints    []int              `json:"ints"`
	Strs    []string           `json:"strs,omitempty"`
	Arr     [3]int             `json:"arr"`
	Bytes   []byte             `json:"bytes"`
	ByteArr [4]byte            `json:"bytearr"`
	Map     map[string]int     `json:"map"`
	IntMap  map[int]string     `json:"intmap"`
	UMap    map[uint8]bool     `json:"umap"`
	AnyMap  map[string]any     `json:"anymap"`
	AddrMap map[netip.Addr]int `json:"addrmap"`
	Any     any                `json:"any"`
	Anys    []any              `json:"anys"`
	Time    time.Time          `json:"time"`
	PTime   *time.Time         `json:"ptime"`
	Dur     time.Duration      `json:"dur"`
	RawMsg  stdjson.RawMessage `json:"rawmsg"`
	Num     stdjson.Number     `json:"num"`
	Addr    netip.Addr         `json:"addr"`
	Big     *big.Int           `json:"big"`
	Level   level              `json:"level"`
	PLevel  *level             `json:"plevel"`
	Kelvin  kelvin             `json:"kelvin"`
	Nested  leaf               `json:"nested"`
	PNested *leaf              `json:"pnested"`
	Leaves  []leaf             `json:"leaves"`
	PLeaves []*leaf            `json:"pleaves"`
	MLeaves map[string]leaf    `json:"mleaves"`
	QInt    int                `json:"qint,string"`
	QPInt   *int64             `json:"qpint,string"`
	QFloat  float64            `json:"qfloat,string,omitempty"`
	QBool   bool               `json:"qbool,string"`
	QStr    string             `json:"qstr,string"`
	Zero    time.Time          `json:"zero,omitzero"`
	Empty   struct{}           `json:"empty"`
	Tree    *tree              `json:"tree,omitempty"`
	NoTag   int
	Skipped int `json:"-"`
	//lint:ignore SA5008 this names the field "-"
	Dash int `json:"-,"`
	//lint:ignore U1000 decoding must leave it alone
	private int
	Embedded
	*PEmbedded
}

type leaf struct {
	A string   `json:"a"`
	B int      `json:"b"`
	C *float64 `json:"c,omitempty"`
	K string   `json:"k"`
	S string   `json:"straße"`
}

type tree struct {
	V    int              `json:"v"`
	Kids []tree           `json:"kids,omitempty"`
	L    *tree            `json:"l,omitempty"`
	M    map[string]*tree `json:"m,omitempty"`
}

type Embedded struct {
	Inner string `json:"inner"`
	Int   int    `json:"int"` // hidden by everything.Int
}

type PEmbedded struct {
	Deep string `json:"deep"`
}

// level has a text form.
type level int

func (l level) MarshalText() ([]byte, error) { return []byte("L" + strconv.Itoa(int(l))), nil }

func (l *level) UnmarshalText(b []byte) error {
	if len(b) == 0 || b[0] != 'L' {
		return errors.New("a level starts with L")
	}
	n, err := strconv.Atoi(string(b[1:]))
	*l = level(n)
	return err
}

// kelvin has a JSON form of its own, an object or null.
type kelvin struct{ deg float64 }

func (k kelvin) MarshalJSON() ([]byte, error) {
	return []byte(`{ "K" : ` + strconv.FormatFloat(k.deg, 'g', -1, 64) + ` }`), nil
}

func (k *kelvin) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		return nil
	}
	var v struct{ K *float64 }
	if err := stdjson.Unmarshal(b, &v); err != nil {
		return err
	}
	if v.K == nil {
		return errors.New("no K")
	}
	k.deg = *v.K
	return nil
}

// same decodes data with the codec and with encoding/json, writes what came out
// with both, and compares.
func same[T any](t *testing.T, data []byte) {
	t.Helper()
	c := JSON[T]()
	input := bytes.Clone(data)
	got, err := c.Decode(data)
	if !bytes.Equal(data, input) {
		t.Fatalf("the input was changed: %q, was %q", data, input)
	}
	var want T
	wantErr := stdjson.Unmarshal(input, &want)
	if (err == nil) != (wantErr == nil) {
		t.Fatalf("%T from %q: error %v, encoding/json: %v", want, input, err, wantErr)
	}
	if err != nil {
		var zero T
		if !reflect.DeepEqual(got, zero) {
			t.Fatalf("%T from %q: %+v besides error %v", want, input, got, err)
		}
		checkDecodeError(t, err, len(input))
		return
	}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("%T from %q:\n%+v, encoding/json:\n%+v", want, input, got, want)
	}
	clear(data) // what was decoded must not refer to it
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("%T from %q refers to its input", want, input)
	}
	sameBytes(t, c, got)
}

// sameBytes encodes v with the codec and with encoding/json and compares.
func sameBytes[T any](t *testing.T, c Codec[T], v T) {
	t.Helper()
	got, err := c.Append([]byte("before"), v)
	var buf bytes.Buffer
	enc := stdjson.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	wantErr := enc.Encode(&v)
	if (err == nil) != (wantErr == nil) {
		t.Fatalf("%+v: error %v, encoding/json: %v", v, err, wantErr)
	}
	if err != nil {
		return
	}
	if want := "before" + string(bytes.TrimSuffix(buf.Bytes(), []byte("\n"))); string(got) != want {
		t.Fatalf("%+v:\n%q, encoding/json:\n%q", v, got, want)
	}
}

func checkDecodeError(t *testing.T, err error, size int) {
	t.Helper()
	var e *DecodeError
	if !errors.As(err, &e) {
		t.Fatalf("%T is not a *DecodeError: %v", err, err)
	}
	if e.Error() == "" || e.Err == nil || e.Type == "" || e.Offset < -1 || e.Offset > int64(size) {
		t.Fatalf("%#v", e)
	}
	if !IsPermanent(err) {
		t.Fatalf("%v is not permanent", err)
	}
}

func FuzzJSONDecode(f *testing.F) {
	for _, seed := range jsonSeeds {
		f.Add([]byte(seed))
	}
	for i := range reflect.TypeFor[everything]().NumField() {
		field := reflect.TypeFor[everything]().Field(i)
		for _, v := range []string{"null", "0", "-1", "300", "1.5", "1e2", `"x"`, `"5"`, "true", "[]", "[1]", "{}", `{"a":1}`, `"2024-05-06T07:08:09Z"`} {
			name, _, _ := bytes.Cut([]byte(field.Tag.Get("json")), []byte(","))
			f.Add([]byte(`{"` + string(name) + `":` + v + `}`))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		same[everything](t, bytes.Clone(data))
		same[*leaf](t, bytes.Clone(data))
		same[[]leaf](t, bytes.Clone(data))
		same[map[string]any](t, bytes.Clone(data))
		same[any](t, bytes.Clone(data))
		same[int64](t, bytes.Clone(data))
		same[*string](t, bytes.Clone(data))
		same[tree](t, bytes.Clone(data))
		same[stdjson.RawMessage](t, bytes.Clone(data))
	})
}

func FuzzJSONEncode(f *testing.F) {
	for _, s := range jsonSeeds {
		f.Add(s, int64(len(s)), 1.0/float64(len(s)))
	}
	f.Add("<&>\u2028\xff\x00\x7f\ufffd", int64(math.MinInt64), math.NaN())
	f.Add("", int64(math.MaxInt64), math.Inf(-1))
	f.Fuzz(func(t *testing.T, s string, n int64, x float64) {
		sameBytes(t, JSON[string](), s)
		sameBytes(t, JSON[float64](), x)
		sameBytes(t, JSON[kelvin](), kelvin{x})
		sameBytes(t, JSON[stdjson.RawMessage](), stdjson.RawMessage(s))
		sameBytes(t, JSON[stdjson.Number](), stdjson.Number(s))
		if math.IsNaN(x) || math.IsInf(x, 0) || math.IsInf(float64(float32(x)), 0) {
			return // these are errors, and would hide the rest
		}
		var raw stdjson.RawMessage
		if stdjson.Valid([]byte(s)) {
			raw = stdjson.RawMessage(s)
		}
		sameBytes(t, JSON[everything](), everything{
			Str: s, PStr: &s, Strs: []string{s}, Bytes: []byte(s), Int64: n, Uint64: uint64(n), PInt: new(int(n)), F64: x, F32: float32(x),
			Map: map[string]int{s: int(n), "": 1}, IntMap: map[int]string{int(n): s, 1: "a", -1: "b", 10: "c"}, Any: map[string]any{s: x, "s": s},
			Time: time.Unix(n%1e9, n%1e9).UTC(), Dur: time.Duration(n), RawMsg: raw,
			Level: level(n), Kelvin: kelvin{x}, QInt: int(n), QFloat: x, QStr: s, Leaves: []leaf{{A: s, C: &x}}, PLeaves: []*leaf{nil, {K: s}},
			Tree: &tree{Kids: []tree{{V: 1}}, M: map[string]*tree{s: nil}}, PEmbedded: &PEmbedded{s},
		})
	})
}

var jsonSeeds = []string{
	``, ` `, `null`, `true`, `{}`, `[]`, `""`, `0`, `{} x`, `{}{}`, `{"int":1,}`, `{"int":1`, `{"int":01}`, `{'int':1}`, `nul`, `+1`, `.5`, `1.`, `NaN`, `-`, `"`,
	"\ufeff{}", "{\"str\":\"\xff\xfe\"}", "{\"str\":\"a\tb\"}", `{"str":"\ud800"}`, `{"str":"\ud83d\ude00"}`, `{"str":"\u00zz"}`, `{"str":"\x"}`, `{"str":"\u0000\/\b"}`,
	`{"INT":1,"Str":"x"}`, `{"int":1,"int":2,"INT":3}`, `{"\u212aelvin":{"K":1},"nested":{"\u212a":"kelvin sign","stra\u1e9ee":"s"}}`,
	`{"int64":9223372036854775808}`, `{"uint64":18446744073709551615}`, `{"uint64":-1}`, `{"f64":1e400}`, `{"f32":1e39}`, `{"f64":123456789012345678901234567890}`, `{"int":-0}`, `{"f64":-0}`, `{"any":12345678901234567890}`,
	`{"time":"2024-05-06T07:08:09.5+02:00","ptime":null,"zero":"0001-01-01T00:00:00Z"}`, `{"time":1}`, `{"time":"x"}`,
	`{"bytes":"aGk=","bytearr":[1,2,3,4,5]}`, `{"bytes":"a"}`, `{"bytes":[1,2]}`, `{"arr":[1]}`, `{"arr":[1,2,3,4]}`,
	`{"intmap":{"1":"a","-2":"b"},"umap":{"255":true},"addrmap":{"::1":1}}`, `{"umap":{"256":true}}`, `{"intmap":{"x":"a"}}`,
	`{"qint":"12","qpint":"-3","qfloat":"1.5","qbool":"true","qstr":"\"q\""}`, `{"qint":12}`, `{"qpint":null,"qint":null}`, `{"qstr":"q"}`, `{"qint":" 1"}`, `{"qint":"null"}`,
	`{"num":12e3,"rawmsg":{ "a" : [ 1 ] },"dur":5}`, `{"num":"12"}`, `{"num":"x"}`, `{"rawmsg":null}`,
	`{"inner":"i","deep":"d","Embedded":{"inner":"no"}}`, `{"NoTag":1,"notag":2,"Skipped":3,"-":4,"private":5}`,
	`{"leaves":[{"a":"x","b":1},null,{"b":"1"}]}`, `{"leaves":{"a":1}}`, `{"pleaves":[null,{"c":1.25}],"mleaves":{"x":{"b":2}}}`, `{"nested":[]}`, `{"nested":null,"pnested":{}}`,
	`{"unknown":{"deep":[1,{"x":"\u12"}]}}`, `{"unknown":[1,2,]}`, `{"unknown":tru}`, `{"unknown":"a` + "\n" + `"}`, `{"unknown":1e}`, `{"unknown":-}`, `{"unknown":01}`, `{"unknown":"\ud8"}`,
	`{"level":"L3","plevel":"L4","kelvin":{"K":3.5},"addr":"10.0.0.1","big":123456789012345678901234567890}`, `{"level":"3"}`, `{"level":3}`, `{"kelvin":{}}`, `{"kelvin":null}`,
	`{"tree":{"v":1,"kids":[{"v":2,"l":{"v":3}}],"m":{"x":{"v":4},"y":null}}}`, `{"v":1,"kids":[{"v":"2"}]}`, `[{"a":"1"},{"a":"2","b":2.5}]`, `{"any":{"a":[1,"x",null,{"b":false}]}}`,
	`{"str":"<b>&amp;</b>\u2028"}`, `{"empty":{"a":1},"ppbool":true}`, `{"empty":1}`,
}
