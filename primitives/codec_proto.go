package primitives

import (
	"errors"
	"fmt"
	"reflect"

	"google.golang.org/protobuf/proto"
)

// Proto returns the codec for binary protobuf. T is the pointer type that
// protoc-gen-go makes: Proto[*orderpb.Order](). Fields that T does not know are
// kept, as protobuf has it. A message encodes to the same bytes each time.
func Proto[T proto.Message]() Codec[T] { return protoCodec[T]{} }

var (
	errNil    = errors.New("nil pointer")
	errNotOwn = errors.New("not the pointer type of a protobuf message")

	// Deterministic, so that a retried handler writes the same bytes again.
	protoMarshal = proto.MarshalOptions{Deterministic: true}
)

// protoCodec is for a T that is the pointer type of a message.
type protoCodec[T any] struct{}

func (protoCodec[T]) check() error { return ownMessage[T]() }

func (protoCodec[T]) Decode(data []byte) (T, error) {
	var zero T
	none, ok := any(zero).(proto.Message)
	if !ok {
		return zero, &DecodeError{Type: typeName[T](), Offset: -1, Err: errNotOwn}
	}
	m := none.ProtoReflect().New().Interface()
	if err := proto.Unmarshal(data, m); err != nil {
		return zero, &DecodeError{Type: typeName[T](), Offset: -1, Err: err}
	}
	v, ok := m.(T)
	if !ok {
		return zero, &DecodeError{Type: typeName[T](), Offset: -1, Err: errNotOwn}
	}
	return v, nil
}

func (protoCodec[T]) Append(dst []byte, v T) ([]byte, error) {
	if isNil(v) {
		return dst, &EncodeError{Type: typeName[T](), Err: errNil}
	}
	return appendProto[T](dst, any(v).(proto.Message))
}

// protoValueCodec is for a T whose pointer is a message.
type protoValueCodec[T any] struct{}

func (protoValueCodec[T]) check() error { return ownMessage[T]() }

func (protoValueCodec[T]) Decode(data []byte) (T, error) {
	v := new(T)
	if err := proto.Unmarshal(data, any(v).(proto.Message)); err != nil {
		var zero T
		return zero, &DecodeError{Type: typeName[T](), Offset: -1, Err: err}
	}
	return *v, nil
}

func (protoValueCodec[T]) Append(dst []byte, v T) ([]byte, error) {
	return appendProto[T](dst, any(&v).(proto.Message))
}

func appendProto[T any](dst []byte, m proto.Message) ([]byte, error) {
	dst, err := protoMarshal.MarshalAppend(dst, m)
	if err != nil {
		return dst, &EncodeError{Type: typeName[T](), Err: err}
	}
	return dst, nil
}

// ownMessage errs when T has its methods from a message that it embeds, whose
// bytes would leave out its other fields. Generated messages embed nothing.
func ownMessage[T any]() error {
	t := reflect.TypeFor[T]()
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return fmt.Errorf("%s: %w", typeName[T](), errNotOwn)
	}
	for f := range t.Fields() {
		if f.Anonymous && (implements(f.Type, protoMethods...) || implements(reflect.PointerTo(f.Type), protoMethods...)) {
			return fmt.Errorf("%s is a protobuf message only because it embeds %s: give the primitive a Codec, as JSON[%s]()",
				typeName[T](), f.Type, typeName[T]())
		}
	}
	return nil
}
