package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/flowkit-go/flow/bench/kafka/programs"
)

// each measures how fast the committed offsets advance, as the broker sees it, when
// every record is committed by itself.
func (b *bench) each(ctx context.Context) error {
	in, err := b.input(ctx, b.records, customers)
	if err != nil {
		return fmt.Errorf("input: %w", err)
	}
	return b.turns(ctx, programs.Each, "each", func(ctx context.Context, p programs.Program) (figures, error) {
		w := programs.Work{In: in, Group: b.name("group")}
		c, err := b.start(programs.Each, p.Name, w)
		if err != nil {
			return nil, err
		}
		defer c.kill()
		committed := func() (int64, error) { _, sum, err := b.c.Committed(ctx, w.Group, in); return sum, err }
		if err := b.until(ctx, c, "committed offsets", 50, committed); err != nil {
			return nil, err
		}
		before, err := committed()
		if err != nil {
			return nil, err
		}
		began := time.Now()
		select {
		case <-time.After(b.length):
		case <-c.exited:
			return nil, c.failed()
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		after, err := committed()
		if err != nil {
			return nil, err
		}
		rate := float64(after-before) / time.Since(began).Seconds()
		if after == int64(b.records) {
			return nil, fmt.Errorf("all %d records are committed before the time is over: give more -records", b.records)
		}
		if _, err = c.stop(); err != nil {
			return nil, err
		}
		// nothing is committed that was not handled, and but one record of each partition the other way round
		if after, err = committed(); err != nil {
			return nil, err
		}
		line, err := c.out.ReadString('\n')
		if err != nil {
			return nil, err
		}
		handled, err := strconv.ParseInt(strings.TrimSpace(line), 10, 64)
		if err != nil || after > handled || after < handled-int64(b.parts) {
			return nil, fmt.Errorf("%d records are committed, and %s were handled", after, strings.TrimSpace(line))
		}
		return figures{"rate": rate}, nil
	})
}
