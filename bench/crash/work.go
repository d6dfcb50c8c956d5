package main

import (
	"context"
	"sync"
	"time"

	"github.com/flowkit-go/flow"
	"github.com/flowkit-go/flow/runtime"
)

// sending is the work of a phase in which records are sent.
type sending struct {
	client      *client
	first, last int64
	before      int64 // acknowledged in earlier phases
}

// work is what a phase is there for.
type work interface {
	// do returns when the work is done. Work that only waits goes on until the
	// kills are over.
	do(ctx context.Context, killsOver <-chan struct{}) error

	// started tells where the service can be reached now.
	started(*process, flow.Addresses)

	// share is how much of the work is done, from 0 to 1.
	share(context.Context) float64
}

var (
	_ work = (*sending)(nil)
	_ work = (*draining)(nil)
)

func (r *runner) sending(ph phase) work {
	return &sending{r.client, ph.first, ph.last, r.client.acked.Load()}
}

func (s *sending) do(ctx context.Context, _ <-chan struct{}) error {
	return s.client.send(ctx, s.first, s.last)
}

func (s *sending) started(_ *process, a flow.Addresses) { s.client.door.set(a.HTTP) }

func (s *sending) share(context.Context) float64 {
	return float64(s.client.acked.Load()-s.before) / float64(max(1, s.last-s.first))
}

// draining is the work of a phase in which the queue empties into the table.
type draining struct {
	r     *runner
	total int64 // records that the table lacks at the start

	mu    sync.Mutex
	p     *process
	admin string
	done  int64 // by processes that were killed
	now   int64 // by the one that runs
	empty bool  // the one that runs has found the queue empty
}

func (d *draining) started(p *process, a flow.Addresses) {
	d.mu.Lock()
	d.done, d.now = d.done+d.now, 0
	d.p, d.admin, d.empty = p, a.Admin, false
	d.mu.Unlock()
	d.r.client.door.set(a.HTTP)
}

// share counts what the consumer says. What it has handled since it was last
// asked when it is killed is not counted, so an empty queue is all of the work.
func (d *draining) share(ctx context.Context) float64 {
	d.ask(ctx)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.empty {
		return 1
	}
	return float64(d.done+d.now) / float64(max(1, d.total))
}

func (d *draining) ask(ctx context.Context) {
	d.mu.Lock()
	p, admin := d.p, d.admin
	d.mu.Unlock()
	if p == nil {
		return
	}
	s, err := p.state(ctx, d.r.client.http, admin)
	if err != nil || len(s.Processors) == 0 {
		return // it is being killed; whether it has ended by itself is seen elsewhere
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.p == p {
		d.now = s.Processors[0].Messages.OK
		d.empty = drained(s.Processors[0])
	}
}

// drained reports whether a consumer knows that nothing waits for it.
func drained(p runtime.ProcessorSnapshot) bool {
	if p.Backlog == nil || *p.Backlog > 0 {
		return false
	}
	for _, l := range p.Lanes {
		if l.Lag > 0 {
			return false
		}
	}
	return true
}

// do waits until all kills are over and then until the queue is empty.
func (d *draining) do(ctx context.Context, killsOver <-chan struct{}) error {
	select {
	case <-killsOver:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for d.share(ctx); !d.isEmpty(); d.share(ctx) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

func (d *draining) isEmpty() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.empty
}
