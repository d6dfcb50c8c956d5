// Package memory is a log with partitions, and a queue with leases, inside the
// process. It is for tests, and for flows whose records need not survive the
// process.
//
// [Topic] and [Queue] are primitives: the literals that a flow's processors read
// from and write to. A [Broker] holds what they contain. Tests make one with
// [NewBroker], so that two runs of a flow share it, as they would share a real
// broker over a restart; without one, each run of a flow has its own.
//
// The broker is also the place where a test looks ([Broker.Records],
// [Broker.Committed], [Broker.Wait]) and where it breaks things
// ([Broker.Control], [Broker.Revoke], [Broker.Lose]). [Replay] and [Counter] are
// ends that cost next to nothing, to measure what lies between them.
//
// It is called by package runtime, through the interfaces of package primitives,
// and by tests. It never writes to disk, never starts a goroutine outside of Run
// and of a writer with Async set, and waits on nothing but channels, mutexes and
// timers, so that all of it works inside a testing/synctest bubble.
package memory
