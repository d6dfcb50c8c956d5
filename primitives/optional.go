package primitives

import (
	"context"
	"errors"
	"time"
)

// Backlogger is implemented by Readers that know how much is waiting for them, and by
// a Progress that knows how much is waiting for all who read with it.
type Backlogger interface {
	// Backlog returns, per partition, the number of records that are stored and
	// not committed, including those in flight. It asks the system: the runtime
	// calls it every few seconds at most. An error means unknown, never zero.
	Backlog(ctx context.Context) ([]Backlog, error)
}

// GroupProgress is implemented by Readers that share their source with other
// processes and can tell how far all of them together are.
type GroupProgress interface {
	// GroupCommitted returns the committed position of each partition of the source
	// that has one, also of those that others hold. It asks the system: the runtime
	// calls it every few seconds at most.
	GroupCommitted(ctx context.Context) ([]Commit, error)
}

// Lending is implemented by a Progress whose system lends single records to whoever asks
// for some. Its Members tell whether somebody reads, and not how many; its position
// stands still while one record is not done. How fast all are, and how many, is to be
// learned from the processes.
type Lending interface {
	Lends()
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

// Transactor is implemented by Writers that can make outputs and the progress of
// a source of the same system durable and visible as one.
type Transactor interface {
	// Claim takes the writing for one partition over from whoever did it before:
	// a transaction of theirs that is open is aborted, one that is being committed
	// ends first, and they can begin no other. It returns the position that the
	// source's group has committed then, -1 for none. It is called for each lane
	// before its first record is handled. It errs when the source is not of the
	// same system.
	Claim(ctx context.Context, source Reader, p Partition) (next int64, err error)

	// Begin starts a transaction for the outputs of a partition that was claimed.
	// At most one of a partition is open.
	Begin(ctx context.Context, source Reader, p Partition) (Transaction, error)
}

// A Transaction groups the outputs of one partition's records with its progress.
// It ends with exactly one of Commit and Abort. When another process has taken
// the partition over, its methods return an error that wraps ErrLost.
type Transaction interface {
	// Write is Writer.Write of w, inside the transaction: nothing of it is seen by
	// readers of committed records before Commit. w is the Writer that began the
	// transaction, or another of the same system.
	Write(ctx context.Context, w Writer, batch []Record, done func(error))

	// Commit ends the transaction with the progress of its partition. An error
	// means that all of it is void, unless it wraps ErrInDoubt.
	Commit(ctx context.Context, commit Commit) error

	// Abort makes what was written void.
	Abort(ctx context.Context) error
}

// ErrInDoubt says that a transaction may or may not have been committed.
var ErrInDoubt = errors.New("transaction in doubt")

// Reclaimer is implemented by Readers that can begin a partition anew while they
// keep it.
type Reclaimer interface {
	// Reclaim gives up the lane of a partition as lost, and assigns the partition
	// anew at the position that is committed, where it is still held. It does not
	// wait for that. A lane of another epoch than the given one is left alone.
	Reclaim(p Partition, epoch int64)
}

// Seeker is implemented by Readers that can go on with a partition at another place
// while they run.
type Seeker interface {
	// Seek gives up the lane of a partition as lost, makes next the committed position,
	// and assigns the partition anew there. It returns when that is committed. It errs
	// with ErrNotAssigned when the partition is not held, and changes nothing then. A
	// position beyond the end counts as any other: the reader finds out.
	Seek(ctx context.Context, p Partition, next int64) error
}

// Delayer is implemented by Readers that can let a record leave its partition and
// come again later, through topics or queues kept for that.
type Delayer interface {
	// Delays are the delays that are possible, ascending; none when the source was
	// not set up for it.
	Delays() []time.Duration

	// Delay makes a record durable where it will be read from again after the
	// shortest of Delays that is not below d, or after the longest. Its Attempt,
	// key, value, headers and time are kept. It returns when the record is durable.
	Delay(ctx context.Context, r Record, d time.Duration) error
}

// Validator is implemented by Sources and Sinks that can be filled in wrongly.
// Validate does no I/O; its error names the field and says what to do. It is
// reported with the registration of the processor that uses the primitive.
type Validator interface {
	Validate() error
}
