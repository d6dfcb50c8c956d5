// Package kafka makes Kafka topics sources and sinks.
//
//	orders = kafka.Topic[Order]{Name: "orders", Group: "shop.billing", Key: func(o Order) string { return o.Customer }}
//
// The brokers, and how to log in, come from KAFKA_BROKERS and the variables that
// [Cluster] names, or from the field Cluster. [Topics] reads several topics with
// one member of one group.
//
// # Groups
//
// A processor has one member of the group per process, whatever the number of its
// replicas: they share the member's partitions, so that resizing the pool is no
// rebalance. With the default strategy, cooperative-sticky, a rebalance takes from
// a member only what others get; those partitions are drained and committed, and
// all others go on meanwhile. A member that the group has thrown out loses its
// partitions: their handlers are cancelled and nothing of them is committed.
//
// A new group starts at the end of the topic, as [Topic.Start] says: [Latest] is
// the default. The position that it starts at is committed at once, so that a
// crash before the first commit loses nothing.
//
// # What is durable when
//
// A record is confirmed to the caller of Write when all replicas in sync have it
// (acks=all), written idempotently. A commit is confirmed when the group's
// coordinator has stored it, for all partitions in one request.
//
// The package is called by whoever declares a flow, and by package runtime through
// the contracts of package primitives. It never creates, changes or deletes topics,
// never commits more than the runtime asks for, but for the first position, and
// never skips records by itself. Brokers before Kafka 2.1 and record formats before
// 0.11 are not supported.
package kafka
