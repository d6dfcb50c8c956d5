package primitives

// Raw returns the codec that leaves the bytes as they are. A decoded []byte is
// the record's own memory: it must not be changed, and must be copied by who
// keeps it after the record is resolved. A decoded string is a copy.
func Raw[T ~[]byte | ~string]() Codec[T] { return rawCodec[T]{} }

type rawCodec[T ~[]byte | ~string] struct{}

func (rawCodec[T]) Decode(data []byte) (T, error) { return T(data), nil }

func (rawCodec[T]) Append(dst []byte, v T) ([]byte, error) { return append(dst, v...), nil }
