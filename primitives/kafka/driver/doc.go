// Package driver is the seam between package kafka and the client library that
// speaks to the brokers: small interfaces, and plain values that say what a
// client is set up with. No type of a client library is in it, so that another
// one, or another group protocol, can be added without touching the rest.
//
// Package kafka calls it; package kafka/internal/client implements it with
// sarama. It never decides what happens to records: pushing, draining and
// committing in time is the business of package kafka and the runtime.
package driver
