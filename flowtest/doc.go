// Package flowtest runs a flow in a test: its sources and sinks are kept in
// memory, so that no broker is needed, and inside [testing/synctest] its time is
// fake, so that nothing sleeps.
//
//	func TestBilling(t *testing.T) {
//		flowtest.Test(t, func(t *testing.T) {
//			run := flowtest.Start(t, newApp())
//			flowtest.Send(run, orders, Order{ID: "a", Cents: 300})
//			run.Settle()
//			got := flowtest.Received(run, lines)
//			...
//		})
//	}
//
// Everything between the ends is what runs in production: codecs, order, retries,
// dead letters, commits. A primitive that is the sink of one processor and the
// source of another is one topic. Collectors and endpoints are called with
// [Run.Do], without a network.
//
// Users' tests call it; nothing else does. It never starts a broker or a server: for
// Kafka itself in a test see package kafkatest below it.
package flowtest
