package flow_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/flowkit-go/flow"
	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/primitives/memory"
)

// The examples keep what they read and write in memory. Their sources have an
// end, so that Run returns when all of it is handled.

type Order struct {
	ID    string `json:"id"`
	Cents int64  `json:"cents"`
}

type Line struct {
	OrderID string `json:"order_id"`
	Cents   int64  `json:"cents"`
}

// newFlow makes a flow that logs nothing and opens no port.
func newFlow(opts ...flow.Option) *flow.Flow {
	opts = append([]flow.Option{flow.Logger(slog.New(slog.DiscardHandler)), flow.AdminAddr("off"), flow.HTTPAddr("off")}, opts...)
	return flow.New("shop", opts...)
}

// queue is a topic that ends where it ends now.
func queue[T any](b *memory.Broker, name string) memory.Topic[T] {
	return memory.Topic[T]{Broker: b, Name: name, StopAtEnd: true}
}

// put appends values to a topic.
func put(b *memory.Broker, topic string, values ...string) {
	for _, v := range values {
		b.Append(topic, 0, primitives.Record{Value: []byte(v)})
	}
}

// show prints what a topic holds.
func show(b *memory.Broker, topic string) {
	for _, r := range b.Records(topic, 0) {
		fmt.Printf("%s: %s\n", topic, r.Value)
	}
}

// ask runs a flow for as long as it takes to answer requests.
func ask(app *flow.Flow, requests ...*http.Request) {
	ctx, stop := context.WithCancel(context.Background())
	ready, ended := make(chan struct{}), make(chan error)
	app.AddReady(func(flow.Addresses) { close(ready) })
	go func() { ended <- app.Run(ctx) }()
	<-ready
	for _, r := range requests {
		answer := httptest.NewRecorder()
		app.Handler().ServeHTTP(answer, r)
		fmt.Println(answer.Code, strings.TrimSpace(answer.Body.String()))
	}
	stop()
	if err := <-ended; err != nil {
		fmt.Println(err)
	}
}

func getFrom(path string) *http.Request { return httptest.NewRequest(http.MethodGet, path, nil) }

func postJSON(path, body string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	return r
}

func ExampleConsumer() {
	broker := memory.NewBroker()
	orders, lines := queue[Order](broker, "orders"), queue[Line](broker, "lines")
	put(broker, "orders", `{"id":"a","cents":300}`, `{"id":"b","cents":25}`)

	app := newFlow()
	flow.Consumer(app, "bill", orders, lines, func(_ context.Context, o Order) (Line, error) {
		return Line{OrderID: o.ID, Cents: o.Cents}, nil
	})
	if err := app.Run(context.Background()); err != nil {
		fmt.Println(err)
	}
	show(broker, "lines")
	// Output:
	// lines: {"order_id":"a","cents":300}
	// lines: {"order_id":"b","cents":25}
}

func ExampleCollector() {
	broker := memory.NewBroker()
	app := newFlow()
	flow.Collector(app, "POST /orders", queue[Order](broker, "orders"), func(_ context.Context, o Order) (Order, error) {
		if o.Cents < 0 {
			return o, flow.HTTPError(http.StatusUnprocessableEntity, "an order costs nothing or more")
		}
		return o, nil
	})
	ask(app, postJSON("/orders", `{"id":"a","cents":300}`), postJSON("/orders", `{"id":"b","cents":-1}`))
	show(broker, "orders")
	// Output:
	// 200 {"success": true}
	// 422 {"type":"about:blank","title":"Unprocessable Entity","status":422,"detail":"an order costs nothing or more"}
	// orders: {"id":"a","cents":300}
}

func ExampleEndpoint() {
	type find struct {
		ID    string `path:"id"`
		Limit int    `query:"limit" default:"10"`
	}
	app := newFlow()
	flow.Endpoint(app, "GET /orders/{id}/lines", func(_ context.Context, in find) ([]Line, error) {
		if in.ID != "a" {
			return nil, flow.HTTPError(http.StatusNotFound, "no such order")
		}
		lines := []Line{{"a", 200}, {"a", 100}}
		return lines[:min(in.Limit, len(lines))], nil
	})
	ask(app, getFrom("/orders/a/lines?limit=1"), getFrom("/orders/b/lines"), getFrom("/orders/a/lines?limit=few"))
	// Output:
	// 200 [{"order_id":"a","cents":200}]
	// 404 {"type":"about:blank","title":"Not Found","status":404,"detail":"no such order"}
	// 422 {"type":"about:blank","title":"Unprocessable Entity","status":422,"detail":"query limit: want an integer, got \"few\"","errors":[{"in":"query","field":"limit","detail":"want an integer, got \"few\""}]}
}

// A package can declare its processors without knowing the flow that runs them.
func ExampleNewConsumer() {
	broker := memory.NewBroker()
	put(broker, "orders", `{"id":"a","cents":300}`)
	bill := flow.NewConsumer("bill", queue[Order](broker, "orders"), queue[Line](broker, "lines"),
		func(_ context.Context, o Order) (Line, error) { return Line{OrderID: o.ID, Cents: o.Cents}, nil })

	app := newFlow()
	app.Add(bill)
	if err := app.Run(context.Background()); err != nil {
		fmt.Println(err)
	}
	show(broker, "lines")
	// Output:
	// lines: {"order_id":"a","cents":300}
}

func ExampleNewCollector() {
	broker := memory.NewBroker()
	accept := flow.NewCollector("POST /orders", queue[Order](broker, "orders"), flow.Pass, flow.Name("accept"))
	app := newFlow()
	app.Add(accept)
	ask(app, postJSON("/orders", `{"id":"a","cents":"much"}`))
	// Output:
	// 422 {"type":"about:blank","title":"Unprocessable Entity","status":422,"detail":"body cents: want an integer from -9223372036854775808 to 9223372036854775807, got string at byte 18","errors":[{"in":"body","field":"cents","detail":"want an integer from -9223372036854775808 to 9223372036854775807, got string at byte 18"}]}
}

func ExampleNewEndpoint() {
	app := newFlow()
	app.Add(flow.NewEndpoint("GET /healthy", func(context.Context, struct{}) (string, error) { return "yes", nil }))
	ask(app, getFrom("/healthy"))
	// Output:
	// 200 yes
}

// Run ends when its context does, or when there is nothing left to read.
func ExampleFlow_Run() {
	broker := memory.NewBroker()
	put(broker, "orders", `{"id":"a"}`, `{"id":"b"}`)

	app := newFlow()
	flow.Consumer(app, "print", queue[Order](broker, "orders"), flow.Discard,
		flow.Do(func(_ context.Context, o Order) error {
			fmt.Println("order", o.ID)
			return nil
		}))
	err := app.Run(context.Background())
	fmt.Println("ended with error", err)
	// Output:
	// order a
	// order b
	// ended with error <nil>
}

// All mistakes are reported at once, each with its place.
func ExampleFlow_Validate() {
	broker := memory.NewBroker()
	app := newFlow()
	flow.Consumer(app, "bill", queue[Order](broker, ""), flow.Discard,
		flow.Do(func(context.Context, Order) error { return nil }),
		flow.ConcurrentTasks(0), flow.Replicas(4, 2))
	for _, line := range strings.Split(app.Validate().Error(), "\n") {
		_, mistake, _ := strings.Cut(line, ": ") // without the file and line
		fmt.Println(mistake)
	}
	// Output:
	// consumer "bill": memory: Name of a Topic is empty: give it one
	// consumer "bill": max_replicas is 2, want at least min_replicas, which is 4
	// consumer "bill": num_replicas is 4, want it from min_replicas 4 to max_replicas 2
	// consumer "bill": num_concurrent_tasks is 0, want at least 1
}

func ExampleFlow_Graph() {
	broker := memory.NewBroker()
	orders := queue[Order](broker, "orders")
	app := newFlow()
	flow.Collector(app, "POST /orders", orders, flow.Pass)
	flow.Consumer(app, "log", orders, flow.Discard, flow.Do(func(context.Context, Order) error { return nil }))

	var text strings.Builder
	if err := app.Graph().Write(&text, "mermaid"); err != nil {
		fmt.Println(err)
	}
	fmt.Print(text.String())
	// Output:
	// flowchart LR
	//   n1(["POST /orders"])
	//   n2["POST /orders"]
	//   n3(["memory:orders"])
	//   n4["log"]
	//   n1 --> n2
	//   n2 --> n3
	//   n3 --> n4
}
