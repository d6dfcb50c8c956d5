package driver

import (
	"context"
	"log/slog"
	"time"

	"github.com/flowkit-go/flow/primitives"
)

// Consuming is what a member of a group is set up with, with all defaults filled in.
type Consuming struct {
	Group      string
	Topics     []string
	InstanceID string // of a static member; empty: dynamic

	Strategies []Strategy // the first that all members know is used

	SessionTimeout    time.Duration
	HeartbeatInterval time.Duration
	RebalanceTimeout  time.Duration

	// MetadataInterval is how often the topics are looked at for new partitions.
	MetadataInterval time.Duration

	ReadUncommitted bool

	// FetchMinBytes and FetchMaxWait: a broker answers a fetch when it has that
	// many bytes, or after that time. FetchMaxBytes bounds the answer,
	// FetchPartitionBytes each partition in it; a larger record comes alone.
	FetchMinBytes, FetchMaxBytes, FetchPartitionBytes int32
	FetchMaxWait                                      time.Duration

	// FetchBufferBytes bounds what is held of all partitions: the memory of what was
	// fetched and is not given to their streams. Each one gets a share whatever the
	// others hold, and a record batch that is larger than it after a while.
	FetchBufferBytes int32

	Logger *slog.Logger
}

// A Strategy is the name of a way to share out partitions, as the protocol has it.
type Strategy string

// The strategies.
const (
	CooperativeSticky Strategy = "cooperative-sticky"
	Sticky            Strategy = "sticky"
	Range             Strategy = "range"
	RoundRobin        Strategy = "roundrobin"
)

// A Consumer is one member of a group. Its methods may be called from any
// goroutine; Run is called once.
type Consumer interface {
	Admin

	// Run joins the group and keeps the membership until ctx ends, then it returns
	// nil; the membership stays alive for its session timeout, so that Commit works
	// until Close. It returns an error when it cannot go on.
	Run(ctx context.Context, g Group) error

	// Read starts to fetch a partition at an offset, or paused, after Resume. What
	// comes is given to s by a goroutine of the partition's own.
	Read(p primitives.Partition, offset int64, paused bool, s Stream)

	// Stop ends the reading of partitions. When it returns, no method of their
	// streams is running. It must not be called by a stream.
	Stop(ps ...primitives.Partition)

	// Pause stops the fetching of partitions until Resume. What was fetched is held.
	Pause(ps []primitives.Partition)
	Resume(ps []primitives.Partition)

	// Commit stores offsets of the group, in one request, as the member m: one that
	// Member has returned before it was looked up that the partitions are held. It
	// returns one error per offset, nil where it is durable. An error that wraps
	// primitives.ErrNotAssigned says that the group does not know m any longer: it has
	// given the partition to another member, or may have. One that wraps ErrRebalancing
	// says that the group knows the member, and is in a newer generation or about to be.
	Commit(ctx context.Context, m Member, offsets []Offset) []error

	// Member is who this member is now.
	Member() Member

	// Close leaves the group, unless the member is static, and closes all connections.
	Close(ctx context.Context) error
}

// A Group is told about the membership, by one goroutine.
type Group interface {
	// Assigned tells which partitions are ours from now on, besides those that
	// were. An error ends Run with it. ctx ends when the membership is lost.
	Assigned(ctx context.Context, added []primitives.Partition) error

	// Revoked asks for partitions back. They go to other members when it returns.
	// When ctx ends there is no time left.
	Revoked(ctx context.Context, gone []primitives.Partition)

	// Lost tells that partitions were taken away without notice.
	Lost(gone []primitives.Partition, cause error)

	// Retry reports an error that may pass and waits before the next attempt. An
	// error means that there should be none.
	Retry(ctx context.Context, err error) error
}

// A Stream takes what is read from one partition. Its methods are called one
// after the other.
type Stream interface {
	// Records takes a burst in order; next is the offset that reading goes on at,
	// which lies beyond the last record where the log has holes. It blocks while
	// there is no room. The burst may be empty. The slice is used again when it
	// returns, the bytes are not. After an error nothing more is read.
	Records(ctx context.Context, burst []primitives.Record, next int64) error

	// OutOfRange tells that the log has no offset at any longer, and returns where
	// to go on. After an error nothing more is read.
	OutOfRange(ctx context.Context, at int64) (int64, error)
}

// An Offset is a position to commit.
type Offset struct {
	Partition primitives.Partition
	Next      int64
}

// A Member is what transactions need to know of a consumer.
type Member struct {
	Group, ID, InstanceID string
	Generation            int32
}
