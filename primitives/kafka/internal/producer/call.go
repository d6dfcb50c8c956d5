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
	if len(c.failed) == c.total && !slices.ContainsFunc(c.failed, c.apart) {
		return c.failed[0].Err // none is known to be durable, and it is no record's own fault
	}
	slices.SortFunc(c.failed, func(a, b primitives.RecordError) int { return cmp.Compare(a.Index, b.Index) })
	return &primitives.BatchError{Failed: c.failed}
}

// apart reports whether f has to be named: it is the record's own fault, or the
// reason is not that of the first one. One partition may have refused its records
// while those of another may be stored, and neither may speak for the other.
func (c *call) apart(f primitives.RecordError) bool {
	return primitives.IsPermanent(f.Err) || f.Err.Error() != c.failed[0].Err.Error()
}
