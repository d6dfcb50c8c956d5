package programs

import (
	"context"
	"log/slog"
	"os"
	"time"

	"github.com/flowkit-go/flow"
	"github.com/flowkit-go/flow/primitives/kafka"
)

// flowApp is a flow that says no more than it must.
func flowApp(opts ...flow.Option) *flow.Flow {
	logger := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	return flow.New("bench", append(opts, flow.AdminAddr("off"), flow.Logger(logger))...)
}

// topics are the ends of a flow. The brokers are in the environment.
func topics(w Work) (in, out kafka.Topic[Order]) {
	return kafka.Topic[Order]{Name: w.In, Group: w.Group, Key: Key, Start: kafka.Earliest}, kafka.Topic[Order]{Name: w.Out, Key: Key}
}

// flowCopy is the program that a user writes: typed, with default settings but for what
// opts say.
func flowCopy(opts ...flow.ConsumerOption) func(context.Context, Work) error {
	return func(ctx context.Context, w Work) error {
		app := flowApp(flow.HTTPAddr("off"))
		in, out := topics(w)
		flow.Consumer(app, "copy", in, out, handler(w), opts...)
		return app.Run(ctx)
	}
}

func handler(w Work) func(context.Context, Order) (Order, error) {
	return func(_ context.Context, o Order) (Order, error) {
		if w.Wait > 0 {
			time.Sleep(w.Wait)
		}
		return Handle(o), nil
	}
}

// flowKeys keeps the order of each key while as many handlers wait as there are tasks.
func flowKeys(ctx context.Context, w Work) error {
	return flowCopy(flow.Ordered(flow.ByKey), flow.ConcurrentTasks(w.Tasks))(ctx, w)
}

// flowEach commits each record before the next of its partition begins.
func flowEach(ctx context.Context, w Work) error {
	app := flowApp(flow.HTTPAddr("off"))
	in, _ := topics(w)
	flow.Consumer(app, "each", in, flow.Discard, flow.Do(func(_ context.Context, _ Order) error {
		w.Handled.Add(1)
		return nil
	}), flow.CommitEach())
	return app.Run(ctx)
}

// flowCollect answers when the record is acknowledged.
func flowCollect(ctx context.Context, w Work) error {
	app := flowApp(flow.HTTPAddr("127.0.0.1:0"), flow.OnReady(func(a flow.Addresses) { w.Ready(a.HTTP) }))
	_, out := topics(w)
	flow.Collector(app, "POST /orders", out, handler(w))
	return app.Run(ctx)
}
