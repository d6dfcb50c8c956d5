package file

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"unicode/utf8"

	"github.com/flowkit-go/flow/primitives"
)

// csvRows reads CSV. A row becomes a JSON object with the text of each column,
// {"id":"7","name":"Ada"}, so that a record can be decoded without the header
// and shows well among dead letters. A row that cannot be read (a stray quote, a
// wrong number of columns) becomes a record with its raw text and a header that
// says what is wrong.
type csvRows struct {
	path    string
	src     io.ReadCloser
	tape    *tape
	csv     *csv.Reader
	headers []primitives.Header
	max     int
	next    int64
	keys    []string // what stands before each column's text: `{"id":`, `,"name":`
	columns []string
	buf     []byte // the free part is what is behind its length
}

func openCSV(fsys fs.FS, path string, next int64, comma byte, maxLine int) (rows, error) {
	src, err := openText(fsys, path)
	if err != nil {
		return nil, err
	}
	c := &csvRows{path: path, src: src, headers: fileHeaders(path), max: maxLine, next: next}
	c.tape = &tape{src: src, limit: maxLine + chunkSize}
	c.csv = newCSVReader(c.tape, comma)
	c.csv.ReuseRecord = true
	if err := c.readHeader(); err != nil {
		return nil, errors.Join(err, src.Close())
	}
	return c, nil
}

func (c *csvRows) readHeader() error {
	header, err := c.csv.Read()
	if errors.Is(err, io.EOF) {
		return nil // an empty file has no rows
	}
	if err != nil {
		return fmt.Errorf("file: %s: header: %w", c.path, c.limitError(err))
	}
	seen := map[string]bool{}
	for i, name := range header {
		if seen[name] {
			return fmt.Errorf("file: %s: header: column %q is there twice: rename one", c.path, name)
		}
		if !utf8.ValidString(name) {
			return fmt.Errorf("file: %s: header: column %d is not UTF-8", c.path, i+1)
		}
		seen[name] = true
		before := ","
		if i == 0 {
			before = "{"
		}
		c.keys = append(c.keys, string(append(appendQuoted([]byte(before), name), ':')))
		c.columns = append(c.columns, string([]byte(name)))
	}
	c.tape.cut(c.csv.InputOffset())
	return nil
}

func (c *csvRows) read(dst []primitives.Record) ([]primitives.Record, error) {
	for len(dst) < cap(dst) {
		row, err := c.csv.Read()
		if errors.Is(err, io.EOF) {
			if len(dst) > 0 {
				return dst, nil
			}
			return dst, io.EOF
		}
		raw := bytes.Trim(c.tape.cut(c.csv.InputOffset()), "\r\n")
		var line int
		if err == nil {
			line, _ = c.csv.FieldPos(0)
			err = c.check(row)
		} else {
			var parse *csv.ParseError
			if !errors.As(err, &parse) {
				return dst, fmt.Errorf("file: %s: %w", c.path, c.limitError(err))
			}
			line = parse.StartLine
			err = fmt.Errorf("column %d of line %d: %w", parse.Column, parse.Line, parse.Err)
		}
		if len(raw) > c.max {
			return dst, fmt.Errorf("file: %s:%d: the row is longer than MaxLine (%d bytes): raise it if that is right", c.path, line, c.max)
		}
		if int64(line) < c.next {
			continue
		}
		if err != nil {
			dst = append(dst, primitives.Record{Value: append([]byte(nil), raw...), Offset: int64(line),
				Headers: append(fileHeaders(c.path), primitives.Header{Name: HeaderInvalid, Value: []byte(err.Error())})})
			continue
		}
		dst = append(dst, primitives.Record{Value: c.object(row, len(raw)), Offset: int64(line), Headers: c.headers})
	}
	return dst, nil
}

func (c *csvRows) check(row []string) error {
	if len(row) != len(c.keys) {
		return fmt.Errorf("%d columns, but the header has %d", len(row), len(c.keys))
	}
	for i, text := range row {
		if !utf8.ValidString(text) {
			return fmt.Errorf("column %q is not UTF-8: %q", c.columns[i], text)
		}
	}
	return nil
}

// object returns the row as JSON, in memory that no other record uses.
func (c *csvRows) object(row []string, size int) []byte {
	for _, k := range c.keys {
		size += len(k) + 2
	}
	if cap(c.buf)-len(c.buf) < size+64 { // 64: for a few characters that are escaped
		c.buf = make([]byte, 0, max(chunkSize, 2*size))
	}
	begin := len(c.buf)
	for i, text := range row {
		c.buf = append(c.buf, c.keys[i]...)
		c.buf = appendQuoted(c.buf, text)
	}
	c.buf = append(c.buf, '}')
	return c.buf[begin:len(c.buf):len(c.buf)]
}

func (c *csvRows) limitError(err error) error {
	if errors.Is(err, errTape) {
		return fmt.Errorf("a row is longer than MaxLine (%d bytes), or a quote is never closed: raise MaxLine if that is right", c.max)
	}
	return err
}

func (c *csvRows) Close() error { return c.src.Close() }

const hexDigits = "0123456789abcdef"

// appendQuoted appends s, which is UTF-8, as a JSON string.
func appendQuoted(dst []byte, s string) []byte {
	dst = append(dst, '"')
	begin := 0
	for i := 0; i < len(s); i++ {
		b := s[i]
		if b >= ' ' && b != '"' && b != '\\' {
			continue
		}
		dst = append(dst, s[begin:i]...)
		begin = i + 1
		switch b {
		case '"', '\\':
			dst = append(dst, '\\', b)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\t':
			dst = append(dst, '\\', 't')
		case '\r':
			dst = append(dst, '\\', 'r')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[b>>4], hexDigits[b&15])
		}
	}
	return append(append(dst, s[begin:]...), '"')
}

// A tape remembers what went through it since the last cut, so that the raw text
// of a row can be shown, and a quote that is never closed does not read the
// whole file into memory.
type tape struct {
	src   io.Reader
	limit int
	buf   []byte
	begin int   // of what is not cut yet, in buf
	pos   int64 // of buf[begin], in the file
}

var errTape = errors.New("row too long")

func (t *tape) Read(p []byte) (int, error) {
	if len(t.buf)-t.begin > t.limit {
		return 0, errTape
	}
	n, err := t.src.Read(p)
	if t.begin > chunkSize || t.begin == len(t.buf) {
		t.buf = t.buf[:copy(t.buf, t.buf[t.begin:])]
		t.begin = 0
	}
	t.buf = append(t.buf, p[:n]...)
	return n, err
}

// cut returns what was read up to an offset. It is valid until the next Read.
func (t *tape) cut(offset int64) []byte {
	end := t.begin + int(offset-t.pos)
	out := t.buf[t.begin:end]
	t.begin, t.pos = end, offset
	return out
}

// newCSVReader returns a reader that leaves the number of columns to its caller.
func newCSVReader(r io.Reader, comma byte) *csv.Reader {
	c := csv.NewReader(r)
	c.Comma = rune(comma)
	c.FieldsPerRecord = -1
	return c
}
