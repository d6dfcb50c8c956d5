package flow_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flowkit-go/flow"
	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/primitives/memory"
	"github.com/flowkit-go/flow/runtime"
)

// TestEveryRecordIsCountedOnce checks that the outcomes add up to the records.
func TestEveryRecordIsCountedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker := memory.NewBroker()
		for _, v := range []string{"ok", "skip", "ok", "bad", "skip", "ok"} {
			broker.Append("in", 0, primitives.Record{Value: []byte(v)})
		}
		app := flow.New("shop", quiet())
		flow.Consumer(app, "sort", memory.Topic[string]{Broker: broker, Name: "in"}, memory.Topic[string]{Broker: broker, Name: "out"},
			func(_ context.Context, v string) (string, error) {
				switch v {
				case "skip":
					return "", flow.Skip
				case "bad":
					return "", errors.New("bad")
				}
				return v, nil
			}, flow.SkipFailed())
		serving(t, app)
		time.Sleep(time.Second)
		if diff := cmp.Diff(runtime.Counts{OK: 3, Skipped: 2, Failed: 1}, app.Snapshot().Processors[0].Messages); diff != "" {
			t.Error(diff)
		}
	})
}

// TestRetryAfterNothing checks that no record is tried again without a pause.
func TestRetryAfterNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker := memory.NewBroker()
		broker.Append("in", 0, primitives.Record{Value: []byte("a")})
		var tries atomic.Int32
		app := flow.New("shop", quiet())
		flow.Consumer(app, "again", memory.Topic[string]{Broker: broker, Name: "in"}, flow.Discard,
			flow.Do(func(context.Context, string) error { tries.Add(1); return flow.RetryAfter(0, errors.New("not yet")) }))
		serving(t, app)
		time.Sleep(time.Second)
		if n := tries.Load(); n < 2 || n > 101 {
			t.Errorf("%d attempts within a second", n)
		}
	})
}
