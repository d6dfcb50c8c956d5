package kafkatest_test

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/flowkit-go/flow"
	"github.com/flowkit-go/flow/flowtest"
	"github.com/flowkit-go/flow/flowtest/kafkatest"
	"github.com/flowkit-go/flow/primitives/kafka"
)

func TestMain(m *testing.M) {
	// A registry of sarama's metrics library, one for the process.
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/rcrowley/go-metrics.(*meterArbiter).tick"))
}

type order struct {
	ID    string `json:"id"`
	Cents int64  `json:"cents"`
}

// As a program has them: the brokers are those of the environment.
var (
	orders = kafka.Topic[order]{Name: "orders", Start: kafka.Earliest, Key: func(o order) string { return o.ID }}
	bills  = kafka.Topic[order]{Name: "bills"}
	dead   = kafka.Topic[flow.Raw]{Name: "dead"}
)

func newApp() *flow.Flow {
	app := flow.New("shop", flow.Logger(slog.New(slog.DiscardHandler)))
	flow.Consumer(app, "bill", orders, bills, func(_ context.Context, o order) (order, error) {
		if o.Cents < 0 {
			return o, flow.Permanent(errors.New("negative"))
		}
		return order{o.ID, 2 * o.Cents}, nil
	}, flow.DeadLetter(dead))
	return app
}

func TestFlowOnABroker(t *testing.T) {
	broker := kafkatest.Start(t, "orders", "bills", "dead")
	kafkatest.Send(broker, orders, order{"a", 1}, order{"b", 2}, order{"a", 3}, order{"c", -1})
	broker.SendRaw("orders", flow.Raw{Key: []byte("x"), Value: []byte("no JSON")})
	run := flowtest.Start(t, newApp(), flowtest.Keep("kafka:"))
	broker.Settle("shop.bill", "orders")
	got := kafkatest.Received(broker, bills)
	slices.SortStableFunc(got, func(a, b order) int { return cmp.Compare(a.ID, b.ID) })
	if diff := gocmp.Diff([]order{{"a", 2}, {"a", 6}, {"b", 4}}, got); diff != "" {
		t.Errorf("bills (-want +got):\n%s", diff)
	}
	if letters := broker.ReceivedRaw("dead"); len(letters) != 2 {
		t.Errorf("%d dead letters, want 2", len(letters))
	}
	if err := run.Stop(); err != nil {
		t.Error(err)
	}
	kafkatest.Send(broker, orders, order{"d", 4})
	flowtest.Start(t, newApp(), flowtest.Keep("kafka:"))
	broker.Settle("shop.bill", "orders")
	if got := kafkatest.Received(broker, bills); len(got) != 4 {
		t.Errorf("%d bills after a restart, want 4: nothing is billed twice", len(got))
	}
}

func TestBrokersOfParallelTestsAreApart(t *testing.T) {
	for _, name := range []string{"one", "two"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			broker := kafkatest.New(t, "orders")
			kafkatest.Send(broker, orders, order{name, 1})
			if diff := gocmp.Diff([]order{{name, 1}}, kafkatest.Received(broker, orders)); diff != "" {
				t.Errorf("orders (-want +got):\n%s", diff)
			}
			broker.Create("late", 1)
			broker.SendRaw("late", flow.Raw{Value: []byte("1")}, flow.Raw{Value: []byte("2")})
			var values []string
			for _, r := range broker.ReceivedRaw("late") {
				values = append(values, string(r.Value))
			}
			if got := strings.Join(values, " "); got != "1 2" {
				t.Errorf("records %q, want them in order", got)
			}
		})
	}
}
