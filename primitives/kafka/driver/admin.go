package driver

import (
	"context"
	"time"

	"github.com/flowkit-go/flow/primitives"
)

// Admin asks brokers about topics and groups.
type Admin interface {
	// Partitions returns the partitions of topics, in order. An error that wraps
	// ErrUnknownTopic names the topics that do not exist.
	Partitions(ctx context.Context, topics ...string) ([]primitives.Partition, error)

	// Committed returns the offsets that a group has committed, -1 where it has none.
	// With stable, transactions that are being committed are waited for, a little; an
	// error that wraps ErrUnstable says that one takes longer, one that wraps ErrRefused
	// that the client may not know.
	Committed(ctx context.Context, group string, ps []primitives.Partition, stable bool) ([]int64, error)

	// Offsets returns where a position is in each partition. With an error it returns
	// what it has found all the same, -1 for the others.
	Offsets(ctx context.Context, ps []primitives.Partition, at Position) ([]int64, error)
}

// A Position is a place in every partition: Earliest, Latest, Stable, or what At returns.
type Position int64

const (
	// Earliest is the first record that the log still has.
	Earliest Position = -2

	// Latest is the place of the next record to be written.
	Latest Position = -1

	// Stable is the first record of a transaction that is still open, or Latest.
	Stable Position = -3
)

// At is the first record at or after a time, or Latest when there is none.
func At(t time.Time) Position { return Position(max(t.UnixMilli(), 0)) }
