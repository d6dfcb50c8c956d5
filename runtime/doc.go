// Package runtime runs the processors of one flow: it reads, calls handlers,
// writes, commits, answers HTTP requests, and ends all of it in good order.
//
// Package flow calls it, and nothing else does but tests: [New] takes a [Config]
// that was checked, [Engine.Run] runs it once, [Engine.Snapshot] looks at it. The
// package is not generic: handlers come as functions over encoded records, which
// package flow has erased. It drives primitives through the interfaces of package
// primitives, and HTTP through package web below it.
//
// It never knows a vendor's system, never decodes or encodes a value itself, never
// drops a record without being told to, never runs a handler again because a sink
// is slow, and holds no mutex while user code, a reader or a writer runs; only
// former.mu, while the user's function weighs a record.
//
// # Words
//
// A lane holds one partition while this process has it: its records in a ring, a
// tracker of what is resolved, and the outputs that wait. Tasks, a fixed number of
// goroutines per replica, take turns at lanes. A pool holds the replicas and can be
// resized. One committer per consumer makes progress durable.
//
// # Goroutines and their owners
//
//   - consumer.read runs the Reader; drain waits for it
//   - committer.run, consumer.watch, consumer.keepLeases, and consumer.finishAlone
//     when a drain finds no replica: the consumer's helpers; close waits for them
//   - a replica's tasks, and one goroutine that waits for them and calls Teardown:
//     the pool; stop waits for them
//   - functions after a delay (retries, batches that are due): timers; stop waits
//   - the HTTP server's and the admin server's Serve: frontend and admin; their
//     close waits
//   - one watcher per service while the flow runs, one drain per service at its
//     end: Engine.wait and Engine.down, which return when they have ended
//
// Waiting is bounded by the drain's deadline: a handler that takes no notice of its
// cancelled context may outlive Run, which then returns an error that says so.
//
// # Lock order
//
// former.mu, then lane.mu, then workQueue.mu. The locks of pool, timers, rate and
// the list of lanes are taken alone, or last.
package runtime
