package nats

import (
	"context"
	"errors"
	"fmt"

	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

var (
	errDisconnected = errors.New("connection to the server lost")
	errUnconfirmed  = errors.New("the server has not confirmed in time")
	errSilent       = errors.New("no heartbeat from the server")
)

// Error codes of the server that the client package has no names for.
const (
	codeTooLarge           jetstream.ErrorCode = 10054 // message size exceeds maximum allowed
	codeHeaderTooLarge     jetstream.ErrorCode = 10097
	codeSubjectOverlap     jetstream.ErrorCode = 10065
	codeSequenceNotFound   jetstream.ErrorCode = 10043
	codeNotReplicated      jetstream.ErrorCode = 10074 // replicas > 1 not supported in non-clustered mode
	codeWorkQueueTaken     jetstream.ErrorCode = 10099
	codeWorkQueueNotUnique jetstream.ErrorCode = 10100
)

// retryable decides for the whole package whether an error may pass by itself.
// Nearly all do: a server or a cluster without a leader comes back, a full
// stream is emptied by its readers, permissions are granted while a flow runs.
// What does not pass is a message that will always be too large, and a stream or
// consumer that someone has deleted: creating it again would hide that records
// are missing.
func retryable(err error) bool {
	switch apiCode(err) {
	case codeTooLarge, codeHeaderTooLarge:
		return false
	}
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound),
		errors.Is(err, jetstream.ErrConsumerNotFound),
		errors.Is(err, natsgo.ErrMaxPayload),
		errors.Is(err, natsgo.ErrHeadersNotSupported),
		errors.Is(err, natsgo.ErrConnectionClosed),
		errors.Is(err, context.Canceled):
		return false
	}
	return true
}

// apiCode is the server's code in err, or 0.
func apiCode(err error) jetstream.ErrorCode {
	var api *jetstream.APIError
	if errors.As(err, &api) {
		return api.ErrorCode
	}
	var js jetstream.JetStreamError
	if errors.As(err, &js) && js.APIError() != nil {
		return js.APIError().ErrorCode
	}
	return 0
}

func isNoJetStream(err error) bool {
	return errors.Is(err, jetstream.ErrJetStreamNotEnabled) || errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount) ||
		errors.Is(err, natsgo.ErrNoResponders)
}

// statusError is a refusal that the server sends as a status line.
type statusError struct{ code, text string }

func (e *statusError) Error() string { return fmt.Sprintf("status %s: %s", e.code, e.text) }
