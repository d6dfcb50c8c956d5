package primitives

import (
	"encoding"
	"reflect"

	"google.golang.org/protobuf/proto"
)

// CodecFor returns the codec that T asks for by its type:
//
//   - []byte and string: the bytes as they are ([Raw])
//   - T or *T a proto.Message: binary protobuf ([Proto])
//   - T or *T an encoding.TextMarshaler and an encoding.TextUnmarshaler: its text ([Text])
//   - anything else: JSON ([JSON])
//
// Named types such as "type ID string" are JSON; Raw[ID]() makes them raw. It
// errs when T contains what JSON cannot carry (a channel, a function, a complex
// number, a map with keys that have no text), naming the field.
func CodecFor[T any]() (Codec[T], error) {
	if c, ok := any(Raw[[]byte]()).(Codec[T]); ok {
		return c, nil
	}
	if c, ok := any(Raw[string]()).(Codec[T]); ok {
		return c, nil
	}
	t := reflect.TypeFor[T]()
	// An interface type satisfies itself, but there is nothing to decode into.
	pointer, value := t.Kind() == reflect.Pointer, t.Kind() != reflect.Interface
	switch {
	case pointer && implements(t, protoMethods...):
		return usable[T](protoCodec[T]{})
	case value && implements(reflect.PointerTo(t), protoMethods...):
		return usable[T](protoValueCodec[T]{})
	case pointer && implements(t, textMethods...):
		return textPointerCodec[T]{t}, nil
	case value && implements(reflect.PointerTo(t), textMethods...):
		return textCodec[T]{}, nil
	}
	return usable(JSON[T]())
}

var (
	protoMethods = []reflect.Type{reflect.TypeFor[proto.Message]()}
	textMethods  = []reflect.Type{reflect.TypeFor[encoding.TextMarshaler](), reflect.TypeFor[encoding.TextUnmarshaler]()}
)

func implements(t reflect.Type, interfaces ...reflect.Type) bool {
	for _, i := range interfaces {
		if !t.Implements(i) {
			return false
		}
	}
	return true
}

// usable returns c, or the codec for T when c is nil, after the check of T that
// the codec asks for.
func usable[T any](c Codec[T]) (Codec[T], error) {
	if c == nil {
		return CodecFor[T]()
	}
	if k, ok := c.(interface{ check() error }); ok {
		if err := k.check(); err != nil {
			return nil, err
		}
	}
	return c, nil
}
