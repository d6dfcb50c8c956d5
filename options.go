package flow

import (
	"context"
	"log/slog"
	"time"

	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/runtime"
)

// Each kind of processor takes its own kind of option, so that an option given to
// a processor that has no use for it does not compile.
type (
	// A ConsumerOption configures a Consumer.
	ConsumerOption interface{ consumer(*settings) }
	// A CollectorOption configures a Collector.
	CollectorOption interface{ collector(*settings) }
	// An EndpointOption configures an Endpoint.
	EndpointOption interface{ endpoint(*settings) }
	// An HTTPOption configures a Collector or an Endpoint.
	HTTPOption interface {
		CollectorOption
		EndpointOption
	}
	// A ProcessorOption configures any processor.
	ProcessorOption interface {
		ConsumerOption
		CollectorOption
		EndpointOption
	}
)

type (
	consumerOption  func(*settings)
	httpOption      func(*settings)
	processorOption func(*settings)
)

func (o consumerOption) consumer(s *settings)   { o(s) }
func (o httpOption) collector(s *settings)      { o(s) }
func (o httpOption) endpoint(s *settings)       { o(s) }
func (o processorOption) consumer(s *settings)  { o(s) }
func (o processorOption) collector(s *settings) { o(s) }
func (o processorOption) endpoint(s *settings)  { o(s) }

// Replicas bounds the number of replicas: at least min, at most max. The
// processor starts with min unless NumReplicas says otherwise. Default 1, 1.
func Replicas(min, max int) ProcessorOption {
	return processorOption(func(s *settings) {
		s.spec.limits.Min, s.spec.limits.Max = min, max
		s.set("min_replicas", "max_replicas")
	})
}

// NumReplicas is the number of replicas at the start. Default: MinReplicas. When
// MaxReplicas is not given, it is also the highest number.
func NumReplicas(n int) ProcessorOption {
	return processorOption(func(s *settings) { s.spec.limits.Start = n; s.set("num_replicas") })
}

// MinReplicas is the number of replicas at least. Default 1.
func MinReplicas(n int) ProcessorOption {
	return processorOption(func(s *settings) { s.spec.limits.Min = n; s.set("min_replicas") })
}

// MaxReplicas is the number of replicas at most. Default 1, or NumReplicas or
// MinReplicas where these are higher.
func MaxReplicas(n int) ProcessorOption {
	return processorOption(func(s *settings) { s.spec.limits.Max = n; s.set("max_replicas") })
}

// NumCPUs is the number of CPUs that one replica is counted with, more than 0;
// fractions are allowed. Default 1. It reserves nothing: the autoscaler adds replicas
// while they, and those of all other processors, are counted with no more than CPUs
// says. A handler that mostly waits should be given as little as it uses, as 0.1.
func NumCPUs(n float64) ProcessorOption {
	return processorOption(func(s *settings) { s.spec.cpus = n; s.set("num_cpus") })
}

// LogLevel is the level below which the processor's log lines are dropped.
// Default slog.LevelInfo.
func LogLevel(level slog.Level) ProcessorOption {
	return processorOption(func(s *settings) { s.spec.logLevel = level; s.set("log_level") })
}

// AutoscaleFrequency is the time between two scaling decisions, at least a
// second. Default 60 s. One that adds replicas to a consumer comes earlier when the
// backlog would pass its burn threshold: twelve times in this time, but at most
// once in a second, the backlog is glanced at.
func AutoscaleFrequency(d time.Duration) ProcessorOption {
	return processorOption(func(s *settings) { s.spec.limits.Frequency = d; s.set("autoscale_frequency_secs") })
}

// EnableAutoscaler lets the autoscaler decide about the number of replicas, from
// MinReplicas to MaxReplicas. Default true. Without it, and where both are the same, the
// number stays until somebody changes it: see Flow.Resize and the scale command.
func EnableAutoscaler(on bool) ProcessorOption {
	return processorOption(func(s *settings) { s.spec.limits.Enabled = on; s.set("enable_autoscaler") })
}

// ScaleDownWindow is how long fewer replicas must be wanted before there are fewer: the
// number shrinks to no less than the highest want of that time. 0 shrinks at once, 24 h
// is the longest. Default 5 min.
func ScaleDownWindow(d time.Duration) ProcessorOption {
	return processorOption(func(s *settings) { s.spec.limits.ScaleDownWindow = d; s.set("autoscale_down_window_secs") })
}

// ScaleCooldown is the time between two changes of the number of replicas at least, up
// to 24 h. Default 0: each decision may change it.
func ScaleCooldown(d time.Duration) ProcessorOption {
	return processorOption(func(s *settings) { s.spec.limits.Cooldown = d; s.set("autoscale_cooldown_secs") })
}

// Setup adds a function that runs once in each replica before its first record or
// request. Handlers of the replica see the values of the context that it returns;
// nil leaves it as it was. The context that it gets ends when the flow does, also
// while Setup runs. An error stops the flow at its start.
func Setup(fn func(context.Context) (context.Context, error)) ProcessorOption {
	return processorOption(func(s *settings) { s.spec.setup = append(s.spec.setup, fn) })
}

// Teardown adds a function that runs once when a replica has ended, with the
// context that Setup made. The last added runs first. Replicas that end together
// are torn down at the same time.
func Teardown(fn func(context.Context) error) ProcessorOption {
	return processorOption(func(s *settings) { s.spec.teardown = append(s.spec.teardown, fn) })
}

// Timeout bounds one call of the handler: its context is cancelled with cause
// ErrHandlerTimeout. In a Consumer it then counts as failed, also when the handler
// takes no notice; over HTTP it is the handler that has to. Default: none for a
// Consumer, 30 s for a Collector or an Endpoint.
func Timeout(d time.Duration) ProcessorOption {
	return processorOption(func(s *settings) { s.spec.timeout = d; s.set("timeout") })
}

// ConcurrentTasks is the number of records that one replica handles at the same
// time, in its own goroutines. Default 1. The whole processor handles at most
// replicas x ConcurrentTasks; with Ordered(ByPartition) no more than there are
// partitions.
func ConcurrentTasks(n int) ConsumerOption {
	return consumerOption(func(s *settings) { s.spec.tasks = n; s.set("num_concurrent_tasks") })
}

// BacklogBurnThreshold is the time that working off the backlog may take before
// replicas are added. Default 60 s. A larger value adds them later: the sentence
// in BuildFlow's documentation which says the opposite contradicts its formula.
func BacklogBurnThreshold(d time.Duration) ConsumerOption {
	return consumerOption(func(s *settings) { s.spec.limits.BurnThreshold = d; s.set("consumer_backlog_burn_threshold") })
}

// CPUPercentTarget is the share of a replica's CPUs, from 0 to 100, below which
// replicas are taken away when there is no backlog. Default 25.
func CPUPercentTarget(percent float64) ConsumerOption {
	return consumerOption(func(s *settings) { s.spec.limits.CPUTarget = percent; s.set("consumer_cpu_percent_target") })
}

// Order says which records a Consumer may handle at the same time.
type Order = runtime.Order

const (
	// ByPartition handles the records of a partition one after the other.
	ByPartition = runtime.ByPartition
	// ByKey handles records with the same key one after the other, and others at
	// the same time. Records without a key have no order.
	ByKey = runtime.ByKey
	// Unordered handles any records at the same time.
	Unordered = runtime.Unordered
)

// Ordered chooses the order. Default ByPartition. In all three a position is
// committed only when every record before it is resolved.
func Ordered(o Order) ConsumerOption {
	return consumerOption(func(s *settings) { s.spec.order = o; s.set("order") })
}

// Backoff is the delay between attempts; see Exponential and Constant.
type Backoff = runtime.Backoff

// Exponential doubles the delay from first to at most max, with jitter: each delay
// is chosen evenly between its half and its whole.
func Exponential(first, max time.Duration) Backoff { return Backoff{First: first, Max: max} }

// Constant waits d before each attempt.
func Constant(d time.Duration) Backoff { return Backoff{First: d, Fixed: true} }

// Retry makes attempts attempts in all at handling a record or at writing its
// outputs, with the backoff in between. A record waits in its place: with
// ByPartition its partition waits with it, with ByKey its key. The first attempt
// counts. Default: one attempt.
func Retry(attempts int, b Backoff) ConsumerOption {
	return consumerOption(func(s *settings) {
		s.spec.retry = runtime.Retry{Attempts: attempts, Backoff: b}
		s.set("retry_attempts", "retry_first", "retry_max")
	})
}

// RetryParked is Retry where the partition goes on with the next records while one
// waits: with ByPartition the order is then relaxed for records that failed.
func RetryParked(attempts int, b Backoff) ConsumerOption {
	return consumerOption(func(s *settings) {
		s.spec.retry = runtime.Retry{Attempts: attempts, Backoff: b, Park: true}
		s.set("retry_attempts", "retry_first", "retry_max")
	})
}

// RetryLater is Retry where a record leaves its partition for the wait: it is written
// to where its source keeps such records, as the delay topics of Kafka, and is read
// again from there, also after a restart and by another process. The partition goes
// on, and holds nothing in memory for it; with ByPartition and ByKey the order is
// relaxed for records that failed. The source chooses the shortest of its delays that
// is not below the backoff's, or its longest. It must have been given delays.
func RetryLater(attempts int, b Backoff) ConsumerOption {
	return consumerOption(func(s *settings) {
		s.spec.retry = runtime.Retry{Attempts: attempts, Backoff: b, Away: true}
		s.set("retry_attempts", "retry_first", "retry_max")
	})
}

// DeadLetter sends records that cannot be decoded, or failed for good, to a sink:
// as they were read, with headers that say where from and why. Only when they are
// durable there are they acknowledged. Default: none, the flow stops.
func DeadLetter(sink Sink[Raw]) ConsumerOption {
	return consumerOption(func(s *settings) { s.spec.deadLetter, s.spec.hasDeadLetter = sink, true; s.set("dead_letter") })
}

// DeadLetterLimit stops the flow, rather than that it goes on sending everything to
// the dead letters: at the first record of a partition that would be one more than
// consecutive in a row, or with which there would be more than ratio dead letters per
// record handled well, counted since the partition was assigned. Zero switches one
// of them off. The record that is refused stays unresolved: it is met again after
// the restart. Records count by position, in whatever order they fail: one that fails
// late, after RetryParked, say, joins the row that it lies in, and is not counted as
// handled well while it waits. With RetryLater they count in the partition of the delay
// topic from which they come again. Default: no limit.
func DeadLetterLimit(consecutive int, ratio float64) ConsumerOption {
	return consumerOption(func(s *settings) {
		s.spec.deadLimit = runtime.DeadLimit{Consecutive: consecutive, Ratio: ratio}
		s.set("dead_letter_max_consecutive", "dead_letter_max_ratio")
	})
}

// SkipFailed acknowledges records that failed for good, and logs and counts them.
// Default: the flow stops at them.
func SkipFailed() ConsumerOption {
	return consumerOption(func(s *settings) { s.spec.skipFailed = true; s.set("skip_failed") })
}

// SkipInvalid acknowledges records that cannot be decoded, and logs and counts
// them. Default: the flow stops at them.
func SkipInvalid() ConsumerOption {
	return consumerOption(func(s *settings) { s.spec.skipInvalid = true; s.set("skip_invalid") })
}

// CommitEvery says when progress is committed: after that time, or after that many
// records of one partition, whichever comes first. Zero switches one of them off;
// both must not be. Default 1 s, no number. Commits by number are 20 ms apart at
// least, as each has a price for the broker; the next one takes what is done by then.
// What a queue has lent for a time is committed within a third of that time, whatever
// is given here.
func CommitEvery(d time.Duration, records int) ConsumerOption {
	return consumerOption(func(s *settings) {
		s.spec.commit.Every, s.spec.commit.Records = d, records
		s.set("commit_every", "commit_records")
	})
}

// CommitEach starts the next record of a partition only when the one before it is
// committed, so that after a crash at most one record of a partition comes again.
// Partitions that wait share one commit. Batches cannot be handled that way. It costs a round trip per record; with
// CommitEvery(0, 1) each record is committed too, but nothing waits for it. Needs
// ConcurrentTasks(1) and order by partition. Default: off.
func CommitEach() ConsumerOption {
	return consumerOption(func(s *settings) { s.spec.commit.Mode = runtime.EachRecord; s.set("commit_mode") })
}

// LossyCommitOnRead commits what was read, every d, whether it was handled or not: at
// most once. When the process dies, what was read and not yet handled is lost: up to
// the Buffer of each partition. A stop in good order, or giving a partition back,
// handles all of it first, as far as the time allows.
// Default: off; Baseplate's fast consumer commits every 5 s.
func LossyCommitOnRead(d time.Duration) ConsumerOption {
	return consumerOption(func(s *settings) {
		s.spec.commit = runtime.CommitPolicy{Every: d, Mode: runtime.OnRead}
		s.set("commit_mode", "commit_every", "commit_records")
	})
}

// ExactlyOnce writes outputs and progress in one transaction per partition, so that
// readers of committed records see each output once, whatever fails. Source, sink
// and dead letters must be of one system that has transactions: Kafka, memory topics.
// Outputs are seen when they are committed: every 100 ms unless CommitEvery says
// otherwise. Needs order by partition, and neither Batches nor Stream. What a handler
// does elsewhere is still done again when its record is. Default: at least once.
func ExactlyOnce() ConsumerOption {
	return consumerOption(func(s *settings) { s.spec.commit.Mode = runtime.ExactlyOnce; s.set("commit_mode") })
}

// Buffer bounds what a Consumer holds: unresolved records per partition, and bytes
// of them over all partitions. At 80 % of the records fetching stops, at 40 % it
// goes on. Default 4,096 records and 64 MiB.
func Buffer(records, bytes int) ConsumerOption {
	return consumerOption(func(s *settings) {
		s.spec.buffer = runtime.Buffer{Records: records, Bytes: bytes}
		s.set("buffer_records", "buffer_bytes")
	})
}

// BatchWeight gives each record a weight; the n of Batches is then the weight from
// which a batch is full. Default: each counts 1.
func BatchWeight(weigh func(Raw) int) ConsumerOption {
	return consumerOption(func(s *settings) {
		s.spec.weigh = func(r *primitives.Record) int { return weigh(*r) }
	})
}

// StallAfter is how long a partition may hold records without any progress, or
// commits may not get through, before that is reported: by a log line, for a
// partition with all stacks, a metric, and as not ready.
// Default 5 min.
func StallAfter(d time.Duration) ConsumerOption {
	return consumerOption(func(s *settings) { s.spec.stallAfter = d; s.set("stall_after") })
}

// Name names a Collector or an Endpoint in logs, metrics and environment
// variables. Default: its pattern.
func Name(name string) HTTPOption {
	return httpOption(func(s *settings) { s.spec.name = name })
}

// MaxConcurrentQueries is the number of requests that one replica has in progress
// at most; a request above it waits, and gets 503 with Retry-After when too many
// wait. Default 100.
func MaxConcurrentQueries(n int) HTTPOption {
	return httpOption(func(s *settings) { s.spec.limits.MaxConcurrency = n; s.set("max_concurrent_queries") })
}

// TargetOngoingRequests is the number of requests in progress per replica that
// scaling aims at. Default 1.
func TargetOngoingRequests(n int) HTTPOption {
	return httpOption(func(s *settings) {
		s.spec.limits.TargetOngoing = n
		s.set("target_num_ongoing_requests_per_replica")
	})
}

// MaxBody is the size of a request's body at most, in bytes; a larger one gets
// 413. Default 1 MiB.
func MaxBody(bytes int) HTTPOption {
	return httpOption(func(s *settings) { s.spec.maxBody = bytes; s.set("max_body_bytes") })
}

// Middleware wraps the handling of each record of a Consumer: decode, handler and
// encode. It is a func(Next) Next, where Next is a func(context.Context, *Delivery)
// error: it sees the raw record with its attempt, and may act before and after it
// calls the Next that it was given, or return an outcome without calling it.
type Middleware = runtime.Middleware

// Next goes on to the next middleware or the handler.
type Next = runtime.Next

// Delivery is what middleware sees of a record.
type Delivery = runtime.Delivery

// Use adds middleware to one Consumer, inside of the flow's own. The first given
// is the outermost.
func Use(mw ...Middleware) ConsumerOption {
	return consumerOption(func(s *settings) { s.spec.middleware = append(s.spec.middleware, mw...) })
}
