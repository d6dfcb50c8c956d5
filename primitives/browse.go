package primitives

import (
	"context"
	"errors"
	"math"
	"time"
)

// The interfaces of this file are for people who look into a system and mend what
// went wrong there: the commands tail, dlq and replay of a flow's program. The
// runtime calls none of them.

// Browser is implemented by Sources and Sinks whose records can be read without
// taking them away from anyone.
type Browser interface {
	// Browse connects. It creates nothing, joins no group, borrows no record and
	// moves no progress. It must return within ctx, and errs when the thing that the
	// primitive names does not exist.
	Browse(ctx context.Context, env *Env) (Browsing, error)
}

// A Browsing is one look at what a primitive has stored. Its methods are called
// by one goroutine at a time.
//
// Positions are those at which the system stores records. For a source with
// positions they are the offsets that its Reader gives; the Reader of a queue
// may number its records in another way.
type Browsing interface {
	// Spans returns, for each partition, what is stored now: from the oldest record
	// to where the next one will be. With a time other than zero it begins at the
	// first record that was stored at or after that time, and is empty where there
	// is none.
	Spans(ctx context.Context, since time.Time) ([]Span, error)

	// Read calls each for the records of the spans, in order within each span, with
	// Partition and Offset set. It returns nil when it has read all spans, where
	// positions without a record count as read; a span that ends at Endless has no
	// end. It returns what each returns when that is an error, and the context's
	// error when that ends. The record's bytes do not change afterwards.
	Read(ctx context.Context, spans []Span, each func(Record) error) error

	// Close releases what Browse took. It may be called again.
	Close(ctx context.Context) error
}

// A Span is a part of a partition: the records at position From and above, and
// below To.
type Span struct {
	Partition Partition
	From, To  int64
}

// Endless is the end of a span that is followed as it grows.
const Endless int64 = math.MaxInt64

// Remover is implemented by Browsings of queues, where a record that is done is
// deleted. A log has none: who is done with a record there moves a position.
type Remover interface {
	// Remove deletes records for everyone. Those that are gone already are no
	// error. With an error some of them may be deleted.
	Remove(ctx context.Context, p Partition, offsets []int64) error
}

// Replayer is implemented by Sources that keep the progress of a processor and can
// set it to another place.
type Replayer interface {
	// OpenProgress connects to the progress of the processor that env names. It
	// changes nothing. It must return within ctx.
	OpenProgress(ctx context.Context, env *Env) (Progress, error)
}

// Progress is what a system knows of how far a processor is. Its methods are
// called by one goroutine at a time.
type Progress interface {
	// String names what keeps the progress, as "group shop.billing".
	String() string

	// Committed returns the position of each partition that has one: the first that
	// is not resolved.
	Committed(ctx context.Context) ([]Commit, error)

	// Members describes the processes that read with this progress now, as
	// "shop-7f9c on 10.0.0.7". None may be there when the progress is set.
	Members(ctx context.Context) ([]string, error)

	// Reset sets the positions of the partitions named and leaves others as they
	// are: a restart reads from there on. It errs, and changes nothing, with an
	// error that wraps ErrInUse while the progress has members.
	Reset(ctx context.Context, to []Commit) error

	// Close releases what OpenProgress took. It may be called again.
	Close(ctx context.Context) error
}

// ErrInUse is wrapped by the error of Progress.Reset while processes read.
var ErrInUse = errors.New("in use by running processes")

// Returner is implemented by Sources that are not themselves the Sink that a
// record can be sent back to, such as several topics that are read as one, and by
// those that would drop a record that comes back as a duplicate of itself. Where a
// source is none, its OpenSink is used.
type Returner interface {
	// OpenReturn returns a Writer to the topic that a record was read from, the one
	// in Record.Partition. It errs when the source does not read that topic.
	OpenReturn(ctx context.Context, env *Env, topic string) (Writer, error)
}
