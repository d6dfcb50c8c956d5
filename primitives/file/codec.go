package file

import (
	"bytes"
	"encoding"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"time"
	"unicode/utf8"

	"github.com/flowkit-go/flow/primitives"
)

// Headers of the records that are read.
const (
	// HeaderFile has the path of the file that a record was read from. The line,
	// or the row of a Parquet file, is the record's Offset, the first being 1.
	HeaderFile = "Flow-File"

	// HeaderInvalid says why a row could not be read; its raw text is the value.
	HeaderInvalid = "Flow-Invalid"
)

// located wraps a decoder so that its errors name the file and the line, and
// rows that the reader could not make sense of are errors.
func located[T any](decode primitives.Decoder[T]) primitives.Decoder[T] {
	return func(recs []primitives.Record) (T, error) {
		r := &recs[0]
		if len(r.Headers) > 1 {
			if reason, found := r.Header(HeaderInvalid); found {
				var zero T
				return zero, locate(r, &primitives.DecodeError{Type: reflect.TypeFor[T]().String(), Offset: -1, Err: errors.New(string(reason))})
			}
		}
		v, err := decode(recs)
		if err != nil {
			return v, locate(r, err)
		}
		return v, nil
	}
}

func locate(r *primitives.Record, err error) error {
	path, _ := r.Header(HeaderFile)
	return fmt.Errorf("file: %s:%d: %w", path, r.Offset, err)
}

var (
	textMarshaler   = reflect.TypeFor[encoding.TextMarshaler]()
	textUnmarshaler = reflect.TypeFor[encoding.TextUnmarshaler]()
)

// hasText reports whether a T can be written as text and read from it.
func hasText(t reflect.Type) bool {
	if t.Kind() == reflect.Pointer {
		return t.Implements(textMarshaler) && t.Implements(textUnmarshaler)
	}
	p := reflect.PointerTo(t)
	return t.Kind() != reflect.Interface && p.Implements(textMarshaler) && p.Implements(textUnmarshaler)
}

// rawJSON passes JSON documents on as they are, so that what is written is
// checked: one value that is not JSON must not spoil the file.
type rawJSON struct{}

func (rawJSON) Decode(data []byte) ([]byte, error) { return data, nil }

func (rawJSON) Append(dst, v []byte) ([]byte, error) {
	if !json.Valid(v) {
		return nil, &primitives.EncodeError{Type: "[]byte", Err: errors.New("not a JSON document")}
	}
	return append(dst, v...), nil
}

// recordCodec keeps whole records, as dead letters need it. The value is text,
// so that it comes back byte by byte, also when it is no JSON.
type recordCodec struct{}

type recordLine struct {
	Key     *cell      `json:"key,omitempty"`
	Value   cell       `json:"value"`
	Headers []cellPair `json:"headers,omitempty"`
	Time    *time.Time `json:"time,omitempty"`
}

type cellPair struct {
	Name  string `json:"name"`
	Value cell   `json:"value"`
}

// A cell is bytes in JSON: a string, or {"base64": "..."} when they are not UTF-8.
type cell []byte

type binaryCell struct {
	Base64 string `json:"base64"`
}

func (c cell) MarshalJSON() ([]byte, error) {
	if utf8.Valid(c) {
		var buf bytes.Buffer
		enc := json.NewEncoder(&buf)
		enc.SetEscapeHTML(false)
		err := enc.Encode(string(c))
		return bytes.TrimRight(buf.Bytes(), "\n"), err
	}
	return json.Marshal(binaryCell{base64.StdEncoding.EncodeToString(c)})
}

func (c *cell) UnmarshalJSON(data []byte) error {
	if len(data) > 0 && data[0] == '{' {
		var b binaryCell
		if err := json.Unmarshal(data, &b); err != nil {
			return err
		}
		raw, err := base64.StdEncoding.DecodeString(b.Base64)
		*c = raw
		return err
	}
	var s string
	err := json.Unmarshal(data, &s)
	*c = cell(s)
	return err
}

func (recordCodec) Decode(data []byte) (primitives.Record, error) {
	var l recordLine
	if err := json.Unmarshal(data, &l); err != nil {
		return primitives.Record{}, &primitives.DecodeError{Type: "primitives.Record", Offset: -1, Err: err}
	}
	r := primitives.Record{Value: l.Value}
	if l.Key != nil {
		r.Key = *l.Key
	}
	for _, h := range l.Headers {
		r.Headers = append(r.Headers, primitives.Header{Name: h.Name, Value: h.Value})
	}
	if l.Time != nil {
		r.Time = *l.Time
	}
	return r, nil
}

func (recordCodec) Append(dst []byte, r primitives.Record) ([]byte, error) {
	l := recordLine{Value: r.Value}
	if r.Key != nil {
		key := cell(r.Key)
		l.Key = &key
	}
	for _, h := range r.Headers {
		l.Headers = append(l.Headers, cellPair{h.Name, h.Value})
	}
	if !r.Time.IsZero() {
		l.Time = &r.Time
	}
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(l); err != nil {
		return nil, &primitives.EncodeError{Type: "primitives.Record", Err: err}
	}
	return append(dst, bytes.TrimRight(buf.Bytes(), "\n")...), nil
}
