package flow_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/flowkit-go/flow"
	"github.com/flowkit-go/flow/primitives/memory"
)

// Without options, a record that fails stops the flow: nothing is lost in silence.
func ExampleConsumer_stop() {
	broker := memory.NewBroker()
	put(broker, "orders", `{"id":"a"}`, `{"id":"b"}`, `{"id":"c"}`)

	app := newFlow()
	flow.Consumer(app, "bill", queue[Order](broker, "orders"), flow.Discard,
		flow.Do(func(_ context.Context, o Order) error {
			if o.ID == "b" {
				return errors.New("no price")
			}
			fmt.Println("billed", o.ID)
			return nil
		}))
	fmt.Println(app.Run(context.Background()))
	fmt.Println("the next run starts at", broker.Committed("default", "orders", 0))
	// Output:
	// billed a
	// bill: orders/0@1, attempt 1: no price
	// the next run starts at 1
}

// Skip acknowledges a record without an output.
func ExampleSkip() {
	broker := memory.NewBroker()
	put(broker, "orders", `{"id":"a","cents":300}`, `{"id":"b","cents":0}`)

	app := newFlow()
	flow.Consumer(app, "bill", queue[Order](broker, "orders"), queue[Line](broker, "lines"),
		func(_ context.Context, o Order) (Line, error) {
			if o.Cents == 0 {
				return Line{}, flow.Skip
			}
			return Line{o.ID, o.Cents}, nil
		})
	if err := app.Run(context.Background()); err != nil {
		fmt.Println(err)
	}
	show(broker, "lines")
	// Output:
	// lines: {"order_id":"a","cents":300}
}

// Retry calls the handler again.
func ExampleRetry() {
	broker := memory.NewBroker()
	put(broker, "orders", `{"id":"a"}`)

	app := newFlow()
	flow.Consumer(app, "bill", flow.Messages(queue[Order](broker, "orders")), flow.Discard,
		flow.Do(func(_ context.Context, m flow.Msg[Order]) error {
			fmt.Println("attempt", m.Attempt)
			if m.Attempt < 3 {
				return errors.New("the service does not answer")
			}
			return nil
		}), flow.Retry(5, flow.Exponential(time.Millisecond, 4*time.Millisecond)))
	if err := app.Run(context.Background()); err != nil {
		fmt.Println(err)
	}
	// Output:
	// attempt 1
	// attempt 2
	// attempt 3
}

// RetryAfter chooses the delay itself, as a service asks for that is busy.
func ExampleRetryAfter() {
	broker := memory.NewBroker()
	put(broker, "orders", `{"id":"a"}`)

	app := newFlow()
	flow.Consumer(app, "bill", flow.Messages(queue[Order](broker, "orders")), flow.Discard,
		flow.Do(func(_ context.Context, m flow.Msg[Order]) error {
			if m.Attempt == 1 {
				return flow.RetryAfter(5*time.Millisecond, errors.New("busy"))
			}
			fmt.Println("billed at attempt", m.Attempt)
			return nil
		}))
	if err := app.Run(context.Background()); err != nil {
		fmt.Println(err)
	}
	// Output:
	// billed at attempt 2
}

// DeadLetter keeps what cannot be handled: as it was read, with what went wrong.
func ExampleDeadLetter() {
	broker := memory.NewBroker()
	put(broker, "orders", `{"id":"a","cents":1}`, `{"id":"b","cents":"two"}`, `{"id":"c","cents":3}`)

	app := newFlow()
	flow.Consumer(app, "bill", queue[Order](broker, "orders"), queue[Line](broker, "lines"),
		func(_ context.Context, o Order) (Line, error) { return Line{o.ID, o.Cents}, nil },
		flow.DeadLetter(queue[flow.Raw](broker, "dead")))
	if err := app.Run(context.Background()); err != nil {
		fmt.Println(err)
	}
	show(broker, "lines")
	for _, letter := range broker.Records("dead", 0) {
		reason, _ := letter.Header("flow-dead-error")
		offset, _ := letter.Header("flow-dead-offset")
		fmt.Printf("dead: %s from offset %s: %s\n", letter.Value, offset, reason)
	}
	// Output:
	// lines: {"order_id":"a","cents":1}
	// lines: {"order_id":"c","cents":3}
	// dead: {"id":"b","cents":"two"} from offset 1: decode flow_test.Order: field cents at byte 18: want int64, got string
}

// Permanent sends a record to the dead letters without further attempts.
func ExamplePermanent() {
	broker := memory.NewBroker()
	put(broker, "orders", `{"id":"a"}`)

	app := newFlow()
	flow.Consumer(app, "bill", queue[Order](broker, "orders"), flow.Discard,
		flow.Do(func(_ context.Context, o Order) error {
			fmt.Println("asked for", o.ID)
			return flow.Permanent(errors.New("unknown customer"))
		}), flow.Retry(5, flow.Constant(time.Millisecond)), flow.DeadLetter(queue[flow.Raw](broker, "dead")))
	if err := app.Run(context.Background()); err != nil {
		fmt.Println(err)
	}
	show(broker, "dead")
	// Output:
	// asked for a
	// dead: {"id":"a"}
}

// SkipInvalid goes on after records that cannot be decoded.
func ExampleSkipInvalid() {
	broker := memory.NewBroker()
	put(broker, "orders", `{"id":"a"}`, `not JSON`, `{"id":"c"}`)

	app := newFlow()
	flow.Consumer(app, "print", queue[Order](broker, "orders"), flow.Discard,
		flow.Do(func(_ context.Context, o Order) error {
			fmt.Println("order", o.ID)
			return nil
		}), flow.SkipInvalid())
	if err := app.Run(context.Background()); err != nil {
		fmt.Println(err)
	}
	fmt.Println("invalid:", app.Snapshot().Processors[0].Errors.Invalid)
	// Output:
	// order a
	// order c
	// invalid: 1
}

// SkipFailed goes on after records that failed.
func ExampleSkipFailed() {
	broker := memory.NewBroker()
	put(broker, "orders", `{"id":"a"}`, `{"id":"b"}`)

	app := newFlow()
	flow.Consumer(app, "print", queue[Order](broker, "orders"), flow.Discard,
		flow.Do(func(_ context.Context, o Order) error {
			if o.ID == "a" {
				panic("a panic is an error of its record")
			}
			fmt.Println("order", o.ID)
			return nil
		}), flow.SkipFailed())
	if err := app.Run(context.Background()); err != nil {
		fmt.Println(err)
	}
	fmt.Println("failed:", app.Snapshot().Processors[0].Messages.Failed)
	// Output:
	// order b
	// failed: 1
}

// Timeout bounds one call of the handler.
func ExampleTimeout() {
	broker := memory.NewBroker()
	put(broker, "orders", `{"id":"a"}`)

	app := newFlow()
	flow.Consumer(app, "bill", queue[Order](broker, "orders"), flow.Discard,
		flow.Do(func(ctx context.Context, _ Order) error {
			<-ctx.Done() // something that takes too long
			return context.Cause(ctx)
		}), flow.Timeout(5*time.Millisecond))
	err := app.Run(context.Background())
	fmt.Println(errors.Is(err, flow.ErrHandlerTimeout), strings.HasPrefix(err.Error(), "bill: orders/0@0"))
	// Output:
	// true true
}
