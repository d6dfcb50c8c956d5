// Command crash shows that a flow loses nothing when its process is killed: it
// sends records by HTTP into a durable queue and from there into a table, kills
// the process with SIGKILL at random moments, starts it again each time, and in
// the end compares every record of the table with what was sent.
//
//	go run ./bench/crash
//	go run ./bench/crash --records 5000 --kills 2 --seed 7 --verbose
//
// The process that is killed is this program again, run as a service would be:
// a collector takes POST /records and writes to an embedded nats.Stream; a
// consumer reads the stream and writes to an sqlite.Table with a key. This side
// is the client, which sends a request again until it is answered with success.
//
// A run has three phases, so that kills meet each part: requests and the table
// at the same time, requests alone while the backlog grows, and the table alone
// while nothing is sent. Between phases the process is stopped with SIGTERM.
//
// It prints a summary and ends with 0 when every record is in the table, intact,
// and with 1 otherwise; the folder is kept then.
package main
