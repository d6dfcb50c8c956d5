package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/IBM/sarama"

	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/primitives/kafka/driver"
)

// passing reports whether an error is one that passes by itself: an election, a
// restart, a lost connection. It is the one place that decides it for questions,
// fetches and joins.
func passing(err error) bool {
	var code sarama.KError
	if errors.As(err, &code) {
		switch code {
		case sarama.ErrLeaderNotAvailable, sarama.ErrNotLeaderForPartition, sarama.ErrReplicaNotAvailable,
			sarama.ErrFencedLeaderEpoch, sarama.ErrUnknownLeaderEpoch, sarama.ErrOffsetNotAvailable,
			sarama.ErrNotCoordinatorForConsumer, sarama.ErrConsumerCoordinatorNotAvailable, sarama.ErrOffsetsLoadInProgress,
			sarama.ErrRebalanceInProgress, sarama.ErrUnstableOffsetCommit, sarama.ErrRequestTimedOut, sarama.ErrBrokerNotAvailable,
			sarama.ErrNetworkException, sarama.ErrKafkaStorageError, sarama.ErrThrottlingQuotaExceeded, sarama.ErrListenerNotFound:
			return true
		}
		return false
	}
	switch {
	case errors.Is(err, sarama.ErrClosedClient), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return false
	case errors.Is(err, sarama.ErrNotConnected), errors.Is(err, sarama.ErrOutOfBrokers), errors.Is(err, sarama.ErrControllerNotAvailable):
		return true
	}
	var network net.Error
	return errors.As(err, &network) || disconnected(err)
}

// refused marks an error with which the brokers will answer again until someone changes
// what they allow, and says what that is. Others are returned as they are, and those of
// single records. It is the one place that decides it for groups and transactions.
func refused(err error) error {
	var single *primitives.BatchError
	var code sarama.KError
	if errors.As(err, &single) || !errors.As(err, &code) {
		return err
	}
	advice := ""
	switch code {
	case sarama.ErrTransactionalIDAuthorizationFailed:
		advice = "allow this client to write and describe transactional ids that begin with the name of its Group and a slash"
	case sarama.ErrGroupAuthorizationFailed:
		advice = "allow this client to read its Group"
	case sarama.ErrTopicAuthorizationFailed:
		advice = "allow this client to read the topics of its source, and to write those of its outputs and dead letters"
	case sarama.ErrClusterAuthorizationFailed:
		advice = "allow this client idempotent writes on the cluster"
	case sarama.ErrUnsupportedVersion, sarama.ErrUnsupportedForMessageFormat:
		advice = "transactions with the offsets of a group need Kafka 2.5 or newer"
	default:
		return err
	}
	return fmt.Errorf("%w: %w: %s", driver.ErrRefused, err, advice)
}

// undecodable reports whether an answer has come and is not one that can be read, as when
// a record batch is damaged. One such partition spoils the answer for all.
func undecodable(err error) bool {
	var decoding sarama.PacketDecodingError
	return errors.As(err, &decoding) || errors.Is(err, sarama.ErrInsufficientData) || errors.Is(err, sarama.ErrDecompressedBatchTooLarge)
}

// disconnected reports whether the connection has failed, rather than the request.
func disconnected(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) || errors.Is(err, sarama.ErrNotConnected)
}
