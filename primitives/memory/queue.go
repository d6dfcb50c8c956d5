package memory

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/flowkit-go/flow/primitives"
)

// A Queue lends each record to one reader for a time, as SQS, Pub/Sub and
// JetStream do: a source and a sink of T. A record that is not committed while it
// is lent is delivered again. All readers of a queue share its records. It has
// one lane per reader, and keeps the order of writing except where records come
// back.
type Queue[T any] struct {
	// Broker holds the records. Default: one that all memory primitives without a
	// broker share during one run of a flow.
	Broker *Broker

	// Name is the queue's. Needed.
	Name string

	// Codec encodes the values. Default: what primitives.CodecFor chooses for T.
	Codec primitives.Codec[T]

	// Visibility is how long a record is lent. Default 30 s.
	Visibility time.Duration

	// MaxDeliveries is how often a record is delivered at most; then it is kept
	// aside, see State.Dead. Default 0: without end.
	MaxDeliveries int

	// Burst is the number of records per Push at most. Default 1024.
	Burst int

	// StopAtEnd makes the source bounded: a reader ends when the queue is empty,
	// nothing being lent any more. Default: it waits for more.
	StopAtEnd bool

	// Async is the number of batches that a writer queues before Write blocks, as
	// in Topic. Default 0: Write stores the batch itself.
	Async int
}

// String returns "memory:" and the name.
func (q Queue[T]) String() string { return "memory:" + q.Name }

// Decoder returns a decoder for the queue's codec.
func (q Queue[T]) Decoder() (primitives.Decoder[T], error) { return primitives.DecoderOf(q.Codec) }

// Encoder returns an encoder for the queue's codec.
func (q Queue[T]) Encoder() (primitives.Encoder[T], error) {
	return primitives.EncoderOf[T](q.Codec, nil)
}

// Bounded reports whether reading ends.
func (q Queue[T]) Bounded() bool { return q.StopAtEnd }

// Validate reports a queue without a name and numbers that make no sense.
func (q Queue[T]) Validate() error {
	switch {
	case q.Name == "":
		return errors.New("memory: Name of a Queue is empty: give it one")
	case q.Visibility < 0:
		return fmt.Errorf("memory: Visibility of queue %s is %v: must be 0 (30 s) or more", q.Name, q.Visibility)
	case q.MaxDeliveries < 0 || q.MaxDeliveries > math.MaxInt32:
		return fmt.Errorf("memory: MaxDeliveries of queue %s is %d: must be 0 (no limit) or more", q.Name, q.MaxDeliveries)
	case q.Burst < 0 || q.Async < 0:
		return fmt.Errorf("memory: Burst %d and Async %d of queue %s must be 0 (the default) or more", q.Burst, q.Async, q.Name)
	}
	return nil
}

// OpenSource returns a reader. It errs when the queue is not valid or a control
// function refuses.
func (q Queue[T]) OpenSource(ctx context.Context, env *primitives.Env) (primitives.Reader, error) {
	b, release, err := q.open(ctx, env)
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return &queueReader{
		broker: b, queue: b.queue(q.Name), release: release,
		visibility: orElse(q.Visibility, 30*time.Second), limit: int32(q.MaxDeliveries),
		burst: orElse(q.Burst, defaultBursts), bounded: q.StopAtEnd,
	}, nil
}

// OpenSink returns a writer. It errs when the queue is not valid or a control
// function refuses.
func (q Queue[T]) OpenSink(ctx context.Context, env *primitives.Env) (primitives.Writer, error) {
	b, release, err := q.open(ctx, env)
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return newWriter(&queueStore{broker: b, queue: b.queue(q.Name)}, release, q.Async), nil
}

func (q Queue[T]) open(ctx context.Context, env *primitives.Env) (*Broker, func() error, error) {
	if err := q.Validate(); err != nil {
		return nil, nil, err
	}
	if err := primitives.StartCodec(ctx, q.Codec); err != nil {
		return nil, nil, fmt.Errorf("memory: open queue %s: %w", q.Name, err)
	}
	b, release, err := use(q.Broker, env)
	if err != nil {
		return nil, nil, fmt.Errorf("memory: open queue %s: %w", q.Name, err)
	}
	if err := b.control(ctx, Op{Kind: OpOpen, Name: q.Name}); err != nil {
		return nil, nil, fmt.Errorf("memory: open queue %s: %w", q.Name, errors.Join(err, release()))
	}
	return b, release, nil
}

// A queueStore writes to a queue.
type queueStore struct {
	broker *Broker
	queue  *queue
}

func (s *queueStore) String() string { return "queue " + s.queue.name }

func (s *queueStore) write(ctx context.Context, batch []primitives.Record) error {
	var a arena
	a.grow(batch)
	now := time.Now()
	p := part{records: make([]primitives.Record, len(batch))}
	for i := range batch {
		a.copy(&p.records[i], &batch[i])
		stamp(&p.records[i], now)
	}
	err := s.broker.control(ctx, Op{Kind: OpWrite, Name: s.queue.name, Records: p.records})
	var refused []primitives.RecordError
	if err != nil {
		err = fmt.Errorf("memory: write %s: %w", s.queue.name, err)
		p.records, refused = p.refuse(err)
	}
	s.broker.mu.Lock()
	s.queue.add(p.records)
	s.broker.changed.broadcast()
	s.broker.mu.Unlock()
	var some *primitives.BatchError
	if errors.As(err, &some) {
		if len(refused) == 0 {
			return nil
		}
		return &primitives.BatchError{Failed: refused}
	}
	return err
}
