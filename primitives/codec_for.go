package primitives

import "encoding/json"

// CodecFor is provisional.
func CodecFor[T any]() (Codec[T], error) { return jsonCodec[T]{}, nil }

type jsonCodec[T any] struct{}

func (jsonCodec[T]) Decode(data []byte) (v T, err error) { err = json.Unmarshal(data, &v); return }
func (jsonCodec[T]) Append(dst []byte, v T) ([]byte, error) {
	b, err := json.Marshal(v)
	return append(dst, b...), err
}
