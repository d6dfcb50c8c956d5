package file

import (
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"

	"github.com/parquet-go/parquet-go"

	"github.com/flowkit-go/flow/primitives"
)

// parquetType reports a T that cannot be a row of Parquet.
func parquetType[T any]() (err error) {
	t := reflect.TypeFor[T]()
	if t.Kind() != reflect.Struct || t == reflect.TypeFor[primitives.Record]() || hasText(t) {
		return fmt.Errorf("a row of Parquet is not a %s: use a struct", t)
	}
	defer recovered(&err, "%s cannot be a row of Parquet", t)
	if len(parquet.SchemaOf(new(T)).Fields()) == 0 {
		return fmt.Errorf("%s has no exported field to be a column", t)
	}
	return nil
}

// recovered turns a panic, which is how package parquet reports what it cannot
// do with a type or a file, into an error.
func recovered(err *error, format string, args ...any) {
	if p := recover(); p != nil {
		*err = fmt.Errorf(format+": %v", append(args, p)...)
	}
}

// parquetRows reads Parquet. A row becomes the JSON of a T. Its offset is its
// number, from 1.
type parquetRows[T any] struct {
	path    string
	file    *os.File
	in      *parquet.GenericReader[T]
	codec   primitives.Codec[T]
	headers []primitives.Header
	row     int64 // number of the last row read
	batch   []T
	buf     []byte // the free part is what is behind its length
}

const parquetBatch = 128

func openParquet[T any](path string, next int64) (_ rows, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("file: %w", err)
	}
	p := &parquetRows[T]{path: path, file: f, codec: primitives.JSON[T](), headers: fileHeaders(path), batch: make([]T, parquetBatch)}
	if err := p.start(next); err != nil {
		return nil, errors.Join(fmt.Errorf("file: %s: %w", path, err), f.Close())
	}
	return p, nil
}

func (p *parquetRows[T]) start(next int64) (err error) {
	defer recovered(&err, "not to be read as rows of %s", reflect.TypeFor[T]())
	info, err := p.file.Stat()
	if err != nil {
		return err
	}
	f, err := parquet.OpenFile(p.file, info.Size())
	if err != nil {
		return err
	}
	if err := checkColumns("", parquet.SchemaOf(new(T)), f.Schema()); err != nil {
		return err
	}
	p.in = parquet.NewGenericReader[T](f)
	p.row = min(next-1, p.in.NumRows())
	return p.in.SeekToRow(p.row)
}

// checkColumns reports columns that a row type wants in another form than the
// file has them: package parquet would quietly read zeros. Columns that only one
// of the two has are ignored.
func checkColumns(path string, want, has parquet.Node) error {
	for _, w := range want.Fields() {
		for _, h := range has.Fields() {
			if w.Name() != h.Name() {
				continue
			}
			name := path + w.Name()
			if ws, hs := formOf(w), formOf(h); ws != hs && !(ws == "INT64" && hs == "INT32") && !(ws == "DOUBLE" && hs == "FLOAT") {
				return fmt.Errorf("column %s is %s in the file, but %s in the type", name, hs, ws)
			}
			if w.Leaf() {
				break
			}
			if err := checkColumns(name+".", w, h); err != nil {
				return err
			}
		}
	}
	return nil
}

func formOf(n parquet.Node) string {
	form := "a group"
	if n.Leaf() {
		form = n.Type().Kind().String()
	}
	if n.Repeated() {
		form = "a list of " + form
	}
	return form
}

func (p *parquetRows[T]) read(dst []primitives.Record) ([]primitives.Record, error) {
	clear(p.batch)
	n, err := p.readBatch(p.batch[:min(len(p.batch), cap(dst)-len(dst))])
	if err != nil && !errors.Is(err, io.EOF) {
		return dst, fmt.Errorf("file: %s: after row %d: %w", p.path, p.row, err)
	}
	for _, v := range p.batch[:n] {
		p.row++
		if cap(p.buf)-len(p.buf) < chunkSize/8 {
			p.buf = make([]byte, 0, chunkSize)
		}
		r := primitives.Record{Offset: p.row, Headers: p.headers}
		out, err := p.codec.Append(p.buf, v)
		if err == nil {
			r.Value = out[len(p.buf):len(out):len(out)]
			p.buf = out
		} else { // a float that JSON has no number for
			r.Headers = append(fileHeaders(p.path), primitives.Header{Name: HeaderInvalid, Value: []byte(err.Error())})
			r.Value = fmt.Appendf(nil, "%+v", v)
		}
		dst = append(dst, r)
	}
	if n == 0 {
		return dst, io.EOF
	}
	return dst, nil
}

func (p *parquetRows[T]) readBatch(rows []T) (n int, err error) {
	defer recovered(&err, "not to be read as rows of %s", reflect.TypeFor[T]())
	return p.in.Read(rows)
}

func (p *parquetRows[T]) Close() (err error) {
	defer recovered(&err, "close %s", p.path)
	return errors.Join(p.in.Close(), p.file.Close())
}
