package driver

import (
	"context"

	"github.com/flowkit-go/flow/primitives"
)

// Operator is implemented by Drivers with which people can look into a cluster
// and set the progress of groups.
type Operator interface {
	// OpenFetching connects to read partitions without a group. Of with, only what
	// concerns topics and fetches is used. Errors that may pass are given to retry,
	// which waits before the next attempt, or returns an error when there should be none.
	OpenFetching(ctx context.Context, c Cluster, with Consuming, retry func(context.Context, error) error) (Fetching, error)

	// OpenGroups connects to the groups of a cluster.
	OpenGroups(ctx context.Context, c Cluster) (Groups, error)
}

// Fetching reads partitions without a group. Its methods may be called from any
// goroutine.
type Fetching interface {
	Admin

	// Read starts to fetch a partition at an offset, as Consumer.Read does.
	Read(p primitives.Partition, offset int64, s Stream)

	// Stop ends the reading of partitions. When it returns, no method of their
	// streams is running. It must not be called by a stream.
	Stop(ps ...primitives.Partition)

	// Failed has an error when nothing more can be read.
	Failed() <-chan error

	// Close ends all reading and closes the connections.
	Close(ctx context.Context) error
}

// Groups asks about consumer groups and sets what they have committed.
type Groups interface {
	AdminClient

	// Members describes the members that a group has now, by client id, host and,
	// for static members, instance id.
	Members(ctx context.Context, group string) ([]string, error)

	// SetOffsets commits offsets for a group without members, all in one request. An
	// error that wraps primitives.ErrInUse says that it has some; nothing is
	// committed then.
	SetOffsets(ctx context.Context, group string, offsets []Offset) error
}
