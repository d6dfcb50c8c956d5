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

// take counts as many records of the burst as stay within the limit, at least one, and
// returns their number.
func (b *budget) take(burst []primitives.Record) int {
	for {
		used := b.used.Load()
		n, sum := 0, int64(0)
		for n < len(burst) {
			size := int64(burst[n].Size())
			if n > 0 && used+sum+size > b.limit {
				break
			}
			sum += size
			n++
		}
		if b.used.CompareAndSwap(used, used+sum) {
			return n
		}
	}
}

// free gives bytes back and reports whether waiting lanes should look again.
func (b *budget) free(n int) bool {
	used := b.used.Add(-int64(n))
	return b.over.Load() && used < b.limit && b.over.CompareAndSwap(true, false)
}
