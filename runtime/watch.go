package runtime

import (
	"context"
	"math"
	"runtime"
	"time"

	"github.com/flowkit-go/flow/primitives"
)

// stall is why something does not advance. The zero value is that it does.
type stall int

const (
	notStalled      stall = iota
	stallHandler          // a record is in the handler, or in middleware
	stallSink             // outputs, or a dead letter, wait for their sink
	stallRetry            // a record waits for its next attempt
	stallTask             // records wait, and no task takes them
	stallClaim            // the partition's transactions cannot be taken over
	stallFetch            // the source has records beyond those read, and none is read
	stallCommit           // what is resolved is not committed
	stallBacklog          // the source does not tell how much is waiting
	stallAssignment       // no partition is assigned, and it never was or all are gone
	stalls
)

// String returns the label in metrics and the state.
func (s stall) String() string {
	return [...]string{"", "handler", "sink", "retry", "task", "claim", "fetch", "commit", "backlog", "assignment"}[s]
}

// explain says it in words.
func (s stall) explain() string {
	return [...]string{
		"", "a record is in the handler and does not come back", "the sink does not confirm", "a record is tried again and again",
		"records wait and no task takes them", "the partition's transactions cannot be taken over", "the source has more records, and none is read",
		"what is resolved does not get committed", "the source does not tell how much is waiting", "no partition is assigned",
	}[s]
}

// watcher looks for what does not advance, and asks the source for its backlog.
type watcher struct {
	c     *consumer
	began time.Time

	told       time.Time                      // when the source last told them, or when watching began
	assigned   time.Time                      // when a partition was last held, or when watching began
	commitSeen bool                           // commits that do not get through were reported
	longest    time.Duration                  // that records wait in the source for their next attempt
	group      map[primitives.Partition]int64 // what the group had committed when it was last asked
	groupAsked time.Time
	quiet      map[stall]bool // of the processor as a whole: was reported
	tally      tally          // at the last measurement
}

// watch looks every few seconds.
func (c *consumer) watch() {
	now := time.Now()
	w := &watcher{c: c, began: now, told: now, assigned: now, quiet: map[stall]bool{}, tally: c.tally(now)}
	if d, ok := c.reader.(primitives.Delayer); ok {
		for _, delay := range d.Delays() {
			w.longest = max(w.longest, delay)
		}
	}
	every := min(max(c.spec.StallAfter/4, 10*time.Millisecond), 5*time.Second)
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-c.writeCtx.Done():
			return
		case now := <-ticker.C:
			w.askBacklog(now)
			w.askGroup(now)
			w.look(now)
			w.measure(now)
		}
	}
}

// look reports each partition that has not advanced for StallAfter: once, with its
// cause and the stacks of all goroutines, and again only after it has moved in
// between. Commits that do not get through for as long are one more.
func (w *watcher) look(now time.Time) {
	c := w.c
	count := w.stuckCommit(now)
	paused := c.queue.paused.Load()
	lanes := c.allLanes()
	for _, l := range lanes {
		if paused || l.paused.Load() { // waiting is what they should do
			l.mu.Lock()
			l.progress, l.unread = now.UnixNano(), 0
			l.mu.Unlock()
		}
		if w.lookAt(l, now) {
			count++
		}
	}
	if len(lanes) > 0 || c.ended.Load() {
		w.assigned = now
	}
	w.whole(stallAssignment, now.Sub(w.assigned))
	if c.tells() {
		w.whole(stallBacklog, now.Sub(w.told))
	}
	c.stalled.Store(int32(count))
}

// lookAt reports whether a lane is stalled.
func (w *watcher) lookAt(l *lane, now time.Time) bool {
	c := w.c
	l.mu.Lock()
	cause, since := l.stalledBy(now, w.end(l))
	after := c.spec.StallAfter
	if cause == stallFetch { // what is there may wait for its next attempt
		after += w.longest
	}
	if time.Duration(now.UnixNano()-since) < after {
		cause = notStalled
	}
	report := cause != notStalled && l.stall == notStalled &&
		(cause != stallCommit || c.unconfirmed.Load() == 0) // else it is that of all partitions
	l.stall = cause
	offset, held, committed, epoch, idle := l.t.committable(), l.t.undone, l.committed, l.epoch, l.t.undone == 0 && l.active == 0
	l.mu.Unlock()
	if !report {
		return cause != notStalled
	}
	c.stats.stalls[cause].Add(1)
	stacks := make([]byte, 1<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	c.log.Error("partition does not advance", "cause", cause.explain(), "source", c.spec.Source.Name, "partition", l.part.String(),
		"offset", offset, "held", held, "committed", committed, "since", time.Duration(now.UnixNano()-since), "stacks", string(stacks))
	if again, ok := c.reader.(primitives.Reclaimer); ok && cause == stallFetch && idle {
		c.log.Warn("partition is begun anew, as nothing is read", "partition", l.part.String(), "offset", offset)
		c.reclaim(again, l.part, epoch)
	}
	return true
}

// reclaim begins a partition anew.
func (c *consumer) reclaim(r primitives.Reclaimer, p primitives.Partition, epoch int64) {
	if err := guard(func() error { r.Reclaim(p, epoch); return nil }); err != nil {
		c.log.Error("partition cannot be begun anew", "partition", p.String(), "error", err)
	}
}

// end is where the lane's log ends as far as the source has told, -1 when it has not.
// mu of the lane is held.
func (w *watcher) end(l *lane) int64 {
	parts := w.c.backlogs.Load()
	if parts == nil {
		return -1
	}
	n, ok := (*parts)[l.part]
	if !ok || n == 0 {
		return -1
	}
	return max(l.committed, 0) + n
}

// stalledBy says what a lane waits for and since when, in unix nanoseconds. end is where
// its log ends. mu is held.
func (l *lane) stalledBy(now time.Time, end int64) (cause stall, since int64) {
	switch {
	case l.state != laneRunning:
		return notStalled, now.UnixNano()
	case l.c.exactly() && !l.claimed:
		return stallClaim, l.progress
	case l.t.undone > 0:
		return l.waitsFor(), l.progress
	case l.uncommitted != 0 && l.c.spec.Commit.Every > 0:
		return stallCommit, l.uncommitted + int64(l.c.spec.Commit.Every)
	case end > l.t.position && l.c.leaser == nil && !l.c.ended.Load():
		if l.unread == 0 || l.unreadAt != l.t.position {
			l.unread, l.unreadAt = now.UnixNano(), l.t.position
		}
		return stallFetch, l.unread
	}
	l.unread = 0
	return notStalled, now.UnixNano()
}

// waitsFor says what the records that the lane holds wait for. mu is held.
func (l *lane) waitsFor() stall {
	switch {
	case l.due:
		return stallCommit
	case l.blocked:
		return stallRetry
	case l.writing != nil || l.letters > 0:
		return stallSink
	case l.turns > 0:
		return stallHandler
	case l.active > 0:
		return stallSink
	case l.t.startable() == 0:
		return stallRetry
	}
	return stallTask
}

// whole reports, once, what concerns the processor and not one partition. It does not
// make the flow unready: a member without a partition stands by.
func (w *watcher) whole(cause stall, since time.Duration) {
	c := w.c
	if since < c.spec.StallAfter {
		w.quiet[cause] = false
		return
	}
	if !w.quiet[cause] {
		w.quiet[cause] = true
		c.stats.stalls[cause].Add(1)
		c.log.Warn(cause.explain(), "source", c.spec.Source.Name, "since", since)
	}
}

// stuckCommit returns 1 if no commit has got through for StallAfter although there is
// something to commit, else 0. It reports it once.
func (w *watcher) stuckCommit(now time.Time) int {
	c := w.c
	since := c.unconfirmed.Load()
	if since == 0 || now.UnixNano()-since < int64(c.spec.StallAfter) {
		w.commitSeen = false
		return 0
	}
	if c.exactly() && c.reclaims.Load() == 0 && !c.commits() { // it went to others with its partition
		c.unconfirmed.CompareAndSwap(since, 0)
		w.commitSeen = false
		return 0
	}
	if !w.commitSeen {
		w.commitSeen = true
		c.stats.stalls[stallCommit].Add(1)
		c.log.Error("commits do not get through", "source", c.spec.Source.Name, "since", time.Duration(now.UnixNano()-since))
		for _, l := range c.allLanes() {
			l.mu.Lock()
			offset, committed := l.committable(), l.committed
			l.mu.Unlock()
			c.log.Error("not committed", "partition", l.part.String(), "offset", offset, "committed", committed)
		}
	}
	return 1
}

// commits reports whether a lane has something to commit, or to do until it has.
func (c *consumer) commits() bool {
	for _, l := range c.allLanes() {
		l.mu.Lock()
		some := l.commits() || l.t.undone > 0
		l.mu.Unlock()
		if some {
			return true
		}
	}
	return false
}

// askBacklog updates the backlog, which stays unknown when the source cannot tell.
func (w *watcher) askBacklog(now time.Time) {
	c := w.c
	parts, err := c.ask(c.writeCtx, 0)
	if err != nil {
		c.log.Debug("backlog is unknown", "error", err)
		return
	}
	if parts != nil {
		w.told = now
	}
}

// measure notes how the processor did since the last look.
func (w *watcher) measure(now time.Time) {
	t := w.c.tally(now)
	m := t.since(w.tally, w.c.spec.ConcurrentTasks)
	if t.begun == w.tally.begun {
		m.queueing = w.c.longestWait(now)
	}
	w.tally = t
	w.c.lately.Store(&m)
}

// askGroup updates how many records per second the group commits, over all processes.
func (w *watcher) askGroup(now time.Time) {
	c := w.c
	g, ok := c.reader.(primitives.GroupProgress)
	if !ok {
		return
	}
	ctx, cancel := context.WithTimeout(c.writeCtx, 5*time.Second)
	defer cancel()
	var commits []primitives.Commit
	if err := guard(func() (err error) { commits, err = g.GroupCommitted(ctx); return err }); err != nil {
		w.group = nil
		c.groupRate.Store(unknownRate)
		c.log.Debug("progress of the group is unknown", "error", err)
		return
	}
	last, seconds := w.group, now.Sub(w.groupAsked).Seconds()
	w.group, w.groupAsked = make(map[primitives.Partition]int64, len(commits)), now
	moved := int64(0)
	for _, commit := range commits {
		w.group[commit.Partition] = commit.Next
		if before, known := last[commit.Partition]; known {
			moved += max(0, commit.Next-before) // one that was set back says nothing about speed
		}
	}
	if last != nil && seconds > 0 {
		c.groupRate.Store(math.Float64bits(float64(moved) / seconds))
	}
}

// unknownRate stands for a rate that is not known: it is no number.
var unknownRate = math.Float64bits(math.NaN())
