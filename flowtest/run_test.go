package flowtest_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/flowkit-go/flow"
	"github.com/flowkit-go/flow/flowtest"
	"github.com/flowkit-go/flow/primitives/nats"
	"github.com/flowkit-go/flow/primitives/sqlite"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type order struct {
	ID    string `json:"id"`
	Cents int64  `json:"cents"`
}

type line struct {
	OrderID string `json:"order_id"`
	Cents   int64  `json:"cents"`
}

var (
	orders = nats.Stream[order]{Name: "orders"}
	lines  = nats.Stream[line]{Name: "lines"}
	dead   = nats.Stream[flow.Raw]{Name: "dead"}
	ledger = sqlite.Table[line]{Name: "ledger", Key: "order_id"}
)

var errNotYet = errors.New("not yet")

// newApp is a flow as a program would build it.
func newApp() *flow.Flow {
	app := flow.New("shop", flow.Logger(slog.New(slog.DiscardHandler)))
	flow.Collector(app, "POST /orders", orders, func(_ context.Context, o order) (order, error) { return o, nil })
	tries := map[string]int{}
	flow.Consumer(app, "bill", orders, lines, func(_ context.Context, o order) (line, error) {
		tries[o.ID]++
		if strings.HasPrefix(o.ID, "slow") && tries[o.ID] < 3 {
			return line{}, errNotYet
		}
		return line{o.ID, 2 * o.Cents}, nil
	}, flow.Retry(5, flow.Exponential(time.Minute, time.Hour)), flow.DeadLetter(dead))
	flow.Consumer(app, "book", lines, ledger, func(_ context.Context, l line) (line, error) { return l, nil })
	flow.Endpoint(app, "GET /healthy", func(context.Context, struct{}) (string, error) { return "yes", nil })
	return app
}

func TestFlowWithoutABroker(t *testing.T) {
	flowtest.Test(t, func(t *testing.T) {
		began := time.Now()
		run := flowtest.Start(t, newApp())
		flowtest.Send(run, orders, order{"a", 300}, order{"slow", 5})
		run.SendRaw("nats:orders", flow.Raw{Value: []byte(`{"id": 7}`)})
		if res := run.Post("/orders", `{"id":"b","cents":1}`); res.StatusCode != http.StatusOK {
			t.Fatalf("status %d", res.StatusCode)
		}
		run.Settle()
		want := []line{{"a", 600}, {"slow", 10}, {"b", 2}}
		if diff := cmp.Diff(want, flowtest.Received(run, lines)); diff != "" {
			t.Error(diff)
		}
		letters := run.ReceivedRaw("nats:dead")
		if len(letters) != 1 || string(letters[0].Value) != `{"id": 7}` {
			t.Errorf("dead letters: %v", letters)
		}
		if passed := time.Since(began); passed < time.Minute {
			t.Errorf("two retries a minute apart took %v of fake time", passed)
		}
		body, _ := io.ReadAll(run.Get("/healthy").Body)
		if string(body) != "yes" {
			t.Errorf("GET /healthy: %s", body)
		}
	})
}

func TestKeptPrimitiveIsReal(t *testing.T) {
	run := flowtest.Start(t, newApp(), flowtest.Keep("sqlite:"))
	reader := ledger.Reader()
	defer reader.Close()
	flowtest.Send(run, orders, order{"a", 300})
	run.Settle()
	row, found, err := reader.Get(t.Context(), "a")
	if err != nil || !found || row.Cents != 600 {
		t.Errorf("row %v, found %v, error %v", row, found, err)
	}
}

func TestFailureEndsTheFlow(t *testing.T) {
	flowtest.Test(t, func(t *testing.T) {
		app := flow.New("shop", flow.Logger(slog.New(slog.DiscardHandler)))
		flow.Consumer(app, "bill", orders, flow.Discard, flow.Do(func(context.Context, order) error { return errNotYet }))
		run := flowtest.Start(t, app)
		flowtest.Send(run, orders, order{"a", 300})
		<-run.Done()
		if err := run.Stop(); !errors.Is(err, errNotYet) {
			t.Errorf("error %v", err)
		}
	})
}

func TestSinkThatFails(t *testing.T) {
	flowtest.Test(t, func(t *testing.T) {
		run := flowtest.Start(t, newApp())
		mend := run.Fail("nats:lines", nil)
		flowtest.Send(run, orders, order{"a", 300})
		time.Sleep(30 * time.Second) // of fake time
		if got := flowtest.Received(run, lines); len(got) != 0 {
			t.Errorf("received %v from a sink that fails", got)
		}
		mend()
		run.Settle()
		if diff := cmp.Diff([]line{{"a", 600}}, flowtest.Received(run, lines)); diff != "" {
			t.Error(diff)
		}
	})
}
