package flow

import (
	"time"

	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/runtime"
)

// Skip, returned by a handler, acknowledges the record without output.
var Skip = primitives.ErrSkip

// ErrHandlerTimeout is the cause with which a handler's context is cancelled when
// it takes longer than its Timeout.
var ErrHandlerTimeout = runtime.ErrHandlerTimeout

// ErrDraining is the cause with which a handler's context is cancelled when the
// flow is shutting down and most of the drain's time is over.
var ErrDraining = runtime.ErrDraining

// ErrDrainTimeout is part of what Run returns when work had to be abandoned.
var ErrDrainTimeout = runtime.ErrDrainTimeout

// ErrDeadLetterLimit is part of what Run returns when a partition had more dead
// letters than DeadLetterLimit allows.
var ErrDeadLetterLimit = runtime.ErrDeadLetterLimit

// ErrStopped is part of what Run returns when a second signal has cut the drain short.
var ErrStopped = runtime.ErrStopped

// ErrLost is the cause with which a handler's context is cancelled when the
// record's partition was taken away.
var ErrLost = primitives.ErrLost

// Permanent marks err as one that another attempt cannot mend: the record goes to
// the dead letters now, or follows the processor's failure option. Permanent(nil) is nil.
func Permanent(err error) error { return primitives.Permanent(err) }

// RetryAfter asks for another attempt after d, at least 10 ms. With the Retry option it counts as
// one of the attempts; without it, a record may be tried again without limit.
func RetryAfter(d time.Duration, err error) error { return primitives.RetryAfter(d, err) }

// A BatchError, returned by a handler of batches, names the records that failed
// by their index in the batch. The others count as handled, without outputs.
type BatchError = primitives.BatchError

// A RecordError is one entry of a BatchError.
type RecordError = primitives.RecordError

// Raw is a record with its payload still encoded: what a dead letter is.
type Raw = primitives.Record
