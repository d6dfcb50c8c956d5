package client

import (
	"context"
	"errors"
	"io"
	"net"

	"github.com/IBM/sarama"
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
