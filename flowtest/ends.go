package flowtest

import (
	"context"
	"strings"
	"time"

	"github.com/flowkit-go/flow"
	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/primitives/memory"
)

// Send writes values to a source as its producer would.
func Send[T any](r *Run, src flow.Source[T], values ...T) {
	r.t.Helper()
	sink, ok := src.(interface {
		Encoder() (primitives.Encoder[T], error)
	})
	var encode primitives.Encoder[T]
	var err error
	if ok {
		encode, err = sink.Encoder()
	} else { // not a sink too: by the codec of its type
		encode, err = primitives.EncoderOf[T](nil, nil)
	}
	if err != nil {
		r.t.Fatalf("encode for %s: %v", src, err)
	}
	var out primitives.Outputs
	for _, v := range values {
		if err := encode(v, &out); err != nil {
			r.t.Fatalf("encode for %s: %v", src, err)
		}
	}
	r.SendRaw(src.String(), out.Records...)
}

// SendRaw writes records to the source with that name as they are: to see what
// happens with one that cannot be decoded. A record without a time gets the present.
func (r *Run) SendRaw(source string, records ...flow.Raw) {
	for _, rec := range records {
		if rec.Time.IsZero() {
			rec.Time = time.Now()
		}
		rec.Offset = 0 // the next one
		r.broker.Append(source, 0, rec)
	}
}

// Received returns what was written to a sink, oldest first. The sink must be able
// to decode what it encodes, as those that are also sources are.
func Received[T any](r *Run, sink flow.Sink[T]) []T {
	r.t.Helper()
	source, ok := sink.(interface {
		Decoder() (primitives.Decoder[T], error)
	})
	if !ok {
		r.t.Fatalf("%s cannot decode what it stores: use ReceivedRaw, or Keep it and read it back", sink)
	}
	decode, err := source.Decoder()
	if err != nil {
		r.t.Fatalf("decode from %s: %v", sink, err)
	}
	var values []T
	for _, rec := range r.ReceivedRaw(sink.String()) {
		v, err := decode([]primitives.Record{rec})
		if err != nil {
			r.t.Fatalf("decode from %s: %v", sink, err)
		}
		values = append(values, v)
	}
	return values
}

// ReceivedRaw returns the records that were written to the sink with that name.
func (r *Run) ReceivedRaw(sink string) []flow.Raw { return r.broker.Records(sink, 0) }

// ends opens the memory broker's topics in place of primitives.
type ends struct{ r *Run }

var _ flow.Ends = ends{}

func (e ends) kept(name string) bool {
	for _, k := range e.r.keep {
		if name == k || (strings.HasSuffix(k, ":") && strings.HasPrefix(name, k)) {
			return true
		}
	}
	return false
}

// Source implements flow.Ends.
func (e ends) Source(name string) func(context.Context, *primitives.Env) (primitives.Reader, error) {
	if e.kept(name) {
		return nil
	}
	return func(ctx context.Context, env *primitives.Env) (primitives.Reader, error) {
		e.r.mu.Lock()
		if e.r.sources[name] == nil {
			e.r.sources[name] = map[string]bool{}
		}
		e.r.sources[name][env.Processor] = true
		e.r.mu.Unlock()
		return memory.Topic[flow.Raw]{Broker: e.r.broker, Name: name, Group: env.Processor}.OpenSource(ctx, env)
	}
}

// Sink implements flow.Ends.
func (e ends) Sink(name string) func(context.Context, *primitives.Env) (primitives.Writer, error) {
	if name == "" || e.kept(name) {
		return nil
	}
	return func(ctx context.Context, env *primitives.Env) (primitives.Writer, error) {
		return memory.Topic[flow.Raw]{Broker: e.r.broker, Name: name}.OpenSink(ctx, env)
	}
}
