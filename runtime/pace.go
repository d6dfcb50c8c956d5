package runtime

import (
	"sync/atomic"
	"time"
)

// pace decides how many records a turn takes. A processor starts with one, so
// that lanes get equal turns and slow handlers run side by side, and takes more
// when its handler has shown to be fast, so that the price of a turn is spread.
type pace struct {
	n    atomic.Int32 // records per turn
	fast atomic.Int32 // turns in a row that were fast
	most int32
}

const (
	maxTurn   = 1024
	provedBy  = 16                     // fast turns before a turn takes more than one record
	fastTurn  = 200 * time.Microsecond // a turn below this may double
	slowTurn  = 2 * time.Millisecond   // one above this starts over with one record
	chunkPart = 16                     // a turn looks at the clock this often
)

func newPace(most int) *pace {
	p := &pace{most: int32(max(1, min(most, maxTurn)))}
	p.n.Store(1)
	return p
}

func (p *pace) records() int { return int(p.n.Load()) }

// chunk is the number of records that are timed together.
func (p *pace) chunk() int { return max(1, p.records()/chunkPart) }

// learn adapts to a turn that handled n records in d.
func (p *pace) learn(n int, d time.Duration) {
	now := p.n.Load()
	switch {
	case d > slowTurn && now > 1:
		// What was handled before a slow record waited for it: start over, so that
		// where some records are slow only few others wait. It costs some 30 turns.
		p.n.Store(1)
		p.fast.Store(0)
	case d < fastTurn && int32(n) == now && now < p.most:
		if p.fast.Add(1) >= provedBy {
			p.n.Store(min(2*now, p.most))
		}
	case d >= fastTurn && now == 1:
		p.fast.Store(0)
	}
}
