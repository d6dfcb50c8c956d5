package flowotel

import (
	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
)

// All names of attributes. Those for messaging have the status Development: a new
// version of the conventions is taken over here.
const (
	schemaURL   = semconv.SchemaURL
	systemKafka = "kafka"

	keySystem        = semconv.MessagingSystemKey
	keyConsumerGroup = semconv.MessagingConsumerGroupNameKey
	keyDestination   = semconv.MessagingDestinationNameKey
	keyPartition     = semconv.MessagingDestinationPartitionIDKey
	keyKafkaOffset   = semconv.MessagingKafkaOffsetKey
	keyBatchCount    = semconv.MessagingBatchMessageCountKey
	keyBodySize      = semconv.MessagingMessageBodySizeKey
	keyOperationName = semconv.MessagingOperationNameKey
	operation        = "process"

	keyMethod         = semconv.HTTPRequestMethodKey
	keyMethodOriginal = semconv.HTTPRequestMethodOriginalKey
	keyRoute          = semconv.HTTPRouteKey
	keyStatus         = semconv.HTTPResponseStatusCodeKey
	keyPath           = semconv.URLPathKey
	keyScheme         = semconv.URLSchemeKey
	keyAddress        = semconv.ServerAddressKey
	keyPort           = semconv.ServerPortKey
	keyUserAgent      = semconv.UserAgentOriginalKey
	keyVersion        = semconv.NetworkProtocolVersionKey
	keyErrorType      = semconv.ErrorTypeKey

	// What the conventions have no name for.
	keyProcessor = attribute.Key("flow.processor")
	keyOffset    = attribute.Key("flow.offset") // of sources other than Kafka
	keyAttempt   = attribute.Key("flow.attempt")
	keyOutcome   = attribute.Key("flow.outcome") // "skipped" where the handler has returned Skip
	keyOutputs   = attribute.Key("flow.outputs") // number of records that became of it
)

var operationType = semconv.MessagingOperationTypeProcess

func errorType(err error) attribute.KeyValue { return semconv.ErrorType(err) }
