package primitivetest

import (
	"context"
	"testing"
	"time"

	"github.com/flowkit-go/flow/primitives"
	"go.uber.org/goleak"
)

// A Config says what to test and what to expect of it.
type Config struct {
	// New returns ends that lead to a place of their own (a new topic, table,
	// file), which is empty. It is called once per check and may use t.Cleanup.
	// Needed.
	New func(t testing.TB) Ends

	// Features are what the primitive can do. A check that needs one that is not
	// set is left out.
	Features Features

	// Value makes the i-th value, different from all others, for ends that do not
	// take arbitrary bytes. Default: up to 200 bytes of all values.
	Value func(i int) []byte

	// Unreachable returns ends whose system does not answer. Opening them must
	// fail. Default: not checked.
	Unreachable func(t testing.TB) Ends

	// Timeout is how long anything that should happen may take. Default 20 s.
	Timeout time.Duration

	// Records is how many records the larger checks write. Default 1000.
	Records int

	// MaxBuffer is the number of bytes by which this process may grow while a
	// lane is full and there is four times as much to read. Default 0: not
	// measured.
	MaxBuffer int64

	// Leaks are options for goleak, such as goroutines of a client library that
	// outlive its connections.
	Leaks []goleak.Option
}

// A Source is the part of primitives.Source[T] that does not depend on T.
type Source interface {
	String() string
	OpenSource(ctx context.Context, env *primitives.Env) (primitives.Reader, error)
}

// A Sink is the part of primitives.Sink[T] that does not depend on T.
type Sink interface {
	String() string
	OpenSink(ctx context.Context, env *primitives.Env) (primitives.Writer, error)
}

// Ends are what one check works with.
type Ends struct {
	// Source and Sink are the ends under test. Each is opened several times in a
	// check, as over restarts of a flow.
	Source Source
	Sink   Sink

	// Feed makes records be there for the Source, for Config without a Sink. It
	// returns when they are.
	Feed func(ctx context.Context, records []primitives.Record) error

	// ReadBack returns everything that was written, for Config without a Source.
	// It is called when done has said that all is durable, and does not wait. An
	// end that keeps order returns it in order.
	ReadBack func(ctx context.Context) ([]primitives.Record, error)

	// Restart stops and starts the system behind the ends, or forgets and opens
	// again what this process keeps. Needed with Features.Durable. No end is open
	// when it is called.
	Restart func(t testing.TB)
}

// Features switch the checks of what not every primitive can do.
type Features struct {
	// Ordered: the records of a partition come in the order in which one caller
	// has written them. With Partitions, records of one key share a partition.
	Ordered bool

	// Binary: values may be any bytes, also none at all, up to MaxValue.
	Binary bool

	// MaxValue is the size in bytes of the largest value to try. Default 1 MiB.
	MaxValue int

	// Keys, Headers: they come back as they were written.
	Keys, Headers bool

	// Time: the record's time comes back, exact to TimePrecision. Default
	// precision: 1 ms.
	Time          bool
	TimePrecision time.Duration

	// Partitions: the source has at least two, and its Reader is Partitioned.
	Partitions bool

	// Redelivery: what was not committed is delivered again after reopening.
	Redelivery bool

	// Commits: what was committed is not delivered again after reopening.
	Commits bool

	// Leases: the Reader is a Leaser. New should choose a lease time of a second
	// or two: some checks wait for it.
	Leases bool

	// Attempts: Record.Attempt counts deliveries. Only looked at with Leases.
	Attempts bool

	// Backlog: the Reader is a Backlogger whose numbers are exact, if not at once.
	Backlog bool

	// Bounded: Run returns by itself when all that there was has been pushed.
	Bounded bool

	// Groups: several Readers of one source share its records, and what one
	// leaves behind goes to another.
	Groups bool

	// Durable: what was acknowledged outlives Ends.Restart.
	Durable bool

	// Duplicates: a record may be delivered twice without cause.
	Duplicates bool
}

func (c Config) withDefaults() Config {
	if c.Timeout == 0 {
		c.Timeout = 20 * time.Second
	}
	if c.Records == 0 {
		c.Records = 1000
	}
	if c.Value == nil {
		c.Value = anyValue
	}
	if c.Features.MaxValue == 0 {
		c.Features.MaxValue = 1 << 20
	}
	if c.Features.TimePrecision == 0 {
		c.Features.TimePrecision = time.Millisecond
	}
	return c
}
