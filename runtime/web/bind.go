package web

import (
	"net/http"
	"net/url"
	"reflect"
	"strings"

	"github.com/go-chi/chi/v5"

	"github.com/flowkit-go/flow/primitives"
)

// A Binder makes inputs of one type from requests.
//
// A struct's fields come from where their tags say: `path:"id"`,
// `query:"limit"`, `header:"X-Tenant"`. A field without such a tag is a member
// of the JSON body, for POST, PUT and PATCH. `default:"5"` gives the value of
// what is absent, with commas between those of a slice; `required:"true"` makes
// absence an error; both are read on the fields of the input and of structs
// embedded in it, not deeper. Without either, what is absent is the zero value,
// nil for a pointer. A field with a source tag is never set from the body.
//
// Text becomes a string, bool, integer, float, time.Time (RFC 3339),
// time.Duration ("1m30s") or encoding.TextUnmarshaler, a pointer to one, or, for
// repeated query parameters and header lines, a slice of them. The elements of a
// header may have commas between them too.
//
// An input that is no struct is the body: a string takes text/plain or a JSON
// string, a []byte takes any bytes, anything else takes JSON.
type Binder[In any] struct {
	pattern Pattern
	plan    *plan
	decode  func(contentType string, body []byte) (In, error) // nil when the body is not read
	pointer bool                                              // In is a pointer to a struct
	kind    bodyKind
}

// NewBinder returns the Binder for requests of pattern p. It errs when In cannot
// be read from such requests, and names each field that is wrong.
func NewBinder[In any](p Pattern) (*Binder[In], error) {
	t := reflect.TypeFor[In]()
	pl, err := newPlan(t, p)
	if err != nil {
		return nil, err
	}
	b := &Binder[In]{pattern: p, plan: pl, pointer: t.Kind() == reflect.Pointer && t.Elem().Kind() == reflect.Struct}
	if pl.hasBody {
		b.decode, b.kind, err = bodyDecoder[In]()
	}
	if err != nil {
		return nil, err
	}
	return b, nil
}

// bodyDecoder returns what makes an In of a body, and the bodies that it takes.
// Bodies are in memory that is used again: nothing keeps a reference to them.
func bodyDecoder[In any]() (func(string, []byte) (In, error), bodyKind, error) {
	if f, ok := any(func(_ string, b []byte) ([]byte, error) { return append([]byte{}, b...), nil }).(func(string, []byte) (In, error)); ok {
		return f, bodyBytes, nil
	}
	if f, ok := any(decodeString).(func(string, []byte) (In, error)); ok {
		return f, bodyText, nil
	}
	codec := primitives.JSON[In]()
	if _, err := primitives.DecoderOf(codec); err != nil {
		return nil, 0, err
	}
	return func(_ string, b []byte) (In, error) { return codec.Decode(b) }, bodyJSON, nil
}

// Bind returns the input that r holds, reading at most limit bytes of its body;
// 0 means DefaultBodyLimit, a negative limit none. Its error is always an *Error
// for the client.
func (b *Binder[In]) Bind(r *http.Request, limit int64) (in In, err error) {
	return b.bind(r, nil, limit)
}

// bind is Bind with the values of wildcards from params, when it is not nil.
func (b *Binder[In]) bind(r *http.Request, params *chi.RouteParams, limit int64) (in In, err error) {
	if b.decode != nil {
		buf := getBuffer()
		defer putBuffer(buf)
		contentType, err := buf.readBody(r, b.kind, limit)
		if err != nil {
			return in, err
		}
		if in, err = b.decode(contentType, buf.b); err != nil {
			return in, decodeProblem(buf.b, err)
		}
		// buf is given back when this returns: fields keeps nothing of it.
		return b.fields(r, params, in, buf.b)
	}
	return b.fields(r, params, in, nil)
}

// fields sets those that have tags, and a pointer that the body left nil.
func (b *Binder[In]) fields(r *http.Request, params *chi.RouteParams, in In, body []byte) (In, error) {
	if b.plan.fields == 0 && !b.pointer {
		return in, nil
	}
	return b.setFields(r, params, in, body)
}

// setFields is apart from fields so that an input without them stays on the stack.
func (b *Binder[In]) setFields(r *http.Request, params *chi.RouteParams, in In, body []byte) (In, error) {
	v := reflect.ValueOf(&in).Elem()
	if b.pointer {
		if v.IsNil() {
			v.Set(reflect.New(v.Type().Elem()))
		}
		v = v.Elem()
	}
	c := binding{v: v, clear: body != nil}
	c.fromBody(b.plan.body, body)
	c.fromPath(b.plan.path, r, params)
	c.fromQuery(b.plan.query, r.URL.RawQuery)
	c.fromHeader(b.plan.header, r)
	return in, c.problem()
}

// A binding is the work on one request.
type binding struct {
	v         reflect.Value
	clear     bool // the body may have set what is not its to set
	wrong     []FieldError
	malformed string // of the request as a whole
}

func (c *binding) problem() error {
	switch {
	case c.malformed != "":
		return &Error{Status: http.StatusBadRequest, Detail: c.malformed}
	case len(c.wrong) > 0:
		return invalid(c.wrong...)
	default:
		return nil
	}
}

func (c *binding) fail(f *field, detail string) {
	c.wrong = append(c.wrong, FieldError{In: f.source, Field: f.name, Detail: detail})
}

func (c *binding) set(f *field, text string) {
	if err := f.add(c.v.FieldByIndex(f.index), text); err != nil {
		c.fail(f, err.Error())
	}
}

// absent deals with a field that the request has no value for.
func (c *binding) absent(f *field) {
	switch {
	case f.required:
		c.fail(f, "is required")
	case f.optional:
		if err := f.setAll(c.v.FieldByIndex(f.index), f.fallback); err != nil {
			c.fail(f, err.Error())
		}
	}
}

func (c *binding) reset(fields []field) {
	if c.clear {
		for i := range fields {
			c.v.FieldByIndex(fields[i].index).SetZero()
		}
	}
}

func (c *binding) fromBody(fields []field, body []byte) {
	if len(fields) == 0 {
		return
	}
	present := membersOf(body, fields)
	for i := range fields {
		if present&(1<<i) == 0 {
			c.v.FieldByIndex(fields[i].index).SetZero()
			c.absent(&fields[i])
		}
	}
}

func (c *binding) fromPath(fields []field, r *http.Request, params *chi.RouteParams) {
	for i := range fields {
		f := &fields[i]
		text := pathValue(r, params, f.name)
		// chi matches the path as it was sent when that is not the usual form of
		// it, as with a slash inside a segment, and gives out parts of that.
		if r.URL.RawPath != "" {
			decoded, err := url.PathUnescape(text)
			if err != nil {
				c.malformed = "the path has a % that is not followed by two hexadecimal digits"
				return
			}
			text = decoded
		}
		c.set(f, text)
	}
}

// fromQuery goes over the query once and builds no map of it.
func (c *binding) fromQuery(fields []field, query string) {
	if len(fields) == 0 {
		return
	}
	c.reset(fields)
	var seen, twice uint64
	for query != "" {
		var pair string
		pair, query, _ = strings.Cut(query, "&")
		key, value, _ := strings.Cut(pair, "=")
		key, ok := unescape(key)
		value, ok2 := unescape(value)
		if !ok || !ok2 {
			c.malformed = "the query has a % that is not followed by two hexadecimal digits"
			return
		}
		for i := range fields {
			f := &fields[i]
			if f.name != key {
				continue
			}
			switch bit := uint64(1) << i; {
			case f.list || seen&bit == 0:
				seen |= bit
				c.set(f, value)
			case twice&bit == 0:
				twice |= bit
				c.fail(f, "is given more than once")
			}
		}
	}
	for i := range fields {
		if seen&(1<<i) == 0 {
			c.absent(&fields[i])
		}
	}
}

func unescape(s string) (string, bool) {
	if strings.IndexByte(s, '%') < 0 && strings.IndexByte(s, '+') < 0 {
		return s, true
	}
	s, err := url.QueryUnescape(s)
	return s, err == nil
}

func (c *binding) fromHeader(fields []field, r *http.Request) {
	c.reset(fields)
	for i := range fields {
		f := &fields[i]
		lines := r.Header[f.name]
		if f.name == "Host" { // net/http moves it
			lines = []string{r.Host}
		}
		switch {
		case len(lines) == 0:
			c.absent(f)
		case f.list:
			for _, line := range lines {
				for text := range strings.SplitSeq(line, ",") {
					c.set(f, strings.TrimSpace(text))
				}
			}
		case len(lines) > 1:
			c.fail(f, "is given more than once")
		default:
			c.set(f, lines[0])
		}
	}
}
