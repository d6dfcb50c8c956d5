package pulse

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync/atomic"
	"time"

	"github.com/flowkit-go/flow/primitives"
)

// HeaderInvalid says why there is no value: the error of a Func.
const HeaderInvalid = "Flow-Invalid"

// decoder returns the decoder for T, which also tells the beats that failed.
func decoder[T any]() (primitives.Decoder[T], error) {
	decode, err := primitives.DecoderOf[T](nil)
	if err != nil {
		return nil, fmt.Errorf("pulse: %w", err)
	}
	return func(recs []primitives.Record) (T, error) {
		if reason, found := recs[0].Header(HeaderInvalid); found {
			var zero T
			return zero, &primitives.DecodeError{Type: reflect.TypeFor[T]().String(), Offset: -1,
				Err: fmt.Errorf("pulse: beat %d: %s", recs[0].Offset, reason)}
		}
		return decode(recs)
	}, nil
}

// A reader sends a record per beat. The offset of a record is its beat's number.
type reader struct {
	partition primitives.Partition
	every     time.Duration
	count     int64
	next      func(ctx context.Context, n int64) (primitives.Record, error)
	closed    atomic.Bool
}

var _ primitives.Reader = (*reader)(nil)

func newReader(name string, every time.Duration, count int, next func(context.Context, int64) (primitives.Record, error)) *reader {
	if every == 0 {
		every = DefaultEvery
	}
	return &reader{partition: primitives.Partition{Topic: name}, every: every, count: int64(count), next: next}
}

// Run implements primitives.Reader.
func (r *reader) Run(ctx context.Context, intake primitives.Intake) error {
	if r.closed.Load() {
		return primitives.ErrClosed
	}
	lane := intake.Assign(r.partition, 0)
	beat := time.NewTicker(r.every) // drops the beats that nobody waits for
	defer beat.Stop()
	burst := make([]primitives.Record, 1)
	for n := int64(0); r.count == 0 || n < r.count; n++ {
		var at time.Time
		select {
		case <-ctx.Done():
			return nil
		case at = <-beat.C:
		}
		rec, err := r.next(ctx, n)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, primitives.ErrSkip):
			lane.Advance(n + 1)
			continue
		case err != nil:
			rec = primitives.Record{Headers: []primitives.Header{{Name: HeaderInvalid, Value: []byte(err.Error())}}}
		}
		rec.Offset = n
		if rec.Time.IsZero() {
			rec.Time = at
		}
		burst[0] = rec
		if _, err := lane.Push(ctx, burst); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			if errors.Is(err, primitives.ErrDraining) || errors.Is(err, primitives.ErrReleased) {
				<-ctx.Done() // commits of what is in flight are still to come
				return nil
			}
			return fmt.Errorf("pulse: %w", err)
		}
	}
	return nil
}

// Commit implements primitives.Reader. There is nothing to remember.
func (r *reader) Commit(_ context.Context, commits []primitives.Commit) error {
	if r.closed.Load() {
		return primitives.ErrClosed
	}
	for i, c := range commits {
		if c.Partition != r.partition {
			errs := make([]error, len(commits))
			errs[i] = primitives.ErrNotAssigned
			return &primitives.CommitError{Errs: errs}
		}
	}
	return nil
}

// Close implements primitives.Reader.
func (r *reader) Close(context.Context) error {
	r.closed.Store(true)
	return nil
}
