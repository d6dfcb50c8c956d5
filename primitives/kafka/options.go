package kafka

import (
	"time"

	"github.com/flowkit-go/flow/primitives/kafka/driver"
)

// Start is where a partition is read from when the group has committed nothing
// for it: Latest, Earliest, Stop, or what At returns.
type Start int64

const (
	// Latest reads what is written from now on. For a partition that is added to
	// the topic later it means its beginning only by chance.
	Latest Start = 0

	// Earliest reads everything that the log still has.
	Earliest Start = -1

	// Stop reads nothing: the flow stops with an error.
	Stop Start = -2
)

// At reads from the first record at or after t.
func At(t time.Time) Start { return Start(max(t.UnixMilli(), 1)) }

// OutOfRange is what to do when the log does not have the offset to read next:
// its records were deleted before they were read, or the topic was made anew.
type OutOfRange int

const (
	// StopOutOfRange stops the flow with an error: records are missing.
	StopOutOfRange OutOfRange = iota

	// FromEarliest goes on with the first record that the log still has.
	FromEarliest

	// FromLatest goes on with what is written from now on.
	FromLatest
)

// Balance is a way to share out partitions among the members of a group.
type Balance = driver.Strategy

const (
	// CooperativeSticky moves as few partitions as possible, and the others are
	// read on meanwhile.
	CooperativeSticky = driver.CooperativeSticky

	// Sticky moves as few partitions as possible; all members stop meanwhile.
	Sticky = driver.Sticky

	// Range gives out ranges of each topic; all members stop meanwhile.
	Range = driver.Range

	// RoundRobin gives out one after the other; all members stop meanwhile.
	RoundRobin = driver.RoundRobin
)

// Isolation is what is read of transactions.
type Isolation int

const (
	// ReadCommitted reads records of transactions once these are committed, up to
	// the first that is open.
	ReadCommitted Isolation = iota

	// ReadUncommitted reads everything, also what is aborted later.
	ReadUncommitted
)

// FromHost as a StaticMember takes the name of the pod or host, and that of the
// processor.
const FromHost = "@host"

// Partitioner returns the partition, from 0 to partitions-1, of a record with
// that key.
type Partitioner = driver.Partitioner

// Compression is a way to compress what is written.
type Compression = driver.Compression

// The ways to compress.
const (
	Gzip   = driver.Gzip
	Snappy = driver.Snappy
	LZ4    = driver.LZ4
	Zstd   = driver.Zstd
)
