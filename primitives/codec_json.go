package primitives

import (
	stdjson "encoding/json"
	"sync"

	"github.com/goccy/go-json"
)

// JSON returns the codec for JSON. It behaves as encoding/json does, field by
// field: a missing field is the zero value, unknown fields are ignored, names
// match without regard to case when none matches exactly, a value of the wrong
// type or out of range is an error, and so is anything but white space after
// the value. Differences: '<', '>' and '&' are written as they are, and methods
// on *T count when a T is written.
//
// A decoded value refers to no memory of the input: strings are copies. A method
// UnmarshalJSON or UnmarshalText inside T must not keep its receiver's address,
// and is called again when decoding failed, to find the place.
//
// github.com/goccy/go-json does the work (docs/json.md has the figures);
// encoding/json has the last word on every input that it refuses, and says why.
func JSON[T any]() Codec[T] { return &jsonCodec[T]{} }

type jsonCodec[T any] struct {
	writers sync.Pool // of *jsonWriter[T]
}

func (c *jsonCodec[T]) Decode(data []byte) (v T, err error) {
	if json.UnmarshalOf(data, &v) != nil {
		return decodeSlowly[T](data)
	}
	return v, nil
}

// decodeSlowly is apart from Decode so that the value there stays on the stack.
func decodeSlowly[T any](data []byte) (v T, err error) {
	if err := stdjson.Unmarshal(data, &v); err != nil {
		var zero T
		return zero, jsonError[T](data, err)
	}
	return v, nil
}

func (c *jsonCodec[T]) Append(dst []byte, v T) ([]byte, error) {
	w, _ := c.writers.Get().(*jsonWriter[T])
	if w == nil {
		w = newJSONWriter[T]()
	}
	// When a method of the user's panics, w is left to the garbage collector.
	out, err := w.append(dst, v)
	c.writers.Put(w)
	return out, err
}

// A jsonWriter is the io.Writer that an Encoder of its own writes to, so that
// neither costs an allocation per value.
type jsonWriter[T any] struct {
	dst []byte
	v   T // a copy with an address in the heap, which the encoder needs
	enc *json.Encoder
}

func newJSONWriter[T any]() *jsonWriter[T] {
	w := &jsonWriter[T]{}
	w.enc = json.NewEncoder(w)
	w.enc.SetEscapeHTML(false)
	return w
}

func (w *jsonWriter[T]) append(dst []byte, v T) ([]byte, error) {
	w.dst, w.v = dst, v
	err := w.enc.Encode(&w.v)
	if err != nil {
		std := stdjson.NewEncoder(w)
		std.SetEscapeHTML(false)
		err = std.Encode(&w.v)
	}
	out := w.dst
	var zero T
	w.dst, w.v = nil, zero // keep nothing of the caller's alive
	if err != nil {
		return out, &EncodeError{Type: typeName[T](), Err: err}
	}
	return out, nil
}

// Write is called once per value, with the value and a newline.
func (w *jsonWriter[T]) Write(p []byte) (int, error) {
	w.dst = append(w.dst, p[:len(p)-1]...)
	return len(p), nil
}
