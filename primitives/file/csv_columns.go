package file

import (
	"encoding"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
)

// A column is a struct field that CSV can hold.
type column struct {
	name  string
	index []int
	read  func(text []byte, v reflect.Value) error
	write func(v reflect.Value) (string, error)
}

// columnsOf returns the columns of a struct, in the order of its fields. The
// fields of an embedded struct count as its own.
func columnsOf(t reflect.Type) ([]column, error) {
	if t.Kind() != reflect.Struct || hasText(t) {
		return nil, fmt.Errorf("a row of CSV is not a %s: use a struct", t)
	}
	cols, err := appendColumns(nil, t, nil)
	if err != nil {
		return nil, err
	}
	if len(cols) == 0 {
		return nil, fmt.Errorf("%s has no exported field to be a column", t)
	}
	seen := map[string]bool{}
	for _, c := range cols {
		if seen[c.name] {
			return nil, fmt.Errorf("%s has two fields for column %q: rename one with a tag csv", t, c.name)
		}
		seen[c.name] = true
	}
	return cols, nil
}

func appendColumns(cols []column, t reflect.Type, path []int) ([]column, error) {
	for f := range t.Fields() {
		index := append(append([]int(nil), path...), f.Index...)
		tagged := f.Tag.Get("csv") + f.Tag.Get("json")
		if f.Anonymous && tagged == "" && f.Type.Kind() == reflect.Struct && !hasText(f.Type) {
			var err error
			if cols, err = appendColumns(cols, f.Type, index); err != nil {
				return nil, err
			}
			continue
		}
		name := columnName(f)
		if !f.IsExported() || name == "" {
			continue
		}
		read, write, err := textOf(f.Type)
		if err != nil {
			return nil, fmt.Errorf("field %s of %s: %w", f.Name, t, err)
		}
		cols = append(cols, column{name, index, read, write})
	}
	return cols, nil
}

// columnName returns the name in the tag csv, else in the tag json, else the
// field's; "" when the tag is "-".
func columnName(f reflect.StructField) string {
	for _, key := range []string{"csv", "json"} {
		name, _, _ := strings.Cut(f.Tag.Get(key), ",")
		switch name {
		case "-":
			return ""
		case "":
		default:
			return name
		}
	}
	return f.Name
}

// textOf returns how a field of type t is read from text and written to it.
func textOf(t reflect.Type) (read func([]byte, reflect.Value) error, write func(reflect.Value) (string, error), err error) {
	switch {
	case t.Kind() == reflect.Pointer && !t.Implements(textUnmarshaler):
		return textOfPointer(t)
	case t.Kind() == reflect.Pointer && hasText(t.Elem()):
		return textOfPointer(t)
	case hasText(t):
		return readText, writeText, nil
	}
	bits := 0
	switch t.Kind() {
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32,
		reflect.Uint64, reflect.Float32, reflect.Float64:
		bits = t.Bits()
	}
	switch {
	case t.Kind() == reflect.String:
		return func(b []byte, v reflect.Value) error { v.SetString(string(b)); return nil },
			func(v reflect.Value) (string, error) { return v.String(), nil }, nil
	case t.Kind() == reflect.Bool:
		return func(b []byte, v reflect.Value) error {
				x, err := strconv.ParseBool(string(b))
				v.SetBool(x)
				return notA(t, b, err)
			},
			func(v reflect.Value) (string, error) { return strconv.FormatBool(v.Bool()), nil }, nil
	case t.Kind() >= reflect.Int && t.Kind() <= reflect.Int64:
		return func(b []byte, v reflect.Value) error {
				x, err := strconv.ParseInt(string(b), 10, bits)
				v.SetInt(x)
				return notA(t, b, err)
			},
			func(v reflect.Value) (string, error) { return strconv.FormatInt(v.Int(), 10), nil }, nil
	case t.Kind() >= reflect.Uint && t.Kind() <= reflect.Uint64:
		return func(b []byte, v reflect.Value) error {
				x, err := strconv.ParseUint(string(b), 10, bits)
				v.SetUint(x)
				return notA(t, b, err)
			},
			func(v reflect.Value) (string, error) { return strconv.FormatUint(v.Uint(), 10), nil }, nil
	case t.Kind() == reflect.Float32 || t.Kind() == reflect.Float64:
		return func(b []byte, v reflect.Value) error {
				x, err := strconv.ParseFloat(string(b), bits)
				v.SetFloat(x)
				return notA(t, b, err)
			},
			func(v reflect.Value) (string, error) { return strconv.FormatFloat(v.Float(), 'g', -1, bits), nil }, nil
	}
	return nil, nil, fmt.Errorf("a column of CSV cannot hold a %s: give the type MarshalText and UnmarshalText, or the field a tag `csv:\"-\"`", t)
}

// textOfPointer is for optional fields: no text is nil.
func textOfPointer(t reflect.Type) (func([]byte, reflect.Value) error, func(reflect.Value) (string, error), error) {
	read, write, err := textOf(t.Elem())
	if err != nil {
		return nil, nil, err
	}
	return func(b []byte, v reflect.Value) error {
			if len(b) == 0 {
				v.SetZero()
				return nil
			}
			p := reflect.New(t.Elem())
			v.Set(p)
			return read(b, p.Elem())
		},
		func(v reflect.Value) (string, error) {
			if v.IsNil() {
				return "", nil
			}
			return write(v.Elem())
		}, nil
}

func readText(b []byte, v reflect.Value) error {
	if err := v.Addr().Interface().(encoding.TextUnmarshaler).UnmarshalText(b); err != nil {
		return fmt.Errorf("%q: %w", b, err)
	}
	return nil
}

func writeText(v reflect.Value) (string, error) {
	b, err := v.Addr().Interface().(encoding.TextMarshaler).MarshalText()
	return string(b), err
}

// notA makes strconv's error say what was wanted.
func notA(t reflect.Type, text []byte, err error) error {
	if err == nil {
		return nil
	}
	var num *strconv.NumError
	if errors.As(err, &num) && errors.Is(num.Err, strconv.ErrRange) {
		return fmt.Errorf("%q is out of range for %s", text, t)
	}
	return fmt.Errorf("%q is not a %s", text, t)
}
