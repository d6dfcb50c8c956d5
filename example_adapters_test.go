package flow_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/flowkit-go/flow"
	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/primitives/memory"
)

// Messages gives a handler what came with the value.
func ExampleMessages() {
	broker := memory.NewBroker()
	broker.Append("orders", 0, primitives.Record{
		Key: []byte("ada"), Value: []byte(`{"id":"a"}`),
		Headers: []primitives.Header{{Name: "tenant", Value: []byte("north")}},
	})

	app := newFlow()
	flow.Consumer(app, "print", flow.Messages(queue[Order](broker, "orders")), flow.Discard,
		flow.Do(func(_ context.Context, m flow.Msg[Order]) error {
			fmt.Printf("order %s of %s, %s %s, %s@%d, attempt %d\n", m.Value.ID, m.Key,
				m.Headers[0].Name, m.Headers[0].Value, m.Partition, m.Offset, m.Attempt)
			return nil
		}))
	if err := app.Run(context.Background()); err != nil {
		fmt.Println(err)
	}
	// Output:
	// order a of ada, tenant north, orders/0@0, attempt 1
}

// Batches gives a handler several values at once.
func ExampleBatches() {
	broker := memory.NewBroker()
	put(broker, "orders", `{"cents":1}`, `{"cents":2}`, `{"cents":3}`, `{"cents":4}`, `{"cents":5}`)

	app := newFlow()
	flow.Consumer(app, "sum", flow.Batches(queue[Order](broker, "orders"), 2, time.Minute), queue[int64](broker, "sums"),
		func(_ context.Context, batch []Order) (sum int64, err error) {
			for _, o := range batch {
				sum += o.Cents
			}
			return sum, nil
		})
	if err := app.Run(context.Background()); err != nil {
		fmt.Println(err)
	}
	show(broker, "sums") // the last batch was not full when the input ended
	// Output:
	// sums: 3
	// sums: 7
	// sums: 5
}

// A handler of batches can refuse single records. The others count as handled.
func ExampleBatchError() {
	broker := memory.NewBroker()
	put(broker, "orders", `{"id":"a","cents":1}`, `{"id":"b","cents":-1}`, `{"id":"c","cents":3}`)

	app := newFlow()
	flow.Consumer(app, "store", flow.Batches(queue[Order](broker, "orders"), 3, time.Minute), flow.Discard,
		flow.Do(func(_ context.Context, batch []Order) error {
			var refused []flow.RecordError
			for i, o := range batch {
				if o.Cents < 0 {
					refused = append(refused, flow.RecordError{Index: i, Err: flow.Permanent(errors.New("negative"))})
					continue
				}
				fmt.Println("stored", o.ID)
			}
			if len(refused) > 0 {
				return &flow.BatchError{Failed: refused}
			}
			return nil
		}), flow.DeadLetter(queue[flow.Raw](broker, "dead")))
	if err := app.Run(context.Background()); err != nil {
		fmt.Println(err)
	}
	show(broker, "dead")
	// Output:
	// stored a
	// stored c
	// dead: {"id":"b","cents":-1}
}

// Each writes one record for each element of a slice, and none for an empty one.
func ExampleEach() {
	broker := memory.NewBroker()
	put(broker, "orders", `{"id":"a","cents":250}`, `{"id":"b","cents":0}`)

	app := newFlow()
	flow.Consumer(app, "split", queue[Order](broker, "orders"), flow.Each(queue[Line](broker, "lines")),
		func(_ context.Context, o Order) (lines []Line, err error) {
			for cents := o.Cents; cents > 0; cents -= 100 {
				lines = append(lines, Line{o.ID, min(cents, 100)})
			}
			return lines, nil
		})
	if err := app.Run(context.Background()); err != nil {
		fmt.Println(err)
	}
	show(broker, "lines")
	// Output:
	// lines: {"order_id":"a","cents":100}
	// lines: {"order_id":"a","cents":100}
	// lines: {"order_id":"a","cents":50}
}

// Stream writes while a sequence goes on, so that it need not fit in memory.
func ExampleStream() {
	broker := memory.NewBroker()
	put(broker, "orders", `{"id":"a","cents":3}`)

	app := newFlow()
	flow.Consumer(app, "count", queue[Order](broker, "orders"), flow.Stream(queue[int64](broker, "cents")),
		func(_ context.Context, o Order) (iter.Seq2[int64, error], error) {
			return func(yield func(int64, error) bool) {
				for i := range o.Cents {
					if !yield(i, nil) {
						return
					}
				}
			}, nil
		})
	if err := app.Run(context.Background()); err != nil {
		fmt.Println(err)
	}
	show(broker, "cents")
	// Output:
	// cents: 0
	// cents: 1
	// cents: 2
}

// Tee writes to several sinks; the record is acknowledged when all have confirmed.
func ExampleTee() {
	broker := memory.NewBroker()
	put(broker, "orders", `{"id":"a","cents":300}`)

	app := newFlow()
	flow.Consumer(app, "copy", queue[Order](broker, "orders"),
		flow.Tee[Order](queue[Order](broker, "archive"), queue[Order](broker, "audit")),
		func(_ context.Context, o Order) (Order, error) { return o, nil })
	if err := app.Run(context.Background()); err != nil {
		fmt.Println(err)
	}
	show(broker, "archive")
	show(broker, "audit")
	// Output:
	// archive: {"id":"a","cents":300}
	// audit: {"id":"a","cents":300}
}

// Do makes a handler for Discard, of a function that returns nothing but an error.
func ExampleDo() {
	broker := memory.NewBroker()
	put(broker, "orders", `{"id":"a"}`)

	app := newFlow()
	flow.Consumer(app, "print", queue[Order](broker, "orders"), flow.Discard,
		flow.Do(func(_ context.Context, o Order) error {
			fmt.Println("order", o.ID)
			return nil
		}))
	if err := app.Run(context.Background()); err != nil {
		fmt.Println(err)
	}
	// Output:
	// order a
}

// Pass hands values from a source to a sink as they are.
func ExamplePass() {
	broker := memory.NewBroker()
	put(broker, "orders", `{"id":"a","cents":300}`)

	app := newFlow()
	flow.Consumer(app, "copy", queue[Order](broker, "orders"), queue[Order](broker, "archive"), flow.Pass)
	if err := app.Run(context.Background()); err != nil {
		fmt.Println(err)
	}
	show(broker, "archive")
	// Output:
	// archive: {"id":"a","cents":300}
}
