package primitives

import (
	"context"
	"fmt"
)

// A Sink is something that values of type T can be written to.
type Sink[T any] interface {
	// String names the sink for people and for the graph, as "sqlite:quakes".
	String() string

	// Encoder returns the function that turns a T into records. It is called
	// once, when a processor is registered; an error (a type that the sink cannot
	// store) is reported with that registration. Most sinks return EncoderOf(codec, key).
	Encoder() (Encoder[T], error)

	// OpenSink connects and returns a Writer. It is called once per processor and
	// process, when the flow starts.
	OpenSink(ctx context.Context, env *Env) (Writer, error)
}

// An Encoder appends to out the records that v becomes: one for most sinks,
// none or many for adapters. An error marks the value as invalid. An Encoder is
// called from many goroutines, each with its own Outputs.
type Encoder[T any] func(v T, out *Outputs) error

// A Writer makes records durable. Its methods may be called from any goroutine.
type Writer interface {
	// Write takes a batch and calls done exactly once, from any goroutine and
	// possibly before Write returns: with nil when every record is durable, with a
	// *BatchError when some were refused, with any other error when none is known
	// to be durable. Write may block while the writer's own queue is full: that is
	// its backpressure. It must honour ctx while it blocks, and then call done
	// with the context's error.
	//
	// Writers should join batches of several callers in one request where the
	// system has a price per request, and must start on what they have: never
	// wait for a batch to fill.
	//
	// Batches that are written one after the other by one caller become durable
	// in that order, unless one fails. The slice and the bytes of the records
	// belong to the writer until done is called, and not any longer.
	Write(ctx context.Context, batch []Record, done func(error))

	// Close waits until what was written is durable or refused, bounded by ctx,
	// and releases the connection. A Write after Close calls done with ErrClosed.
	// Close may be called again.
	Close(ctx context.Context) error
}

// A BatchError says which records of a batch were refused. All others of the
// batch are durable.
type BatchError struct{ Failed []RecordError }

// A RecordError is one refused record: its index in the batch and the reason.
// Wrap the reason with Permanent when writing it again cannot help.
type RecordError struct {
	Index int
	Err   error
}

func (e *BatchError) Error() string {
	if len(e.Failed) == 0 {
		return "no record failed"
	}
	return fmt.Sprintf("%d records refused, the first: %v", len(e.Failed), e.Failed[0].Err)
}

// Unwrap returns the reasons.
func (e *BatchError) Unwrap() []error {
	errs := make([]error, len(e.Failed))
	for i, f := range e.Failed {
		errs[i] = f.Err
	}
	return errs
}

// Outputs collects the encoded outputs of handlers until they are written. The
// zero value is ready. Encoders append to it; package runtime owns it. It is
// not safe for concurrent use.
type Outputs struct {
	// Records are the outputs so far.
	Records []Record

	// Flush, when set, writes what was collected so far and empties Records. An
	// adapter for very large outputs calls it when Size has passed FlushSize. It
	// returns an error when the rest of the outputs should not be produced.
	Flush func() error

	buf  []byte
	size int
}

// FlushSize is the number of bytes from which an adapter with very many outputs calls Flush.
const FlushSize = 1 << 20

// Buffer returns a byte slice with length 0 to append one key or value to; give
// the result to Take. It saves an allocation per record.
func (o *Outputs) Buffer() []byte {
	if cap(o.buf)-len(o.buf) < minFree {
		o.buf = make([]byte, 0, min(max(2*cap(o.buf), firstChunk), FlushSize))
	}
	return o.buf[len(o.buf):]
}

// Take keeps b, which must have been grown from Buffer by append, as part of the
// outputs. It returns it with its capacity cut, for use as a record's Key or
// Value. Bytes that were not appended to Buffer need no Take.
func (o *Outputs) Take(b []byte) []byte {
	if len(b) == 0 {
		return o.buf[len(o.buf):len(o.buf):len(o.buf)] // empty, but not nil
	}
	if free := o.buf[len(o.buf):cap(o.buf)]; len(free) >= len(b) && &free[0] == &b[0] {
		o.buf = o.buf[:len(o.buf)+len(b)]
	} else { // append has moved it to an array of its own: go on there
		o.buf = b
	}
	return b[:len(b):len(b)]
}

const (
	minFree    = 512
	firstChunk = 4 << 10
)

// Add appends a record.
func (o *Outputs) Add(r Record) {
	o.size += len(r.Key) + len(r.Value)
	o.Records = append(o.Records, r)
}

// AddValue appends a record that has nothing but a value.
func (o *Outputs) AddValue(v []byte) {
	o.size += len(v)
	n := len(o.Records)
	if n < cap(o.Records) {
		o.Records = o.Records[:n+1]
		o.Records[n] = Record{}
	} else {
		o.Records = append(o.Records, Record{})
	}
	o.Records[n].Value = v
}

// Size is the number of bytes of keys and values collected since the last Reset.
func (o *Outputs) Size() int { return o.size }

// Truncate drops all records from index n on.
func (o *Outputs) Truncate(n int) {
	for i := n; i < len(o.Records); i++ {
		o.size -= len(o.Records[i].Key) + len(o.Records[i].Value)
	}
	clear(o.Records[n:])
	o.Records = o.Records[:n]
}

// Reset empties the outputs and keeps their memory. No record taken from them
// may be in use any longer.
func (o *Outputs) Reset() {
	clear(o.Records)
	o.Records = o.Records[:0]
	if cap(o.buf) > 4*FlushSize {
		o.buf = nil
	}
	o.buf = o.buf[:0]
	o.size = 0
}
