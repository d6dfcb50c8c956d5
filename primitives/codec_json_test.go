package primitives

import (
	"bytes"
	stdjson "encoding/json"
	"errors"
	"math"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

type order struct {
	ID    string `json:"id"`
	Lines []line `json:"lines"`
}

type line struct {
	Cents int64           `json:"cents"`
	Tags  map[string]int8 `json:"tags,omitempty"`
	At    *time.Time      `json:"at,omitempty"`
	Q     int             `json:"q,string,omitempty"`
	Pair  [2]bool         `json:"pair,omitzero"`
	Level level           `json:"level,omitempty"`
}

// The cases of a decoder that is strict about types.
func TestJSONDecode(t *testing.T) {
	type nested struct {
		X int `json:"x"`
	}
	type value struct {
		A int        `json:"a"`
		S string     `json:"s"`
		F float64    `json:"f"`
		O *int       `json:"o"`
		N *nested    `json:"n"`
		L []nested   `json:"l"`
		T *time.Time `json:"t"`
	}
	three, at := 3, time.Date(2023, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, tt := range []struct {
		in   string
		want value
		err  string
	}{
		{in: `{"a":1}`, want: value{A: 1}},
		{in: `{}`, want: value{}},
		{in: `{"s":"x"}`, want: value{S: "x"}},
		{in: `{"a":1,"unknown":{"x":[1,2]}}`, want: value{A: 1}},
		{in: `{"a":"1"}`, err: `decode primitives.value: field a at byte 5: want int, got string`},
		{in: `{"a":1.5}`, err: `decode primitives.value: field a at byte 5: want int, got number 1.5`},
		{in: `{"f":2}`, want: value{F: 2}},
		{in: `{"a":null}`, want: value{}},
		{in: `{"o":null}`, want: value{}},
		{in: `{"o":3}`, want: value{O: &three}},
		{in: `{"n":{"x":1},"l":[{"x":2},{"x":3}]}`, want: value{N: &nested{1}, L: []nested{{2}, {3}}}},
		{in: `{"t":"2023-01-02T03:04:05Z"}`, want: value{T: &at}},
		{in: `{"t":"2023-01-02"}`, err: `decode primitives.value: field t at byte 5: parsing time "2023-01-02" as "2006-01-02T15:04:05Z07:00": cannot parse "" as "T"`},
		{in: `{"t":1672628645000000000}`, err: `decode primitives.value: field t at byte 5: Time.UnmarshalJSON: input is not a JSON string`},
		{in: `{"a":1`, err: `decode primitives.value at byte 6: unexpected end of JSON input`},
		{in: `[{"a":1}]`, err: `decode primitives.value at byte 0: want primitives.value, got array`},
	} {
		t.Run(tt.in, func(t *testing.T) {
			got, err := JSON[value]().Decode([]byte(tt.in))
			if text(err) != tt.err {
				t.Fatalf("error\n%s, want\n%s", text(err), tt.err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestJSONDecodeErrors(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{``, `decode primitives.order at byte 0: unexpected end of JSON input`},
		{`{"id":x}`, `decode primitives.order at byte 6: invalid character 'x' looking for beginning of value`},
		{`{"id":"x"} {}`, `decode primitives.order at byte 11: invalid character '{' after top-level value`},
		{`{"id":"x",}`, `decode primitives.order at byte 10: invalid character '}' looking for beginning of object key string`},
		{`{"id":NaN}`, `decode primitives.order at byte 6: invalid character 'N' looking for beginning of value`},
		{`"x"`, `decode primitives.order at byte 0: want primitives.order, got string`},
		{`  7`, `decode primitives.order at byte 2: want primitives.order, got number`},
		{` { "id" : 7 }`, `decode primitives.order: field id at byte 10: want string, got number`},
		{`{"ID":7}`, `decode primitives.order: field ID at byte 6: want string, got number`},
		{`{"lines":{}}`, `decode primitives.order: field lines at byte 9: want []primitives.line, got object`},
		{`{"lines":[{"cents":"1"}]}`, `decode primitives.order: field lines.0.cents at byte 19: want int64, got string`},
		{`{"lines":[null,{"cents":1},{"tags":{"a":1,"b":300}}]}`, `decode primitives.order: field lines.2.tags.b at byte 46: want int8, got number 300`},
		{`{"lines":[{"pair":[true,false,1]},{"pair":[true,0]}]}`, `decode primitives.order: field lines.1.pair.1 at byte 48: want bool, got number`},
		{`{"lines":[{"cents":9223372036854775808}]}`, `decode primitives.order: field lines.0.cents at byte 19: want int64, got number 9223372036854775808`},
		{`{"lines":[{"at":"now"}]}`, `decode primitives.order: field lines.0.at at byte 16: parsing time "now" as "2006-01-02T15:04:05Z07:00": cannot parse "now" as "2006"`},
		{`{"lines":[{"level":"3"}]}`, `decode primitives.order: field lines.0.level at byte 19: a level starts with L`},
		{`{"lines":[{"q":1}]}`, `decode primitives.order: field lines.0.q at byte 15: json: invalid use of ,string struct tag, trying to unmarshal unquoted value into int`},
		{`{"id":7,"lines":[{"at":"now"}]}`, `decode primitives.order: field id at byte 6: want string, got number`},
	} {
		t.Run(tt.in, func(t *testing.T) {
			_, err := JSON[order]().Decode([]byte(tt.in))
			if text(err) != tt.want {
				t.Errorf("\n%s, want\n%s", text(err), tt.want)
			}
			checkDecodeError(t, err, len(tt.in))
		})
	}
}

func TestJSONDecodeErrorUnwraps(t *testing.T) {
	var e *DecodeError
	var wrong *stdjson.UnmarshalTypeError
	_, err := JSON[order]().Decode([]byte(`{"lines":[{"cents":true}]}`))
	if !errors.As(err, &e) || !errors.As(err, &wrong) {
		t.Fatalf("%#v", err)
	}
	if e.Type != "primitives.order" || e.Field != "lines.0.cents" || e.Offset != 19 || wrong.Value != "bool" {
		t.Errorf("%+v, %+v", e, wrong)
	}
	var syntax *stdjson.SyntaxError
	if _, err := JSON[order]().Decode([]byte(`{`)); !errors.As(err, &syntax) {
		t.Errorf("%#v", err)
	}
}

// An attacker's record must not make its own refusal expensive.
func TestJSONDecodeErrorDeepInput(t *testing.T) {
	in := strings.Repeat(`{"l":`, 5000) + `{"v":"x"}` + strings.Repeat(`}`, 5000)
	_, err := JSON[tree]().Decode([]byte(in))
	var e *DecodeError
	if !errors.As(err, &e) {
		t.Fatal(err)
	}
	if want := strings.TrimSuffix(strings.Repeat("l.", maxLocate), "."); e.Field != want {
		t.Errorf("field %q, want %d levels", e.Field, maxLocate)
	}
	if _, err := JSON[any]().Decode([]byte(strings.Repeat("[", 1e6))); err == nil {
		t.Error("endless nesting was accepted")
	}
}

func TestJSONStringsAreCopies(t *testing.T) {
	data := []byte(`{"id":"abc","lines":null}`)
	got, err := JSON[order]().Decode(data)
	if err != nil {
		t.Fatal(err)
	}
	clear(data)
	if got.ID != "abc" {
		t.Errorf("%q refers to the input", got.ID)
	}
}

func TestJSONAppend(t *testing.T) {
	for _, tt := range []struct {
		name string
		v    any
		want string
	}{
		{"no HTML escapes", "<a href='x'>&</a>", `"<a href='x'>&</a>"`},
		{"line separators", "\u2028\u2029", `"\u2028\u2029"`},
		{"invalid UTF-8", "a\xffb", `"a\ufffdb"`},
		{"control characters", "\x00\n\"\\", `"\u0000\n\"\\"`},
		{"map in order", map[string]any{"b": 1, "a": []any{nil, 1.5, true}}, `{"a":[null,1.5,true],"b":1}`},
		{"big and small numbers", []any{uint64(math.MaxUint64), 1e21, 1e-7, float32(0.1), math.Copysign(0, -1)}, `[18446744073709551615,1e+21,1e-7,0.1,-0]`},
		{"nil", nil, `null`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := JSON[any]().Append([]byte("x"), tt.v)
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != "x"+tt.want {
				t.Errorf("%s, want x%s", got, tt.want)
			}
			sameBytes(t, JSON[any](), tt.v)
		})
	}
	sameBytes(t, JSON[flatOrder](), flat4k())
	sameBytes(t, JSON[nestedOrder](), nested4k())
	sameBytes(t, JSON[everything](), everything{})
}

// pointerOnly writes itself by a method on its pointer.
type pointerOnly struct{ n int }

func (p *pointerOnly) MarshalJSON() ([]byte, error) { return []byte(`"P"`), nil }

func TestJSONAppendCallsMethodsOfThePointer(t *testing.T) {
	got, err := JSON[pointerOnly]().Append(nil, pointerOnly{1})
	if err != nil || string(got) != `"P"` {
		t.Errorf("%s, %v", got, err)
	}
}

type marshalFunc func() ([]byte, error)

func (f marshalFunc) MarshalJSON() ([]byte, error) { return f() }

func TestJSONAppendErrors(t *testing.T) {
	loop := map[string]any{}
	loop["self"] = loop
	for _, tt := range []struct {
		name string
		v    any
		want string
	}{
		{"NaN", math.NaN(), "encode interface {}: json: unsupported value: NaN"},
		{"infinity", []float64{1, math.Inf(1)}, "encode interface {}: json: unsupported value: +Inf"},
		{"channel", map[string]any{"c": make(chan int)}, "encode interface {}: json: unsupported type: chan int"},
		{"own error", marshalFunc(func() ([]byte, error) { return nil, errors.New("no") }),
			"encode interface {}: json: error calling MarshalJSON for type primitives.marshalFunc: no"},
		{"own invalid JSON", marshalFunc(func() ([]byte, error) { return []byte(`{"a":}`), nil }),
			"encode interface {}: json: error calling MarshalJSON for type primitives.marshalFunc: invalid character '}' looking for beginning of value"},
		{"cycle", loop, "encode interface {}: json: unsupported value: encountered a cycle via map[string]interface {}"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := JSON[any]()
			_, err := c.Append([]byte("x"), tt.v)
			var e *EncodeError
			if !errors.As(err, &e) || err.Error() != tt.want {
				t.Errorf("\n%v, want\n%s", err, tt.want)
			}
			if got, err := c.Append([]byte("x"), 1); err != nil || string(got) != "x1" {
				t.Errorf("the next value: %s, %v", got, err)
			}
		})
	}
}

// explosive panics in the method of its name.
type explosive struct {
	In string
	S  []string
}

func (e explosive) MarshalJSON() ([]byte, error) {
	if e.In == "marshal" {
		panic("boom")
	}
	return stdjson.Marshal(map[string]any{"in": e.In, "s": e.S})
}

func (e *explosive) UnmarshalJSON(b []byte) error {
	e.S = append(e.S, string(b))
	if bytes.Contains(b, []byte("boom")) {
		panic("boom")
	}
	return nil
}

// The runtime recovers panics of the user's methods. Whatever was pooled or half
// done then must not be seen by the next value, in this goroutine or another.
func TestJSONPanicsLeaveNothingBehind(t *testing.T) {
	type envelope struct {
		A string      `json:"a"`
		X []explosive `json:"x"`
		B string      `json:"b"`
	}
	c := JSON[envelope]()
	panics := func(f func()) (v any) {
		defer func() { v = recover() }()
		f()
		return nil
	}
	round := func() {
		if got := panics(func() { _, _ = c.Decode([]byte(`{"a":"secret","x":["fine","boom"],"b":"x"}`)) }); got != "boom" {
			t.Errorf("decode panicked with %v", got)
		}
		got, err := c.Decode([]byte(`{"x":["y"]}`))
		if diff := cmp.Diff(envelope{X: []explosive{{S: []string{`"y"`}}}}, got); err != nil || diff != "" {
			t.Errorf("decode after a panic: %v %s", err, diff)
		}
		dst := []byte("kept")
		if got := panics(func() { _, _ = c.Append(dst, envelope{A: "secret", X: []explosive{{}, {In: "marshal"}}}) }); got != "boom" {
			t.Errorf("encode panicked with %v", got)
		}
		out, err := c.Append(dst, envelope{A: "a"})
		if want := `kept{"a":"a","x":null,"b":""}`; err != nil || string(out) != want {
			t.Errorf("encode after a panic: %s, %v", out, err)
		}
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 200 {
				round()
			}
		})
	}
	wg.Wait()
}

// growing makes the goroutine's stack move while a value is being worked on.
type growing struct{ N int }

func (g growing) MarshalJSON() ([]byte, error) {
	growStack(1000)
	runtime.GC()
	return stdjson.Marshal(g.N)
}

func (g *growing) UnmarshalJSON(b []byte) error {
	growStack(1000)
	runtime.GC()
	return stdjson.Unmarshal(b, &g.N)
}

func growStack(n int) byte {
	var pad [256]byte
	if n > 0 {
		pad[n%256] = growStack(n - 1)
	}
	return pad[n%256]
}

func TestJSONSurvivesAMovedStack(t *testing.T) {
	type value struct {
		A string     `json:"a"`
		G [4]growing `json:"g"`
		B string     `json:"b"`
		P *string    `json:"p"`
	}
	const in = `{"a":"first","g":[1,2,3,4],"b":"last","p":"pointed"}`
	done := make(chan struct{})
	go func() { // a new goroutine has a small stack
		defer close(done)
		c := JSON[value]()
		v, err := c.Decode([]byte(in))
		if err != nil {
			t.Error(err)
			return
		}
		out, err := c.Append(nil, v)
		if err != nil || string(out) != in {
			t.Errorf("%s, %v", out, err)
		}
	}()
	<-done
}

func TestJSONIsSafeForConcurrentUse(t *testing.T) {
	c, v := JSON[nestedOrder](), nested4k()
	want := payload(t, v)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			var buf []byte
			for range 200 {
				got, err := c.Decode(want)
				if err == nil {
					buf, err = c.Append(buf[:0], got)
				}
				if err != nil || !bytes.Equal(buf, want) {
					t.Errorf("%s, %v", buf, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestJSONDecodeErrorOfLargeInput(t *testing.T) {
	type doc struct {
		Lines []struct {
			Note string
			SKU  int
		}
	}
	c := JSON[doc]()
	_, err := c.Decode([]byte(`{"Lines":[{"Note":"` + strings.Repeat("x", 100_000) + `"},{"SKU":"a"}]}`))
	var invalid *DecodeError
	if !errors.As(err, &invalid) || invalid.Field != "Lines.SKU" || invalid.Offset < 100_000 || !strings.Contains(err.Error(), "want int, got string") {
		t.Errorf("error %v", err)
	}
}
