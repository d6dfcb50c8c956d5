package runtime

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/flowkit-go/flow/primitives"
)

type laneState uint8

const (
	laneRunning  laneState = iota
	laneDraining           // no new records are started; running ones finish
	laneReleased           // given up; late results are discarded
)

func (s laneState) String() string {
	switch s {
	case laneDraining:
		return "draining"
	case laneReleased:
		return "released"
	}
	return "running"
}

// lane holds one partition while this process has it. It puts locks, waiting
// and the order of writes around a tracker.
//
// Lock order: lane.mu, then workQueue.mu. Neither is held while user code, a
// reader or a writer runs.
type lane struct {
	c     *consumer
	part  primitives.Partition
	epoch int64

	// ctx is what handlers of this lane's records get. It is cancelled with a
	// cause when the partition is lost or the drain's patience is over.
	ctx    context.Context
	cancel context.CancelCauseFunc

	mu      sync.Mutex
	room    sync.Cond // signalled when Push may go on or must give up
	t       tracker
	state   laneState
	queued  bool // in the work queue
	turns   int  // turns under way: at most one where records are sequential
	full    bool // Push waits for the low water mark
	blocked bool // a record waits for its next attempt, and the lane with it
	waited  bool // outputs waited for a task when the overseer last looked
	forming bool // its turn is that of the batch being formed, which may take more
	due     bool // each record: what is resolved has to be committed before the next one starts

	// By partition at most one batch of outputs is being written, so that a
	// failed one can be written again before those that follow it.
	writing *batch
	pending *batch

	paused  atomic.Bool // by hand: no further record is started
	halted  atomic.Bool // being revoked, or released: a turn under way starts no further record
	leaving atomic.Bool // being revoked, while what was committed as it was read is still handled

	// closed is set when nothing more of the lane may be written: it was released,
	// or a record of it has stopped the flow and what follows must not overtake it.
	closed atomic.Bool

	transacted // exactly once
	dead       deadCount

	active    int // turns and batches that are not finished
	idle      chan struct{}
	committed int64 // what the source has confirmed
	sent      int64 // highest position given to Commit: it never goes backwards
	refused   int64 // what the source does not take because the partition is not held

	progress int64 // when head last moved, was committed where that is waited for, or work began; unix nanoseconds
	unread   int64 // since when the source has more than was read, as far as was looked, unix nanoseconds; 0 it has not
	unreadAt int64 // what was read then
	stall    stall // what was reported

	spare, then int64 // when the source last told its backlog: records that it counted though they are resolved, and those resolved in all

	uncommitted int64 // since when something is resolved that is not committed, unix nanoseconds; 0 nothing is
}

func newLane(c *consumer, p primitives.Partition, start int64) *lane {
	l := &lane{
		c: c, part: p, epoch: c.epochs.Add(1),
		t:         newTracker(&p, c.spec.Order, c.spec.Buffer.Records, start),
		committed: start,
		sent:      start,
		progress:  time.Now().UnixNano(),
	}
	l.gate, l.turn = make(chan struct{}, 1), make(chan struct{}, 1)
	l.t.onRead = c.spec.Commit.Mode == OnRead
	l.room.L = &l.mu
	l.ctx, l.cancel = context.WithCancelCause(c.handlerCtx)
	return l
}

// Push implements primitives.Lane. It stops accepting at 80 % of the buffer and
// goes on at 40 %, so that reader and tasks take turns in bursts.
func (l *lane) Push(ctx context.Context, burst []primitives.Record) (int, error) {
	taken := 0
	for {
		l.mu.Lock()
		if err := l.waitRoom(ctx); err != nil {
			l.mu.Unlock()
			return taken, err
		}
		if l.skip > 0 {
			taken += l.behind(burst[taken:])
		}
		n := min(len(burst)-taken, l.t.free())
		n = l.c.budget.take(burst[taken : taken+n])
		now := time.Now().UnixNano()
		if l.t.undone == 0 && n > 0 {
			l.progress = now
		}
		l.t.push(burst[taken:taken+n], now)
		taken += n
		l.schedule()
		if l.t.onRead {
			l.c.committer.note(l)
		}
		l.mu.Unlock()
		if taken > 0 {
			l.c.readOK()
		}
		if taken == len(burst) {
			return taken, nil
		}
	}
}

// waitRoom waits, with mu held, until at least one record fits. The tracker's
// water marks and the processor's byte budget decide; a lane that holds nothing
// may always take one record, so that no lane starves another.
func (l *lane) waitRoom(ctx context.Context) error {
	stop := func() bool { return true }
	defer func() { stop() }()
	armed := false
	for {
		switch {
		case l.state == laneRunning && l.c.draining.Load():
			return primitives.ErrDraining
		case l.state != laneRunning: // also while it is being revoked: the other lanes go on
			return primitives.ErrReleased
		case ctx.Err() != nil:
			return ctx.Err()
		}
		if l.hasRoom() && (l.claimed || !l.c.exactly()) {
			return nil
		}
		if !armed {
			armed = true
			stop = context.AfterFunc(ctx, l.wake)
		}
		l.room.Wait()
	}
}

const (
	highWater = 80 // percent of the buffer at which fetching stops
	lowWater  = 40 // and at which it goes on
)

func (l *lane) hasRoom() bool {
	held := l.t.held()
	if l.full && held*100 <= l.t.limit*lowWater {
		l.full = false
	}
	if !l.full && held > 0 && held*100 >= l.t.limit*highWater {
		l.full = true
	}
	if l.full {
		return false
	}
	return l.t.undone == 0 || !l.c.budget.exceeded()
}

// wake makes a waiting Push look again.
func (l *lane) wake() {
	l.mu.Lock()
	l.room.Broadcast()
	l.mu.Unlock()
}

// Epoch implements primitives.Lane.
func (l *lane) Epoch() int64 { return l.epoch }

// Advance implements primitives.Lane.
func (l *lane) Advance(next int64) {
	l.mu.Lock()
	if l.state != laneReleased {
		l.t.advance(next)
	}
	l.mu.Unlock()
}

// Free implements primitives.Lane.
func (l *lane) Free() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.state != laneRunning || l.c.draining.Load() || !l.hasRoom() || !l.claimed && l.c.exactly() {
		return 0
	}
	return l.t.free()
}

// WaitFree implements primitives.Lane.
func (l *lane) WaitFree(ctx context.Context) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.waitRoom(ctx); err != nil {
		return 0, err
	}
	return l.t.free(), nil
}

// schedule puts the lane in the work queue when there is something to do. mu is held.
func (l *lane) schedule() {
	if !l.queued && l.runnable() {
		l.queued = true
		l.c.queue.add(l)
	}
}

func (l *lane) runnable() bool {
	if l.state == laneReleased {
		return false
	}
	if l.flushable() {
		return true
	}
	return l.startable() > 0
}

// flushable reports whether outputs wait that could be written now. mu is held.
func (l *lane) flushable() bool {
	return l.pending != nil && l.writing == nil && (!l.hold || l.ahead()) && l.state != laneReleased
}

// startable is the number of records that a turn could take now. mu is held.
func (l *lane) startable() int {
	if l.state != laneRunning && !l.leaving.Load() || l.blocked || l.due || l.c.stopped.Load() || l.c.halted() || l.waits() {
		return 0
	}
	if l.c.spec.Commit.Mode == EachRecord && l.active > 0 && !l.forming {
		return 0 // its output is on the way
	}
	if l.c.spec.Order == ByPartition && (l.turns > 0 && !l.forming || l.pending.size() > maxPending) {
		return 0
	}
	if l.hold && l.ahead() { // a commit waits for what is handled already
		return 0
	}
	return l.t.startable()
}

// maxPending is the number of bytes of outputs that a lane collects behind a
// batch that is being written before it stops handling further records.
const maxPending = 1 << 20

// begin starts a turn: it takes up to n records into dst. When a batch of
// outputs waits to be written, it is returned too, and marked as being written.
func (l *lane) begin(dst []uint64, n int) (seqs []uint64, flush *batch) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.queued = false
	if l.flushable() {
		flush, l.writing, l.pending = l.pending, l.pending, nil
	}
	if k := l.startable(); k > 0 {
		if l.c.spec.Order != ByPartition {
			// leave some for the other tasks
			n = min(n, max(1, k/max(1, l.c.queue.idleTasks()+1)))
		}
		seqs = l.t.take(dst, n)
		l.turns++
		l.active++
	}
	l.schedule()
	return seqs, flush
}

// end finishes a turn; rest was taken and not handled.
func (l *lane) end(rest []uint64) {
	l.mu.Lock()
	if l.state != laneReleased {
		l.t.untake(rest)
	}
	l.turns--
	l.finish()
	l.schedule()
	l.mu.Unlock()
}

// giveBack makes records that were taken, and not handled, ready for other tasks.
func (l *lane) giveBack(seqs []uint64) {
	l.mu.Lock()
	if l.state != laneReleased {
		l.t.untake(seqs)
	}
	l.schedule()
	l.mu.Unlock()
}

// takeWaiting takes the outputs that wait for a task to write them, and did so when it was
// last asked. waits tells that there are some, or a write that others wait for.
func (l *lane) takeWaiting() (b *batch, waits bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	before := l.waited
	l.waited = l.flushable()
	if before && l.waited {
		l.waited = false
		return l.popPending(), true
	}
	return nil, l.waited || l.pending != nil
}

// takePending takes the outputs that wait for a task to write them, if there are any.
func (l *lane) takePending() *batch {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.flushable() {
		return nil
	}
	return l.popPending()
}

// popPending makes what waits the batch that is being written. mu is held.
func (l *lane) popPending() *batch {
	l.writing, l.pending = l.pending, nil
	return l.writing
}

// finish counts down what is under way. mu is held.
func (l *lane) finish() {
	l.active--
	l.settled()
}

// settled tells those who wait that nothing is under way any more. mu is held.
func (l *lane) settled() {
	if l.idle != nil && !l.busy() {
		close(l.idle)
		l.idle = nil
	}
}

// busy reports whether a turn or batch is under way. What was committed as it was
// read has to be handled as well, as it will not come again. mu is held.
func (l *lane) busy() bool {
	return l.active > 0 ||
		l.c.spec.Commit.Mode == OnRead && !l.halted.Load() && l.t.undone > 0 && !l.c.stopped.Load()
}

// waits reports whether no record is started because of a pause. At the end what was
// committed as it was read is handled all the same.
func (l *lane) waits() bool {
	return (l.paused.Load() || l.c.queue.paused.Load()) &&
		!(l.leaving.Load() || l.c.spec.Commit.Mode == OnRead && l.c.draining.Load())
}

// confirm notes what the source has confirmed. mu is held.
func (l *lane) confirm(next int64) {
	l.committed = max(l.committed, next)
	l.uncommitted = 0
	if l.t.committable() > l.committed {
		l.uncommitted = time.Now().UnixNano()
	}
}

// quiet returns a channel that is closed when no turn or batch is under way.
func (l *lane) quiet() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.busy() {
		return closedChan
	}
	if l.idle == nil {
		l.idle = make(chan struct{})
	}
	return l.idle
}

var closedChan = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

// resolve marks records of this lane as done. It reports whether other lanes may go on
// because bytes of the budget became free. mu is held.
func (l *lane) resolve(done []ref) (wakeOthers bool) {
	if l.state == laneReleased {
		return false
	}
	freed, head := 0, l.t.head
	now := time.Now().UnixNano()
	ages, aged := 0.0, 0
	for i := range done {
		seq := done[i].seq
		if at := &l.t.recs[seq&l.t.mask].Time; !at.IsZero() {
			ages += float64(now - at.UnixNano())
			aged++
		}
		freed += l.t.resolve(seq)
	}
	if aged > 0 {
		l.c.stats.age.observe(time.Duration(ages/float64(aged)), aged)
	}
	if l.t.head != head {
		l.progress = now
		l.due = l.c.spec.Commit.Mode == EachRecord && l.commits()
		if l.uncommitted == 0 && l.c.leaser == nil && l.t.committable() > l.committed {
			l.uncommitted = now
		}
		l.c.committer.note(l)
		l.room.Broadcast()
	} else if len(l.t.leases) > 0 {
		l.c.committer.note(l)
	}
	if l.t.undone == 0 {
		l.c.lanesChanged()
	}
	return l.c.budget.free(freed)
}

// resolveNow is resolve for callers that do not hold mu.
func (l *lane) resolveNow(done ...ref) {
	l.mu.Lock()
	wakeOthers := l.resolve(done)
	l.schedule()
	l.mu.Unlock()
	if wakeOthers {
		l.c.wakeLanes()
	}
}

// postpone makes records wait d for their next attempt. Where records are
// sequential the lane waits with them, unless park is set.
func (l *lane) postpone(d time.Duration, park bool, seqs ...uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.state == laneReleased {
		return
	}
	for _, seq := range seqs {
		l.t.delay(seq)
	}
	if l.c.spec.Order == ByPartition && !park {
		l.blocked = true
	}
	l.c.timers.after(d, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		for i := len(seqs) - 1; i >= 0; i-- {
			l.t.again(seqs[i])
		}
		l.blocked = false
		l.schedule()
	})
}

// record returns the record with that number and its attempt. It stays valid
// until the record is resolved.
func (l *lane) record(seq uint64) (*primitives.Record, int) {
	at := seq & l.t.mask
	return &l.t.recs[at], int(l.t.slots[at].attempt)
}

// release gives the lane up; late results of it are discarded from now on. It
// returns the leases of records that are not resolved.
func (l *lane) release(cause error) (leases []any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.state == laneReleased {
		return nil
	}
	l.state = laneReleased
	l.halted.Store(true)
	l.leaving.Store(false)
	l.closed.Store(true)
	l.c.queue.wake()
	for seq := l.t.head; seq < l.t.tail; seq++ {
		at := seq & l.t.mask
		if l.t.slots[at].state != slotDone && l.t.recs[at].Lease != nil {
			leases = append(leases, l.t.recs[at].Lease)
		}
	}
	if b := l.pending; b != nil { // nobody writes it
		l.pending = nil
		b.recycle()
		l.finish()
	}
	l.c.budget.free(l.t.bytes)
	l.cancel(cause)
	l.room.Broadcast()
	return leases
}
