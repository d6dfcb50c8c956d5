package runtime

import (
	"cmp"
	"errors"
	"fmt"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/flowkit-go/flow/primitives"
)

// ref names one input record: its lane and its number there.
type ref struct {
	lane *lane
	seq  uint64
}

// batch is the outputs of some inputs on their way to the writer, and the inputs
// that are resolved when the writer confirms.
//
// A batch is owned by the task that fills it, then by its lane (pending), then
// by the writer until done is called, then by the queue if the write failed.
type batch struct {
	c       *consumer
	out     primitives.Outputs
	in      []ref
	from    []int32       // for each output the index of its input
	formed  []*lane       // lanes whose turn ends with this batch; for batches that the handler got as one
	written int           // failed writes so far
	skipped int           // inputs that the handler skipped
	err     error         // of the last
	gen     atomic.Uint64 // counts the uses of this object, so that a late done is seen
	counted *lane         // which counts it as active
	shared  bool          // another batch refers to its memory, which is not used again
	started time.Time
}

// add records that everything from output mark on came from the input r.
func (b *batch) add(r ref, mark int) {
	for k := mark; k < len(b.out.Records); k++ {
		b.from = append(b.from, int32(len(b.in)))
	}
	b.in = append(b.in, r)
}

// size is the number of bytes of outputs collected.
func (b *batch) size() int {
	if b == nil {
		return 0
	}
	return b.out.Size()
}

func (c *consumer) newBatch() *batch {
	if b, ok := c.batches.Get().(*batch); ok {
		return b
	}
	return &batch{c: c}
}

// recycle empties a batch that nobody refers to any longer.
func (b *batch) recycle() {
	b.gen.Add(1)
	if b.shared {
		return
	}
	b.out.Reset()
	b.out.Flush = nil
	clear(b.in)
	clear(b.formed)
	b.in, b.from, b.formed = b.in[:0], b.from[:0], b.formed[:0]
	b.skipped = 0
	b.written, b.err, b.counted = 0, nil, nil
	b.c.batches.Put(b)
}

// submit hands a filled batch over. Where the lane keeps its outputs in order
// and one batch is being written, it waits in the lane.
func (c *consumer) submit(b *batch) {
	if b = c.place(b); b != nil {
		c.write(b)
	}
}

// place is submit without writing: it returns the batch that is to be written, if
// there is one.
func (c *consumer) place(b *batch) *batch {
	if len(b.in) == 0 {
		if l := b.counted; l != nil { // all of it was handed over before
			l.mu.Lock()
			l.finish()
			l.mu.Unlock()
		}
		b.recycle()
		return nil
	}
	if len(b.formed) > 0 {
		return b
	}
	l := b.in[0].lane
	l.mu.Lock()
	defer l.mu.Unlock()
	if b.counted == nil {
		b.counted = l
		l.active++
	}
	if c.spec.Order != ByPartition || l.state == laneReleased { // which write looks at
		return b
	}
	if l.pending != nil { // handed over before the end of the turn that b is of
		l.pending.join(b)
		l.active--
		b, l.pending = l.pending, nil
	}
	if l.writing != nil || l.hold && !l.ahead() {
		l.pending = b
		return nil
	}
	l.writing = b
	return b
}

// join appends what another batch of the same lane has, which comes after it.
func (b *batch) join(next *batch) {
	for _, i := range next.from {
		b.from = append(b.from, i+int32(len(b.in)))
	}
	b.in = append(b.in, next.in...)
	for _, r := range next.out.Records {
		b.out.Add(r)
	}
	b.skipped += next.skipped
}

// write gives a batch to the writer, outside of all locks.
func (c *consumer) write(b *batch) {
	if b.unwanted() {
		c.finished(b)
		return
	}
	if len(b.out.Records) == 0 || c.writer == nil {
		c.resolved(b)
		return
	}
	gen := b.gen.Load()
	b.started = time.Now()
	done := func(err error) {
		if !b.gen.CompareAndSwap(gen, gen+1) {
			c.log.Error("writer called done twice", "sink", c.spec.Sink.Name)
			return
		}
		c.wrote(b, err)
	}
	defer func() {
		if p := recover(); p != nil {
			done(&PanicError{Value: p, Stack: debug.Stack()})
		}
	}()
	if c.exactly() {
		c.writeIn(b.in[0].lane, b.out.Records, done)
		return
	}
	c.writer.Write(c.sinkCtx, b.out.Records, done)
}

// unwanted reports whether the outputs must not be written any more: their lane
// was given up, so that its records are handled elsewhere, or it has stopped at a
// record before them.
func (b *batch) unwanted() bool {
	for _, l := range b.formed {
		if !l.closed.Load() {
			return false
		}
	}
	return len(b.formed) > 0 || b.in[0].lane.closed.Load()
}

// wrote is called when the writer is done with a batch.
func (c *consumer) wrote(b *batch, err error) {
	c.stats.sinkWrite.observe(time.Since(b.started), 1)
	if err == nil {
		c.resolved(b)
		return
	}
	b.err = err
	b.written++
	c.queue.addBatch(b)
}

// resolved ends a batch whose outputs are durable.
func (c *consumer) resolved(b *batch) {
	c.count(b, len(b.in))
	c.stats.outputs.Add(int64(len(b.out.Records)))
	b.settle()
	c.finished(b)
}

// count counts n inputs of a batch as done, with those that the handler skipped.
func (c *consumer) count(b *batch, n int) {
	c.stats.ok.Add(int64(n - b.skipped))
	c.stats.skipped.Add(int64(b.skipped))
	c.stats.rate.add(time.Now(), n)
	b.skipped = 0
}

// settle resolves all inputs.
func (b *batch) settle() {
	for in := b.in; len(in) > 0; {
		n := 1
		for n < min(len(in), settledAtOnce) && in[n].lane == in[0].lane {
			n++
		}
		in[0].lane.resolveNow(in[:n]...)
		in = in[n:]
	}
}

// settledAtOnce is the number of records that are resolved while a lane is
// locked, so that its Push need not wait long.
const settledAtOnce = 256

// finished lets the lanes of a batch go on and recycles it.
func (c *consumer) finished(b *batch) {
	if len(b.formed) > 0 {
		for _, l := range b.formed {
			l.mu.Lock()
			l.turns--
			l.finish()
			l.schedule()
			l.mu.Unlock()
		}
		b.recycle()
		return
	}
	l := b.in[0].lane
	l.mu.Lock()
	if b.written > 0 && c.exactly() {
		l.spoil(b)
	}
	if l.writing == b {
		l.writing = nil
		if l.hold {
			l.room.Broadcast()
		}
	}
	l.finish()
	l.schedule()
	l.mu.Unlock()
	b.recycle()
}

// attend is a task's answer to a failed write: it writes again what was not
// written, after a delay, or decides about the inputs when that does not help.
// What the handler returned is held; the handler is not called again.
func (c *consumer) attend(b *batch) {
	if c.abandoned.Load() || b.unwanted() {
		c.finished(b)
		return
	}
	err := b.err
	if err == nil { // its delay is over
		c.write(b)
		return
	}
	b.err = nil
	if c.exactly() && !refusedForGood(err) {
		c.void(b.in[0].lane, err)
		c.finished(b)
		return
	}
	if refused := refusals(err, len(b.out.Records)); refused != nil {
		if err = c.reduce(b, refused); err == nil {
			c.finished(b)
			return
		}
	}
	if !primitives.IsPermanent(err) && c.retries(b.written, err) {
		c.stats.sinkRetried.Add(1)
		delay := c.retryDelay(b.written, err)
		c.log.Warn("write failed, trying again", "sink", c.spec.Sink.Name, "attempt", b.written, "in", delay, "error", err)
		c.timers.after(delay, func() { c.queue.addBatch(b) })
		return
	}
	for _, r := range b.in {
		if !c.refuse(r, b.written, err) && c.ending() {
			break
		}
	}
	c.finished(b)
}

// refusedForGood reports whether all that failed of a write are single records that
// the sink will never take.
func refusedForGood(err error) bool {
	var partial *primitives.BatchError
	if !errors.As(err, &partial) {
		return false
	}
	for _, f := range partial.Failed {
		if !primitives.IsPermanent(f.Err) {
			return false
		}
	}
	return true
}

// refusals returns the reasons in a BatchError by index, nil for what was not
// refused. It returns nil when err is another error, or names what is none of the n
// records: then none of them is known to be done.
func refusals(err error, n int) []error {
	var partial *primitives.BatchError
	if !errors.As(err, &partial) {
		return nil
	}
	reasons := make([]error, n)
	for _, f := range partial.Failed {
		if f.Index < 0 || f.Index >= n {
			return nil
		}
		reasons[f.Index] = cmp.Or(f.Err, errNoReason)
	}
	return reasons
}

var errNoReason = errors.New("refused without a reason")

// reduce settles the inputs of which every output is durable, answers those that
// were refused for good, and keeps the rest in the batch. It returns nil when
// nothing is left to write, and else why not.
func (c *consumer) reduce(b *batch, refused []error) (first error) {
	if len(b.formed) > 0 {
		return c.reduceFormed(b, refused)
	}
	failed, lost := make([]bool, len(b.in)), make([]error, len(b.in))
	for k, err := range refused {
		if err == nil {
			c.stats.outputs.Add(1)
			continue
		}
		failed[b.from[k]] = true
		if primitives.IsPermanent(err) {
			lost[b.from[k]] = err
		}
	}
	var in []ref
	done := 0
	index := make([]int32, len(b.in)) // of the inputs that stay
	for i, r := range b.in {
		switch {
		case !failed[i]:
			r.lane.resolveNow(r)
			done++
		case lost[i] == nil:
			index[i] = int32(len(in))
			in = append(in, r)
		}
	}
	c.count(b, done)
	left := 0
	for k, err := range refused {
		if err == nil || lost[b.from[k]] != nil {
			continue
		}
		first = cmp.Or(first, err)
		b.out.Records[left], b.from[left] = b.out.Records[k], index[b.from[k]]
		left++
	}
	for i, err := range lost {
		if err != nil && !c.refuse(b.in[i], b.written, err) && c.ending() {
			break
		}
	}
	if left > 0 {
		b.in, b.from = append(b.in[:0], in...), b.from[:left]
		b.out.Truncate(left)
	}
	return first
}

// reduceFormed is reduce for a batch that the handler got as one. Which of its inputs
// an output came from is not known, so all of them wait for the outputs that were
// refused, or are answered with the reason of one that was refused for good.
func (c *consumer) reduceFormed(b *batch, refused []error) (reason error) {
	left := 0
	for k, err := range refused {
		if err == nil {
			c.stats.outputs.Add(1)
			continue
		}
		b.out.Records[left] = b.out.Records[k]
		left++
		if reason == nil || primitives.IsPermanent(err) && !primitives.IsPermanent(reason) {
			reason = err
		}
	}
	b.out.Truncate(left)
	b.from = b.from[:left]
	if reason == nil {
		c.count(b, len(b.in))
		b.settle()
	}
	return reason
}

// ending reports whether the flow ends, and with it the handling of what is left of
// a batch.
func (c *consumer) ending() bool { return c.stopped.Load() || c.handlerCtx.Err() != nil }

// refuse answers an input whose outputs the sink does not take. It reports
// whether the input is resolved.
func (c *consumer) refuse(r ref, writes int, err error) bool {
	if r.lane.closed.Load() { // given up: handled elsewhere
		return false
	}
	r.lane.mu.Lock()
	rec, attempt := r.lane.record(r.seq)
	raw := *rec
	r.lane.mu.Unlock()
	resolved := c.giveUp(r, raw, max(attempt, writes), fmt.Errorf("write to %s: %w", c.spec.Sink.Name, err))
	if !resolved && c.spec.Order == ByPartition {
		r.lane.closed.Store(true) // outputs that wait must not overtake those of r
	}
	return resolved
}
