// Package producer writes batches of records to Kafka topics, idempotently or in
// transactions.
//
// Its unit is the batch of a Write: the records are sorted into one record batch
// per partition, what several callers have for a partition is joined into one,
// what several partitions have for a broker goes in one request, and one
// callback comes back per batch. Nothing is allocated, locked or sent per record.
//
// The driver of package kafka calls it: Open gives a [primitives.Writer] of one
// topic, Producer.Claim a transactional id, whose transactions make what is
// written to any topics visible together with the progress of a source. It never
// creates topics, never waits for a batch to fill, and never gives up order
// within a partition while it retries.
//
// # Order and duplicates
//
// Each partition has a producer id, an epoch and a sequence of its own. At most
// five requests of a partition are in flight, and one only until the partition
// has confirmed a batch of this epoch. When a batch fails in a way that may pass,
// the partition stops, waits for the answers to all that is in flight, has the
// metadata refreshed and sends the same batches again, with the same sequences
// and borders, the first one alone. The broker drops what it has already stored.
//
// When a sequence has become useless (a batch was refused, has run out of time,
// or the broker has forgotten the producer), batches that are certainly not
// stored go on under the next epoch. Those that may be stored are reported as
// failed: their caller writes them again, which is at least once.
//
// # Transactions
//
// Claim takes a transactional id over, by convention one per partition of the
// source, and fences whoever had it. Begin, any number of Writes and one Commit or
// Abort follow, again and again. A partition joins a transaction with the first
// batch for it; batches wait for that, callers do not. The epoch belongs to the
// coordinator: when a request may still be under way as a transaction ends badly,
// the epoch is raised before the next one, so that the broker refuses it.
//
// # Goroutines and locks
//
// An engine owns one sender per broker, which encodes and writes requests; a
// keeper, which refreshes metadata and lets retried partitions go; a sweeper,
// which ends what has run out of time; a finisher, which calls the callbacks; and
// one coordinator per transactional id. The client library owns a goroutine per
// connection that reads answers. Close waits for all of them. The engine has one
// lock, which is never held across a request or a callback. The locks of a
// connection and of the idle connections are taken inside it or alone, and
// nothing is locked inside them.
package producer
