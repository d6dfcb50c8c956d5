package main

import (
	"context"
	"errors"
	"slices"

	"github.com/flowkit-go/flow/bench/kafka/programs"
)

// soakJob watches the memory of a program under a steady load.
func (b *bench) soakJob(ctx context.Context) error {
	rounds := b.rounds
	b.rounds = 1
	defer func() { b.rounds = rounds }()
	return b.turns(ctx, programs.Hold, "soak", func(ctx context.Context, p programs.Program) (figures, error) {
		w := programs.Work{In: b.name("in"), Out: b.name("out"), Group: b.name("group")}
		for _, topic := range []string{w.In, w.Out} {
			if err := b.c.Create(ctx, topic, b.parts); err != nil {
				return nil, err
			}
		}
		c, err := b.start(programs.Hold, p.Name, w)
		if err != nil {
			return nil, err
		}
		defer c.kill()
		var resident []int
		times, err := b.pass(ctx, c, w, b.rate, b.soak, func(int) {
			now, _ := c.resident()
			resident = append(resident, now)
		})
		if err != nil {
			return nil, err
		}
		used, err := c.stop()
		if err != nil {
			return nil, err
		}
		// the first fifth is for warming up; what counts is whether it still grows after that
		third := max(len(resident)*4/15, 1)
		middle := func(part []int) float64 {
			part = slices.Sorted(slices.Values(part))
			return float64(part[len(part)/2]) / (1 << 20)
		}
		f := figures{
			"first_mib": middle(resident[len(resident)/5:][:third]), "last_mib": middle(resident[len(resident)-third:]),
			"peak_mib": float64(used.peak) / (1 << 20), "rate": float64(len(times)) / b.soak.Seconds(),
		}
		return f, errors.Join(b.c.Remove(ctx, w.In), b.c.Remove(ctx, w.Out))
	})
}
