package memory

import (
	"context"
	"sync/atomic"

	"github.com/flowkit-go/flow/primitives"
)

// A Counter is a sink that counts records and bytes and keeps nothing: the
// other end of a benchmark. Use a pointer to it. The zero value is ready.
type Counter[T any] struct {
	// Name is the sink's. Default "counter".
	Name string

	// Codec encodes the values. Default: what primitives.CodecFor chooses for T.
	Codec primitives.Codec[T]

	// Key makes the records' keys. Default: none.
	Key func(T) string

	records, bytes atomic.Int64
}

// String returns "memory:" and the name.
func (s *Counter[T]) String() string { return "memory:" + orElse(s.Name, "counter") }

// Encoder returns an encoder for the sink's codec and key.
func (s *Counter[T]) Encoder() (primitives.Encoder[T], error) {
	return primitives.EncoderOf(s.Codec, s.Key)
}

// OpenSink returns a writer that adds to the counts. Several may be open.
func (s *Counter[T]) OpenSink(context.Context, *primitives.Env) (primitives.Writer, error) {
	return &counterWriter{records: &s.records, bytes: &s.bytes}, nil
}

// Records is the number of records written so far by all writers.
func (s *Counter[T]) Records() int64 { return s.records.Load() }

// Bytes is the number of bytes of their keys and values.
func (s *Counter[T]) Bytes() int64 { return s.bytes.Load() }

type counterWriter struct {
	records, bytes *atomic.Int64
	closed         atomic.Bool
}

var _ primitives.Writer = (*counterWriter)(nil)

// Write counts the batch and calls done.
func (w *counterWriter) Write(_ context.Context, batch []primitives.Record, done func(error)) {
	if w.closed.Load() {
		done(primitives.ErrClosed)
		return
	}
	size := 0
	for i := range batch {
		size += len(batch[i].Key) + len(batch[i].Value)
	}
	w.records.Add(int64(len(batch)))
	w.bytes.Add(int64(size))
	done(nil)
}

// Close ends the writer. The counts stay.
func (w *counterWriter) Close(context.Context) error {
	w.closed.Store(true)
	return nil
}
