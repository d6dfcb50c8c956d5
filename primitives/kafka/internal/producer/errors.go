package producer

import (
	"errors"

	"github.com/IBM/sarama"
)

// verdict is what the answer to a record batch means for it.
type verdict uint8

const (
	pending  verdict = iota // not answered
	stored                  // durable
	again                   // may pass: send it again
	gap                     // the broker expected another sequence
	tooLarge                // larger than the topic allows
	invalid                 // records are wrong, and the broker may say which
	refused                 // trying again cannot help
	fenced                  // another producer has taken over
)

// judge says what a broker's answer means, and whether the batch is certainly
// not stored. It is the one place that decides what is retried.
func judge(err sarama.KError, transactional bool) (v verdict, certain bool) {
	switch err {
	case sarama.ErrNoError, sarama.ErrDuplicateSequenceNumber:
		return stored, false

	case sarama.ErrNotEnoughReplicas, // before the append; the one after it has its own number
		sarama.ErrLeaderNotAvailable,
		sarama.ErrFencedLeaderEpoch,
		sarama.ErrUnknownLeaderEpoch,
		sarama.ErrThrottlingQuotaExceeded,
		sarama.ErrConcurrentTransactions,
		sarama.ErrInvalidMessage: // its checksum does not match: damaged on the way
		return again, true

	case sarama.ErrNotLeaderForPartition, // also said to a batch that waits for followers when the leader moves
		sarama.ErrUnknownTopicOrPartition,
		sarama.ErrReplicaNotAvailable,
		sarama.ErrBrokerNotAvailable,
		sarama.ErrRequestTimedOut,
		sarama.ErrNotEnoughReplicasAfterAppend,
		sarama.ErrNetworkException,
		sarama.ErrKafkaStorageError,
		sarama.ErrOffsetsLoadInProgress,
		sarama.ErrConsumerCoordinatorNotAvailable,
		sarama.ErrNotCoordinatorForConsumer,
		sarama.ErrUnknown:
		return again, false

	case sarama.ErrOutOfOrderSequenceNumber, sarama.ErrUnknownProducerID:
		return gap, true

	case sarama.ErrInvalidProducerEpoch, sarama.ErrProducerFenced:
		if transactional {
			return fenced, true
		}
		return gap, true

	case sarama.ErrMessageSizeTooLarge, sarama.ErrMessageSetSizeTooLarge:
		return tooLarge, true

	case sarama.ErrInvalidRecord, sarama.ErrInvalidTimestamp:
		return invalid, true
	}
	return refused, true
}

// neverSent reports whether an error of the client library means that not a byte
// of the request was written, and whether writing it again cannot help.
func neverSent(err error) (certain, hopeless bool) {
	var encoding sarama.PacketEncodingError
	if errors.As(err, &encoding) || errors.Is(err, sarama.ErrUnsupportedVersion) {
		return true, true
	}
	return errors.Is(err, sarama.ErrNotConnected) || errors.Is(err, errDial), false
}

// errDial marks an error of opening a connection.
var errDial = errors.New("no connection")
