// Package nats makes a NATS JetStream stream a source and a sink: the durable
// queue that needs no installation, and the same queue on a cluster.
//
//	orders = nats.Stream[Order]{Name: "orders", Key: func(o Order) string { return o.Customer }}
//
// Without an address the server runs inside of the process. It keeps its files
// in the folder "nats" below the flow's data folder, is started with the first
// stream that a flow opens and stopped with the last, and opens no port. With
// the field URL, or the environment variable NATS_URL, the same literal reads
// and writes a remote server or cluster.
//
// # What is durable when
//
// A record is confirmed to the caller of Write when the server has written it
// to its file. That survives the end of the process by any signal. Against the
// loss of power the embedded server flushes files to the disk every second; with
// [SyncAlways] before each confirmation. A remote server does as it is set up.
//
// A record is acknowledged when the server has confirmed the acknowledgement.
// With the retentions [UntilAcked], [WorkQueue] and [Interest] the last
// acknowledgement removes the record from the file, so that it does not come
// again. With [Limits], and while another group has not acknowledged yet, the
// server writes the state of a group to its file up to 100 ms later: after a
// kill -9 the records acknowledged in that time are delivered again.
//
// # How records travel
//
// The value is the message's payload. The key is the header Flow-Key, the time of
// the event Flow-Time, the headers are headers. What NATS cannot carry in a
// header (control characters, an order of names that is not alphabetical, names
// that it reserves) is packed into the header Flow-Headers as well.
//
// # Groups
//
// Every processor reads with a durable consumer named for it, and gets every
// record. Processes that run the same processor share one consumer, and so the
// records. The field Durable names the consumer when the processor's name should
// not, for example to let two processors share the records.
//
// The package is called by whoever declares a flow, and by package runtime
// through the contracts of package primitives. It never retries by itself,
// never deletes streams or consumers, and never changes the settings of a stream
// that it has not created.
package nats
