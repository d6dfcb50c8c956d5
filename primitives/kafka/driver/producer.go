package driver

import (
	"context"
	"log/slog"
	"time"

	"github.com/flowkit-go/flow/primitives"
)

// Producing is what a writer to a topic is set up with.
type Producing struct {
	Topic              string
	Partitioner        Partitioner // nil: murmur2, as the Java client
	Compression        Compression
	MaxMessageBytes    int           // 0: 1,000,000
	Timeout            time.Duration // of a batch with all its retries; 0: 2 min
	TransactionTimeout time.Duration // of a transaction that stays open; 0: 1 min
	Logger             *slog.Logger
}

// A Partitioner returns the partition, from 0 to partitions-1, of a record with
// that key. It is called from many goroutines.
type Partitioner func(key []byte, partitions int32) int32

// Compression is the name of a way to compress record batches. The empty one is none.
type Compression string

// The ways to compress.
const (
	NoCompression Compression = ""
	Gzip          Compression = "gzip"
	Snappy        Compression = "snappy"
	LZ4           Compression = "lz4"
	Zstd          Compression = "zstd"
)

// A Producer writes to one topic: idempotently, and in transactions.
type Producer interface {
	primitives.Writer

	// Claim takes a transactional id over: who had it can write and commit nothing
	// any longer, and what they were committing has ended when Claim returns.
	// An error that wraps ErrRefused says that this client may not have it.
	Claim(ctx context.Context, transactionalID string) (Transactional, error)
}

// A Transactional is a transactional id that this process has claimed. One of its
// transactions is open at a time. When another process claims the id, all methods
// return an error that wraps primitives.ErrLost.
type Transactional interface {
	Begin(ctx context.Context) (Transaction, error)

	// Release forgets the claim. It sends nothing.
	Release()
}

// A Transaction ends with one Commit or Abort. Errors that wrap ErrRefused are about the
// transaction as a whole.
type Transaction interface {
	// Write is to.Write, inside the transaction. to is of the same driver and cluster.
	Write(ctx context.Context, to Producer, batch []primitives.Record, done func(error))

	// Commit makes what was written and the offsets of the member's group visible as one.
	// It asks who the member is before each attempt, and makes another one when the
	// group's generation has ended meanwhile. An error of member says that the offsets
	// are no longer the member's to commit; the transaction is aborted with it.
	Commit(ctx context.Context, member func() (Member, error), offsets []Offset) error

	Abort(ctx context.Context) error
}
