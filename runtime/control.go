package runtime

import (
	"fmt"

	"github.com/flowkit-go/flow/autoscale"
	"github.com/flowkit-go/flow/primitives"
)

// Pool returns the replicas of a processor, to be resized while it runs. Resizing
// loses and repeats no record, and does not touch the source's partitions.
func (e *Engine) Pool(processor string) (autoscale.Pool, error) {
	for _, c := range e.consumers {
		if c.spec.Name == processor {
			return c.pool, e.running()
		}
	}
	if e.web != nil {
		for _, r := range e.web.routes {
			if r.Name == processor && r.pool != nil {
				return routePool{r}, e.running()
			}
		}
	}
	return nil, fmt.Errorf("there is no processor %q", processor)
}

func (e *Engine) running() error {
	if state := e.state.Load(); state != stateRunning {
		return fmt.Errorf("the flow is %s", stateNames[state])
	}
	return nil
}

// routePool is a route's pool, whose size is also its limit of requests.
type routePool struct{ r *routeState }

// Replicas implements autoscale.Pool.
func (p routePool) Replicas() int { return p.r.pool.Replicas() }

// Resize implements autoscale.Pool.
func (p routePool) Resize(n int) error {
	if err := p.r.pool.Resize(n); err != nil {
		return err
	}
	p.r.limiter.SetLimit(n * p.r.Route.Replicas.MaxConcurrency)
	return nil
}

// Pause makes a consumer start no further record, or go on. What runs
// finishes and what was handled is written;
// partitions and leases are kept. A source that can stop fetching does.
func (e *Engine) Pause(processor string, on bool) error {
	if err := e.running(); err != nil {
		return err
	}
	for _, c := range e.consumers {
		if c.spec.Name == processor {
			c.pause(on)
			return nil
		}
	}
	return fmt.Errorf("there is no consumer %q", processor)
}

func (c *consumer) pause(on bool) {
	p, canStop := c.reader.(primitives.Pauser)
	var held []primitives.Partition
	for _, l := range c.allLanes() {
		held = append(held, l.part)
	}
	if canStop && on {
		p.Pause(held)
	}
	c.queue.paused.Store(on)
	if !on {
		for _, l := range c.allLanes() {
			l.mu.Lock()
			l.schedule()
			l.mu.Unlock()
		}
		c.queue.wake() // for a batch that is due
	}
	if canStop && !on {
		p.Resume(held)
	}
	c.log.Info("paused", "on", on)
}
