package runtime

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/flowkit-go/flow/primitives"
)

// committer makes progress of one processor's lanes durable. It is one
// goroutine, so one commit is under way at a time, for all lanes; each takes what
// is done by then, and whoever asks meanwhile shares the next one.
type committer struct {
	c      *consumer
	policy CommitPolicy
	due    chan struct{}   // the policy's number of records was reached
	asks   chan *commitAsk // somebody waits for a commit
	done   chan struct{}
	failed atomic.Pointer[error] // of the last attempt, nil when that got through
}

type commitAsk struct{ reply chan error }

// A commit that fails is tried this often, this far apart, and then again at the
// next tick.
const (
	commitAttempts = 3
	commitPause    = time.Second
)

func newCommitter(c *consumer) *committer {
	return &committer{
		c: c, policy: c.spec.Commit,
		due: make(chan struct{}, 1), asks: make(chan *commitAsk), done: make(chan struct{}),
	}
}

// run commits by the policy until ctx ends.
func (m *committer) run(ctx context.Context) {
	defer close(m.done)
	var tick <-chan time.Time
	if every := m.every(); every > 0 {
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		tick = ticker.C
	}
	var last time.Time         // when the last commit began that was due by number
	var again <-chan time.Time // what failed is due again, where no tick does that
	round := func() error {
		err := m.round(ctx)
		// Where each record waits for its commit, nothing else is due until it gets through.
		if again = nil; err != nil && (tick == nil || m.policy.Mode == EachRecord) {
			again = time.After(commitPause)
		}
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick:
			_ = round()
		case <-m.due:
			if !m.rest(ctx, last) {
				return
			}
			m.gatherUp(ctx)
			last = time.Now()
			_ = round()
		case <-again:
			_ = round()
		case ask := <-m.asks:
			waiting := []*commitAsk{ask}
			for more := true; more; {
				select {
				case ask := <-m.asks:
					waiting = append(waiting, ask)
				default:
					more = false
				}
			}
			err := round()
			for _, ask := range waiting {
				ask.reply <- err
			}
		}
	}
}

// commitRest is the least time between two commits that are due by number, where nothing
// waits for them: a commit has a price for the broker. At 5 ms copying on Kafka loses 6 %
// of its rate to them, at 20 ms nothing that shows.
const commitRest = 20 * time.Millisecond

// rest waits until the next commit that is due by number may begin. It returns false when
// ctx has ended.
func (m *committer) rest(ctx context.Context, last time.Time) bool {
	left := commitRest - time.Since(last)
	if m.policy.Mode == EachRecord || left <= 0 {
		return true
	}
	select {
	case <-time.After(left):
		return true
	case <-ctx.Done():
		return false
	}
}

// every is the time between two commits, 0 for none by time. Leases are committed
// before they run out, whatever the policy: else the records would come again.
func (m *committer) every() time.Duration {
	every := m.policy.Every
	if m.c.leaser == nil {
		return every
	}
	if limit := m.c.leaser.LeaseTime() / 3; limit > 0 && (every == 0 || every > limit) {
		return limit
	}
	return every
}

// now commits what is done, of these lanes at least, and returns when it is durable.
func (m *committer) now(ctx context.Context, lanes []*lane) error {
	if m.c.exactly() {
		return m.finish(ctx, lanes)
	}
	ask := &commitAsk{reply: make(chan error, 1)}
	select {
	case m.asks <- ask:
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-m.done:
		return primitives.ErrClosed
	}
	select {
	case err := <-ask.reply:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// last commits what lanes have done, before they are given back or the reader closes. It
// tries for as long as ctx lasts, unless trying again does not help.
func (m *committer) last(ctx context.Context, lanes []*lane) error {
	for {
		err := m.now(ctx, lanes)
		if ctx.Err() != nil && err != nil { // a round is still trying: say of what it fails
			if failed := m.failed.Load(); failed != nil {
				err = *failed
			}
		}
		if err == nil || ctx.Err() != nil || primitives.IsPermanent(err) || errors.Is(err, primitives.ErrClosed) || m.c.exactly() {
			return err
		}
		select {
		case <-time.After(commitPause):
		case <-ctx.Done():
			return err
		}
	}
}

// note looks whether a commit is due for what a lane has resolved, or read; l.mu is held.
// Leases that are not committed count against the buffer: a quarter of it is enough.
func (m *committer) note(l *lane) {
	if l.due || m.policy.Records > 0 && l.committable()-l.sent >= int64(m.policy.Records) || 4*len(l.t.leases) >= l.t.limit {
		select {
		case m.due <- struct{}{}:
		default:
		}
	}
}

// committable is the position that the lane's commits may reach. mu is held.
func (l *lane) committable() int64 {
	if l.c.spec.Commit.Mode == OnRead {
		return l.t.position
	}
	return l.t.committable()
}

// gatherUp waits, where each record waits for its commit, for the lanes that are about
// to need one as well: all that wait share one commit, so that a round trip serves
// as many as there are. It waits half as long as a commit takes at most, and only for
// lanes whose record was started within that time.
func (m *committer) gatherUp(ctx context.Context) {
	limit := time.Duration(m.c.commitTook.Load()) / 2
	if m.policy.Mode != EachRecord || limit == 0 {
		return
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for m.expected(limit) {
		select {
		case <-m.due:
		case <-timer.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// expected reports whether a lane is about to need a commit.
func (m *committer) expected(within time.Duration) bool {
	for _, l := range m.c.allLanes() {
		l.mu.Lock()
		soon := !l.due && !l.blocked && l.t.undone > 0 && time.Now().UnixNano()-l.progress < int64(within)
		l.mu.Unlock()
		if soon {
			return true
		}
	}
	return false
}

// round commits what all lanes have resolved. Failed commits stay pending.
func (m *committer) round(ctx context.Context) error {
	c := m.c
	if c.exactly() {
		m.roundExactly()
		return nil
	}
	lanes, commits := m.gather()
	if len(commits) == 0 { // what did not get through before has gone with its partitions
		c.unconfirmed.Store(0)
		m.failed.Store(nil)
		return nil
	}
	c.unconfirmed.CompareAndSwap(0, time.Now().UnixNano())
	for attempt := 1; len(commits) > 0; attempt++ {
		began := time.Now()
		err := guard(func() error { return c.reader.Commit(ctx, commits) })
		c.stats.commits.Add(1)
		c.commitTook.Store(int64(time.Since(began)))
		lanes, commits = m.settle(lanes, commits, err)
		if err == nil || len(commits) == 0 {
			c.unconfirmed.Store(0)
			m.failed.Store(nil)
			return nil
		}
		m.failed.Store(&err)
		c.stats.commitErrors.Add(1)
		c.log.Warn("commit failed", "attempt", attempt, "error", err)
		if primitives.IsPermanent(err) {
			m.putBack(lanes, commits)
			c.stop(err)
			return err
		}
		if attempt == commitAttempts || ctx.Err() != nil {
			m.putBack(lanes, commits)
			return err
		}
		select {
		case <-time.After(commitPause):
		case <-ctx.Done():
			m.putBack(lanes, commits)
			return err
		}
		lanes, commits = held(lanes, commits)
	}
	c.unconfirmed.Store(0) // given up meanwhile, all of them
	m.failed.Store(nil)
	return nil
}

// held drops the commits of lanes that were given up meanwhile: their partitions
// may be held again and be further by now.
func held(lanes []*lane, commits []primitives.Commit) (l []*lane, c []primitives.Commit) {
	for i := range lanes {
		lanes[i].mu.Lock()
		state := lanes[i].state
		lanes[i].mu.Unlock()
		if state != laneReleased {
			l, c = append(l, lanes[i]), append(c, commits[i])
		}
	}
	return l, c
}

// commits reports whether there is something to commit. mu is held.
func (l *lane) commits() bool {
	return l.state != laneReleased && (len(l.t.leases) > 0 || l.committable() > max(l.committed, l.refused) && l.c.leaser == nil)
}

// gather takes from each lane what can be committed now.
func (m *committer) gather() (lanes []*lane, commits []primitives.Commit) {
	for _, l := range m.c.allLanes() {
		l.mu.Lock()
		if l.commits() {
			next, leases := l.committable(), l.t.leases
			l.t.leases = nil
			l.t.acking += len(leases)
			l.sent = next
			lanes = append(lanes, l)
			commits = append(commits, primitives.Commit{Partition: l.part, Epoch: l.epoch, Next: next, Leases: leases})
		}
		l.mu.Unlock()
	}
	return lanes, commits
}

// settle notes which commits are durable and returns the others.
func (m *committer) settle(lanes []*lane, commits []primitives.Commit, err error) ([]*lane, []primitives.Commit) {
	var each *primitives.CommitError
	named := errors.As(err, &each) && len(each.Errs) == len(commits)
	var failedLanes []*lane
	var failed []primitives.Commit
	for i, l := range lanes {
		reason := err
		if named {
			reason = each.Errs[i]
		}
		switch {
		case reason == nil:
			l.mu.Lock()
			l.confirm(commits[i].Next)
			l.acked(commits[i])
			l.goOn(commits[i])
			l.mu.Unlock()
		case errors.Is(reason, primitives.ErrNotAssigned) || errors.Is(reason, primitives.ErrLost):
			l.mu.Lock()
			l.acked(commits[i])
			l.refused = commits[i].Next
			l.mu.Unlock()
			m.c.log.Warn("commit discarded", "partition", l.part.String(), "offset", commits[i].Next, "error", reason)
		default:
			failedLanes, failed = append(failedLanes, l), append(failed, commits[i])
		}
	}
	return failedLanes, failed
}

// acked takes the leases of a commit out of what counts against the buffer. mu is held.
func (l *lane) acked(c primitives.Commit) {
	if n := len(c.Leases); n > 0 {
		l.t.acking -= n
		l.room.Broadcast()
	}
}

// goOn lets the next record start where it waits for the commit of the one before
// it. mu is held.
func (l *lane) goOn(c primitives.Commit) {
	if !l.due || len(l.t.leases) > 0 || l.t.committable() > c.Next {
		return
	}
	l.due = false
	l.progress = time.Now().UnixNano()
	l.schedule()
}

// putBack makes leases that were not committed pending again.
func (m *committer) putBack(lanes []*lane, commits []primitives.Commit) {
	for i, l := range lanes {
		if len(commits[i].Leases) > 0 {
			l.mu.Lock()
			l.acked(commits[i])
			l.t.leases = append(commits[i].Leases, l.t.leases...)
			l.mu.Unlock()
		}
	}
}
