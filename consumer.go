package flow

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"runtime/debug"

	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/runtime"
)

// Consumer adds a processor that reads records from src, calls fn for each, and
// writes what fn returns to sink. A record is acknowledged when the sink has
// confirmed its output.
func Consumer[In, Out any](app *Flow, name string, src Source[In], sink Sink[Out],
	fn func(context.Context, In) (Out, error), opts ...ConsumerOption) {
	app.add(newConsumer(callSite(1), name, src, sink, fn, opts))
}

// NewConsumer makes a processor like Consumer does, to be added to a flow
// elsewhere with Flow.Add.
func NewConsumer[In, Out any](name string, src Source[In], sink Sink[Out],
	fn func(context.Context, In) (Out, error), opts ...ConsumerOption) *Processor {
	return newConsumer(callSite(1), name, src, sink, fn, opts)
}

func newConsumer[In, Out any](at, name string, src Source[In], sink Sink[Out],
	fn func(context.Context, In) (Out, error), opts []ConsumerOption) *Processor {
	p := newProcessor(KindConsumer, name, at)
	for i, o := range opts {
		if o == nil {
			p.fail(fmt.Errorf("option %d is nil", i+1))
			continue
		}
		o.consumer(p.settings)
	}
	if fn == nil {
		p.fail(errors.New("the handler is nil"))
	}
	decode := decoderOf(p, src)
	encode := encoderOf(p, "sink", sink)
	var bury primitives.Encoder[Raw]
	if dead := p.settings.spec.deadLetter; dead != nil {
		bury = encoderOf(p, "dead letter sink", dead)
	}
	if src != nil {
		p.source = src.String()
	}
	if sink != nil {
		p.sink = sink.String()
	}
	p.uses(reads, resourcesOfSource(src))
	p.uses(writes, resourcesOfSink(sink))
	p.uses(buries, resourcesOfSink(p.settings.spec.deadLetter))
	base := &runtime.Consumer{At: at, Handle: erase(fn, decode, encode)}
	if src != nil {
		base.Source = runtime.Source{Name: p.source, Open: src.OpenSource}
		if b, ok := find[primitives.Bounded](src); ok {
			base.Source.Bounded = b.Bounded()
		}
		base.Decode = func(r primitives.Record) error {
			_, err := decodeSafely(decode, []primitives.Record{r})
			return lasting(err)
		}
		if b, ok := find[batching](src); ok {
			base.Batch.Size, base.Batch.Wait = b.batching()
			p.settings.batches = true
			base.Decode, _ = b.decodeOne() // an error is reported by decoderOf
		}
	}
	if sink != nil {
		base.Sink = sinkSpec(sink)
		if s, ok := find[streaming](sink); ok {
			base.Streams = s.streams()
			p.settings.streams = base.Streams
		}
	}
	p.consumer = func(s *spec) *runtime.Consumer {
		out := *base
		out.Name, out.Processor = s.name, s.processor()
		out.Batch.Weigh = s.weigh
		out.Order, out.Retry = s.order, s.retry
		out.SkipFailed, out.SkipInvalid = s.skipFailed, s.skipInvalid
		out.Timeout, out.Commit, out.Buffer, out.StallAfter = s.timeout, s.commit, s.buffer, s.stallAfter
		out.Middleware, out.DeadLimit = s.middleware, s.deadLimit
		if s.deadLetter != nil {
			out.DeadLetter = runtime.DeadLetter{Sink: sinkSpec(s.deadLetter), Encode: bury}
		}
		return &out
	}
	return p
}

func sinkSpec[T any](sink Sink[T]) runtime.Sink {
	return runtime.Sink{Name: sink.String(), Open: sink.OpenSink}
}

// decoderOf returns the source's decoder, or records why there is none.
func decoderOf[T any](p *Processor, src Source[T]) primitives.Decoder[T] {
	if src == nil {
		p.fail(errors.New("the source is nil"))
		return nil
	}
	if !checkPrimitive(p, src) {
		return nil
	}
	decode, err := src.Decoder()
	if err != nil {
		p.fail(fmt.Errorf("source %s: %w", src, err))
	}
	return decode
}

// encoderOf returns the sink's encoder, or records why there is none.
func encoderOf[T any](p *Processor, what string, sink Sink[T]) primitives.Encoder[T] {
	if sink == nil {
		p.fail(fmt.Errorf("the %s is nil: use flow.Discard for a handler without output", what))
		return nil
	}
	if !checkPrimitive(p, sink) {
		return nil
	}
	encode, err := sink.Encoder()
	if err != nil {
		p.fail(fmt.Errorf("%s %s: %w", what, sink, err))
	}
	return encode
}

// checkPrimitive asks a primitive, and what it wraps, whether it is filled in well.
func checkPrimitive(p *Processor, v any) (ok bool) {
	ok = true
	for v != nil {
		if c, ok := v.(primitives.Validator); ok {
			if err := c.Validate(); err != nil {
				p.fail(split(err)...)
				ok = false
			}
		}
		w, wraps := v.(wrapper)
		if !wraps {
			break
		}
		v = w.unwrap()
	}
	return ok
}

// erase joins decode, handler and encode into the one function that the runtime
// calls. It is the only place where the types of a processor meet the runtime.
func erase[In, Out any](fn func(context.Context, In) (Out, error),
	decode primitives.Decoder[In], encode primitives.Encoder[Out]) runtime.Handler {
	return func(ctx context.Context, recs []primitives.Record, out *primitives.Outputs) error {
		in, err := decode(recs)
		if err != nil {
			return undecodable[In](err)
		}
		v, err := fn(ctx, in)
		if err != nil {
			return err
		}
		return encode(v, out)
	}
}

// decodeSafely calls a decoder whose error, or panic, is that of an invalid
// record. It has its price: the records that are handled are decoded without.
func decodeSafely[T any](decode primitives.Decoder[T], recs []primitives.Record) (v T, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = undecodable[T](&runtime.PanicError{Value: p, Stack: debug.Stack()})
		}
	}()
	if v, err = decode(recs); err != nil {
		err = undecodable[T](err)
	}
	return v, err
}

// undecodable makes sure that a decoder's error is known as one, whatever a
// user's codec returns. One made by RetryAfter is about what the decoder needs.
func undecodable[T any](err error) error {
	var known *primitives.DecodeError
	if errors.As(err, &known) || passing(err) {
		return err
	}
	return &primitives.DecodeError{Type: reflect.TypeFor[T]().String(), Offset: -1, Err: err}
}
