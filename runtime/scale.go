package runtime

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/flowkit-go/flow/autoscale"
	"github.com/flowkit-go/flow/autoscale/cpu"
)

// newLoop makes what decides about the size of all processors.
func (e *Engine) newLoop(base *slog.Logger) *autoscale.Loop {
	cpus := e.cfg.CPUs
	if cpus <= 0 {
		cpus = cpu.Count() // which knows of a container's limit
	}
	var members []autoscale.Member
	for _, c := range e.consumers {
		members = append(members, autoscale.Member{
			Name: c.spec.Name, Target: &consumerTarget{c: c}, Limits: c.spec.Replicas, NumCPUs: c.spec.NumCPUs, Log: c.log,
		})
	}
	if e.web != nil {
		for _, r := range e.web.routes {
			if r.pool == nil {
				continue // of net/http: it has no replicas
			}
			members = append(members, autoscale.Member{
				Name: r.Name, Target: routeTarget{routePool{r}}, Limits: r.Replicas, NumCPUs: r.NumCPUs, Ongoing: true,
				Log: levelled(base.With("processor", r.Name), r.LogLevel),
			})
		}
	}
	return autoscale.NewLoop(autoscale.NewBudget(cpus), members...)
}

// scale measures and decides about all processors until stop is called. Wait then waits
// until no decision is under way: a Setup or a source that takes no notice of the end is left
// behind after a moment, as it is by a drain.
func (e *Engine) scale() (stop, wait func()) {
	if w := e.loop.Warning(); w != "" {
		e.log.Warn(w)
	}
	for _, c := range e.consumers {
		if s, err := e.loop.Status(c.spec.Name); err == nil && s.Mode == autoscale.Auto && !c.tells() {
			c.log.Warn("replicas are added by hand only: the source does not tell its backlog; set num_replicas", "source", c.spec.Source.Name)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		metered := make(chan struct{})
		go func() {
			defer close(metered)
			e.meter.Run(ctx)
		}()
		e.loop.Run(ctx)
		<-metered
	}()
	return cancel, func() {
		late := time.NewTimer(time.Second)
		defer late.Stop()
		select {
		case <-ended:
		case <-late.C:
		}
	}
}

// Scale fixes the number of replicas of a processor, gives it back to the autoscaler, or
// changes its bounds. It returns what holds then. A change that cannot be is
// autoscale.ErrRefused.
func (e *Engine) Scale(ctx context.Context, processor string, c autoscale.Change) (autoscale.Status, error) {
	if err := e.running(); err != nil {
		return autoscale.Status{}, err
	}
	status, err := e.loop.Change(ctx, processor, c)
	if over := e.running(); err != nil && over != nil { // it ended meanwhile, and cancelled what was under way
		err = fmt.Errorf("%w: %w", over, err)
	}
	return status, err
}

// Decisions returns the last 1,000 decisions about the size of a processor, the newest
// last.
func (e *Engine) Decisions(processor string) ([]autoscale.Decision, error) {
	return e.loop.Decisions(processor)
}

var (
	errPaused    = errors.New("the processor is paused")
	errWasPaused = errors.New("the processor was paused since the last decision")
)

// consumerTarget is a consumer as the loop sees it.
type consumerTarget struct {
	c         *consumer
	wasPaused bool  // at the last measurement
	pauses    int64 // up to then
}

var (
	_ autoscale.Target  = (*consumerTarget)(nil)
	_ autoscale.Glancer = (*consumerTarget)(nil)
)

// Replicas implements autoscale.Pool.
func (t *consumerTarget) Replicas() int { return t.c.pool.Replicas() }

// Resize implements autoscale.Pool.
func (t *consumerTarget) Resize(n int) error { return t.c.pool.Resize(n) }

// Signals implements autoscale.Target. A consumer that was paused for a part of the
// time has handled nothing in it, which says nothing about its replicas.
func (t *consumerTarget) Signals() (autoscale.Signals, error) {
	paused := t.c.queue.paused.Load()
	pauses := t.c.queue.pauses.Load()
	was := t.wasPaused || pauses != t.pauses
	t.wasPaused, t.pauses = paused, pauses
	s, err := t.c.signals(time.Now())
	switch {
	case paused:
		err = errPaused
	case was:
		err = errWasPaused
	}
	return s, err
}

// Glance implements autoscale.Glancer.
func (t *consumerTarget) Glance(ctx context.Context) (autoscale.Glance, error) {
	if t.c.queue.paused.Load() {
		return autoscale.Glance{}, errPaused
	}
	return t.c.glance(ctx)
}

// routeTarget is a collector or an endpoint as the loop sees it.
type routeTarget struct{ routePool }

var _ autoscale.Target = routeTarget{}

// Signals implements autoscale.Target.
func (t routeTarget) Signals() (autoscale.Signals, error) { return t.r.signals(time.Now()) }

// countedPool is a pool that is resized past the loop, which is told of it.
type countedPool struct {
	autoscale.Pool
	resized func()
}

// Resize implements autoscale.Pool.
func (p countedPool) Resize(n int) error {
	defer p.resized()
	return p.Pool.Resize(n)
}
