package flow_test

import (
	"context"
	"fmt"
	"net/http"
	"sync"

	"github.com/flowkit-go/flow"
	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/primitives/memory"
)

// With ByKey, records of one key stay in order while others are handled at the
// same time: here each key gets its own history.
func ExampleOrdered() {
	broker := memory.NewBroker()
	for i, customer := range []string{"ada", "bob", "ada", "bob", "ada"} {
		broker.Append("visits", 0, primitives.Record{Key: []byte(customer), Value: fmt.Append(nil, i)})
	}
	var mu sync.Mutex
	history := map[string][]int{}

	app := newFlow()
	flow.Consumer(app, "note", flow.Messages(queue[int](broker, "visits")), flow.Discard,
		flow.Do(func(_ context.Context, m flow.Msg[int]) error {
			mu.Lock()
			defer mu.Unlock()
			history[string(m.Key)] = append(history[string(m.Key)], m.Value)
			return nil
		}), flow.Ordered(flow.ByKey), flow.ConcurrentTasks(4))
	if err := app.Run(context.Background()); err != nil {
		fmt.Println(err)
	}
	fmt.Println(history)
	// Output:
	// map[ada:[0 2 4] bob:[1 3]]
}

type connection struct{ name string }

type connectionKey struct{}

// Setup makes what the handlers of one replica share, and Teardown ends it.
func ExampleSetup() {
	broker := memory.NewBroker()
	put(broker, "orders", `{"id":"a"}`)

	app := newFlow()
	flow.Consumer(app, "store", queue[Order](broker, "orders"), flow.Discard,
		flow.Do(func(ctx context.Context, o Order) error {
			to := ctx.Value(connectionKey{}).(*connection)
			fmt.Printf("stored %s in %s\n", o.ID, to.name)
			return nil
		}),
		flow.Setup(func(ctx context.Context) (context.Context, error) {
			fmt.Println("connect")
			return context.WithValue(ctx, connectionKey{}, &connection{name: "ledger"}), nil
		}),
		flow.Teardown(func(ctx context.Context) error {
			fmt.Println("close", ctx.Value(connectionKey{}).(*connection).name)
			return nil
		}))
	if err := app.Run(context.Background()); err != nil {
		fmt.Println(err)
	}
	// Output:
	// connect
	// stored a in ledger
	// close ledger
}

// Middleware sees the raw record before and after it is handled.
func ExampleUse() {
	broker := memory.NewBroker()
	put(broker, "orders", `{"id":"a"}`)
	trace := func(next flow.Next) flow.Next {
		return func(ctx context.Context, d *flow.Delivery) error {
			err := next(ctx, d)
			fmt.Printf("%s: %s, %d outputs, error %v\n", d.Processor, d.Records[0].Value, len(d.Outputs.Records), err)
			return err
		}
	}

	app := newFlow()
	flow.Consumer(app, "bill", queue[Order](broker, "orders"), queue[Order](broker, "lines"),
		func(_ context.Context, o Order) (Order, error) { return o, nil }, flow.Use(trace))
	if err := app.Run(context.Background()); err != nil {
		fmt.Println(err)
	}
	// Output:
	// bill: {"id":"a"}, 1 outputs, error <nil>
}

// UseHTTP wraps everything that answers requests.
func ExampleUseHTTP() {
	private := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") == "" {
				http.Error(w, "who are you?", http.StatusUnauthorized)
				return
			}
			next.ServeHTTP(w, r)
		})
	}
	app := newFlow(flow.UseHTTP(private))
	flow.Endpoint(app, "GET /secret", func(context.Context, struct{}) (string, error) { return "42", nil })
	known := getFrom("/secret")
	known.Header.Set("Authorization", "Bearer ada")
	ask(app, getFrom("/secret"), known)
	// Output:
	// 401 who are you?
	// 200 42
}

// Handle takes any handler of net/http.
func ExampleHandle() {
	app := newFlow()
	flow.Handle(app, "GET /events", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprint(w, "data: hello\n\n")
	}))
	ask(app, getFrom("/events"))
	// Output:
	// 200 data: hello
}

func ExampleHTTPError() {
	app := newFlow()
	flow.Endpoint(app, "GET /tea", func(context.Context, struct{}) (string, error) {
		return "", flow.HTTPError(http.StatusTeapot, "there is only tea")
	})
	ask(app, getFrom("/tea"))
	// Output:
	// 418 {"type":"about:blank","title":"I'm a teapot","status":418,"detail":"there is only tea"}
}

// OnEnd tells that all input was handled, and not that the flow was stopped before.
func ExampleOnEnd() {
	broker := memory.NewBroker()
	put(broker, "orders", `{"cents":300}`, `{"cents":25}`)
	var total int64

	app := newFlow(flow.OnEnd(func(context.Context) error {
		fmt.Println("total:", total)
		return nil
	}))
	flow.Consumer(app, "sum", queue[Order](broker, "orders"), flow.Discard,
		flow.Do(func(_ context.Context, o Order) error {
			total += o.Cents
			return nil
		}))
	if err := app.Run(context.Background()); err != nil {
		fmt.Println(err)
	}
	// Output:
	// total: 325
}
