package primitives

import (
	"context"
	"time"
)

// Backlogger is implemented by Readers that know how much is waiting for them.
type Backlogger interface {
	// Backlog returns, per partition, the number of records that are stored and
	// not committed, including those in flight. It asks the system: the runtime
	// calls it every few seconds at most. An error means unknown, never zero.
	Backlog(ctx context.Context) ([]Backlog, error)
}

// A Backlog is the number of records waiting in one partition.
type Backlog struct {
	Partition Partition
	Records   int64
}

// Leaser is implemented by Readers of queues that lend each record for a time
// (Amazon SQS, Google Pub/Sub, NATS JetStream) and set Record.Lease.
type Leaser interface {
	// LeaseTime is how long a record is lent. The runtime extends the leases of
	// records that it still holds every third of it.
	LeaseTime() time.Duration

	// Extend lends the records for another LeaseTime. An error is logged and
	// counted; the records are then expected to be delivered again.
	Extend(ctx context.Context, leases []any) error

	// Release gives records back unprocessed, to be delivered again after delay,
	// here or elsewhere.
	Release(ctx context.Context, leases []any, delay time.Duration) error
}

// Pauser is implemented by Readers that can stop fetching single partitions
// while they keep them. Without it a paused processor holds the records that it has
// already got, and fetching stops when its lanes are full.
type Pauser interface {
	Pause(partitions []Partition)
	Resume(partitions []Partition)
}

// Partitioned is implemented by Readers that hold several partitions, or share
// them with other processes. Readers without it have one lane.
type Partitioned interface {
	// Partitions returns all partitions of the source, also those that other
	// processes hold now.
	Partitions(ctx context.Context) ([]Partition, error)
}

// Bounded is implemented by Sources that may end: when every record is resolved
// the processor is done, and when all are, so is the flow.
type Bounded interface {
	Bounded() bool
}

// Transactor is implemented by Writers that can make outputs and the source's
// progress visible as one, for sources of the same system.
type Transactor interface {
	// Begin starts a transaction for the outputs of one partition.
	Begin(ctx context.Context, p Partition) (Transaction, error)
}

// A Transaction groups writes of one partition with its commit. It ends with
// exactly one of Commit and Abort. When another process has taken the
// partition over, its methods return an error that wraps ErrLost.
type Transaction interface {
	Write(ctx context.Context, batch []Record, done func(error))
	Commit(ctx context.Context, commit Commit) error
	Abort(ctx context.Context) error
}

// Validator is implemented by Sources and Sinks that can be filled in wrongly.
// Validate does no I/O; its error names the field and says what to do. It is
// reported with the registration of the processor that uses the primitive.
type Validator interface {
	Validate() error
}
