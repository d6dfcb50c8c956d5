package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/flowkit-go/flow/bench/kafka/programs"
)

// customers is the number of keys of all jobs but waiting, which has one per record.
const customers = 10_000

// copy measures the rate at which a backlog is copied.
func (b *bench) copy(ctx context.Context) error {
	return b.turns(ctx, programs.Copy, "copy", func(ctx context.Context, p programs.Program) (figures, error) {
		return b.backlog(ctx, programs.Copy, p, b.records, customers, programs.Work{})
	})
}

// waitingJob is copy with handlers that wait.
func (b *bench) waitingJob(ctx context.Context) error {
	ideal := float64(b.tasks) / b.wait.Seconds()
	return b.turns(ctx, programs.Waiting, "waiting", func(ctx context.Context, p programs.Program) (figures, error) {
		f, err := b.backlog(ctx, programs.Waiting, p, b.waiting, b.waiting, programs.Work{Wait: b.wait, Tasks: b.tasks})
		if err == nil {
			f["of_ideal"] = f["rate"] / ideal
		}
		return f, err
	})
}

// backlog lets a program work off records that wait in a topic.
func (b *bench) backlog(ctx context.Context, job string, p programs.Program, n, keys int, w programs.Work) (figures, error) {
	n = max(int(float64(n)*p.Share), 500)
	in, err := b.input(ctx, n, keys)
	if err != nil {
		return nil, fmt.Errorf("input: %w", err)
	}
	w.In, w.Out, w.Group = in, b.name("out"), b.name("group")
	if err := b.c.Create(ctx, w.Out, b.parts); err != nil {
		return nil, fmt.Errorf("output topic: %w", err)
	}
	c, err := b.start(job, p.Name, w)
	if err != nil {
		return nil, err
	}
	defer c.kill()
	if err := b.until(ctx, c, "outputs", int64(n), func() (int64, error) { _, sum, err := b.c.Ends(ctx, w.Out); return sum, err }); err != nil {
		return nil, err
	}
	committed := func() (int64, error) { _, sum, err := b.c.Committed(ctx, w.Group, in); return sum, err }
	if err := b.until(ctx, c, "committed offsets", int64(n), committed); err != nil {
		return nil, err
	}
	used, err := c.stop()
	if err != nil {
		return nil, err
	}
	if sum, err := committed(); err != nil || sum != int64(n) {
		return nil, errors.Join(fmt.Errorf("%d records are committed, want %d", sum, n), err)
	}
	seen, err := b.verify(ctx, w.Out, n)
	if err != nil {
		return nil, err
	}
	span := max(seen.last.Sub(seen.first), time.Millisecond)
	return figures{
		"rate": float64(n) / span.Seconds(), "cpu_s_per_million": used.cpu.Seconds() / float64(n) * 1e6,
		"peak_mib": float64(used.peak) / (1 << 20), "repeated": float64(seen.repeated), "records": float64(n),
	}, b.c.Remove(ctx, w.Out)
}

// until waits for a count to reach n. It gives up when it has not grown for 30 s.
func (b *bench) until(ctx context.Context, c *child, what string, n int64, count func() (int64, error)) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	last, grown := int64(-1), time.Now()
	for {
		got, err := count()
		if err != nil && !kerr.IsRetriable(err) { // a new broker makes its offsets topic first
			return err
		}
		if err == nil && got >= n {
			return nil
		}
		if got > last {
			last, grown = got, time.Now()
		}
		if time.Since(grown) > 30*time.Second {
			return fmt.Errorf("%d of %d %s, and none more for 30 s\n%s", got, n, what, c.errs)
		}
		select {
		case <-tick.C:
		case <-c.exited:
			return c.failed()
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
