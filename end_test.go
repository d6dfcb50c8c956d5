package flow_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/flowkit-go/flow"
	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/primitives/memory"
)

func TestOnEnd(t *testing.T) {
	broken := errors.New("broken")
	for _, tc := range []struct {
		name    string
		handler error
		cancel  bool
		onEnd   error
		called  bool
		err     error
	}{
		{name: "the input ends", called: true},
		{name: "its error is that of Run", onEnd: broken, called: true, err: broken},
		{name: "the flow fails", handler: broken, err: broken},
		{name: "the flow is stopped", cancel: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				broker := memory.NewBroker()
				broker.Append("in", 0, primitives.Record{Value: []byte("a")})
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				called := false
				app := flow.New("batch", quiet(), flow.AdminAddr("off"), flow.OnEnd(func(context.Context) error {
					called = true
					if got := broker.Committed("default", "in", 0); got != 1 {
						t.Errorf("committed %d when the end was told", got)
					}
					return tc.onEnd
				}))
				flow.Consumer(app, "one", memory.Topic[string]{Broker: broker, Name: "in", StopAtEnd: !tc.cancel}, flow.Discard,
					flow.Do(func(context.Context, string) error { return tc.handler }))
				if tc.cancel {
					app.AddReady(func(flow.Addresses) { cancel() })
				}
				if err := app.Run(ctx); !errors.Is(err, tc.err) {
					t.Errorf("Run: %v, want %v", err, tc.err)
				}
				if called != tc.called {
					t.Errorf("called: %v", called)
				}
			})
		})
	}
}

func TestSourceThatCannotBeOpened(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker := memory.NewBroker()
		broker.Control(func(op memory.Op) error {
			if op.Kind == memory.OpOpen {
				return errors.New("no route to host")
			}
			return nil
		})
		app := flow.New("shop", quiet(), flow.AdminAddr("off"))
		flow.Consumer(app, "copy", memory.Topic[string]{Broker: broker, Name: "in"}, memory.Topic[string]{Broker: broker, Name: "out"}, flow.Pass[string])
		err := app.Run(t.Context())
		if err == nil || !strings.Contains(err.Error(), "end_test.go:") || !strings.Contains(err.Error(), `consumer "copy": open sink memory:out`) ||
			!strings.Contains(err.Error(), "no route to host") {
			t.Errorf("error %v", err)
		}
	})
}
