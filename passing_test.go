package flow_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/flowkit-go/flow"
	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/primitives/memory"
)

// distant is a codec that needs another system, which is away as long as away is set.
type distant struct {
	away    *atomic.Bool
	decoded *atomic.Int64
}

var errAway = errors.New("registry away")

func (d distant) check() error {
	if d.away.Load() {
		return primitives.RetryAfter(time.Second, errAway)
	}
	return nil
}

func (d distant) Decode(data []byte) (v int, err error) {
	d.decoded.Add(1)
	if err := d.check(); err != nil {
		return 0, err
	}
	_, err = fmt.Sscan(string(data), &v)
	return v, err
}

func (d distant) Append(dst []byte, v int) ([]byte, error) {
	return fmt.Appendf(dst, "%d", v), d.check()
}

// What a codec needs may be away without any fault of the records: they wait.
func TestCodecWhoseSystemIsAway(t *testing.T) {
	for name, batches := range map[string]bool{"records": false, "batches": true} {
		for _, side := range []string{"decode", "encode"} {
			t.Run(name+" "+side, func(t *testing.T) {
				inBubble(t, func(t *testing.T, r *rig) {
					codec := distant{new(atomic.Bool), new(atomic.Int64)}
					codec.away.Store(true)
					r.fill(0, 0, 5)
					src, sink := r.in(1), r.out()
					if side == "decode" {
						src.Codec = codec
					} else {
						sink.Codec = codec
					}
					p := flow.NewConsumer("p", src, sink, flow.Pass[int], flow.DeadLetter(r.dead()))
					if batches {
						p = flow.NewConsumer("p", flow.Batches(src, 5, time.Millisecond), flow.Each(sink), flow.Pass[[]int], flow.DeadLetter(r.dead()))
					}
					f := r.start(p)
					time.Sleep(10*time.Second + 500*time.Millisecond)
					equal(t, "written while it is away", len(r.written()), 0)
					equal(t, "dead letters", len(r.broker.Records("dead", 0)), 0)
					if retried := f.processor().Messages.Retried; retried < 9 || retried > 60 {
						t.Errorf("tried again %d times in 10 s, want about one a second", retried)
					}
					codec.away.Store(false)
					time.Sleep(2 * time.Second)
					equal(t, "written", r.written(), words(numbers(0, 5)))
					equal(t, "committed", r.committed(0), 5)
					equal(t, "invalid", f.processor().Errors.Invalid, 0)
					f.stopped()
				})
			})
		}
	}
}

func TestCollectorWhoseCodecsSystemIsAway(t *testing.T) {
	codec := distant{new(atomic.Bool), new(atomic.Int64)}
	codec.away.Store(true)
	broker := memory.NewBroker()
	app := flow.New("app", quiet())
	flow.Collector(app, "POST /numbers", memory.Topic[int]{Broker: broker, Name: "numbers", Codec: codec}, flow.Pass[int])
	h := serving(t, app)
	res := post(h, "/numbers", "application/json", "7")
	equal(t, "status", res.StatusCode, http.StatusServiceUnavailable)
	codec.away.Store(false)
	res = post(h, "/numbers", "application/json", "7")
	equal(t, "status afterwards", res.StatusCode, http.StatusOK)
	equal(t, "written", texts(broker.Records("numbers", 0)), []string{"7"})
}

// Middleware stands outside of the routes and learns what a request became.
func TestRequestHooks(t *testing.T) {
	broker := memory.NewBroker()
	var told []string
	note := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			hooks := &flow.RequestHooks{
				Route: func(processor, method, path string) {
					told = append(told, processor+": "+method+" "+path)
				},
				Outputs: func(outputs []primitives.Record) {
					for i := range outputs {
						outputs[i].Headers = []primitives.Header{{Name: "path", Value: []byte(r.URL.Path)}}
					}
				},
			}
			next.ServeHTTP(w, r.WithContext(flow.WithRequestHooks(r.Context(), hooks)))
		})
	}
	var outside int
	around := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			hooks := &flow.RequestHooks{Route: func(string, string, string) { outside++ }}
			next.ServeHTTP(w, r.WithContext(flow.WithRequestHooks(r.Context(), hooks)))
		})
	}
	app := flow.New("app", quiet(), flow.UseHTTP(around, note))
	type order struct {
		ID string `path:"id"`
	}
	flow.Collector(app, "POST /orders/{id}", memory.Topic[order]{Broker: broker, Name: "orders"}, flow.Pass[order], flow.Name("take"))
	flow.Endpoint(app, "GET /orders/{id}", func(_ context.Context, o order) (order, error) { return o, nil },
		flow.Setup(func(ctx context.Context) (context.Context, error) { return ctx, nil }))
	flow.Handle(app, "/files/*", http.NotFoundHandler())
	h := serving(t, app)
	equal(t, "status", post(h, "/orders/7", "application/json", "{}").StatusCode, http.StatusOK)
	for _, path := range []string{"/orders/8", "/files/a/b", "/nowhere"} {
		req, _ := http.NewRequest(http.MethodGet, path, nil)
		h.ServeHTTP(discard{}, req)
	}
	equal(t, "told", told, []string{"take: POST /orders/{id}", "GET /orders/{id}: GET /orders/{id}", "/files/*:  /files/*"})
	equal(t, "told the middleware outside of it", outside, 3)
	got, _ := new(broker.Records("orders", 0)[0]).Header("path")
	equal(t, "header of the output", string(got), "/orders/7")
}

// discard is a ResponseWriter for answers that nobody looks at.
type discard struct{}

func (discard) Header() http.Header         { return http.Header{} }
func (discard) Write(p []byte) (int, error) { return len(p), nil }
func (discard) WriteHeader(int)             {}
