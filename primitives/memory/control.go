package memory

import (
	"context"
	"slices"

	"github.com/flowkit-go/flow/primitives"
)

// OpKind says what a reader or writer is about to do.
type OpKind uint8

const (
	OpOpen    OpKind = iota // open a reader or writer; Name and Group are set
	OpRead                  // push Records of one partition or queue
	OpCommit                // commit one partition up to Next, or the leases of a queue
	OpWrite                 // store Records in one partition or queue
	OpExtend                // extend leases of a queue
	OpRelease               // release leases of a queue
	OpBacklog               // count what is waiting
	OpClaim                 // take one partition over for the transactions of a writer
)

// String returns the name in lower case: "open", "read".
func (k OpKind) String() string {
	names := [...]string{"open", "read", "commit", "write", "extend", "release", "backlog", "claim"}
	if int(k) < len(names) {
		return names[k]
	}
	return "unknown"
}

// An Op is what a control function decides about.
type Op struct {
	Kind OpKind

	// Name is the topic's or queue's. Group is the reader's; empty for writers and queues.
	Name, Group string

	// Partition is the partition's ID; 0 for a queue and where there is none.
	Partition int32

	// Next is the position that OpCommit asks for.
	Next int64

	// Records are those of OpRead and OpWrite. They must not be changed or kept.
	Records []primitives.Record

	// Leases is the number of leases of OpCommit, OpExtend and OpRelease.
	Leases int

	// Context is that of the operation: a control function that blocks returns
	// when it ends.
	Context context.Context
}

// control is a registered control function. The pointer is its identity.
type control struct{ f func(Op) error }

// Control makes f be called before each operation of readers and writers, in the
// goroutine that performs it, with no lock held. f may look, block, or return an
// error, which then is what the operation meets:
//
//   - OpOpen, OpBacklog and OpClaim fail with it.
//   - OpRead: it is given to Intake.Retry, and the read is tried again; when it
//     is marked with primitives.Permanent it ends Run.
//   - OpWrite: nothing of Op.Records is stored. A *primitives.BatchError, with
//     indexes into Op.Records, refuses only some of them.
//   - OpCommit, OpExtend, OpRelease: nothing is changed in this partition or queue.
//     A transaction whose OpCommit fails is aborted.
//
// Functions are called in the order in which they were added; the first error
// counts. The function returned takes f away again.
func (b *Broker) Control(f func(Op) error) (remove func()) {
	c := &control{f}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.controls = append(slices.Clip(b.controls), c) // a copy: control iterates without the lock
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.controls = slices.DeleteFunc(slices.Clone(b.controls), func(x *control) bool { return x == c })
	}
}

// control asks the control functions about an operation.
func (b *Broker) control(ctx context.Context, op Op) error {
	b.mu.Lock()
	controls := b.controls
	b.mu.Unlock()
	if len(controls) == 0 {
		return nil
	}
	op.Context = ctx
	for _, c := range controls {
		if err := c.f(op); err != nil {
			return err
		}
	}
	return nil
}
