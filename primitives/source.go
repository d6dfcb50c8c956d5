package primitives

import (
	"context"
	"errors"
)

// A Source is something that records of type T can be read from.
type Source[T any] interface {
	// String names the source for people and for the graph, as "kafka:orders".
	// A sink that is the same thing returns the same string.
	String() string

	// Decoder returns the function that makes a T from a record. It is called
	// once, when a processor is registered; an error (a type that the source
	// cannot carry) is reported with that registration. Most sources return
	// DecoderOf(codec).
	Decoder() (Decoder[T], error)

	// OpenSource connects and returns a Reader. It is called once per processor
	// and process, when the flow starts. It must return within ctx, and an error
	// must say what could not be reached and what to set.
	OpenSource(ctx context.Context, env *Env) (Reader, error)
}

// A Decoder makes a T from records. It gets exactly one record, except where a
// batch adapter asked for more. It may keep references into the records' bytes
// in what it returns. An error marks the record as invalid: it is never retried.
// A Decoder is called from many goroutines.
type Decoder[T any] func(recs []Record) (T, error)

// A Reader reads one source for one processor. The runtime calls Run once, and
// Commit while Run is running, never two Commits at a time.
type Reader interface {
	// Run reads until ctx is cancelled, the input ends, or it cannot go on.
	// It gives each partition that it holds to intake.Assign and pushes the
	// records to the lane that it gets back.
	//
	// It returns nil when the input has ended (a bounded source) or ctx is
	// cancelled, and an error when the source failed for good: that stops the
	// flow. An error that may pass is given to intake.Retry instead, which
	// counts, logs and waits.
	//
	// When a Push returns ErrDraining, Run stops fetching but keeps its
	// membership and leases until ctx is cancelled; a reader that has neither
	// may return at once.
	Run(ctx context.Context, intake Intake) error

	// Commit makes progress durable: for each partition the position below which
	// every record is resolved, or the leases of resolved records. It returns nil
	// when all of it is durable. A *CommitError says which partitions failed;
	// any other error means that nothing is known to be committed. Commits that
	// failed are called again with the same or a higher position. One Commit may
	// be the last before Close.
	Commit(ctx context.Context, commits []Commit) error

	// Close releases what OpenSource took: it leaves the group and closes
	// connections. It is called once after Run has returned, also after a failed
	// start, and may be called again.
	Close(ctx context.Context) error
}

// Intake is the runtime's side of a running Reader. Its methods may be called
// from any goroutine.
type Intake interface {
	// Assign starts a lane for a partition whose next record is at position
	// start. Assigning a partition again after it was revoked gives a new lane.
	Assign(p Partition, start int64) Lane

	// Revoke gives lanes back in good order: no further record of them is
	// started, running ones are waited for until ctx ends, what is resolved is
	// committed, then the lanes are released. Other lanes go on. It returns the
	// error of the last commit, if any.
	Revoke(ctx context.Context, lanes ...Lane) error

	// Lose drops lanes that are no longer ours: nothing is committed for them,
	// their handlers are cancelled with cause ErrLost, late results are discarded.
	Lose(lanes ...Lane)

	// Retry reports an error that may pass, and waits: longer each time it is
	// called without a Push in between. It returns nil when the reader should try
	// again, and an error when it should return.
	Retry(ctx context.Context, err error) error
}

// A Lane is the runtime's side of one partition while this process holds it:
// the unit of order, of backpressure and of commit.
type Lane interface {
	// Push hands over a burst of records in order. The slice may be reused when
	// Push returns, the bytes of the records may not. It blocks while the lane is
	// full. It returns ErrDraining when the flow is shutting down, ErrReleased
	// when the lane was revoked or lost, or the context's error; the number says
	// how many records of the burst were taken: the rest were not.
	Push(ctx context.Context, burst []Record) (int, error)

	// Advance tells that the log holds no further record below position next: its
	// tail was compacted away, or holds only markers of transactions.
	Advance(next int64)

	// Epoch tells the lanes of a reader apart: it is above zero, and higher for
	// each Assign.
	Epoch() int64

	// Free is the number of records that a Push would take now without waiting;
	// a queue-like reader asks for no more than that. WaitFree blocks until it is
	// above zero and returns it, with the same errors as Push.
	Free() int
	WaitFree(ctx context.Context) (int, error)
}

// A Commit is progress of one partition.
type Commit struct {
	Partition Partition

	// Epoch is that of the lane whose progress this is. A reader that has been
	// given the partition anew since then answers ErrNotAssigned, so that what is
	// late does not move the progress of the new lane. Zero is not looked at.
	Epoch int64

	// Next is the position of the first record that is not resolved: what a
	// restart should read first.
	Next int64

	// Leases are those of records resolved since the last commit, in the order in
	// which they were resolved; only for sources that set Record.Lease.
	Leases []any
}

// CommitError says that some of the commits failed. Errs has one entry per
// commit, nil where it is durable.
type CommitError struct{ Errs []error }

// Error joins the errors that are not nil.
func (e *CommitError) Error() string { return errors.Join(e.Errs...).Error() }

// Unwrap returns the errors that are not nil.
func (e *CommitError) Unwrap() []error { return compact(e.Errs) }

var (
	// ErrDraining is returned to a Reader that pushes while the flow shuts down.
	ErrDraining = errors.New("draining")

	// ErrReleased is returned to a Reader that pushes to a lane that it has given up.
	ErrReleased = errors.New("lane released")

	// ErrLost is the cause with which handlers are cancelled when their partition
	// was taken away without notice.
	ErrLost = errors.New("partition lost")

	// ErrClosed is returned by every call on a Reader or Writer after Close.
	ErrClosed = errors.New("closed")

	// ErrNotAssigned marks, inside a CommitError, a partition that the reader does
	// not hold: the runtime reports it and does not try again.
	ErrNotAssigned = errors.New("partition not assigned")
)

func compact(errs []error) []error {
	var out []error
	for _, err := range errs {
		if err != nil {
			out = append(out, err)
		}
	}
	return out
}
