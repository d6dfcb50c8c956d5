package producer

import (
	"cmp"
	"slices"

	"github.com/flowkit-go/flow/primitives"
)

// call is one Write until its done was called. It is guarded by the engine's lock.
type call struct {
	done   func(error)
	total  int
	left   int // segments that are not resolved, and one for Write itself
	failed []primitives.RecordError
	err    error // what done is given, once left is 0
}

// fail notes that record i was not written.
func (c *call) fail(i int, err error) {
	c.failed = append(c.failed, primitives.RecordError{Index: i, Err: err})
}

// release takes one off left and reports whether nothing is left. It has then
// made up the error for done.
func (c *call) release() bool {
	c.left--
	if c.left > 0 {
		return false
	}
	c.err = c.outcome()
	return true
}

func (c *call) outcome() error {
	if len(c.failed) == 0 {
		return nil
	}
	if len(c.failed) == c.total && !slices.ContainsFunc(c.failed, func(f primitives.RecordError) bool { return primitives.IsPermanent(f.Err) }) {
		return c.failed[0].Err // none is durable, and it is no record's own fault
	}
	slices.SortFunc(c.failed, func(a, b primitives.RecordError) int { return cmp.Compare(a.Index, b.Index) })
	return &primitives.BatchError{Failed: c.failed}
}
