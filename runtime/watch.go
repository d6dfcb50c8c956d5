package runtime

import (
	"context"
	"runtime"
	"time"

	"github.com/flowkit-go/flow/primitives"
)

// watch looks for lanes that do not advance although they hold records, and asks
// the source for its backlog.
func (c *consumer) watch() {
	every := min(max(c.spec.StallAfter/4, 10*time.Millisecond), 5*time.Second)
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-c.writeCtx.Done():
			return
		case now := <-ticker.C:
			c.findStalls(now)
			c.askBacklog()
		}
	}
}

// findStalls reports each lane that has not resolved its first record for
// StallAfter: once, with the stacks of all goroutines, and again only after it
// has moved in between. Commits that do not get through for as long are one more.
func (c *consumer) findStalls(now time.Time) {
	stalled := c.findStuckCommit(now)
	if c.queue.paused.Load() {
		for _, l := range c.allLanes() { // waiting is what they should do
			l.mu.Lock()
			l.progress = now.UnixNano()
			l.mu.Unlock()
		}
	}
	for _, l := range c.allLanes() {
		l.mu.Lock()
		still := l.t.undone > 0 && l.state != laneReleased && now.UnixNano()-l.progress >= int64(c.spec.StallAfter)
		report := still && !l.stallSeen
		l.stallSeen = still
		offset, held := l.t.committable(), l.t.undone
		since := time.Duration(now.UnixNano() - l.progress)
		l.mu.Unlock()
		if still {
			stalled++
		}
		if report {
			c.stats.stalls.Add(1)
			stacks := make([]byte, 1<<20)
			stacks = stacks[:runtime.Stack(stacks, true)]
			c.log.Error("partition does not advance", "source", c.spec.Source.Name, "partition", l.part.String(),
				"offset", offset, "held", held, "since", since, "stacks", string(stacks))
		}
	}
	c.stalled.Store(int32(stalled))
}

// findStuckCommit returns 1 if no commit has got through for StallAfter although
// there is something to commit, else 0. It reports it once.
func (c *consumer) findStuckCommit(now time.Time) int {
	since := c.unconfirmed.Load()
	if since == 0 || now.UnixNano()-since < int64(c.spec.StallAfter) {
		c.commitStuck = false
		return 0
	}
	if !c.commitStuck {
		c.commitStuck = true
		c.stats.stalls.Add(1)
		c.log.Error("commits do not get through", "source", c.spec.Source.Name, "since", time.Duration(now.UnixNano()-since))
		for _, l := range c.allLanes() {
			l.mu.Lock()
			offset, committed := l.t.committable(), l.committed
			l.mu.Unlock()
			c.log.Error("not committed", "partition", l.part.String(), "offset", offset, "committed", committed)
		}
	}
	return 1
}

// askBacklog updates the backlog, which stays unknown when the source cannot tell.
func (c *consumer) askBacklog() {
	b, ok := c.reader.(primitives.Backlogger)
	if !ok {
		return
	}
	ctx, cancel := context.WithTimeout(c.writeCtx, 5*time.Second)
	defer cancel()
	var parts []primitives.Backlog
	err := guard(func() (err error) { parts, err = b.Backlog(ctx); return err })
	if err != nil {
		c.backlog.Store(-1)
		c.log.Debug("backlog is unknown", "error", err)
		return
	}
	sum := int64(0)
	for _, p := range parts {
		sum += p.Records
	}
	c.backlog.Store(sum)
}
