package flowotel

import (
	"context"
	"slices"
	"strings"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/flowkit-go/flow/primitives"
)

// carrier is the headers of a record, for a propagator. Names are compared without
// regard to case: some systems change it.
type carrier []primitives.Header

var (
	_ propagation.TextMapCarrier = (*carrier)(nil)
	_ propagation.ValuesGetter   = (*carrier)(nil)
)

// Get returns the first value of a header.
func (c *carrier) Get(key string) string {
	for i := range *c {
		if strings.EqualFold((*c)[i].Name, key) {
			return string((*c)[i].Value)
		}
	}
	return ""
}

// Values returns all values of a header.
func (c *carrier) Values(key string) (all []string) {
	for i := range *c {
		if strings.EqualFold((*c)[i].Name, key) {
			all = append(all, string((*c)[i].Value))
		}
	}
	return all
}

// Set adds a header.
func (c *carrier) Set(key, value string) {
	*c = append(*c, primitives.Header{Name: key, Value: []byte(value)})
}

// Keys returns the names of the headers.
func (c *carrier) Keys() []string {
	names := make([]string, len(*c))
	for i := range *c {
		names[i] = (*c)[i].Name
	}
	return names
}

// extract returns ctx with the context that came with a record.
func (s *settings) extract(ctx context.Context, r *primitives.Record) context.Context {
	if len(r.Headers) == 0 {
		return ctx
	}
	return s.propagator.Extract(ctx, (*carrier)(&r.Headers))
}

// inject puts the context into the headers of outputs, in place of one that came
// along from an input. Header slices may belong to an input, or to several outputs:
// they are replaced, never changed.
func (s *settings) inject(ctx context.Context, outputs []primitives.Record) {
	if len(outputs) == 0 {
		return
	}
	own := make(carrier, 0, len(s.fields))
	s.propagator.Inject(ctx, &own)
	if len(own) == 0 {
		return
	}
	own = slices.Clip(own) // whoever appends to it gets a copy
	for i := range outputs {
		theirs := outputs[i].Headers
		if len(theirs) == 0 {
			outputs[i].Headers = own
			continue
		}
		joined := make([]primitives.Header, 0, len(theirs)+len(own))
		for _, h := range theirs {
			if !slices.ContainsFunc(s.fields, func(field string) bool { return strings.EqualFold(field, h.Name) }) {
				joined = append(joined, h)
			}
		}
		outputs[i].Headers = append(joined, own...)
	}
}

// links returns a link for each trace that records came with.
func (s *settings) links(recs []primitives.Record) []trace.Link {
	var links []trace.Link
	seen := map[spanID]bool{}
	for i := range recs {
		from := trace.SpanContextFromContext(s.extract(context.Background(), &recs[i]))
		id := spanID{from.TraceID(), from.SpanID()}
		if from.IsValid() && !seen[id] {
			seen[id] = true
			links = append(links, trace.Link{SpanContext: from})
		}
	}
	return links
}

// spanID is a span in all the world.
type spanID struct {
	trace trace.TraceID
	span  trace.SpanID
}
