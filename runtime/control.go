package runtime

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/flowkit-go/flow/autoscale"
	"github.com/flowkit-go/flow/primitives"
)

// Pool returns the replicas of a processor, to be resized while it runs. Resizing
// loses and repeats no record, and does not touch the source's partitions.
func (e *Engine) Pool(processor string) (autoscale.Pool, error) {
	counted := func(p autoscale.Pool) (autoscale.Pool, error) {
		return countedPool{p, func() { e.loop.Resized(processor) }}, e.running()
	}
	for _, c := range e.consumers {
		if c.spec.Name == processor {
			return counted(c.pool)
		}
	}
	if e.web != nil {
		for _, r := range e.web.routes {
			if r.Name == processor && r.pool != nil {
				return counted(routePool{r})
			}
		}
	}
	return nil, unknownError{"processor", processor}
}

// unknownError is about a name that no processor of the kind has.
type unknownError struct{ kind, name string }

func (e unknownError) Error() string { return fmt.Sprintf("there is no %s %q", e.kind, e.name) }

// stateError is about what needs a flow that runs.
type stateError int32

func (e stateError) Error() string { return "the flow is " + stateNames[e] }

func (e *Engine) running() error {
	if state := e.state.Load(); state != stateRunning {
		return stateError(state)
	}
	return nil
}

// routePool is a route's pool, whose size is also its limit of requests.
type routePool struct{ r *routeState }

// Replicas implements autoscale.Pool.
func (p routePool) Replicas() int { return p.r.pool.Replicas() }

// Resize implements autoscale.Pool.
func (p routePool) Resize(n int) error {
	err := p.r.pool.Resize(n) // one that fails leaves as many as could be started
	p.r.limiter.SetLimit(p.r.pool.Replicas() * p.r.Route.Replicas.MaxConcurrency)
	return err
}

// Pause makes a consumer start no further record, or go on: of some partitions, or of
// all when none is named. What runs finishes and what was handled is written;
// partitions and leases are kept. A source that can stop fetching does. It errs, and
// changes nothing, when a partition is named that the process does not hold.
func (e *Engine) Pause(processor string, on bool, partitions ...primitives.Partition) error {
	c, err := e.consumer(processor)
	if err != nil {
		return err
	}
	if len(partitions) == 0 {
		c.pause(on)
		return nil
	}
	return c.pausePartitions(on, partitions)
}

// consumer returns one that runs.
func (e *Engine) consumer(processor string) (*consumer, error) {
	if err := e.running(); err != nil {
		return nil, err
	}
	for _, c := range e.consumers {
		if c.spec.Name == processor {
			return c, nil
		}
	}
	return nil, unknownError{"consumer", processor}
}

func (c *consumer) pause(on bool) {
	var held []primitives.Partition
	for _, l := range c.allLanes() {
		if on || !l.paused.Load() {
			held = append(held, l.part)
		}
	}
	if on {
		c.pauseReader(held, true)
	}
	if c.queue.paused.Store(on); on {
		c.queue.pauses.Add(1)
	} else {
		for _, l := range c.allLanes() {
			l.goOnWorking()
		}
		c.pauseReader(held, false)
	}
	c.queue.wake() // turns under way look, and a batch may be due
	c.log.Info("paused", "on", on)
}

// pauseReader makes the reader stop fetching partitions, or go on, if it can.
func (c *consumer) pauseReader(ps []primitives.Partition, on bool) {
	p, ok := c.reader.(primitives.Pauser)
	switch {
	case !ok:
	case on:
		p.Pause(ps)
	default:
		p.Resume(ps)
	}
}

func (l *lane) goOnWorking() {
	l.mu.Lock()
	l.progress = time.Now().UnixNano()
	l.schedule()
	l.mu.Unlock()
}

// find returns the lanes of partitions that are held.
func (c *consumer) find(partitions []primitives.Partition) ([]*lane, error) {
	var found []*lane
	all := c.allLanes()
	for _, p := range partitions {
		i := slices.IndexFunc(all, func(l *lane) bool { return l.part == p })
		if i < 0 {
			return nil, fmt.Errorf("%s: partition %s: %w", c.spec.Name, p, primitives.ErrNotAssigned)
		}
		found = append(found, all[i])
	}
	return found, nil
}

// pausePartitions pauses some partitions. They stay paused when they are assigned anew.
func (c *consumer) pausePartitions(on bool, partitions []primitives.Partition) error {
	c.lanesMu.Lock()
	lanes, err := c.find(partitions) // one that is assigned meanwhile sees it in pausing
	if err != nil {
		c.lanesMu.Unlock()
		return err
	}
	if c.pausing == nil {
		c.pausing = map[primitives.Partition]bool{}
	}
	for _, l := range lanes {
		c.pausing[l.part] = on
		l.paused.Store(on)
	}
	c.lanesMu.Unlock()
	c.queue.wake()
	if on || !c.queue.paused.Load() {
		c.pauseReader(partitions, on)
	}
	if !on {
		for _, l := range lanes {
			l.goOnWorking()
		}
	}
	c.log.Info("partitions paused", "on", on, "partitions", len(lanes))
	return nil
}

// Seek makes a consumer go on at other positions of partitions that it holds. What is in
// flight of them is given up: it may be handled again, or its outputs may still arrive.
// It returns when the partitions are assigned anew. It errs, and changes nothing, when
// a partition is not held or a position is negative.
func (e *Engine) Seek(ctx context.Context, processor string, to ...primitives.Commit) error {
	c, err := e.consumer(processor)
	if err != nil {
		return err
	}
	s, ok := c.reader.(primitives.Seeker)
	if !ok {
		return fmt.Errorf("%s: the source %s cannot seek while it runs: stop the flow and use its replay command", processor, c.spec.Source.Name)
	}
	var partitions []primitives.Partition
	for _, t := range to {
		if t.Next < 0 {
			return fmt.Errorf("%s: seek %s to %d: want a position of 0 or more", processor, t.Partition, t.Next)
		}
		partitions = append(partitions, t.Partition)
	}
	lanes, err := c.find(partitions)
	if err != nil {
		return err
	}
	for i, t := range to {
		c.abandon(lanes[i], primitives.ErrLost) // nothing more of it starts
		if err := guard(func() error { return s.Seek(ctx, t.Partition, t.Next) }); err != nil {
			if again, ok := c.reader.(primitives.Reclaimer); ok {
				c.reclaim(again, t.Partition, lanes[i].epoch)
			}
			return fmt.Errorf("%s: seek %s to %d: %w", processor, t.Partition, t.Next, err)
		}
	}
	return c.awaitHeld(ctx, partitions)
}

// awaitHeld waits until partitions are held that were given up to begin anew.
func (c *consumer) awaitHeld(ctx context.Context, partitions []primitives.Partition) error {
	for {
		c.lanesMu.Lock()
		gained := c.gained
		c.lanesMu.Unlock()
		_, err := c.find(partitions)
		if err == nil {
			return nil
		}
		select {
		case <-gained:
		case <-c.writeCtx.Done():
			return err
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		}
	}
}
