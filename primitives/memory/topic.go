package memory

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/flowkit-go/flow/primitives"
)

// A Topic is a log with partitions in a Broker: a source and a sink of T.
type Topic[T any] struct {
	// Broker holds the records. Default: one that all memory primitives without a
	// broker share during one run of a flow, and that is empty at its start.
	Broker *Broker

	// Name is the topic's. Needed.
	Name string

	// Partitions is how many the topic has at least. Default 1. A topic that has
	// more already keeps them; one that has fewer grows.
	Partitions int

	// Group is the consumer group: readers of one group share the partitions and
	// their progress. Default "default". A group starts at the oldest record.
	Group string

	// Key chooses the partition: values of one key go to one partition, in order.
	// Default: none, values go to the partitions in turn.
	Key func(T) string

	// Codec encodes the values. Default: what primitives.CodecFor chooses for T.
	Codec primitives.Codec[T]

	// Burst is the number of records per Push at most. Default 1024.
	Burst int

	// StopAtEnd makes the source bounded: a reader ends when it has pushed what
	// its partitions held when it got them. Default: it waits for more.
	StopAtEnd bool

	// Retain is the number of records of a partition that are kept at least;
	// older ones are dropped as new ones are written, whether they were read or
	// not. Default 0: all are kept, for as long as the broker is.
	Retain int

	// RetryDelays are the delays after which a record can come again, for
	// flow.RetryLater. The group has a topic of its own for each. Default: none.
	RetryDelays []time.Duration

	// Async is the number of batches that a writer queues before Write blocks;
	// they are then stored, and done is called, by a goroutine of the writer.
	// Default 0: Write stores the batch and calls done before it returns.
	Async int

	// RevokeTimeout is how long a lane may take to finish what is running when
	// its partition moves to another reader. Default 30 s.
	RevokeTimeout time.Duration
}

// String returns "memory:" and the name.
func (t Topic[T]) String() string { return "memory:" + t.Name }

// Decoder returns a decoder for the topic's codec.
func (t Topic[T]) Decoder() (primitives.Decoder[T], error) { return primitives.DecoderOf(t.Codec) }

// Encoder returns an encoder for the topic's codec and key.
func (t Topic[T]) Encoder() (primitives.Encoder[T], error) {
	return primitives.EncoderOf(t.Codec, t.Key)
}

// Bounded reports whether reading ends.
func (t Topic[T]) Bounded() bool { return t.StopAtEnd }

// Validate reports a topic without a name and numbers that make no sense.
func (t Topic[T]) Validate() error {
	if t.Name == "" {
		return errors.New("memory: Name of a Topic is empty: give it one")
	}
	for _, f := range []struct {
		name  string
		value int
		limit int
	}{
		{"Partitions", t.Partitions, math.MaxInt32},
		{"Burst", t.Burst, math.MaxInt32},
		{"Retain", t.Retain, math.MaxInt},
		{"Async", t.Async, math.MaxInt32},
	} {
		if f.value < 0 || f.value > f.limit {
			return fmt.Errorf("memory: %s of topic %s is %d: must be 0 (the default) to %d", f.name, t.Name, f.value, f.limit)
		}
	}
	for _, d := range t.RetryDelays {
		if d <= 0 {
			return fmt.Errorf("memory: RetryDelays of topic %s has %v: must be above 0", t.Name, d)
		}
	}
	if t.StopAtEnd && len(t.RetryDelays) > 0 {
		return fmt.Errorf("memory: topic %s has StopAtEnd and RetryDelays: what waits for its delay would be left behind: choose one", t.Name)
	}
	if t.RevokeTimeout < 0 {
		return fmt.Errorf("memory: RevokeTimeout of topic %s is %v: must be 0 (30 s) or more", t.Name, t.RevokeTimeout)
	}
	return nil
}

// OpenSource joins the topic's consumer group. It errs when the topic is not
// valid or a control function refuses.
func (t Topic[T]) OpenSource(ctx context.Context, env *primitives.Env) (primitives.Reader, error) {
	b, release, err := t.open(ctx, env)
	if err != nil {
		return nil, err
	}
	return newDelayingReader(newReader(b, release, env, readerConfig{
		topic:         t.Name,
		partitions:    max(t.Partitions, 1),
		groupName:     orElse(t.Group, "default"),
		burst:         orElse(t.Burst, defaultBursts),
		bounded:       t.StopAtEnd,
		revokeTimeout: orElse(t.RevokeTimeout, 30*time.Second),
	}), env, t.RetryDelays), nil
}

// OpenSink makes the topic if need be. It errs when the topic is not valid or a
// control function refuses.
func (t Topic[T]) OpenSink(ctx context.Context, env *primitives.Env) (primitives.Writer, error) {
	b, release, err := t.open(ctx, env)
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	b.topic(t.Name, max(t.Partitions, 1))
	b.mu.Unlock()
	store := &topicStore{broker: b, name: t.Name, retain: t.Retain}
	return &topicWriter{newWriter(store, release, t.Async), store}, nil
}

func (t Topic[T]) open(ctx context.Context, env *primitives.Env) (*Broker, func() error, error) {
	if err := t.Validate(); err != nil {
		return nil, nil, err
	}
	if err := primitives.StartCodec(ctx, t.Codec); err != nil {
		return nil, nil, fmt.Errorf("memory: open topic %s: %w", t.Name, err)
	}
	b, release, err := use(t.Broker, env)
	if err != nil {
		return nil, nil, fmt.Errorf("memory: open topic %s: %w", t.Name, err)
	}
	if err := b.control(ctx, Op{Kind: OpOpen, Name: t.Name, Group: orElse(t.Group, "default")}); err != nil {
		return nil, nil, fmt.Errorf("memory: open topic %s: %w", t.Name, errors.Join(err, release()))
	}
	return b, release, nil
}

// orElse returns v, or the default when v is zero.
func orElse[V comparable](v, byDefault V) V {
	var zero V
	if v == zero {
		return byDefault
	}
	return v
}
