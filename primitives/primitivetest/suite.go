package primitivetest

import (
	"testing"
)

// A check is one promise.
type check struct {
	name string
	run  func(h *harness)
	when func(f *Features) bool // nil: always
}

// Run checks a primitive that is a source and a sink of the same thing: what is
// written to Ends.Sink is what Ends.Source reads.
func Run(t *testing.T, c Config) {
	t.Helper()
	runChecks(t, c, concat(deliveryChecks(), writerChecks(), readerChecks(), openChecks()))
}

// RunSource checks a primitive that can only be read. Ends.Feed provides the
// records.
func RunSource(t *testing.T, c Config) {
	t.Helper()
	runChecks(t, c, concat(deliveryChecks(), readerChecks(), openChecks()))
}

// RunSink checks a primitive that can only be written to. Ends.ReadBack returns
// what was.
func RunSink(t *testing.T, c Config) {
	t.Helper()
	runChecks(t, c, concat(deliveryChecks(), writerChecks(), openChecks()))
}

func runChecks(t *testing.T, c Config, checks []check) {
	t.Helper()
	c = c.withDefaults()
	for _, k := range checks {
		if k.when == nil || k.when(&c.Features) {
			t.Run(k.name, func(t *testing.T) { k.run(newHarness(t, c, k.name)) })
		}
	}
}

func concat(lists ...[]check) []check {
	var out []check
	for _, l := range lists {
		out = append(out, l...)
	}
	return out
}

func deliveryChecks() []check {
	return []check{
		{name: "RoundTrip", run: checkRoundTrip},
		{name: "Sizes", run: checkSizes, when: func(f *Features) bool { return f.Binary }},
		{name: "Order", run: checkOrder, when: func(f *Features) bool { return f.Ordered }},
		{name: "Durable", run: checkDurable, when: func(f *Features) bool { return f.Durable }},
	}
}

func writerChecks() []check {
	return []check{
		{name: "ConcurrentWriters", run: checkConcurrentWriters},
		{name: "DoneOnce", run: checkDoneOnce},
		{name: "WriterClose", run: checkWriterClose},
		{name: "WriteAfterClose", run: checkWriteAfterClose},
		{name: "WriteCancelled", run: checkWriteCancelled},
		{name: "WriteWhileClosing", run: checkWriteWhileClosing},
	}
}

func readerChecks() []check {
	return []check{
		{name: "Cancel", run: checkCancel},
		{name: "CancelWhileFull", run: checkCancelWhileFull},
		{name: "Backpressure", run: checkBackpressure},
		{name: "BufferBounded", run: checkBufferBounded, when: func(f *Features) bool { return f.Binary }},
		{name: "Drain", run: checkDrain},
		{name: "ReaderClose", run: checkReaderClose},
		{name: "ReaderAfterClose", run: checkReaderAfterClose},
		{name: "Redelivery", run: checkRedelivery, when: func(f *Features) bool { return f.Redelivery }},
		{name: "Commit", run: checkCommit, when: func(f *Features) bool { return f.Commits }},
		{name: "CommitInSteps", run: checkCommitInSteps, when: func(f *Features) bool { return f.Commits }},
		{name: "Backlog", run: checkBacklog, when: func(f *Features) bool { return f.Backlog }},
		{name: "Bounded", run: checkBounded, when: func(f *Features) bool { return f.Bounded }},
		{name: "PartitionOfKey", run: checkPartitionOfKey, when: func(f *Features) bool { return f.Partitions && f.Keys }},
		{name: "Partitions", run: checkPartitions, when: func(f *Features) bool { return f.Partitions && f.Keys }},
		{name: "FullLaneAlone", run: checkFullLaneAlone, when: func(f *Features) bool { return f.Partitions && f.Keys }},
		{name: "CommitNotAssigned", run: checkCommitNotAssigned, when: func(f *Features) bool { return f.Partitions && f.Commits }},
		{name: "Pause", run: checkPause, when: func(f *Features) bool { return f.Partitions && f.Keys }},
		{name: "Groups", run: checkGroups, when: func(f *Features) bool { return f.Groups && f.Commits }},
		{name: "LeaseRelease", run: checkLeaseRelease, when: func(f *Features) bool { return f.Leases }},
		{name: "LeaseExtend", run: checkLeaseExtend, when: func(f *Features) bool { return f.Leases }},
		{name: "LeaseExpiry", run: checkLeaseExpiry, when: func(f *Features) bool { return f.Leases }},
	}
}

func openChecks() []check {
	return []check{{name: "Unreachable", run: checkUnreachable}}
}
