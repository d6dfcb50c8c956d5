package file

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"

	"github.com/flowkit-go/flow/primitives"
)

// csvDecoder returns the decoder of rows as csvRows makes them. Columns without
// a field are ignored, and so are fields without a column. Names match exactly
// or else without regard to case.
func csvDecoder[T any]() (primitives.Decoder[T], error) {
	t := reflect.TypeFor[T]()
	switch reflect.Zero(t).Interface().(type) {
	case primitives.Record, []byte:
		return primitives.DecoderOf[T](nil)
	case map[string]string:
		return primitives.DecoderOf(primitives.JSON[T]())
	}
	cols, err := columnsOf(t)
	if err != nil {
		return nil, err
	}
	exact, folded := map[string]*column{}, map[string]*column{}
	for i := range cols {
		exact[cols[i].name] = &cols[i]
		if fold := strings.ToLower(cols[i].name); folded[fold] == nil {
			folded[fold] = &cols[i]
		}
	}
	name := t.String()
	fail := func(field string, err error) (T, error) {
		var zero T
		return zero, &primitives.DecodeError{Type: name, Field: field, Offset: -1, Err: err}
	}
	return func(recs []primitives.Record) (T, error) {
		var v T
		row := reflect.ValueOf(&v).Elem()
		cells := cellScanner{data: recs[0].Value}
		for cells.next() {
			c := exact[string(cells.name)]
			if c == nil {
				c = folded[strings.ToLower(string(cells.name))]
			}
			if c == nil {
				continue
			}
			if err := c.read(cells.text, row.FieldByIndex(c.index)); err != nil {
				return fail(c.name, err)
			}
		}
		if cells.err != nil {
			return fail("", cells.err)
		}
		return v, nil
	}, nil
}

// csvEncoder returns the encoder that makes a row of a struct.
func csvEncoder[T any](comma byte) (primitives.Encoder[T], error) {
	cols, err := columnsOf(reflect.TypeFor[T]())
	if err != nil {
		return nil, err
	}
	name := reflect.TypeFor[T]().String()
	pool := sync.Pool{New: func() any { return newRowWriter(comma, len(cols)) }}
	return func(v T, out *primitives.Outputs) error {
		w := pool.Get().(*rowWriter)
		row := reflect.ValueOf(&v).Elem()
		for i := range cols {
			var err error
			if w.cells[i], err = cols[i].write(row.FieldByIndex(cols[i].index)); err != nil {
				return &primitives.EncodeError{Type: name, Err: fmt.Errorf("column %q: %w", cols[i].name, err)}
			}
		}
		line, err := w.row()
		if err != nil {
			return &primitives.EncodeError{Type: name, Err: err}
		}
		out.AddValue(out.Take(append(out.Buffer(), bytes.TrimSuffix(line, []byte("\n"))...)))
		pool.Put(w) // not after a panic in a method of the user's
		return nil
	}, nil
}

// csvHeader returns the first line of a file of T.
func csvHeader[T any](comma byte) ([]byte, error) {
	cols, err := columnsOf(reflect.TypeFor[T]())
	if err != nil {
		return nil, err
	}
	w := newRowWriter(comma, len(cols))
	for i, c := range cols {
		w.cells[i] = c.name
	}
	return w.row()
}

// A rowWriter writes single rows without an allocation for each.
type rowWriter struct {
	buf   bytes.Buffer
	csv   *csv.Writer
	cells []string
}

func newRowWriter(comma byte, columns int) *rowWriter {
	w := &rowWriter{cells: make([]string, columns)}
	w.csv = csv.NewWriter(&w.buf)
	w.csv.Comma = rune(comma)
	return w
}

func (w *rowWriter) row() ([]byte, error) {
	w.buf.Reset()
	if err := w.csv.Write(w.cells); err != nil {
		return nil, err
	}
	w.csv.Flush()
	return w.buf.Bytes(), w.csv.Error()
}

// A cellScanner goes through a JSON object of strings, member by member.
type cellScanner struct {
	data       []byte
	pos        int
	begun      bool
	name, text []byte // valid until the data changes; unescaped
	err        error
}

var errNoRow = errors.New("not a row: want a JSON object of strings")

// next goes to the next member. It returns false at the end, and when the data
// is something else, with err set.
func (s *cellScanner) next() bool {
	want := byte(',')
	if !s.begun {
		s.begun, want = true, '{'
	}
	switch c := s.token(); {
	case want == ',' && c == '}':
		if s.token() != 0 || s.pos < len(s.data) {
			s.err = errNoRow
		}
		return false
	case c != want:
		s.err = errNoRow
		return false
	}
	if want == '{' && s.peek() == '}' {
		s.pos++
		if s.token() != 0 || s.pos < len(s.data) {
			s.err = errNoRow
		}
		return false
	}
	var ok bool
	if s.name, ok = s.string(); ok && s.token() == ':' {
		if s.text, ok = s.string(); ok {
			return true
		}
	}
	s.err = errNoRow
	return false
}

// peek returns the next byte that is not white space, 0 at the end.
func (s *cellScanner) peek() byte {
	for s.pos < len(s.data) {
		switch c := s.data[s.pos]; c {
		case ' ', '\t', '\r', '\n':
			s.pos++
		default:
			return c
		}
	}
	return 0
}

func (s *cellScanner) token() byte {
	c := s.peek()
	if c != 0 {
		s.pos++
	}
	return c
}

func (s *cellScanner) string() ([]byte, bool) {
	if s.token() != '"' {
		return nil, false
	}
	begin := s.pos
	for ; s.pos < len(s.data); s.pos++ {
		switch s.data[s.pos] {
		case '\\':
			return s.escaped(begin)
		case '"':
			s.pos++
			return s.data[begin : s.pos-1], true
		}
	}
	return nil, false
}

// escaped goes on with a string that has escapes. Those that the reader makes
// most are short; package json knows the others.
func (s *cellScanner) escaped(begin int) ([]byte, bool) {
	text := append(make([]byte, 0, s.pos-begin+32), s.data[begin:s.pos]...)
	simple := true
	for s.pos < len(s.data) {
		c := s.data[s.pos]
		s.pos++
		if c == '"' {
			if simple {
				return text, true
			}
			var other string
			err := json.Unmarshal(s.data[begin-1:s.pos], &other)
			return []byte(other), err == nil
		}
		if c == '\\' {
			if s.pos == len(s.data) {
				return nil, false
			}
			c = s.data[s.pos]
			s.pos++
			switch c {
			case '"', '\\', '/':
			case 'n':
				c = '\n'
			case 't':
				c = '\t'
			case 'r':
				c = '\r'
			default:
				simple = false
			}
		}
		text = append(text, c)
	}
	return nil, false
}
