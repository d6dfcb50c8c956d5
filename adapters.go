package flow

import (
	"context"
	"errors"
	"iter"
	"time"

	"github.com/flowkit-go/flow/primitives"
)

// Source is what a Consumer reads from. Primitives implement it.
type Source[T any] = primitives.Source[T]

// Sink is what a Consumer or Collector writes to. Primitives implement it.
type Sink[T any] = primitives.Sink[T]

// A Msg is a value with its record's metadata, from a source wrapped in Messages.
type Msg[T any] struct {
	Value     T
	Key       []byte
	Headers   []primitives.Header
	Time      time.Time // of the event, or when the source stored it; zero if not known
	Partition primitives.Partition
	Offset    int64
	Attempt   int // of handling this record, 1 for the first
}

// Messages makes a source give its values with key, headers, time, position and
// attempt.
func Messages[T any](src Source[T]) Source[Msg[T]] { return messages[T]{src} }

type messages[T any] struct{ inner Source[T] }

func (m messages[T]) String() string { return m.inner.String() }

func (m messages[T]) unwrap() any { return m.inner }

func (m messages[T]) OpenSource(ctx context.Context, env *primitives.Env) (primitives.Reader, error) {
	return m.inner.OpenSource(ctx, env)
}

func (m messages[T]) Decoder() (primitives.Decoder[Msg[T]], error) {
	decode, err := m.inner.Decoder()
	if err != nil {
		return nil, err
	}
	return func(recs []primitives.Record) (Msg[T], error) {
		r := &recs[0]
		v, err := decode(recs)
		msg := Msg[T]{Value: v, Key: r.Key, Headers: r.Headers, Time: r.Time, Offset: r.Offset, Attempt: int(r.Attempt)}
		if r.Partition != nil {
			msg.Partition = *r.Partition
		}
		return msg, err
	}, nil
}

// Batches makes a source give its values in batches of n, or of fewer once the
// first of them has waited for wait. A batch may span partitions. With BatchWeight,
// n is the weight of a full batch. A record that cannot be decoded is answered by
// itself; a handler that refuses single records returns a *BatchError.
func Batches[T any](src Source[T], n int, wait time.Duration) Source[[]T] {
	return batches[T]{src, n, wait}
}

type batches[T any] struct {
	inner Source[T]
	n     int
	wait  time.Duration
}

func (b batches[T]) String() string { return b.inner.String() }

func (b batches[T]) unwrap() any { return b.inner }

func (b batches[T]) OpenSource(ctx context.Context, env *primitives.Env) (primitives.Reader, error) {
	return b.inner.OpenSource(ctx, env)
}

func (b batches[T]) Decoder() (primitives.Decoder[[]T], error) {
	decode, err := b.inner.Decoder()
	if err != nil {
		return nil, err
	}
	return func(recs []primitives.Record) ([]T, error) {
		vs := make([]T, len(recs))
		for i := range recs {
			if vs[i], err = decode(recs[i : i+1]); err != nil {
				return nil, err
			}
		}
		return vs, nil
	}, nil
}

// Validate reports a batch that could never be full or due.
func (b batches[T]) Validate() error {
	switch {
	case b.n < 1:
		return errors.New("flow.Batches: n must be at least 1")
	case b.wait <= 0:
		return errors.New("flow.Batches: wait must be more than 0: it bounds how long a record waits for others")
	}
	return nil
}

// batching is what the registration looks for in a source.
type batching interface {
	batching() (n int, wait time.Duration)
	decodeOne() (func(primitives.Record) error, error)
}

func (b batches[T]) batching() (int, time.Duration) { return b.n, b.wait }

func (b batches[T]) decodeOne() (func(primitives.Record) error, error) {
	decode, err := b.inner.Decoder()
	if err != nil {
		return nil, err
	}
	return func(r primitives.Record) error {
		_, err := decodeSafely(decode, []primitives.Record{r})
		return lasting(err)
	}, nil
}

// wrapper is implemented by adapters, so that the optional interfaces of the
// primitive below can be found.
type wrapper interface{ unwrap() any }

// find returns the first of v and what it wraps that is a T.
func find[T any](v any) (T, bool) {
	for v != nil {
		if t, ok := v.(T); ok {
			return t, true
		}
		w, ok := v.(wrapper)
		if !ok {
			break
		}
		v = w.unwrap()
	}
	var none T
	return none, false
}

// Each makes a sink take slices: one record for each element, none for an empty
// slice. The input is acknowledged when all of them are durable.
func Each[T any](sink Sink[T]) Sink[[]T] { return each[T]{sink} }

type each[T any] struct{ inner Sink[T] }

func (e each[T]) String() string { return e.inner.String() }

func (e each[T]) unwrap() any { return e.inner }

func (e each[T]) OpenSink(ctx context.Context, env *primitives.Env) (primitives.Writer, error) {
	return e.inner.OpenSink(ctx, env)
}

func (e each[T]) Encoder() (primitives.Encoder[[]T], error) {
	encode, err := e.inner.Encoder()
	if err != nil {
		return nil, err
	}
	return func(vs []T, out *primitives.Outputs) error {
		for i := range vs {
			if err := encode(vs[i], out); err != nil {
				return err
			}
		}
		return nil
	}, nil
}

// Stream makes a sink take a sequence, for outputs that are too many to hold:
// they are written in parts while the sequence goes on. An error in the sequence
// is the handler's: parts that were written by then are written again with the
// next attempt.
func Stream[T any](sink Sink[T]) Sink[iter.Seq2[T, error]] { return stream[T]{sink} }

type stream[T any] struct{ inner Sink[T] }

func (s stream[T]) String() string { return s.inner.String() }

func (s stream[T]) unwrap() any { return s.inner }

func (s stream[T]) streams() bool { return true }

func (s stream[T]) OpenSink(ctx context.Context, env *primitives.Env) (primitives.Writer, error) {
	return s.inner.OpenSink(ctx, env)
}

func (s stream[T]) Encoder() (primitives.Encoder[iter.Seq2[T, error]], error) {
	encode, err := s.inner.Encoder()
	if err != nil {
		return nil, err
	}
	return func(seq iter.Seq2[T, error], out *primitives.Outputs) error {
		if seq == nil {
			return nil
		}
		for v, err := range seq {
			if err != nil {
				return err
			}
			if err := encode(v, out); err != nil {
				return err
			}
			if out.Flush != nil && out.Size() >= primitives.FlushSize {
				if err := out.Flush(); err != nil {
					return err
				}
			}
		}
		return nil
	}, nil
}

// streaming is what the registration looks for in a sink.
type streaming interface{ streams() bool }

// None is the output of a handler that has none.
type None = struct{}

// Discard is a sink for handlers without output.
var Discard Sink[None] = discard{}

type discard struct{}

func (discard) String() string { return "" }

func (discard) OpenSink(context.Context, *primitives.Env) (primitives.Writer, error) {
	return nil, nil
}

func (discard) Encoder() (primitives.Encoder[None], error) {
	return func(None, *primitives.Outputs) error { return nil }, nil
}

// Pass is a handler that returns what it gets: from source to sink, or from a
// request to a sink, without a change.
func Pass[T any](_ context.Context, v T) (T, error) { return v, nil }

// Do makes a handler for Discard from a function that returns only an error.
func Do[In any](fn func(context.Context, In) error) func(context.Context, In) (None, error) {
	if fn == nil {
		return nil
	}
	return func(ctx context.Context, in In) (None, error) { return None{}, fn(ctx, in) }
}
