package primitives

import (
	"encoding"
	"reflect"
)

// Text returns the codec that uses the text form of T, as of netip.Addr or
// time.Time. Only T is spelled: Text[netip.Addr]().
func Text[T any, P interface {
	*T
	encoding.TextMarshaler
	encoding.TextUnmarshaler
}]() Codec[T] {
	return textCodec[T]{}
}

// textCodec is for a T whose pointer has the methods.
type textCodec[T any] struct{}

func (textCodec[T]) Decode(data []byte) (T, error) {
	v := new(T)
	if err := any(v).(encoding.TextUnmarshaler).UnmarshalText(data); err != nil {
		var zero T
		return zero, &DecodeError{Type: typeName[T](), Offset: -1, Err: err}
	}
	return *v, nil
}

func (textCodec[T]) Append(dst []byte, v T) ([]byte, error) { return appendText[T](dst, &v) }

// textPointerCodec is for a T that is such a pointer. t is T.
type textPointerCodec[T any] struct{ t reflect.Type }

func (c textPointerCodec[T]) Decode(data []byte) (T, error) {
	v := reflect.New(c.t.Elem()).Interface().(T)
	if err := any(v).(encoding.TextUnmarshaler).UnmarshalText(data); err != nil {
		var zero T
		return zero, &DecodeError{Type: typeName[T](), Offset: -1, Err: err}
	}
	return v, nil
}

func (c textPointerCodec[T]) Append(dst []byte, v T) ([]byte, error) {
	if isNil(v) {
		return dst, &EncodeError{Type: typeName[T](), Err: errNil}
	}
	return appendText[T](dst, v)
}

// appendText appends the text of v, which is a T or a pointer to it.
func appendText[T any](dst []byte, v any) ([]byte, error) {
	var err error
	if a, ok := v.(encoding.TextAppender); ok {
		dst, err = a.AppendText(dst)
	} else {
		var text []byte
		text, err = v.(encoding.TextMarshaler).MarshalText()
		dst = append(dst, text...)
	}
	if err != nil {
		return dst, &EncodeError{Type: typeName[T](), Err: err}
	}
	return dst, nil
}

func typeName[T any]() string { return reflect.TypeFor[T]().String() }

// isNil reports whether v is a nil pointer or nothing at all.
func isNil(v any) bool {
	r := reflect.ValueOf(v)
	return !r.IsValid() || r.Kind() == reflect.Pointer && r.IsNil()
}
