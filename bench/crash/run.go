package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"time"
)

// config is what the flags say.
type config struct {
	records  int64
	size     int // bytes of a payload
	batch    int // records in a request
	kills    int
	seed     uint64
	dir      string
	deadline time.Duration
	verbose  io.Writer // nil for none
}

func (c config) validate() error {
	switch {
	case c.records < 1 || c.size < 1 || c.batch < 1:
		return errors.New("--records, --size and --batch must be at least 1")
	case c.kills < 0:
		return errors.New("--kills must be at least 0")
	case c.deadline <= 0:
		return errors.New("--deadline must be more than 0")
	}
	return nil
}

// A phase is a part of a run: what the service does, what is sent meanwhile, and
// how often it is killed.
type phase struct {
	name        string
	roles       string
	first, last int64 // records to send, last not included
	kills       int
}

// phases divides a run. Each kind of work gets its share of the kills; the table
// alone gets one of two.
func (c config) phases() []phase {
	drain := c.kills * 2 / 5
	if c.kills == 2 {
		drain = 1
	}
	queued := c.kills / 5
	split := c.records * 3 / 5
	return []phase{
		{"requests and table", roleBoth, 0, split, c.kills - drain - queued},
		{"requests only", roleCollect, split, c.records, queued},
		{"table only", roleStore, 0, 0, drain},
	}
}

// runner runs the service and kills it while the client sends.
type runner struct {
	conf   config
	client *client
	random *rand.Rand
	result *result
}

// run does everything but the comparison.
func (r *runner) run(ctx context.Context) error {
	defer r.client.http.CloseIdleConnections()
	for _, ph := range r.conf.phases() {
		began := time.Now()
		if err := r.phase(ctx, ph); err != nil {
			return fmt.Errorf("phase %q: %w", ph.name, err)
		}
		r.result.phases = append(r.result.phases, phaseResult{ph, time.Since(began)})
	}
	return nil
}

// phase sends the records of a phase, or waits until the queue is empty, with the
// service killed in between.
func (r *runner) phase(ctx context.Context, ph phase) error {
	work := r.sending(ph)
	if ph.last == 0 {
		rows, err := countRows(ctx, r.conf.dir)
		if err != nil {
			return err
		}
		work = &draining{r: r, total: r.conf.records - rows}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	worked, killsOver := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(worked)
		if err := work.do(ctx, killsOver); err != nil {
			cancel(err)
		}
	}()
	defer func() { <-worked }()
	defer cancel(nil)

	for _, at := range r.plan(ph.kills) {
		if err := r.runUntilKilled(ctx, ph, work, at); err != nil {
			return err
		}
		r.result.kills++
	}
	p, err := r.start(ctx, ph, work)
	if err != nil {
		return err
	}
	close(killsOver)
	select {
	case <-worked:
		err = context.Cause(ctx)
	case <-p.exited:
		err = p.unexpected()
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	r.client.door.set("")
	if err != nil {
		return errors.Join(err, r.abort(p))
	}
	if err := p.stop(ctx); err != nil {
		return err
	}
	r.result.stops++
	return nil
}

// A kill is one moment at which the service is killed: when a share of the
// phase's work is done, and a little later; or while it starts.
type kill struct {
	share  float64
	start  bool
	linger time.Duration
}

// plan draws the kills of a phase. One of four meets a service that has just been
// started after the kill before it.
func (r *runner) plan(n int) []kill {
	shares := make([]float64, n)
	for i := range shares {
		shares[i] = 0.9 * r.random.Float64()
	}
	slices.Sort(shares)
	kills := make([]kill, n)
	for i, share := range shares {
		kills[i] = kill{share: share, linger: time.Duration(r.random.Int64N(int64(50 * time.Millisecond)))}
		if i > 0 && r.random.IntN(4) == 0 {
			kills[i].start = true
			kills[i].linger *= 4
		}
	}
	return kills
}

// runUntilKilled starts the service and kills it.
func (r *runner) runUntilKilled(ctx context.Context, ph phase, work work, at kill) error {
	if at.start {
		p, err := start(r.conf.dir, ph.roles, r.conf.verbose)
		if err != nil {
			return err
		}
		r.say("%s: kill it %v after its start", ph.name, at.linger.Round(time.Millisecond))
		return r.killAfter(ctx, p, at.linger)
	}
	p, err := r.start(ctx, ph, work)
	if err != nil {
		return err
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for work.share(ctx) < at.share {
		select {
		case <-tick.C:
		case <-p.exited:
			return p.unexpected()
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), r.abort(p))
		}
	}
	r.say("%s: kill it at %.0f %%", ph.name, 100*at.share)
	return r.killAfter(ctx, p, at.linger)
}

func (r *runner) killAfter(ctx context.Context, p *process, d time.Duration) error {
	select {
	case <-time.After(d):
	case <-p.exited:
		return p.unexpected()
	case <-ctx.Done():
		return errors.Join(context.Cause(ctx), r.abort(p))
	}
	err := p.kill()
	r.client.door.set("")
	return err
}

// start starts the service and opens the door when it is ready.
func (r *runner) start(ctx context.Context, ph phase, work work) (*process, error) {
	p, err := start(r.conf.dir, ph.roles, r.conf.verbose)
	if err != nil {
		return nil, err
	}
	select {
	case a := <-p.ready:
		took := time.Since(p.began)
		r.result.starts = append(r.result.starts, took)
		r.say("%s: ready after %v", ph.name, took.Round(time.Millisecond))
		work.started(p, a)
		return p, nil
	case <-p.exited:
		return nil, p.unexpected()
	case <-ctx.Done():
		return nil, errors.Join(fmt.Errorf("the service is not ready: %w", context.Cause(ctx)), r.abort(p))
	}
}

// abort ends a service of a run that has failed, and returns what it printed.
func (r *runner) abort(p *process) error {
	r.client.door.set("")
	_ = p.kill()
	return fmt.Errorf("the service has printed: %s", p.log)
}

func (r *runner) say(format string, args ...any) {
	if r.conf.verbose != nil {
		fmt.Fprintf(r.conf.verbose, "# "+format+"\n", args...)
	}
}
