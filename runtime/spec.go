package runtime

import (
	"context"
	"log/slog"
	"time"

	"github.com/flowkit-go/flow/autoscale"
	"github.com/flowkit-go/flow/primitives"
)

// A Handler turns the records of one call into outputs: it decodes, calls the
// user's function and encodes. It gets one record, or those of one batch. An
// error means that none of the outputs it added counts.
type Handler func(ctx context.Context, in []primitives.Record, out *primitives.Outputs) error

// A Source is a primitives.Source without its type.
type Source struct {
	Name    string
	Open    func(context.Context, *primitives.Env) (primitives.Reader, error)
	Bounded bool
}

// A Sink is a primitives.Sink without its type. The zero Sink has no outputs.
type Sink struct {
	Name string
	Open func(context.Context, *primitives.Env) (primitives.Writer, error)
}

// Consumer describes one consumer: what to read, what to do, what to write, and how.
type Consumer struct {
	Name   string
	At     string // where it was registered, file:line
	Source Source
	Sink   Sink
	Handle Handler

	// Decode tells whether a single record can be decoded: asked for each record of
	// a batch, so that a bad one does not spoil the others, and about a record whose
	// handling has panicked. It does not panic. Nil means that all can.
	Decode func(primitives.Record) error
	Batch  Batch

	Order       Order
	Retry       Retry
	DeadLetter  DeadLetter
	DeadLimit   DeadLimit
	SkipFailed  bool
	SkipInvalid bool
	Timeout     time.Duration // of one call of the handler; 0 none
	Commit      CommitPolicy
	Buffer      Buffer
	StallAfter  time.Duration
	Middleware  []Middleware
	Streams     bool // the outputs of one record may be too many to hold: they are written in parts
	Processor
}

// DeadLetter is where records go that cannot be handled. The zero value is nowhere.
type DeadLetter struct {
	Sink
	Encode func(primitives.Record, *primitives.Outputs) error
}

// DeadLimit says how many dead letters of a partition stop the flow. The zero value
// is no limit.
type DeadLimit struct {
	Consecutive int     // in a row
	Ratio       float64 // per record that was handled well
}

// Processor is what all three kinds of processors have in common.
type Processor struct {
	Replicas        autoscale.Limits
	ConcurrentTasks int
	NumCPUs         float64
	LogLevel        slog.Level

	// Setup runs once when a replica starts, before its first record. Handlers of
	// the replica see the values of the context that it returns. Its error stops
	// the flow. Teardown runs once, with that context, when the replica has ended.
	Setup    []func(context.Context) (context.Context, error)
	Teardown []func(context.Context) error
}

// Batch says how records are joined into batches for the handler. The zero value is none.
type Batch struct {
	Size  int                          // weight of a full batch; 0 means no batches
	Wait  time.Duration                // age of its first record at which a batch is handled though not full
	Weigh func(*primitives.Record) int // weight of one record; nil counts 1 each
}

// Retry says what happens to a record whose handler or write failed.
type Retry struct {
	Attempts int // in all, 1 means no second attempt
	Backoff  Backoff
	Park     bool // by partition: go on with the next records meanwhile, out of order
	Away     bool // the source keeps the record meanwhile and delivers it again
}

// CommitPolicy says what is committed, and when: as soon as either limit is reached.
type CommitPolicy struct {
	Every   time.Duration
	Records int // of one partition; 0 no limit
	Mode    CommitMode
}

// CommitMode says how progress and outputs hang together.
type CommitMode int

const (
	// AtLeastOnce commits records that are resolved, by the policy's limits.
	AtLeastOnce CommitMode = iota
	// EachRecord starts a partition's next record when the one before it is committed.
	EachRecord
	// OnRead commits what was read, handled or not: what is not handled when the
	// process dies is lost.
	OnRead
	// ExactlyOnce commits outputs and progress in one transaction per partition.
	ExactlyOnce
)

// String returns the name that options and the graph use.
func (m CommitMode) String() string {
	switch m {
	case EachRecord:
		return "each"
	case OnRead:
		return "on_read"
	case ExactlyOnce:
		return "exactly_once"
	}
	return "at_least_once"
}

// Buffer bounds what a processor holds.
type Buffer struct {
	Records int // unresolved records per partition
	Bytes   int // of unresolved records over all partitions
}

// A Delivery is what middleware sees of one record or batch.
type Delivery struct {
	Processor string
	Source    string              // its name, as "kafka:orders"
	Records   []primitives.Record // one, or those of a batch
	Outputs   *primitives.Outputs // after Next; those that were there before it are of other records, and not to be touched
}

// Next goes on to the next middleware or the handler.
type Next func(ctx context.Context, d *Delivery) error

// Middleware wraps the handling of every record: decode, handler and encode. It
// may act before and after, change the context, or answer with an outcome itself.
type Middleware func(Next) Next
