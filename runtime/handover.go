package runtime

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/flowkit-go/flow/primitives"
)

// A turn handles many records where the handler is fast, and hands over their
// outputs together. When the handler then takes long for one of them, the
// overseer hands over what else the turn has: the outputs of the records before
// it are written, so that their progress can be committed, and where records may
// be handled in any order those behind it go back to their lane.

// open is what the overseer sees of a task's turn. The task publishes how far it is
// after each record, by one atomic store; what it publishes does not change any
// more. The overseer takes over only what was published, and the task learns of
// it when it closes its batch.
type open struct {
	progress atomic.Uint64 // packed; 0 when there is nothing to take over
	limit    atomic.Int32  // records of the turn that the task may start
	turns    uint64        // of this task
	stamp    uint64        // what is added up to the progress, without what the batch has by now

	mu      sync.Mutex
	l       *lane
	seqs    []uint64
	first   int                 // number in the turn of the first record that is added to the batch
	in      []ref               // the batch's slices when they last moved
	recs    []primitives.Record // "
	from    []int32             // "
	had     amounts             // in the batch before that record
	taken   amounts             // taken over
	tail    int                 // where the part of seqs begins that was given back
	noticed uint64              // progress at the last look; only the overseer uses it
}

// amounts counts parts of a batch.
type amounts struct{ in, out, skipped int }

// Packed progress: the turn's number, never zero in its low bits, then the records
// of the turn that are done, those skipped and the outputs since the batch was begun.
const (
	outBits, skipBits, doneBits = 30, 11, 11
	turnBits                    = 64 - outBits - skipBits - doneBits
)

func pack(done, skipped, out int) uint64 {
	return uint64(done)<<(outBits+skipBits) + uint64(skipped)<<outBits + uint64(out)
}

func unpackDone(p uint64) int { return int(p >> (outBits + skipBits) & (1<<doneBits - 1)) }

func unpack(p uint64) (done, skipped, out int) {
	return unpackDone(p), int(p >> outBits & (1<<skipBits - 1)), int(p & (1<<outBits - 1))
}

// begin publishes a turn at its record number first, whose outputs go to b.
func (o *open) begin(l *lane, seqs []uint64, first int, b *batch) {
	b.in = slices.Grow(b.in, len(seqs)-first)
	b.from = slices.Grow(b.from, len(seqs)-first)
	o.mu.Lock()
	if first == 0 {
		o.turns++
		o.tail = len(seqs)
		o.limit.Store(int32(len(seqs)))
	}
	o.l, o.seqs, o.first = l, seqs, first
	o.had = amounts{len(b.in), len(b.out.Records), b.skipped}
	o.taken = amounts{}
	o.follow(b)
	o.stamp = (o.turns%(1<<turnBits-1)+1)<<(64-turnBits) - pack(0, o.had.skipped, o.had.out)
	o.publish(b, first)
	o.mu.Unlock()
}

// follow notes where the slices of b are. mu is held.
func (o *open) follow(b *batch) {
	o.in, o.recs, o.from = b.in[:cap(b.in)], b.out.Records[:cap(b.out.Records)], b.from[:cap(b.from)]
}

// did publishes that done records of the turn are done, the last of them now in b.
func (o *open) did(b *batch, done int) {
	if o.l == nil { // a turn that publishes nothing
		return
	}
	if moved(b.out.Records, o.recs) || cap(b.from) != cap(o.from) {
		o.mu.Lock()
		o.follow(b)
		o.mu.Unlock()
	}
	o.publish(b, done)
}

// moved reports whether two slices are not of the same array. Middleware may put a copy in the
// place of the outputs.
func moved(a, b []primitives.Record) bool {
	return cap(a) != cap(b) || cap(a) > 0 && &a[:1][0] != &b[:1][0]
}

func (o *open) publish(b *batch, done int) {
	o.progress.Store(o.stamp + pack(done, b.skipped, len(b.out.Records)))
}

// end takes what was handed over out of b, and returns where the part of the
// turn ends that is still the task's.
func (o *open) end(b *batch) (tail int) {
	o.mu.Lock()
	o.progress.Store(0)
	taken := o.taken
	tail = o.tail
	o.l, o.in, o.recs, o.from = nil, nil, nil, nil
	o.mu.Unlock()
	if taken.in > 0 {
		b.cut(taken)
	}
	return tail
}

// cut takes the first inputs, with their outputs, out of b. Others refer to its memory.
func (b *batch) cut(n amounts) {
	b.shared = true
	b.in, b.from = b.in[n.in:], b.from[n.out:]
	b.out.Records = b.out.Records[n.out:]
	b.skipped -= n.skipped
	for k := range b.from {
		b.from[k] -= int32(n.in)
	}
}

// relieve hands over what a turn has besides the record that it is at, if it is
// still at the progress p.
func (o *open) relieve(c *consumer, p uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.l == nil || o.progress.Load() != p {
		return
	}
	done, skipped, out := unpack(p)
	if next := done + 1; c.spec.Order != ByPartition && next < o.tail {
		o.limit.Store(int32(next))
		// The task stores its progress and then loads the limit; here it is the
		// other way round. So one of the two sees what the other did.
		if now := o.progress.Load(); unpackDone(now) < next {
			o.l.giveBack(o.seqs[next:o.tail])
			o.tail = next
		}
	}
	ready := amounts{o.had.in + done - o.first, o.had.out + out, o.had.skipped + skipped}
	if ready.in == o.taken.in {
		return
	}
	b := c.newBatch()
	b.in = append(b.in, o.in[o.taken.in:ready.in]...)
	for _, r := range o.recs[o.taken.out:ready.out] {
		b.out.Add(r)
	}
	for _, i := range o.from[o.taken.out:ready.out] {
		b.from = append(b.from, i-int32(o.taken.in))
	}
	b.skipped = ready.skipped - o.taken.skipped
	o.taken = ready
	if b = c.place(b); b != nil {
		c.spawn(func() { c.write(b) })
	}
}

// overseer looks for turns that do not get on.
type overseer struct {
	c      *consumer
	dozing atomic.Bool // it looks seldom, or not at all
	wakes  chan struct{}

	mu    sync.Mutex
	tasks []*task
}

const (
	lookEvery  = 5 * time.Millisecond // a call of the handler that lasts between one and two of these is relieved
	lookSeldom = time.Second          // where nothing moves at all
)

func newOverseer(c *consumer) *overseer {
	return &overseer{c: c, wakes: make(chan struct{}, 1)}
}

func (o *overseer) add(t *task) {
	o.mu.Lock()
	o.tasks = append(o.tasks, t)
	o.mu.Unlock()
}

func (o *overseer) remove(t *task) {
	o.mu.Lock()
	o.tasks = slices.DeleteFunc(o.tasks, func(other *task) bool { return other == t })
	o.mu.Unlock()
}

// turnBegins makes it look.
func (o *overseer) turnBegins() {
	if o.dozing.Load() && o.dozing.CompareAndSwap(true, false) {
		select {
		case o.wakes <- struct{}{}:
		default:
		}
	}
}

// run looks every few milliseconds while turns are under way, less often when none
// of them moves, and sleeps when there is none.
func (o *overseer) run(ctx context.Context) {
	every := lookEvery
	for {
		var again <-chan time.Time
		o.dozing.Store(true)
		turns, moved := o.look()
		if moved {
			every = lookEvery
			o.dozing.Store(false)
		} else {
			every = min(2*every, lookSeldom)
		}
		if turns > 0 {
			again = time.After(every)
		}
		select {
		case <-again:
		case <-o.wakes:
			every = lookEvery
			select { // a turn that has just begun gets some time
			case <-time.After(every):
			case <-ctx.Done():
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

// look relieves the turns that are where they were at the last look. It returns
// how many turns are under way, and whether any has moved.
func (o *overseer) look() (turns int, moved bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, t := range o.tasks {
		p := t.open.progress.Load()
		if p != 0 {
			turns++
		}
		if p != t.open.noticed {
			t.open.noticed = p
			moved = moved || p != 0
			continue
		}
		if p != 0 {
			t.open.relieve(o.c, p)
		}
	}
	return turns + o.flush(), moved
}

// flush writes the outputs that have waited in a lane since the last look, while no task
// is free for them: all may be in a handler, or wait for dead letters. It returns the
// number of lanes to look at again.
func (o *overseer) flush() (waiting int) {
	if o.c.queue.idleTasks() > 0 {
		return 0
	}
	for _, l := range o.c.allLanes() {
		b, waits := l.takeWaiting()
		if waits {
			waiting++
		}
		if b != nil {
			o.c.spawn(func() { o.c.write(b) })
		}
	}
	return waiting
}
