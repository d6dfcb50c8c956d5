// Package client speaks to Kafka brokers with sarama: it is the driver that
// package kafka uses.
//
// Of sarama it takes the protocol: requests, responses, record batches,
// connections with TLS and SASL, metadata, and the strategies that share out
// partitions. Membership of a group and fetching are written here, on single
// connections, because a connection answers one request at a time and a fetch or
// a join waits: one connection to the coordinator for joining and heartbeats, one
// to each leader for fetches, one to the coordinator for commits, others for
// questions. So a rebalance holds up neither fetches nor commits, a partition
// that is full holds up no other, and what was revoked, lost, compacted away or
// is out of range is known for certain.
//
// Goroutines of a consumer: Run's caller is the member; a heartbeat runs beside
// it between two joins; a source per broker fetches; a pump per partition hands
// records over; the router finds leaders. Close waits for all of them.
//
// It never decides what to do with records, and never creates topics.
package client
