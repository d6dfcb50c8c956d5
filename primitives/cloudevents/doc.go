// Package cloudevents has the codec for CloudEvents 1.0 (https://cloudevents.io),
// an envelope that says of a value what it is, where it comes from and when it
// happened. A primitive with a Codec field takes it:
//
//	kafka.Topic[cloudevents.Event[Order]]{Name: "orders", Codec: &cloudevents.Codec[Order]{}}
//
// Both content modes of the protocol bindings are read, whichever a record is in:
// binary, where the attributes are headers and the value is the data, with the
// names of the Kafka binding (ce_id) and of the NATS and HTTP bindings (ce-id);
// and structured, where the value is one JSON document. Codec.Mode says which is
// written. The batch mode is refused: one record is one event.
//
// It is called by DecoderOf and EncoderOf of package primitives. It never makes up
// an id or a time: a record that is handled again must become the same event.
//
// The official SDK (github.com/cloudevents/sdk-go) is built around clients,
// protocols and an event that holds its data as bytes beside any number of
// encodings; what Flow needs of it, the mapping of attributes to headers and
// JSON, is the few hundred lines here, without its dependencies and its copies.
package cloudevents
