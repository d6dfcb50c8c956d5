package runtime

import (
	"context"
	"errors"
	"sync/atomic"
	"time"
)

// drainPlan divides the time of a drain among its phases:
//
//  1. Nothing new is read or started; membership and leases are kept.
//  2. What runs finishes with a live context, until 80 % of the time is over.
//  3. Handlers are cancelled with cause ErrDraining, until 90 %.
//  4. The rest is abandoned: it stays unresolved and is delivered again.
//
// What is resolved is then committed, the reader leaves and everything is closed.
// All steps share one deadline.
type drainPlan struct{ total time.Duration }

type patience struct{ soft, hard, end time.Time }

func (p drainPlan) start(now time.Time) patience {
	return patience{
		soft: now.Add(p.total * 8 / 10),
		hard: now.Add(p.total * 9 / 10),
		end:  now.Add(p.total),
	}
}

// await waits until nothing of the lanes is under way, and reports whether that
// was so before the deadline and the end of ctx.
func (c *consumer) await(ctx context.Context, lanes []*lane, deadline time.Time) bool {
	timer := time.NewTimer(time.Until(deadline))
	defer timer.Stop()
	for _, l := range lanes {
		select {
		case <-l.quiet():
		case <-timer.C:
			return false
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// halt is phase 1: no further record is read or started.
func (c *consumer) halt() {
	c.draining.Store(true)
	if c.spec.Commit.Mode == OnRead {
		for _, l := range c.allLanes() {
			l.mu.Lock()
			l.schedule() // also what is paused
			l.mu.Unlock()
		}
	}
	c.wakeLanes()
	c.queue.wake()
}

// drain takes the consumer through the phases. hard, when it ends, cuts them
// short: a second signal. It returns what went wrong.
func (c *consumer) drain(hard context.Context, p patience) error {
	c.halt()
	if c.pool.Replicas() == 0 {
		c.spawn(c.finishAlone)
	}
	lanes := c.allLanes()
	var errs []error
	if !c.await(hard, lanes, p.soft) {
		c.cancelHandlers(ErrDraining)
		c.queue.wake()
		if !c.await(hard, lanes, p.hard) {
			c.abandoned.Store(true)
			c.cancelSinks(ErrDraining)
			c.wakeLanes() // for a commit that waits for what is abandoned
			errs = append(errs, ErrDrainTimeout)
		}
	}
	last, cancel := context.WithDeadline(hard, p.end)
	defer cancel()
	if err := c.lastCommit(last, p, c.allLanes()); err != nil {
		errs = append(errs, err)
	}
	c.release(last, c.allLanes(), ErrDraining)
	c.cancelRun()
	select {
	case <-c.runDone:
	case <-last.Done():
		errs = append(errs, errors.New("reader did not end: "+c.spec.Source.Name))
	}
	return errors.Join(append(errs, c.close(last))...)
}

// lastCommit commits what is done before partitions are given up, for as long as half of
// the drain's last phase: the rest is for what follows.
func (c *consumer) lastCommit(ctx context.Context, p patience, lanes []*lane) error {
	ctx, cancel := context.WithDeadline(ctx, p.hard.Add(p.end.Sub(p.hard)/2))
	defer cancel()
	return c.committer.last(ctx, lanes)
}

// finishAlone writes what was handled when there is no replica left to do it, until
// the queue is closed. It starts nothing: a batch that waits for its handler is not handled.
func (c *consumer) finishAlone() {
	if c.former != nil {
		if f, ok := c.former.due(); ok {
			b := c.newBatch()
			b.formed = append(b.formed, f.lanes...)
			c.finished(b)
		}
	}
	var never atomic.Bool
	for {
		l, b := c.queue.next(&never)
		switch {
		case b != nil:
			c.attend(b)
		case l != nil:
			l.mu.Lock()
			l.queued = false
			l.mu.Unlock()
			if flush := l.takePending(); flush != nil {
				c.write(flush)
			}
		default:
			return
		}
	}
}

// close ends goroutines and closes what open opened. It works after a start that
// failed half-way.
func (c *consumer) close(ctx context.Context) error {
	c.draining.Store(true)
	c.queue.wake()
	c.cancelRun()
	var errs []error
	if c.reader != nil {
		errs = append(errs, guard(func() error { return c.reader.Close(ctx) }))
	}
	c.timers.stop()
	c.cancelHandlers(ErrDraining)
	c.queue.wake()
	c.queue.close()
	errs = append(errs, c.pool.stop(ctx))
	if c.writer != nil {
		errs = append(errs, guard(func() error { return c.writer.Close(ctx) }))
	}
	if c.dead != nil {
		errs = append(errs, guard(func() error { return c.dead.Close(ctx) }))
	}
	c.cancelWrites(ErrDraining)
	ended := make(chan struct{})
	go func() {
		c.awaitHelpers()
		close(ended)
	}()
	select {
	case <-ended:
	case <-ctx.Done():
	}
	return errors.Join(errs...)
}
