package runtime

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/flowkit-go/flow/autoscale/cpu"
	"github.com/flowkit-go/flow/primitives"
)

// consumer runs one Consumer: it owns its reader and writers, its lanes, its pool
// of replicas and the goroutines that commit, extend leases and watch.
type consumer struct {
	flow string
	spec *Consumer
	log  *slog.Logger
	plan drainPlan
	born time.Time

	reader     primitives.Reader
	leaser     primitives.Leaser     // the reader, if it has leases
	delayer    primitives.Delayer    // the reader, if records leave it to be tried again later
	writer     primitives.Writer     // nil without outputs
	dead       primitives.Writer     // nil without dead letters
	transactor primitives.Transactor // the writer, if outputs and progress are committed together
	chain      Next                  // middleware and handler
	plain      bool                  // no middleware, no time limit: the handler is called directly

	queue     *workQueue
	pool      *pool
	former    *former // nil unless the handler gets batches
	committer *committer
	overseer  *overseer
	pace      *pace
	timers    timers
	budget    budget
	stats     stats
	batches   sync.Pool

	epochs  atomic.Int64 // lanes assigned so far
	lanesMu sync.Mutex
	pausing map[primitives.Partition]bool // paused by hand; guarded by lanesMu
	gained  chan struct{}                 // closed and replaced by Assign; guarded by lanesMu
	lanes   atomic.Pointer[[]*lane]

	// Contexts, from the first to be cancelled to the last.
	handlerCtx     context.Context // of handlers
	cancelHandlers context.CancelCauseFunc
	sinkCtx        context.Context // of writes
	cancelSinks    context.CancelCauseFunc
	writeCtx       context.Context // of commits and helpers
	cancelWrites   context.CancelCauseFunc
	runCtx         context.Context // of the reader
	cancelRun      context.CancelFunc

	draining  atomic.Bool // nothing new is read or started
	stopped   atomic.Bool // failed: no further record is started
	abandoned atomic.Bool // the drain's time is over
	ended     atomic.Bool // the input has ended
	changed   chan struct{}
	complete  chan struct{} // closed when the input has ended and all of it is resolved
	failure   chan error    // the first error that stops the flow
	runDone   chan struct{}
	helpers   helpers

	usage  usage                    // of CPU; nil not known
	looked lastLook                 // of signals
	lately atomic.Pointer[measured] // between the last two looks of the watcher; nil not yet
	asking chan struct{}            // holds one token: one question for the backlog at a time
	told   time.Time                // when the source last told it; with the token

	retryMu    sync.Mutex
	retryAt    time.Time                                      // when reading is tried again, or was; guarded by retryMu
	readErrors atomic.Int32                                   // in a row
	backlogs   atomic.Pointer[map[primitives.Partition]int64] // records in the source that are not committed, by partition; nil unknown
	groupRate  atomic.Uint64                                  // records per second that the group commits, bits of a float64; NaN unknown
	commitTook atomic.Int64                                   // nanoseconds of the last commit
	voids      atomic.Int32                                   // transactions that failed in a row
	reclaims   atomic.Int32                                   // partitions that are to be begun anew after a pause

	unconfirmed atomic.Int64 // when the commits began of which none has got through since, unix nanoseconds; 0 none
	stalled     atomic.Int32 // lanes that do not advance
}

func newConsumer(flow string, spec *Consumer, log *slog.Logger, drain time.Duration) *consumer {
	c := &consumer{
		flow: flow, spec: spec, log: log.With("processor", spec.Name), plan: drainPlan{drain},
		born:     time.Now(),
		asking:   make(chan struct{}, 1),
		queue:    newWorkQueue(),
		pace:     newPace(spec.Buffer.Records),
		changed:  make(chan struct{}, 1),
		gained:   make(chan struct{}),
		complete: make(chan struct{}),
		failure:  make(chan error, 1),
		runDone:  make(chan struct{}),
	}
	if spec.Streams || spec.Commit.Mode == EachRecord {
		c.pace = newPace(1)
	}
	c.lanes.Store(&[]*lane{})
	c.groupRate.Store(unknownRate)
	c.budget.limit = int64(spec.Buffer.Bytes)
	c.handlerCtx, c.cancelHandlers = context.WithCancelCause(cpu.With(context.Background(), spec.Name))
	c.writeCtx, c.cancelWrites = context.WithCancelCause(context.Background())
	c.sinkCtx, c.cancelSinks = context.WithCancelCause(c.writeCtx)
	c.runCtx, c.cancelRun = context.WithCancel(context.Background())
	c.plain = spec.Timeout == 0 && len(spec.Middleware) == 0
	c.chain = func(ctx context.Context, d *Delivery) error { return spec.Handle(ctx, d.Records, d.Outputs) }
	for i := len(spec.Middleware) - 1; i >= 0; i-- {
		c.chain = spec.Middleware[i](c.chain)
	}
	if spec.Batch.Size > 0 {
		c.former = &former{c: c, spec: spec.Batch}
	}
	c.pool = newPool(spec.Processor, c.work, c.queue.wake)
	c.committer = newCommitter(c)
	c.overseer = newOverseer(c)
	return c
}

// open connects the sinks, then the source, so that nothing is read that cannot
// be written. What it opened before an error is closed by close.
func (c *consumer) open(ctx context.Context, env *primitives.Env) (err error) {
	if c.spec.Sink.Open != nil {
		if c.writer, err = c.spec.Sink.Open(ctx, env); err != nil {
			return fmt.Errorf("%s: consumer %q: open sink %s: %w", c.spec.At, c.spec.Name, c.spec.Sink.Name, err)
		}
	}
	if c.spec.DeadLetter.Open != nil {
		if c.dead, err = c.spec.DeadLetter.Open(ctx, env); err != nil {
			return fmt.Errorf("%s: consumer %q: open dead letters %s: %w", c.spec.At, c.spec.Name, c.spec.DeadLetter.Name, err)
		}
	}
	if err := c.transactions(); err != nil {
		return err
	}
	if c.reader, err = c.spec.Source.Open(ctx, env); err != nil {
		return fmt.Errorf("%s: consumer %q: open source %s: %w", c.spec.At, c.spec.Name, c.spec.Source.Name, err)
	}
	c.leaser, _ = c.reader.(primitives.Leaser)
	return c.delays()
}

// start sets up the first replicas and starts reading.
func (c *consumer) start(ctx context.Context) error {
	if err := c.pool.begin(ctx, c.spec.Replicas.Start); err != nil {
		return fmt.Errorf("%s: %w", c.spec.Name, err)
	}
	c.spawn(func() { c.committer.run(c.writeCtx) })
	if c.leaser != nil {
		c.spawn(c.keepLeases)
	}
	c.spawn(c.watch)
	c.spawn(func() { c.overseer.run(c.writeCtx) })
	go c.read()
	return nil
}

// read runs the reader and, when a bounded input has ended, waits until all of
// it is resolved.
func (c *consumer) read() {
	defer close(c.runDone)
	err := guard(func() error { return c.reader.Run(c.runCtx, intake{c}) })
	switch {
	case c.draining.Load() || c.runCtx.Err() != nil:
		return
	case err != nil:
		c.stop(fmt.Errorf("%s: read %s: %w", c.spec.Name, c.spec.Source.Name, err))
		return
	}
	c.ended.Store(true)
	if c.former != nil {
		c.former.flushNow()
	}
	for !c.empty() {
		select {
		case <-c.changed:
		case <-c.runCtx.Done():
			return
		}
	}
	close(c.complete)
}

// empty reports whether no lane holds an unresolved record.
func (c *consumer) empty() bool {
	for _, l := range c.allLanes() {
		l.mu.Lock()
		undone := l.t.undone
		l.mu.Unlock()
		if undone > 0 {
			return false
		}
	}
	return true
}

// lanesChanged wakes read after the input has ended.
func (c *consumer) lanesChanged() {
	if c.ended.Load() {
		select {
		case c.changed <- struct{}{}:
		default:
		}
	}
}

// stop makes the flow end with err. The first error counts.
func (c *consumer) stop(err error) {
	c.stopped.Store(true)
	c.queue.wake()
	if c.exactly() {
		c.spawn(c.wakeLanes) // for commits that wait
	}
	select {
	case c.failure <- err:
	default:
	}
}

// helpers are the goroutines of a consumer besides its tasks.
type helpers struct {
	mu     sync.Mutex
	closed bool
	sync.WaitGroup
}

// spawn runs f in a goroutine that close waits for. After that has begun to wait it
// runs f itself.
func (c *consumer) spawn(f func()) {
	h := &c.helpers
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		f()
		return
	}
	h.Add(1)
	h.mu.Unlock()
	go func() {
		defer h.Done()
		f()
	}()
}

// awaitHelpers waits for the goroutines that were spawned.
func (c *consumer) awaitHelpers() {
	c.helpers.mu.Lock()
	c.helpers.closed = true
	c.helpers.mu.Unlock()
	c.helpers.Wait()
}

func (c *consumer) allLanes() []*lane { return *c.lanes.Load() }

// backlog is the number of records in the source that are not committed, if it is known.
func (c *consumer) backlog() (sum int64, known bool) {
	parts := c.backlogs.Load()
	if parts == nil {
		return 0, false
	}
	for _, n := range *parts {
		sum += n
	}
	return sum, true
}

// halted reports whether no further record is started because the flow drains. What
// was committed as it was read is still handled then, while there is time.
func (c *consumer) halted() bool {
	return c.draining.Load() && (c.spec.Commit.Mode != OnRead || c.handlerCtx.Err() != nil)
}

func (c *consumer) succeeded(n int) {
	c.stats.ok.Add(int64(n))
	c.stats.rate.add(time.Now(), n)
}

// readOK forgets earlier errors of the source.
func (c *consumer) readOK() {
	if c.readErrors.Load() != 0 {
		c.readErrors.Store(0)
	}
}

// wakeLanes lets every waiting Push look again.
func (c *consumer) wakeLanes() {
	for _, l := range c.allLanes() {
		l.wake()
	}
}

// intake is the side of a consumer that its reader sees.
type intake struct{ c *consumer }

// Assign implements primitives.Intake.
func (in intake) Assign(p primitives.Partition, start int64) primitives.Lane {
	c := in.c
	l := newLane(c, p, start)
	c.lanesMu.Lock()
	lanes := append(append([]*lane(nil), c.allLanes()...), l)
	c.lanes.Store(&lanes)
	l.paused.Store(c.pausing[p])
	close(c.gained)
	c.gained = make(chan struct{})
	c.lanesMu.Unlock()
	if c.queue.paused.Load() || l.paused.Load() {
		c.pauseReader([]primitives.Partition{p}, true)
	}
	if c.exactly() {
		c.spawn(func() { c.claim(l) })
	}
	c.log.Debug("partition assigned", "partition", p.String(), "offset", start)
	return l
}

// drop forgets lanes that were released, and lets others go on.
func (c *consumer) drop(gone []*lane) {
	c.lanesMu.Lock()
	var left []*lane
	for _, l := range c.allLanes() {
		keep := true
		for _, g := range gone {
			keep = keep && g != l
		}
		if keep {
			left = append(left, l)
		}
	}
	c.lanes.Store(&left)
	c.lanesMu.Unlock()
	c.lanesChanged()
	c.wakeLanes() // what was released has given back its bytes
}

func own(lanes []primitives.Lane) []*lane {
	var out []*lane
	for _, l := range lanes {
		if l, ok := l.(*lane); ok {
			out = append(out, l)
		}
	}
	return out
}

// Revoke implements primitives.Intake.
func (in intake) Revoke(ctx context.Context, revoked ...primitives.Lane) error {
	c, lanes := in.c, own(revoked)
	for _, l := range lanes {
		l.mu.Lock()
		if l.state == laneRunning {
			l.state = laneDraining
			if c.spec.Commit.Mode == OnRead {
				l.leaving.Store(true)
				l.schedule()
			} else {
				l.halted.Store(true)
			}
		}
		l.room.Broadcast()
		l.mu.Unlock()
	}
	c.queue.wake() // turns under way look, and a batch with records of these lanes is due
	patience := c.plan.start(time.Now())
	if !c.await(ctx, lanes, patience.soft) {
		for _, l := range lanes {
			l.halted.Store(true)
			l.leaving.Store(false)
			l.cancel(primitives.ErrReleased)
		}
		c.queue.wake()
		c.await(ctx, lanes, patience.hard)
	}
	last, cancel := context.WithDeadline(ctx, patience.end)
	defer cancel()
	err := c.lastCommit(last, patience, lanes)
	c.release(last, lanes, primitives.ErrReleased)
	return err
}

// Lose implements primitives.Intake.
func (in intake) Lose(lost ...primitives.Lane) {
	lanes := own(lost)
	for _, l := range lanes {
		l.release(primitives.ErrLost)
		in.c.spawn(func() { in.c.abort(l) })
		in.c.log.Warn("partition lost", "partition", l.part.String())
	}
	in.c.drop(lanes)
}

// release gives lanes up and returns the leases of what they still hold.
func (c *consumer) release(ctx context.Context, lanes []*lane, cause error) {
	var leases []any
	for _, l := range lanes {
		leases = append(leases, l.release(cause)...)
		c.abort(l)
	}
	c.drop(lanes)
	if c.leaser != nil && len(leases) > 0 {
		if err := guard(func() error { return c.leaser.Release(ctx, leases, 0) }); err != nil {
			c.log.Warn("leases could not be released, they run out by themselves", "records", len(leases), "error", err)
		}
	}
}

// sourceBackoff spaces out the attempts of a reader that cannot read.
var sourceBackoff = Backoff{First: 100 * time.Millisecond, Max: 30 * time.Second}

// Retry implements primitives.Intake. Those who call it while another call waits fail of
// the same, it is taken, and wait with it. After a while without errors the first delay
// is a short one again, also where nothing was there to be pushed.
func (in intake) Retry(ctx context.Context, err error) error {
	c := in.c
	c.stats.sourceErrors.Add(1)
	if primitives.IsPermanent(err) {
		return err
	}
	now := time.Now()
	c.retryMu.Lock()
	if !now.Before(c.retryAt) {
		if now.Sub(c.retryAt) > sourceCalm {
			c.readErrors.Store(0)
		}
		c.retryAt = now.Add(sourceBackoff.Delay(int(c.readErrors.Add(1))))
	}
	attempt, d := c.readErrors.Load(), c.retryAt.Sub(now)
	c.retryMu.Unlock()
	c.log.Warn("reading failed, trying again", "source", c.spec.Source.Name, "attempt", attempt, "in", d, "error", err)
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		if c.draining.Load() {
			return primitives.ErrDraining
		}
		return nil
	case <-ctx.Done():
		return errors.Join(ctx.Err(), err)
	}
}

// sourceCalm is the time after which errors of the source are forgotten.
const sourceCalm = 10 * time.Second
