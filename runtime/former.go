package runtime

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/flowkit-go/flow/primitives"
)

// former joins records of one processor's lanes into batches for the handler. A
// batch is handled when it is full, when its first record has waited long enough,
// or when nothing more will come. It takes from one lane what it has before it
// goes on to the next, and spans lanes only when one does not fill it.
//
// One batch is being formed at a time, by whichever task comes along. While a
// batch is handled, its lanes do not contribute to another one where records are
// sequential.
type former struct {
	c    *consumer
	spec Batch

	mu    sync.Mutex // lock order: former.mu, then lane.mu, then workQueue.mu
	now   formed
	flush bool      // the input has ended: hand out what there is
	timer time.Time // when the next look at due is; zero when none is planned
}

// formed is one batch for the handler.
type formed struct {
	refs   []ref
	recs   []primitives.Record
	bad    []error // for each record why it could not be weighed, or nil
	lanes  []*lane
	weight int
	wait   wait      // of its records
	due    time.Time // when its first record has waited long enough
}

// collect adds what lane l has to the batch being formed.
func (f *former) collect(l *lane) {
	f.mu.Lock()
	defer f.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.queued = false
	for !f.full() && l.startable() > 0 {
		seqs := l.t.take(nil, 1)
		rec, _ := l.record(seqs[0])
		at := seqs[0] & l.t.mask
		f.now.wait.add(&l.t.slots[at])
		if len(f.now.refs) == 0 {
			// a deadline by the clock that timers use: the wall clock may be set back
			f.now.due = time.Now().Add(f.spec.Wait - time.Since(time.Unix(0, l.t.slots[at].pushed)))
			f.plan()
		}
		if !l.forming {
			l.forming = true
			f.now.lanes = append(f.now.lanes, l)
			l.turns++
			l.active++
		}
		raw := *rec
		l.mu.Unlock() // the user's function may look at the flow's state
		weight, err := f.weigh(&raw)
		l.mu.Lock()
		f.now.refs = append(f.now.refs, ref{l, seqs[0]})
		f.now.recs = append(f.now.recs, raw)
		f.now.bad = append(f.now.bad, err)
		f.now.weight += weight
	}
	l.schedule()
}

// plan makes tasks look when the batch being formed is due. Full batches come
// sooner than their time: one timer serves all of them. mu is held.
func (f *former) plan() {
	if time.Until(f.now.due) <= 0 || !f.timer.IsZero() && !f.timer.After(f.now.due) {
		return
	}
	f.timer = f.now.due
	f.c.timers.after(time.Until(f.now.due), func() {
		f.mu.Lock()
		if !f.timer.After(time.Now()) {
			f.timer = time.Time{}
			if len(f.now.refs) > 0 && time.Until(f.now.due) > 0 {
				f.plan()
			}
		}
		f.mu.Unlock()
		f.c.queue.wake()
	})
}

// weigh returns the weight of a record. A panic of the user's function is an error
// of the record.
func (f *former) weigh(r *primitives.Record) (weight int, err error) {
	if f.spec.Weigh == nil {
		return 1, nil
	}
	err = guard(func() error { weight = f.spec.Weigh(r); return nil })
	return weight, err
}

func (f *former) full() bool { return f.now.weight >= f.spec.Size }

// due takes the batch that was being formed if it should be handled now.
func (f *former) due() (formed, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.now.refs) == 0 {
		return formed{}, false
	}
	if !f.hasTo() && (f.c.queue.paused.Load() || !f.full() && time.Until(f.now.due) > 0) {
		return formed{}, false
	}
	b := f.now
	f.now = formed{}
	for _, l := range b.lanes {
		l.mu.Lock()
		l.forming = false
		l.mu.Unlock()
	}
	return b, true
}

// hasTo reports whether the batch being formed can wait no longer: nothing more
// comes, or one of its lanes is given back. mu is held.
func (f *former) hasTo() bool {
	if f.flush || f.c.draining.Load() {
		return true
	}
	for _, l := range f.now.lanes {
		if l.halted.Load() || l.leaving.Load() {
			return true
		}
	}
	return false
}

// flushNow makes the batch being formed due, and all later ones.
func (f *former) flushNow() {
	f.mu.Lock()
	f.flush = true
	f.mu.Unlock()
	f.c.queue.wake()
}

// loopBatches is loop for processors whose handler gets batches.
func (t *task) loopBatches() {
	q := t.c.queue
	for {
		kicks := q.kicks.Load()
		if b, ok := t.c.former.due(); ok {
			t.turnBatch(b)
			continue
		}
		l, w, more := q.nextOrKick(t.retired, kicks)
		switch {
		case w != nil:
			t.c.attend(w)
		case l != nil:
			t.c.former.collect(l)
		case !more:
			return
		}
	}
}

// turnBatch handles one batch. Records that cannot be decoded are answered one
// by one, the others go to the handler together.
func (t *task) turnBatch(f formed) {
	c := t.c
	b := c.newBatch()
	b.formed = append(b.formed, f.lanes...)
	var refs []ref
	var recs []primitives.Record
	for i, r := range f.refs {
		if r.lane.ctx.Err() != nil { // lost meanwhile
			continue
		}
		err := f.bad[i]
		if err == nil && c.spec.Decode != nil {
			err = guard(func() error { return c.spec.Decode(f.recs[i]) })
		}
		if err != nil {
			if !c.giveUp(r, f.recs[i], int(f.recs[i].Attempt), err) && c.ending() {
				c.finished(b)
				return
			}
			continue
		}
		refs, recs = append(refs, r), append(recs, f.recs[i])
	}
	if len(refs) == 0 {
		c.finished(b)
		return
	}
	start := time.Now()
	c.stats.began(f.wait, len(refs), start, start)
	t.begins(start)
	defer func() {
		if t.calling {
			t.failedBatch(refs, recs, errGoexit)
			c.finished(b)
			t.replace()
		}
	}()
	err := t.call(b, recs)
	t.since.Store(0)
	c.stats.handler.observe(time.Since(start), 1)
	if err != nil && !skips(err) {
		b.out.Truncate(0)
		t.failedBatch(refs, recs, err)
		c.finished(b)
		return
	}
	if err != nil {
		b.skipped = len(refs)
		b.out.Truncate(0)
	}
	b.in = append(b.in, refs...)
	for range b.out.Records {
		b.from = append(b.from, 0)
	}
	c.submit(b)
}

// skips reports whether a handler asks to skip the whole batch. A BatchError speaks
// of single records.
func skips(err error) bool {
	var named *primitives.BatchError
	return errors.Is(err, primitives.ErrSkip) && !errors.As(err, &named)
}

// call calls the handler for the records of a whole batch.
func (t *task) call(b *batch, recs []primitives.Record) error {
	c := t.c
	c.stats.running.Add(1)
	defer c.stats.running.Add(-1)
	ctx := t.with(batchContext(c, b))
	t.calling = true
	err := guard(func() error {
		if c.plain {
			return c.spec.Handle(ctx, recs, &b.out)
		}
		return t.deliver(ctx, b, recs)
	})
	t.calling = false
	return err
}

// batchContext is that of the lane, where there is one: it ends when the lane is
// given up. The records of several lanes are handled to the end for those that stay.
func batchContext(c *consumer, b *batch) context.Context {
	if len(b.formed) == 1 {
		return b.formed[0].ctx
	}
	return c.handlerCtx
}

// failedBatch decides what happens to the records of a batch whose handler
// returned an error. A *primitives.BatchError names the records that failed: the
// others count as handled, without outputs. Any other error, and one that names what
// is not in the batch, is that of all of them.
func (t *task) failedBatch(refs []ref, recs []primitives.Record, err error) {
	c := t.c
	if c.handlerCtx.Err() != nil {
		return
	}
	var p *PanicError
	if errors.As(err, &p) {
		c.log.Error("handler panicked", "partition", refs[0].lane.part.String(), "offset", recs[0].Offset, "panic", p.Value, "stack", string(p.Stack))
	}
	reasons := refusals(err, len(refs))
	if reasons == nil {
		if primitives.IsPermanent(err) && refs[0].lane.ctx.Err() == nil {
			c.stop(&RecordError{c.spec.Name, refs[0].lane.part, recs[0].Offset, int(recs[0].Attempt),
				errors.Join(errors.New("a batch cannot be refused as a whole for good: return a *flow.BatchError that names the records"), err)})
			return
		}
		reasons = slices.Repeat([]error{err}, len(refs))
	}
	again := map[*lane][]uint64{}
	var delay time.Duration
	for i, r := range refs {
		if r.lane.ctx.Err() != nil { // given up: not the record's fault
			continue
		}
		if reasons[i] == nil || errors.Is(reasons[i], primitives.ErrSkip) {
			if reasons[i] != nil {
				c.stats.skipped.Add(1)
			} else {
				c.succeeded(1)
			}
			r.lane.resolveNow(r)
			continue
		}
		attempt := int(recs[i].Attempt)
		if c.retries(attempt, reasons[i]) && !primitives.IsPermanent(reasons[i]) {
			c.stats.retried.Add(1)
			if c.delayer != nil {
				if !c.later(r, recs[i], attempt, c.retryDelay(attempt, reasons[i])) && c.ending() {
					break
				}
				continue
			}
			again[r.lane] = append(again[r.lane], r.seq)
			delay = max(delay, c.retryDelay(attempt, reasons[i]))
			continue
		}
		if !c.giveUp(r, recs[i], attempt, reasons[i]) && c.ending() {
			break
		}
	}
	for l, seqs := range again {
		c.log.Warn("trying a batch again", "partition", l.part.String(), "records", len(seqs), "in", delay, "error", err)
		l.postpone(delay, c.spec.Retry.Park, seqs...)
	}
}

// with returns a context that is cancelled with ctx and has the values that the
// replica's Setup put into its own. It is kept for the next call.
func (t *task) with(ctx context.Context) context.Context {
	if len(t.c.spec.Setup) == 0 {
		return ctx
	}
	if t.lent == nil || t.lent.Context != ctx {
		t.lent = &replicaContext{ctx, t.replica.ctx}
	}
	return t.lent
}

// replicaContext is a lane's context with a replica's values.
type replicaContext struct {
	context.Context
	values context.Context
}

// Value implements context.Context.
func (c *replicaContext) Value(key any) any {
	if v := c.Context.Value(key); v != nil {
		return v
	}
	return c.values.Value(key)
}
