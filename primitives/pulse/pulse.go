package pulse

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/flowkit-go/flow/primitives"
)

// DefaultEvery is the interval when none is set.
const DefaultEvery = time.Second

// Items is a source of the same items over and over. The first one comes after
// the first interval.
type Items[T any] struct {
	// Items to send, in this order; after the last comes the first. Needed.
	Items []T

	// Every is the interval. Default 1 s.
	Every time.Duration

	// Count ends the source after so many records. Default 0: it never ends.
	Count int
}

// Func is a source of what a function returns.
type Func[T any] struct {
	// Next returns the n-th value, n being 0 for the first. It is called by one
	// goroutine, and should return when ctx is cancelled. With an error, or a
	// panic, there is an invalid record in its place, to which the processor's
	// failure policy applies; primitives.ErrSkip leaves the beat out. Needed.
	Next func(ctx context.Context, n int64) (T, error)

	// Every is the interval. Default 1 s. The first call is after the first one.
	Every time.Duration

	// Count ends the source after so many calls. Default 0: it never ends.
	Count int
}

var (
	_ primitives.Source[int] = Items[int]{}
	_ primitives.Bounded     = Items[int]{}
	_ primitives.Validator   = Items[int]{}
	_ primitives.Source[int] = Func[int]{}
	_ primitives.Bounded     = Func[int]{}
	_ primitives.Validator   = Func[int]{}
)

// String returns "pulse:" and the interval.
func (p Items[T]) String() string { return name(p.Every) }

// Bounded reports whether Count is set.
func (p Items[T]) Bounded() bool { return p.Count > 0 }

// Validate reports missing items and negative numbers.
func (p Items[T]) Validate() error {
	if len(p.Items) == 0 {
		return errors.New("pulse: Items is empty: give it at least one")
	}
	return validate(p.Every, p.Count)
}

// Decoder returns the decoder for T.
func (p Items[T]) Decoder() (primitives.Decoder[T], error) { return decoder[T]() }

// OpenSource encodes the items. It errs when one cannot be encoded.
func (p Items[T]) OpenSource(context.Context, *primitives.Env) (primitives.Reader, error) {
	if err := p.Validate(); err != nil {
		return nil, err
	}
	encode, err := primitives.EncoderOf[T](nil, nil)
	if err != nil {
		return nil, fmt.Errorf("pulse: %w", err)
	}
	records := make([]primitives.Record, len(p.Items))
	for i, item := range p.Items {
		var out primitives.Outputs
		if err := encode(item, &out); err != nil {
			return nil, fmt.Errorf("pulse: item %d: %w", i, err)
		}
		records[i] = out.Records[0]
	}
	return newReader(p.String(), p.Every, p.Count, func(_ context.Context, n int64) (primitives.Record, error) {
		return records[n%int64(len(records))], nil
	}), nil
}

// String returns "pulse:" and the interval.
func (p Func[T]) String() string { return name(p.Every) }

// Bounded reports whether Count is set.
func (p Func[T]) Bounded() bool { return p.Count > 0 }

// Validate reports a missing function and negative numbers.
func (p Func[T]) Validate() error {
	if p.Next == nil {
		return errors.New("pulse: Next of a Func is nil: give it a function")
	}
	return validate(p.Every, p.Count)
}

// Decoder returns the decoder for T.
func (p Func[T]) Decoder() (primitives.Decoder[T], error) { return decoder[T]() }

// OpenSource errs when values of type T cannot be encoded.
func (p Func[T]) OpenSource(context.Context, *primitives.Env) (primitives.Reader, error) {
	if err := p.Validate(); err != nil {
		return nil, err
	}
	encode, err := primitives.EncoderOf[T](nil, nil)
	if err != nil {
		return nil, fmt.Errorf("pulse: %w", err)
	}
	return newReader(p.String(), p.Every, p.Count, func(ctx context.Context, n int64) (r primitives.Record, err error) {
		defer func() {
			if p := recover(); p != nil {
				err = fmt.Errorf("panic: %v", p)
			}
		}()
		v, err := p.Next(ctx, n)
		if err != nil {
			return r, err
		}
		var out primitives.Outputs
		if err := encode(v, &out); err != nil {
			return r, err
		}
		return out.Records[0], nil
	}), nil
}

func name(every time.Duration) string {
	if every == 0 {
		every = DefaultEvery
	}
	return "pulse:" + every.String()
}

func validate(every time.Duration, count int) error {
	if every < 0 {
		return fmt.Errorf("pulse: Every is %v: must not be negative (0 is %v)", every, DefaultEvery)
	}
	if count < 0 {
		return fmt.Errorf("pulse: Count is %d: must not be negative (0 is for ever)", count)
	}
	return nil
}
