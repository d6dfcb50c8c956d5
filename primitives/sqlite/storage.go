package sqlite

import (
	"database/sql"
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"time"
)

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
