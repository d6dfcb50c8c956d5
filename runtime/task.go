package runtime

import (
	"context"
	"errors"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/flowkit-go/flow/autoscale/cpu"
	"github.com/flowkit-go/flow/primitives"
)

// task is one of a replica's goroutines. It takes turns at lanes.
type task struct {
	c       *consumer
	replica *replica
	retired *atomic.Bool

	seqs     []uint64
	delivery Delivery
	lent     *replicaContext // the context of the last call, when Setup makes one
	base     int             // index in the turn of the records given to handle
	at       int             // index among them of the one being handled, for the panic's report
	mark     int             // outputs before it
	calling  bool            // the handler has been called and has not come back
	open     open            // what others may take over of the turn
	since    atomic.Int64    // when its call of the handler began, nanoseconds since the consumer did; 0 none
	kicks    int64           // of the queue when the turn last looked whether to go on; -1 not yet
}

// work is what each task of a replica does.
func (c *consumer) work(r *replica) {
	t := &task{c: c, replica: r, retired: &r.retired}
	cpu.Mark(c.handlerCtx)
	c.overseer.add(t)
	defer c.overseer.remove(t)
	if c.spec.Batch.Size > 0 {
		t.loopBatches()
		return
	}
	t.loop()
}

// loop works until the replica is retired or the queue is closed.
func (t *task) loop() {
	for {
		l, b := t.c.queue.next(t.retired)
		switch {
		case b != nil:
			t.c.attend(b)
		case l != nil:
			t.turn(l)
		default:
			return
		}
	}
}

// view is a lane's ring as it was when a turn began. A ring that grows meanwhile
// leaves the old one as it is.
type view struct {
	recs  []primitives.Record
	slots []slot
	mask  uint64
}

func (l *lane) view() view {
	l.mu.Lock()
	defer l.mu.Unlock()
	return view{l.t.recs, l.t.slots, l.t.mask}
}

// turn handles some records of one lane. It ends when they are done, when its
// time is over so that other lanes get theirs, or at a record that failed.
func (t *task) turn(l *lane) {
	c := t.c
	t.kicks = -1
	seqs, flush := l.begin(t.seqs[:0], c.pace.records())
	t.seqs = seqs
	if flush != nil {
		c.write(flush)
	}
	if len(seqs) == 0 {
		return
	}
	v := l.view()
	var b *batch
	defer func() {
		if t.calling {
			t.ended(l, v, b, seqs)
		}
	}()
	if c.spec.Streams {
		l.end(seqs[t.turnStream(l, v, seqs):])
		return
	}
	wait := v.wait(seqs)
	b = l.batch()
	t.open.begin(l, seqs, 0, b)
	c.overseer.turnBegins()
	start := time.Now()
	last := start
	i := 0
	for i < len(seqs) && !t.stopping(l, i) {
		t.base = i
		t.begins(last)
		n, err := t.handle(l, v, b, seqs[i:min(i+c.pace.chunk(), len(seqs))])
		t.calling = false
		now := time.Now()
		if n > 0 {
			c.stats.handler.observe(now.Sub(last)/time.Duration(n), n)
		}
		i += n
		if err != nil {
			seq := seqs[i]
			i++
			c.stats.handler.observe(now.Sub(last), 1)
			t.since.Store(0)
			t.open.end(b)
			c.submit(b)
			goOn := t.failed(ref{l, seq}, v, err)
			b = l.batch() // what was submitted may still wait: nothing may overtake it
			t.open.begin(l, seqs, i, b)
			if !goOn {
				break
			}
		}
		if last = now; now.Sub(start) > turnTime {
			break
		}
	}
	t.since.Store(0)
	c.stats.began(wait, i, start, last)
	c.pace.learn(i, last.Sub(start))
	tail := t.open.end(b)
	c.submit(b)
	l.end(seqs[i:tail])
}

// errGoexit is the error of a record whose handler has ended its goroutine.
var errGoexit = errors.New("the handler ended its goroutine by runtime.Goexit, which t.FailNow and t.Fatal do as well")

// ended is the end of a turn, while its goroutine ends in the middle of a handler.
func (t *task) ended(l *lane, v view, b *batch, seqs []uint64) {
	at, tail := t.base+t.at, len(seqs)
	if b != nil {
		b.out.Truncate(t.mark)
		tail = t.open.end(b)
		t.c.submit(b)
	}
	t.failed(ref{l, seqs[at]}, v, errGoexit)
	l.end(seqs[at+1 : tail])
	t.replace()
}

// replace starts another task in the place of one whose goroutine ends.
func (t *task) replace() { t.replica.tasks.Go(func() { t.c.work(t.replica) }) }

// turnTime is how long a turn may take before the next lane gets one.
const turnTime = time.Millisecond

// stopping reports whether record i of the turn should not be started. It is asked
// between any two records, so it does without the lane's context: that one ends
// only after the consumer drains or the lane is halted. Whoever sets one of the flags
// wakes the queue afterwards, so that they are looked at only when it was woken.
func (t *task) stopping(l *lane, i int) bool {
	if i >= int(t.open.limit.Load()) {
		return true
	}
	kicks := t.c.queue.kicks.Load()
	if kicks == t.kicks {
		return false
	}
	if t.retired.Load() || t.c.halted() || t.c.stopped.Load() || l.halted.Load() || l.waits() {
		return true
	}
	t.kicks = kicks
	return false
}

// batch returns what a turn should add its outputs to: what waits in the lane
// already, or a new one.
func (l *lane) batch() *batch {
	l.mu.Lock()
	b := l.pending
	l.pending = nil
	l.mu.Unlock()
	if b != nil {
		return b
	}
	return l.c.newBatch()
}

// handle calls the handler for records of one lane and adds their outputs to b.
// It stops at the first error, with the number of records before it.
func (t *task) handle(l *lane, v view, b *batch, seqs []uint64) (n int, err error) {
	c := t.c
	t.at, t.mark, t.calling = 0, len(b.out.Records), true
	defer func() {
		if p := recover(); p != nil {
			b.out.Truncate(t.mark)
			n, err = t.at, &PanicError{Value: p, Stack: debug.Stack()}
		}
	}()
	c.stats.running.Add(1)
	defer c.stats.running.Add(-1)
	ctx := t.with(l.ctx)
	for k, seq := range seqs {
		t.at, t.mark = k, len(b.out.Records)
		at := seq & v.mask
		recs := v.recs[at : at+1 : at+1]
		if c.plain {
			err = c.spec.Handle(ctx, recs, &b.out)
		} else {
			err = t.deliver(ctx, b, recs)
		}
		if err != nil {
			b.out.Truncate(t.mark)
			if !errors.Is(err, primitives.ErrSkip) {
				return k, err
			}
			b.skipped++
		}
		b.add(ref{l, seq}, t.mark)
		t.open.did(b, t.base+k+1)
		if k+1 < len(seqs) && t.stopping(l, t.base+k+1) {
			return k + 1, nil
		}
	}
	return len(seqs), nil
}

// deliver is one call of the handler with everything that costs: middleware and
// a time limit.
func (t *task) deliver(ctx context.Context, b *batch, recs []primitives.Record) error {
	c := t.c
	if c.spec.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, c.spec.Timeout, ErrHandlerTimeout)
		defer cancel()
	}
	t.delivery = Delivery{Processor: c.spec.Name, Source: c.spec.Source.Name, Records: recs, Outputs: &b.out}
	err := c.chain(ctx, &t.delivery)
	if c.spec.Timeout > 0 && context.Cause(ctx) == ErrHandlerTimeout && !errors.Is(err, ErrHandlerTimeout) {
		// also when the handler took no notice of the limit and returned nil or Skip
		if errors.Is(err, primitives.ErrSkip) {
			err = nil
		}
		err = errors.Join(ErrHandlerTimeout, err)
	}
	return err
}

// turnStream handles records whose outputs may be too many to hold: each record
// is written by the task itself, in parts, before the next one starts. It returns
// the number of records that it has dealt with.
func (t *task) turnStream(l *lane, v view, seqs []uint64) int {
	c := t.c
	for i, seq := range seqs {
		if t.stopping(l, -1) {
			return i
		}
		b := c.newBatch()
		b.out.Flush = func() error {
			if l.ctx.Err() != nil { // given up meanwhile: it is not ours to write
				return context.Cause(l.ctx)
			}
			began := time.Now()
			err := c.writeAndWait(c.writer, b.out.Records)
			c.stats.sinkWrite.observe(time.Since(began), 1)
			if err == nil {
				c.stats.outputs.Add(int64(len(b.out.Records)))
			}
			b.out.Reset()
			return err
		}
		start := time.Now()
		c.stats.began(v.wait(seqs[i:i+1]), 1, start, start)
		t.begins(start)
		t.base = i
		_, err := t.handle(l, v, b, seqs[i:i+1])
		t.calling = false
		if err == nil && len(b.out.Records) > 0 {
			err = b.out.Flush()
		}
		t.since.Store(0)
		c.stats.handler.observe(time.Since(start), 1)
		if err == nil {
			c.count(b, 1)
		}
		b.recycle()
		if err == nil {
			l.resolveNow(ref{l, seq})
		} else if !t.failed(ref{l, seq}, v, err) {
			return i + 1
		}
	}
	return len(seqs)
}
