package sqlite

import (
	"database/sql"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"time"
)

// timeLayout has one width for all years that it can hold, so that texts
// compare as the times do.
const timeLayout = "2006-01-02T15:04:05.000000000Z"

var (
	timeType            = reflect.TypeFor[time.Time]()
	textMarshalerType   = reflect.TypeFor[encoding.TextMarshaler]()
	textUnmarshalerType = reflect.TypeFor[encoding.TextUnmarshaler]()
	jsonMarshalerType   = reflect.TypeFor[json.Marshaler]()
)

// storageOf returns how values of type t are kept, and whether they may be NULL.
func storageOf(t reflect.Type) (st storage, nullable bool, err error) {
	if isNullStruct(t) {
		inner, nested, err := storageOf(t.Field(0).Type)
		if err != nil {
			return storage{}, false, err
		}
		if nested {
			return storage{}, false, fmt.Errorf("%s may be NULL in two ways", t)
		}
		return orNull(inner,
			func(v reflect.Value) (reflect.Value, bool) { return v.Field(0), v.Field(1).Bool() },
			func(v reflect.Value) reflect.Value { v.Field(1).SetBool(true); return v.Field(0) }), true, nil
	}
	if t.Kind() == reflect.Pointer {
		if t.Elem().Kind() == reflect.Pointer || isNullStruct(t.Elem()) {
			return storage{}, false, unstorable(t)
		}
		inner, _, err := storageOf(t.Elem())
		if err != nil {
			return storage{}, false, err
		}
		return orNull(inner,
			func(v reflect.Value) (reflect.Value, bool) { return v.Elem(), !v.IsNil() },
			func(v reflect.Value) reflect.Value { v.Set(reflect.New(t.Elem())); return v.Elem() }), true, nil
	}
	if st, ok := markedStorage(t); ok {
		return st, false, nil
	}
	switch t.Kind() {
	case reflect.Bool:
		return boolStorage, false, nil
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return intStorage, false, nil
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return uintStorage, false, nil
	case reflect.Float32, reflect.Float64:
		return floatStorage, false, nil
	case reflect.String:
		return stringStorage, false, nil
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return bytesStorage, true, nil
		}
	case reflect.Array:
		if t.Elem().Kind() == reflect.Uint8 {
			st := byteArrayStorage
			st.zero = make([]byte, t.Len())
			return st, false, nil
		}
	}
	if err := checkJSON(t, nil); err != nil {
		return storage{}, false, err
	}
	switch t.Kind() {
	case reflect.Slice, reflect.Map, reflect.Interface:
		return orNull(jsonStorage,
			func(v reflect.Value) (reflect.Value, bool) { return v, !v.IsNil() },
			func(v reflect.Value) reflect.Value { return v }), true, nil
	}
	return jsonStorage, false, nil
}

// markedStorage is the storage of types that say themselves how they are written.
func markedStorage(t reflect.Type) (storage, bool) {
	switch {
	case t == timeType:
		return timeStorage, true
	case t.Kind() == reflect.Interface:
		return storage{}, false
	case reflect.PointerTo(t).Implements(textMarshalerType):
		return textStorage(t), true
	case reflect.PointerTo(t).Implements(jsonMarshalerType):
		return jsonStorage, true
	}
	return storage{}, false
}

// isScalar reports whether a struct is stored as one value of its own making.
func isScalar(t reflect.Type) bool {
	_, marked := markedStorage(t)
	return marked || isNullStruct(t)
}

// isNullStruct recognises sql.NullString and the like, and sql.Null[X].
func isNullStruct(t reflect.Type) bool {
	return t.Kind() == reflect.Struct && t.PkgPath() == reflect.TypeFor[sql.NullString]().PkgPath() &&
		strings.HasPrefix(t.Name(), "Null") && t.NumField() == 2 && t.Field(1).Name == "Valid"
}

// orNull wraps st for a type whose values may be absent: get returns the value
// and whether there is one, fresh makes room for one.
func orNull(st storage, get func(reflect.Value) (reflect.Value, bool), fresh func(reflect.Value) reflect.Value) storage {
	return storage{
		kind: st.kind,
		append: func(row []byte, v reflect.Value) ([]byte, error) {
			inner, ok := get(v)
			if !ok {
				return appendNull(row), nil
			}
			return st.append(row, inner)
		},
		set: func(v reflect.Value, src any) error {
			v.SetZero()
			if src == nil {
				return nil
			}
			return st.set(fresh(v), src)
		},
	}
}

var boolStorage = storage{
	kind: integer,
	zero: int64(0),
	append: func(row []byte, v reflect.Value) ([]byte, error) {
		if v.Bool() {
			return appendInt(row, 1), nil
		}
		return appendInt(row, 0), nil
	},
	set: func(v reflect.Value, src any) error {
		switch x := src.(type) {
		case bool:
			v.SetBool(x)
		case int64:
			v.SetBool(x != 0)
		default:
			return mismatch(v, src)
		}
		return nil
	},
}

var intStorage = storage{
	kind: integer,
	zero: int64(0),
	append: func(row []byte, v reflect.Value) ([]byte, error) {
		return appendInt(row, v.Int()), nil
	},
	set: func(v reflect.Value, src any) error {
		x, ok := src.(int64)
		if !ok || v.OverflowInt(x) {
			return mismatch(v, src)
		}
		v.SetInt(x)
		return nil
	},
}

var uintStorage = storage{
	kind: integer,
	zero: int64(0),
	append: func(row []byte, v reflect.Value) ([]byte, error) {
		x := v.Uint()
		if x > math.MaxInt64 {
			return row, fmt.Errorf("%d is too large for a signed integer of 64 bits", x)
		}
		return appendInt(row, int64(x)), nil
	},
	set: func(v reflect.Value, src any) error {
		x, ok := src.(int64)
		if !ok || x < 0 || v.OverflowUint(uint64(x)) {
			return mismatch(v, src)
		}
		v.SetUint(uint64(x))
		return nil
	},
}

var floatStorage = storage{
	kind: real,
	zero: float64(0),
	append: func(row []byte, v reflect.Value) ([]byte, error) {
		x := v.Float()
		if math.IsNaN(x) {
			return row, errors.New("NaN cannot be stored: use a pointer, and nil for a number that is not known")
		}
		return appendFloat(row, x), nil
	},
	set: func(v reflect.Value, src any) error {
		switch x := src.(type) {
		case float64:
			v.SetFloat(x)
		case int64: // what an expression or a column without a type gives for whole numbers
			v.SetFloat(float64(x))
		default:
			return mismatch(v, src)
		}
		return nil
	},
}

var stringStorage = storage{
	kind: text,
	zero: "",
	append: func(row []byte, v reflect.Value) ([]byte, error) {
		return appendText(row, v.String()), nil
	},
	set: func(v reflect.Value, src any) error {
		x, ok := src.(string)
		if !ok {
			return mismatch(v, src)
		}
		v.SetString(x)
		return nil
	},
}

var bytesStorage = storage{
	kind: blob,
	append: func(row []byte, v reflect.Value) ([]byte, error) {
		if v.Len() == 0 {
			return appendNull(row), nil
		}
		return appendBlob(row, v.Bytes()), nil
	},
	set: func(v reflect.Value, src any) error {
		switch x := src.(type) {
		case []byte:
			v.SetBytes(x)
		case string:
			v.SetBytes([]byte(x))
		case nil:
			v.SetZero()
		default:
			return mismatch(v, src)
		}
		return nil
	},
}

var byteArrayStorage = storage{
	kind: blob,
	append: func(row []byte, v reflect.Value) ([]byte, error) {
		return appendBlob(row, v.Bytes()), nil
	},
	set: func(v reflect.Value, src any) error {
		x, ok := src.([]byte)
		if !ok || len(x) != v.Len() {
			return mismatch(v, src)
		}
		copy(v.Bytes(), x)
		return nil
	},
}

var timeStorage = storage{
	kind: text,
	zero: time.Time{}.Format(timeLayout),
	append: func(row []byte, v reflect.Value) ([]byte, error) {
		t := v.Addr().Interface().(*time.Time).UTC()
		if t.Year() < 0 || t.Year() > 9999 {
			return row, fmt.Errorf("the year %d is not between 0 and 9999", t.Year())
		}
		return appendTime(row, t), nil
	},
	set: func(v reflect.Value, src any) error {
		t := v.Addr().Interface().(*time.Time)
		switch x := src.(type) {
		case time.Time: // what the driver makes of columns that were declared DATETIME
			*t = x.UTC()
			return nil
		case string:
			for _, layout := range []string{timeLayout, time.RFC3339Nano, time.DateTime, time.DateOnly} {
				if parsed, err := time.Parse(layout, x); err == nil {
					*t = parsed.UTC()
					return nil
				}
			}
		}
		return mismatch(v, src)
	},
}

// textStorage keeps what MarshalText returns.
func textStorage(t reflect.Type) storage {
	st := storage{
		kind: text,
		append: func(row []byte, v reflect.Value) ([]byte, error) {
			s, err := v.Addr().Interface().(encoding.TextMarshaler).MarshalText()
			if err != nil {
				return row, err
			}
			return appendText(row, s), nil
		},
	}
	if zero, err := zeroText(t); err == nil {
		st.zero = string(zero)
	}
	canRead := reflect.PointerTo(t).Implements(textUnmarshalerType)
	st.set = func(v reflect.Value, src any) error {
		var b []byte
		switch x := src.(type) {
		case string:
			b = []byte(x)
		case []byte:
			b = x
		default:
			return mismatch(v, src)
		}
		if !canRead {
			return fmt.Errorf("%s has a MarshalText but no UnmarshalText", t)
		}
		return v.Addr().Interface().(encoding.TextUnmarshaler).UnmarshalText(b)
	}
	return st
}

// zeroText marshals the zero value of t. Marshalers that were not made for
// their zero value may panic; the column is then nullable.
func zeroText(t reflect.Type) (b []byte, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%v", r)
		}
	}()
	return reflect.New(t).Interface().(encoding.TextMarshaler).MarshalText()
}

var jsonStorage = storage{
	kind: text,
	zero: "null",
	append: func(row []byte, v reflect.Value) ([]byte, error) {
		b, err := json.Marshal(v.Addr().Interface())
		if err != nil {
			return row, err
		}
		return appendText(row, b), nil
	},
	set: func(v reflect.Value, src any) error {
		switch x := src.(type) {
		case string:
			return json.Unmarshal([]byte(x), v.Addr().Interface())
		case []byte:
			return json.Unmarshal(x, v.Addr().Interface())
		}
		return mismatch(v, src)
	},
}

// checkJSON reports a part of t that JSON cannot hold. within are the types
// around it, so that it ends for types that contain themselves.
func checkJSON(t reflect.Type, within []reflect.Type) error {
	for _, outer := range within {
		if outer == t {
			return nil
		}
	}
	if _, marked := markedStorage(t); marked {
		return nil
	}
	within = append(within, t)
	switch t.Kind() {
	case reflect.Chan, reflect.Func, reflect.Complex64, reflect.Complex128, reflect.UnsafePointer, reflect.Uintptr, reflect.Invalid:
		return unstorable(t)
	case reflect.Interface:
		if t.NumMethod() > 0 {
			return fmt.Errorf("%w: which type it holds is not known when it is read", unstorable(t))
		}
	case reflect.Map:
		k := t.Key()
		isText := k.Kind() == reflect.String || reflect.PointerTo(k).Implements(textMarshalerType)
		if !isText && !(k.Kind() >= reflect.Int && k.Kind() <= reflect.Uint64) {
			return fmt.Errorf("%w: its keys are neither text nor integers", unstorable(t))
		}
		return checkJSON(t.Elem(), within)
	case reflect.Pointer, reflect.Slice, reflect.Array:
		return checkJSON(t.Elem(), within)
	case reflect.Struct:
		for f := range fieldsOf(t) {
			if err := checkJSON(f.Type, within); err != nil {
				return fmt.Errorf("in its field %s: %w", f.Name, err)
			}
		}
	}
	return nil
}

// fieldsOf yields the fields of a struct that JSON writes.
func fieldsOf(t reflect.Type) func(yield func(reflect.StructField) bool) {
	return func(yield func(reflect.StructField) bool) {
		for i := range t.NumField() {
			f := t.Field(i)
			if f.Tag.Get("json") == "-" || !f.IsExported() && !f.Anonymous {
				continue
			}
			if !yield(f) {
				return
			}
		}
	}
}

func unstorable(t reflect.Type) error { return fmt.Errorf("values of type %s cannot be stored", t) }

func mismatch(v reflect.Value, src any) error {
	if src == nil {
		return fmt.Errorf("NULL is not a %s: use a pointer to it", v.Type())
	}
	return fmt.Errorf("%v (%T) is not a %s", src, src, v.Type())
}
