// Package registry has codecs for Avro and Protobuf whose schemas are kept in a
// schema registry that speaks Confluent's REST API (Confluent, Redpanda, Karapace,
// Apicurio in its compatible mode). A primitive with a Codec field takes them:
//
//	kafka.Topic[Order]{Name: "orders", Codec: &registry.Avro[Order]{Topic: "orders"}}
//	kafka.Topic[*orderpb.Order]{Name: "orders", Codec: &registry.Protobuf[*orderpb.Order]{Topic: "orders"}}
//
// A value is what Confluent's serializers write: a zero byte, the schema's id as
// four bytes, for Protobuf the place of the message in its file, and the message.
//
// What is wrong with the fields shows when the processor is registered, what the
// registry refuses when StartCodec is called or else with the first record. A
// schema is asked for once. A registry that cannot be reached is no fault of a
// record: the error is one of primitives.RetryAfter, and the record waits. No
// schema is registered unless Register is set.
//
// It never decides about compatibility: the registry does, when a schema is
// registered. The client is github.com/twmb/franz-go/pkg/sr, which needs nothing but
// the standard library; it makes a program half a megabyte larger, Avro one megabyte.
package registry
