package runtime

import (
	"context"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/flowkit-go/flow/autoscale"
	"github.com/flowkit-go/flow/autoscale/cpu"
	"github.com/flowkit-go/flow/primitives"
)

// A usage tells what a processor's goroutines use. *cpu.Meter is one.
type usage interface {
	Cores(processor string, since time.Time) cpu.Usage
}

// tally is what a processor has done up to a moment.
type tally struct {
	at       time.Time
	done     int64         // records or requests handled with success
	busy     time.Duration // of all tasks, in handlers
	replicas time.Duration // of all replicas, being there
	pulls    int64         // turns that tasks took
	idled    int64         // times that a task had to wait for records
	idle     bool          // one waits now
	begun    int64         // records whose handler began
	waited   time.Duration // of those, before it
}

// measured are a processor's signals that have no other source than its own counters.
type measured struct {
	throughput, busy, pulls float64
	replicas                float64 // mean
	queueing                time.Duration
}

// since compares two tallies of a processor with so many tasks per replica.
func (t tally) since(before tally, tasks int) measured {
	m := measured{throughput: math.NaN(), busy: math.NaN(), pulls: math.NaN(), replicas: math.NaN()}
	elapsed := t.at.Sub(before.at)
	if elapsed <= 0 {
		return m
	}
	secs := elapsed.Seconds()
	m.throughput = float64(t.done-before.done) / secs
	m.pulls = float64(t.pulls-before.pulls) / secs
	if t.idle || t.idled != before.idled {
		m.pulls = math.Inf(1)
	}
	there := t.replicas - before.replicas
	m.replicas = there.Seconds() / secs
	if m.busy = 0; there > 0 {
		m.busy = min(1, max(0, (t.busy-before.busy).Seconds()/(there.Seconds()*float64(max(1, tasks)))))
	}
	if n := t.begun - before.begun; n > 0 {
		m.queueing = (t.waited - before.waited) / time.Duration(n)
	}
	return m
}

// wait is since when the records of a turn or a batch wait that are handled for the
// first time: when the first and the last of them were pushed, unix nanoseconds. Those
// between are taken to have come evenly.
type wait struct {
	first, last int64
	n           int
}

// add adds the next record.
func (w *wait) add(s *slot) {
	if s.attempt > 1 { // it waited for its next attempt
		return
	}
	if w.n == 0 {
		w.first = s.pushed
	}
	w.last = s.pushed
	w.n++
}

// wait is that of a turn which is about to begin. Looking at two records is enough, and
// costs the same for a thousand. It looks at nothing that others change while the task
// has them.
func (v view) wait(seqs []uint64) (w wait) {
	w.add(&v.slots[seqs[0]&v.mask])
	if w.n == 0 {
		w.add(&v.slots[seqs[len(seqs)-1]&v.mask])
	}
	if w.n > 0 {
		w.last, w.n = v.slots[seqs[len(seqs)-1]&v.mask].pushed, len(seqs)
	}
	return w
}

// over is how long the first n records have waited in all.
func (w wait) over(n int, start, end time.Time) time.Duration {
	last := w.first + (w.last-w.first)*int64(n-1)/int64(max(1, w.n-1))
	each := start.UnixNano() - (w.first+last)/2
	behind := int64(end.Sub(start)) * int64(n-1) / int64(2*n) // those before it in the turn
	return time.Duration(int64(n) * (max(0, each) + behind))
}

// began counts the first n records of a turn or a batch, which were handled one after
// the other between two moments, or together at the first.
func (s *stats) began(w wait, n int, start, end time.Time) {
	if n = min(n, w.n); n > 0 {
		s.begun.Add(int64(n))
		s.waited.Add(int64(w.over(n, start, end)))
	}
}

// begins notes since when the task is in a handler.
func (t *task) begins(at time.Time) { t.since.Store(max(1, int64(at.Sub(t.c.born)))) }

// percent is the CPU use of one replica on average, in percent of what it is counted
// with; NaN when not known.
func percent(u cpu.Usage, replicas, numCPUs float64) float64 {
	if u.Source == cpu.Unknown || !(replicas > 0) || !(numCPUs > 0) {
		return math.NaN()
	}
	return u.Cores / (replicas * numCPUs) * 100
}

// use is what the processor's goroutines have used since a moment.
func use(u usage, processor string, since time.Time) cpu.Usage {
	if u == nil {
		return cpu.Usage{Cores: math.NaN(), Source: cpu.Unknown}
	}
	return u.Cores(processor, since)
}

// lastLook is what signals compares with.
type lastLook struct {
	mu      sync.Mutex
	tally   tally // the zero tally before the first: then the start
	backlog float64
}

// next takes the place of what was there, and returns it.
func (l *lastLook) next(now tally, backlog float64) (before tally, prev float64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	before, prev = l.tally, l.backlog
	l.tally, l.backlog = now, backlog
	return before, prev
}

// signals measures since the last call, and the first time since the start: then
// Elapsed is 0, as there is no earlier backlog. FreeCPUs is left to the caller.
//
// All of it is of this process: the backlog of the partitions that it holds, and the records that
// it handled with success, whether its function returned an output or skipped them.
// With the backlog of a whole group against the throughput of one of its members each
// member would see its own burn time times their number, and all of them would grow at
// once; with the throughput of the whole group, a member whose share is slow would see
// it hidden by the others. What a pool can do something about is its own share. An
// outer scaler, which sets the number of processes, needs both of the whole group.
//
// A queue has no shares: its backlog is that of all who read it. With several
// processes on one queue each takes the burn time for longer than it is, and grows
// earlier than it had to.
//
// The backlog is NaN when the source does not tell any. It is an error when the source
// was asked now and could not tell; the other signals are valid then, and the next
// call goes on from here.
func (c *consumer) signals(now time.Time) (autoscale.Signals, error) {
	backlog, busyLanes, err := c.unresolved(c.writeCtx, askSeldom)
	t := c.tally(now)
	before, prev := c.looked.next(t, backlog)
	s := autoscale.Signals{
		Time: now, Replicas: c.pool.Replicas(), Backlog: backlog, NumCPUs: c.spec.NumCPUs, FreeCPUs: math.Inf(1),
		Ongoing: math.NaN(), PrevBacklog: math.NaN(), Parallel: c.parallel(busyLanes),
	}
	if before.at.IsZero() {
		before.at = c.born
	} else {
		s.PrevBacklog, s.Elapsed = prev, now.Sub(before.at)
	}
	m := t.since(before, c.spec.ConcurrentTasks)
	s.Throughput, s.Busy, s.Pulls, s.Queueing = m.throughput, m.busy, m.pulls, m.queueing
	if t.begun == before.begun {
		s.Queueing = c.longestWait(now)
	}
	s.CPU = percent(use(c.usage, c.spec.Name, before.at), m.replicas, c.spec.NumCPUs)
	return s, err
}

// glance is what is known of the backlog at this moment: the source is asked, once more
// than by the watcher in five seconds. Nothing is counted for it.
func (c *consumer) glance(ctx context.Context) (autoscale.Glance, error) {
	backlog, _, err := c.unresolved(ctx, 0)
	return autoscale.Glance{
		Time: time.Now(), Replicas: c.pool.Replicas(), Done: float64(c.handled()), Backlog: backlog,
	}, err
}

// handled is how many records were handled with success.
func (c *consumer) handled() int64 { return c.stats.ok.Load() + c.stats.skipped.Load() }

// tally is what was done so far.
func (c *consumer) tally(now time.Time) tally {
	t := tally{at: now, done: c.handled(), replicas: c.pool.timeOfReplicas(now)}
	t.pulls, t.idled, t.idle = c.queue.counts()
	t.begun, t.waited = c.stats.begun.Load(), time.Duration(c.stats.waited.Load())
	t.busy = c.busyTime(now)
	return t
}

// busyTime is how long all tasks were in the handler so far, with the calls that have
// not come back.
func (c *consumer) busyTime(now time.Time) time.Duration {
	busy := time.Duration(c.stats.handler.sum.Load())
	at := int64(now.Sub(c.born))
	c.overseer.mu.Lock()
	defer c.overseer.mu.Unlock()
	for _, t := range c.overseer.tasks {
		if since := t.since.Load(); since != 0 {
			busy += time.Duration(max(0, at-since))
		}
	}
	return busy
}

// parallel is the number of replicas that could find work at the same time, 0 where
// records of one partition are handled side by side.
func (c *consumer) parallel(busyLanes int) int {
	if c.spec.Order != ByPartition && c.spec.Commit.Mode != EachRecord {
		return 0
	}
	tasks := max(1, c.spec.ConcurrentTasks)
	return max(1, (busyLanes+tasks-1)/tasks)
}

// Times of asking a source for its backlog.
const (
	askTimeout = 5 * time.Second
	askSeldom  = time.Second // what was told is good for so long
)

// tells reports whether the source ever tells its backlog.
func (c *consumer) tells() bool {
	_, ok := c.reader.(primitives.Backlogger)
	return ok
}

// ask returns the backlog by partition, asking the source unless it has told within the
// time given. It is nil when the source never tells.
func (c *consumer) ask(ctx context.Context, fresh time.Duration) (map[primitives.Partition]int64, error) {
	b, ok := c.reader.(primitives.Backlogger)
	if !ok {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	select {
	case c.asking <- struct{}{}:
		defer func() { <-c.asking }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if parts := c.backlogs.Load(); parts != nil && time.Since(c.told) < fresh {
		return *parts, nil
	}
	var told []primitives.Backlog
	if err := guard(func() (err error) { told, err = b.Backlog(ctx); return err }); err != nil {
		c.backlogs.Store(nil)
		return nil, err
	}
	c.told = time.Now()
	for _, l := range c.allLanes() {
		l.noteTold()
	}
	parts := make(map[primitives.Partition]int64, len(told))
	for _, p := range told {
		parts[p.Partition] = p.Records
	}
	c.backlogs.Store(&parts)
	return parts, nil
}

// unresolved is the number of records that are not handled: those in the source, which
// are those that are not committed, without those that are resolved already. busyLanes is the
// number of partitions that have some. Partitions that are paused do not count: no
// number of replicas does anything about them. The source is asked unless it has told
// within the time given.
func (c *consumer) unresolved(ctx context.Context, fresh time.Duration) (sum float64, busyLanes int, err error) {
	parts, err := c.ask(ctx, fresh)
	if err != nil {
		err = fmt.Errorf("backlog of %s not known: %w", c.spec.Source.Name, err)
	}
	total := int64(0)
	held := map[primitives.Partition]bool{}
	for _, l := range c.allLanes() {
		held[l.part] = true
		if l.paused.Load() {
			continue
		}
		n := l.unresolved(parts[l.part])
		if total += n; n > 0 {
			busyLanes++
		}
	}
	for p, n := range parts { // about to be assigned, or of a queue before its lane
		if !held[p] && n > 0 {
			total += n
			busyLanes++
		}
	}
	if parts == nil {
		return math.NaN(), busyLanes, err
	}
	return float64(total), busyLanes, err
}

// unresolved is the number of the partition's records that are not handled, when the
// source has told that so many are not committed.
func (l *lane) unresolved(uncommitted int64) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return max(uncommitted-l.spare-(l.t.resolved()-l.then), int64(l.t.undone))
}

// noteTold notes what is resolved and not committed, now that the source has told what
// is not committed: it is in both. What was committed meanwhile is not known; it then
// counts as not handled until the source is asked again.
func (l *lane) noteTold() {
	l.mu.Lock()
	defer l.mu.Unlock()
	undone := int64(l.t.undone)
	l.then = l.t.resolved()
	switch {
	case l.c.leaser == nil: // below zero where it is committed before it is handled
		l.spare = l.t.position - l.committed - undone
	case l.t.onRead: // all of what was read, handled or not
		l.spare = int64(len(l.t.leases)+l.t.acking) - undone
	default:
		l.spare = int64(len(l.t.leases) + l.t.acking)
	}
}

// longestWait is how long the oldest record waits that no task has taken.
func (c *consumer) longestWait(now time.Time) time.Duration {
	longest := time.Duration(0)
	for _, l := range c.allLanes() {
		l.mu.Lock()
		if at := l.t.waitingSince(); at != 0 && !l.paused.Load() {
			longest = max(longest, time.Duration(now.UnixNano()-at))
		}
		l.mu.Unlock()
	}
	return longest
}
