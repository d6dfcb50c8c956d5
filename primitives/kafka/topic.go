package kafka

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/primitives/kafka/driver"
)

// A Topic is a Kafka topic with values of type T. Name is all that it needs. It
// can be a source, a sink, or both.
type Topic[T any] struct {
	// Name of the topic. It must exist: neither end creates it.
	Name string

	// Group is the consumer group: those that have the same one share the
	// partitions, each other one gets all of them. The default is the flow's and
	// the processor's name with a dot between them.
	Group string

	// Key gives the key of a value. Records of one key go to one partition.
	// Without it records have none and are spread.
	Key func(T) string

	// Codec encodes the values. The default is chosen by T, as primitives.CodecFor
	// describes.
	Codec primitives.Codec[T]

	// Cluster is where the topic is. The default is taken from the environment.
	Cluster Cluster

	// Start is where a partition is read from when the group has committed nothing
	// for it. The default is Latest: a new group does not see what was written
	// before it was there.
	Start Start

	// OutOfRange is what to do when the log has no longer, or does not yet have,
	// the offset to read next. The default is to stop the flow.
	OutOfRange OutOfRange

	// Balance is how the group shares out the partitions: those strategies that
	// all members know are possible, the first of them is used. The default is
	// CooperativeSticky alone.
	Balance []Balance

	// StaticMember names the member, so that a restart within the session timeout
	// moves no partition. Each process needs a name of its own: FromHost takes
	// POD_NAME, HOSTNAME or the host's name, and the processor's. The default is
	// none: the member leaves when it stops, and its partitions move at once.
	StaticMember string

	// Isolation is what is read of transactions. The default is ReadCommitted.
	Isolation Isolation

	// SessionTimeout is how long the group waits for a heartbeat before it gives
	// the partitions to others. Default 10 s; brokers allow 6 s to 30 min.
	// HeartbeatInterval is the time between two. Default 3 s.
	SessionTimeout, HeartbeatInterval time.Duration

	// RebalanceTimeout is how long the group waits in a rebalance for a member to
	// finish what it works on. Default 5 min.
	RebalanceTimeout time.Duration

	// MetadataInterval is how often the topic is looked at for new partitions.
	// Default 1 min.
	MetadataInterval time.Duration

	// FetchMinBytes and FetchMaxWait: a broker answers a fetch as soon as it has
	// that many bytes, or after that time. Default 1 byte and 250 ms.
	FetchMinBytes int
	FetchMaxWait  time.Duration

	// FetchMaxBytes bounds what one fetch brings, FetchPartitionBytes what it
	// brings for one partition. A larger record comes alone. Default 8 MiB and 1 MiB.
	FetchMaxBytes, FetchPartitionBytes int

	// FetchBufferBytes bounds the memory of what was fetched of all partitions and
	// waits for room in their lanes. Half of it is shared out evenly; where a share
	// is below FetchPartitionBytes, less is fetched at once. A record batch that is
	// larger than its share waits for the other half, for up to 5 s. Default 32 MiB.
	FetchBufferBytes int

	// ServiceNames turns on the rule that Group is "{service}.{group}" and the
	// processor is called "kafka_consumer.{group}".
	ServiceNames bool

	// RetryDelays are the delays after which a record can come again, for
	// flow.RetryLater. Each needs a topic, as RetryTopics names them:
	// "{Group}.retry-30s" for 30 s. The member of the group reads them beside the
	// topic. The default is none.
	RetryDelays []time.Duration

	// Partitioner chooses the partition of a record with a key. The default is
	// Murmur2, as the Java client does.
	Partitioner Partitioner

	// Compression of what is written. The default is none.
	Compression Compression

	// MaxMessageBytes bounds a record that is written. Default 1,000,000. The
	// topic's max.message.bytes must allow it.
	MaxMessageBytes int

	// TransactionTimeout is, with flow.ExactlyOnce, how long the brokers let a
	// transaction that writes to the topic stay open before they abort it: more than the
	// time between two commits and that of the slowest handler. Readers of committed
	// records wait that long for a process that has died and is not replaced.
	// Default 1 min. Brokers refuse more than their transaction.max.timeout.ms, 15 min
	// unless changed; the flow stops then.
	TransactionTimeout time.Duration
}

// Topics are several topics with values of one type, read by one member of one
// group. They are a source only. The fields are those of Topic.
type Topics[T any] struct {
	Names                              []string
	Group                              string
	Codec                              primitives.Codec[T]
	Cluster                            Cluster
	Start                              Start
	OutOfRange                         OutOfRange
	Balance                            []Balance
	StaticMember                       string
	Isolation                          Isolation
	SessionTimeout, HeartbeatInterval  time.Duration
	RebalanceTimeout, MetadataInterval time.Duration
	FetchMinBytes                      int
	FetchMaxWait                       time.Duration
	FetchMaxBytes, FetchPartitionBytes int
	FetchBufferBytes                   int
	ServiceNames                       bool
	RetryDelays                        []time.Duration
}

// String names the topic, as "kafka:orders".
func (t Topic[T]) String() string { return "kafka:" + t.Name }

// String names the topics, as "kafka:orders,returns".
func (t Topics[T]) String() string { return "kafka:" + strings.Join(t.Names, ",") }

// Decoder returns the decoder of T.
func (t Topic[T]) Decoder() (primitives.Decoder[T], error) { return primitives.DecoderOf(t.Codec) }

// Decoder returns the decoder of T.
func (t Topics[T]) Decoder() (primitives.Decoder[T], error) { return primitives.DecoderOf(t.Codec) }

// Encoder returns the encoder of T.
func (t Topic[T]) Encoder() (primitives.Encoder[T], error) {
	return primitives.EncoderOf(t.Codec, t.Key)
}

// OpenSource connects, looks for the topic and returns the reader of one member
// of the group. It joins when it runs.
func (t Topic[T]) OpenSource(ctx context.Context, env *primitives.Env) (primitives.Reader, error) {
	if err := primitives.StartCodec(ctx, t.Codec); err != nil {
		return nil, fmt.Errorf("kafka: open topic %s: %w", t.Name, err)
	}
	return openReader(ctx, t.consuming(), env)
}

// OpenSource does what Topic.OpenSource does.
func (t Topics[T]) OpenSource(ctx context.Context, env *primitives.Env) (primitives.Reader, error) {
	if err := primitives.StartCodec(ctx, t.Codec); err != nil {
		return nil, fmt.Errorf("kafka: open topics %s: %w", strings.Join(t.Names, ", "), err)
	}
	return openReader(ctx, t.consuming(), env)
}

// OpenSink connects, looks for the topic and returns its writer.
func (t Topic[T]) OpenSink(ctx context.Context, env *primitives.Env) (primitives.Writer, error) {
	if err := primitives.StartCodec(ctx, t.Codec); err != nil {
		return nil, fmt.Errorf("kafka: open topic %s: %w", t.Name, err)
	}
	return openWriter(ctx, t.producing(), env)
}

// Validate reports the fields that are filled in wrongly.
func (t Topic[T]) Validate() error {
	errs := []error{t.consuming().validate(), t.Cluster.validate()}
	if t.MaxMessageBytes < 0 {
		errs = append(errs, fmt.Errorf("kafka: MaxMessageBytes %d of topic %s: use 0 for the default, or more", t.MaxMessageBytes, t.Name))
	}
	if d := t.TransactionTimeout; d < 0 || d > 0 && d < time.Millisecond || d > math.MaxInt32*time.Millisecond {
		errs = append(errs, fmt.Errorf("kafka: TransactionTimeout %v of topic %s: use 0 for the default, or 1 ms to 24 days", d, t.Name))
	}
	switch t.Compression {
	case driver.NoCompression, driver.Gzip, driver.Snappy, driver.LZ4, driver.Zstd:
	default:
		errs = append(errs, fmt.Errorf("kafka: Compression %q of topic %s: use Gzip, Snappy, LZ4 or Zstd", t.Compression, t.Name))
	}
	return errors.Join(errs...)
}

// Validate reports the fields that are filled in wrongly.
func (t Topics[T]) Validate() error {
	return errors.Join(t.consuming().validate(), t.Cluster.validate())
}

// ConsumerConfig returns what the source is set up with, under the names that
// Kafka's own clients have for it.
func (t Topic[T]) ConsumerConfig() map[string]string { return t.consuming().describe() }

// ConsumerConfig returns what the source is set up with, under the names that
// Kafka's own clients have for it.
func (t Topics[T]) ConsumerConfig() map[string]string { return t.consuming().describe() }

func (t Topic[T]) consuming() *consuming {
	return &consuming{
		topics: []string{t.Name}, group: t.Group, cluster: t.Cluster, start: t.Start, outOfRange: t.OutOfRange,
		balance: t.Balance, staticMember: t.StaticMember, isolation: t.Isolation, session: t.SessionTimeout,
		heartbeat: t.HeartbeatInterval, rebalance: t.RebalanceTimeout, metadata: t.MetadataInterval,
		fetchMin: t.FetchMinBytes, fetchWait: t.FetchMaxWait, fetchMax: t.FetchMaxBytes, fetchPartition: t.FetchPartitionBytes, fetchBuffer: t.FetchBufferBytes,
		serviceNames: t.ServiceNames, delays: t.RetryDelays,
	}
}

func (t Topics[T]) consuming() *consuming {
	return &consuming{
		topics: t.Names, group: t.Group, cluster: t.Cluster, start: t.Start, outOfRange: t.OutOfRange,
		balance: t.Balance, staticMember: t.StaticMember, isolation: t.Isolation, session: t.SessionTimeout,
		heartbeat: t.HeartbeatInterval, rebalance: t.RebalanceTimeout, metadata: t.MetadataInterval,
		fetchMin: t.FetchMinBytes, fetchWait: t.FetchMaxWait, fetchMax: t.FetchMaxBytes, fetchPartition: t.FetchPartitionBytes, fetchBuffer: t.FetchBufferBytes,
		serviceNames: t.ServiceNames, delays: t.RetryDelays,
	}
}

func (t Topic[T]) producing() *producing {
	return &producing{
		cluster: t.Cluster,
		with: driver.Producing{
			Topic: t.Name, Partitioner: t.Partitioner, Compression: t.Compression, MaxMessageBytes: t.MaxMessageBytes,
			TransactionTimeout: t.TransactionTimeout,
		},
	}
}
