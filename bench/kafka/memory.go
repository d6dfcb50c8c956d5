package main

import (
	"context"
	"fmt"
	"time"

	"github.com/flowkit-go/flow/bench/kafka/programs"
)

// memory measures the most memory that a program takes while a backlog waits and
// its handlers are slow, so that everything that it buffers is full. The job copy shows the memory of fast ones.
func (b *bench) memory(ctx context.Context) error {
	in, err := b.input(ctx, b.records, customers)
	if err != nil {
		return fmt.Errorf("input: %w", err)
	}
	return b.turns(ctx, programs.Hold, "memory", func(ctx context.Context, p programs.Program) (figures, error) {
		w := programs.Work{In: in, Out: b.name("out"), Group: b.name("group"), Wait: time.Millisecond}
		if err := b.c.Create(ctx, w.Out, b.parts); err != nil {
			return nil, err
		}
		c, err := b.start(programs.Hold, p.Name, w)
		if err != nil {
			return nil, err
		}
		defer c.kill()
		if err := b.until(ctx, c, "outputs", 1, func() (int64, error) { _, sum, err := b.c.Ends(ctx, w.Out); return sum, err }); err != nil {
			return nil, err
		}
		select {
		case <-time.After(b.length):
		case <-c.exited:
			return nil, c.failed()
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		used, err := c.stop()
		if err != nil {
			return nil, err
		}
		// it has stopped in the middle of the backlog: what is committed has come out
		check := newChecker(b.records)
		if err := b.c.Read(ctx, w.Out, check.take); err != nil {
			return nil, err
		}
		_, committed, err := b.c.Committed(ctx, w.Group, in)
		if err != nil {
			return nil, err
		}
		if out := int64(check.count - check.repeated); out < committed {
			return nil, fmt.Errorf("%d records are committed, and %d have come out", committed, out)
		}
		f := figures{"peak_mib": float64(used.peak) / (1 << 20), "records": float64(check.count)}
		return f, b.c.Remove(ctx, w.Out)
	})
}
