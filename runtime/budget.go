package runtime

import (
	"sync/atomic"

	"github.com/flowkit-go/flow/primitives"
)

// budget counts the bytes of the unresolved records of one processor.
type budget struct {
	limit int64
	used  atomic.Int64
	over  atomic.Bool // some lane may be waiting
}

// exceeded reports whether no more bytes should come in, and remembers that
// somebody asked while it was so.
func (b *budget) exceeded() bool {
	if b.used.Load() < b.limit {
		return false
	}
	b.over.Store(true)
	return b.used.Load() >= b.limit
}

// fit returns how many records of the burst stay within the limit, at least one.
func (b *budget) fit(burst []primitives.Record) int {
	left := b.limit - b.used.Load()
	for i := range burst {
		left -= int64(burst[i].Size())
		if left < 0 {
			return max(i, 1)
		}
	}
	return len(burst)
}

func (b *budget) add(n int) { b.used.Add(int64(n)) }

// free gives bytes back and reports whether waiting lanes should look again.
func (b *budget) free(n int) bool {
	used := b.used.Add(-int64(n))
	return b.over.Load() && used < b.limit && b.over.CompareAndSwap(true, false)
}
