package main

import (
	"context"
	"log/slog"
	"os"
	"time"

	"github.com/flowkit-go/flow"
	"github.com/flowkit-go/flow/primitives/kafka"
)

// flowMember runs a flow until SIGTERM.
func flowMember(opts ...flow.ConsumerOption) func(context.Context, membership) error {
	return func(ctx context.Context, m membership) error {
		app := flow.New("chaos", flow.HTTPAddr("off"), flow.AdminAddr("off"), flow.DrainTimeout(20*time.Second),
			flow.Logger(slog.New(slog.NewTextHandler(os.Stderr, nil))))
		in := kafka.Topic[event]{Name: m.in, Group: m.group, Start: kafka.Earliest}
		out := kafka.Topic[emission]{Name: m.out, Key: func(e emission) string { return e.Key }}
		flow.Consumer(app, "copy", flow.Messages(in), out, func(_ context.Context, e flow.Msg[event]) (emission, error) {
			return emission{event: e.Value, Partition: e.Partition.ID, Offset: e.Offset, Member: m.name}, nil
		}, opts...)
		return app.Run(ctx)
	}
}
