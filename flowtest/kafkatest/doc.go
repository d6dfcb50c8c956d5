// Package kafkatest gives a test a Kafka broker inside of the test's process, for
// what package flowtest leaves out: the real client, groups, offsets, transactions.
//
//	func TestBilling(t *testing.T) {
//		broker := kafkatest.Start(t, "orders", "lines")
//		flowtest.Start(t, newApp(), flowtest.Keep("kafka:"))
//		kafkatest.Send(broker, orders, Order{ID: "a", Cents: 300})
//		broker.Settle("billing.bill", "orders")
//		got := kafkatest.Received(broker, lines)
//		...
//	}
//
// The broker is kfake, of the franz-go project: it speaks the protocol and keeps
// its topics in memory. It has no replication, so a test can show nothing about the
// loss of a broker; docs/local-kafka.md says what else it lacks. Its time is the
// real one: it does not work in a bubble of testing/synctest.
//
// Users' tests call it. It is a package of its own, so that a test without Kafka is
// built without it.
package kafkatest
