package primitives

import (
	"encoding"
	stdjson "encoding/json"
	"fmt"
	"reflect"
	"strings"
)

var (
	jsonMarshaler   = reflect.TypeFor[stdjson.Marshaler]()
	jsonUnmarshaler = reflect.TypeFor[stdjson.Unmarshaler]()
	textMarshaler   = reflect.TypeFor[encoding.TextMarshaler]()
	textUnmarshaler = reflect.TypeFor[encoding.TextUnmarshaler]()
)

// check errs when T contains a type that JSON cannot carry. What an interface
// will hold is not known before there is a value.
func (*jsonCodec[T]) check() error {
	t := reflect.TypeFor[T]()
	path, bad := unfitForJSON(t, nil, map[reflect.Type]bool{})
	if bad == nil {
		return nil
	}
	what := bad.String()
	if bad.Kind() == reflect.Map {
		what += " with keys that are no text"
	}
	if len(path) == 0 {
		return fmt.Errorf("JSON cannot carry %s: give the primitive a Codec", what)
	}
	return fmt.Errorf("JSON cannot carry %s: field %s has type %s: tag it `json:\"-\"`, or give the primitive a Codec",
		t, strings.Join(path, "."), what)
}

// unfitForJSON returns the first such type inside t and the Go names of the
// fields that lead to it, nil when there is none.
func unfitForJSON(t reflect.Type, path []string, seen map[reflect.Type]bool) ([]string, reflect.Type) {
	if seen[t] || encodesItself(t) || decodesItself(t) {
		return nil, nil
	}
	seen[t] = true
	switch t.Kind() {
	case reflect.Chan, reflect.Func, reflect.Complex64, reflect.Complex128, reflect.UnsafePointer:
		return path, t
	case reflect.Pointer, reflect.Slice, reflect.Array:
		return unfitForJSON(t.Elem(), path, seen)
	case reflect.Map:
		if !isJSONKey(t.Key()) {
			return path, t
		}
		return unfitForJSON(t.Elem(), path, seen)
	case reflect.Struct:
		for f := range t.Fields() {
			if f.Tag.Get("json") == "-" || !f.IsExported() && !isEmbeddedStruct(f) {
				continue
			}
			if p, bad := unfitForJSON(f.Type, append(path[:len(path):len(path)], f.Name), seen); bad != nil {
				return p, bad
			}
		}
	}
	return nil, nil
}

// isEmbeddedStruct reports whether f is a struct whose exported fields count
// although its own name is not exported.
func isEmbeddedStruct(f reflect.StructField) bool {
	t := f.Type
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return f.Anonymous && t.Kind() == reflect.Struct
}

func isJSONKey(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.String, reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		return true
	}
	return t.Implements(textMarshaler) || reflect.PointerTo(t).Implements(textUnmarshaler)
}

func encodesItself(t reflect.Type) bool {
	return t.Implements(jsonMarshaler) || t.Implements(textMarshaler) ||
		reflect.PointerTo(t).Implements(jsonMarshaler) || reflect.PointerTo(t).Implements(textMarshaler)
}

func decodesItself(t reflect.Type) bool {
	p := reflect.PointerTo(t)
	return p.Implements(jsonUnmarshaler) || p.Implements(textUnmarshaler)
}
