package flowotel

import (
	"maps"
	"sync"
	"sync/atomic"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
)

// kinds keeps what all spans of a processor and a topic begin with, so that it is
// made once and not for each record.
type kinds struct {
	constant []attribute.KeyValue // of all spans

	mu    sync.Mutex // of those who add
	known atomic.Pointer[map[kindOf]kind]
}

type kindOf struct{ processor, topic string }

type kind struct {
	name string
	opts []trace.SpanStartOption
}

// manyKinds bounds what is kept: topics may be as many as a pattern matches.
const manyKinds = 1000

func (k *kinds) of(processor, topic string) kind {
	key := kindOf{processor, topic}
	if known := k.known.Load(); known != nil {
		if found, ok := (*known)[key]; ok {
			return found
		}
	}
	attrs := append([]attribute.KeyValue(nil), k.constant...)
	if topic != "" {
		attrs = append(attrs, keyDestination.String(topic))
	}
	made := kind{
		name: processor + " " + operation,
		opts: []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindConsumer), trace.WithAttributes(attrs...)},
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	next := map[kindOf]kind{}
	if known := k.known.Load(); known != nil {
		if len(*known) >= manyKinds {
			return made
		}
		maps.Copy(next, *known)
	}
	next[key] = made
	k.known.Store(&next)
	return made
}
