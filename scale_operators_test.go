package flow_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/flowkit-go/flow"
	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/primitives/memory"
	"github.com/flowkit-go/flow/runtime"
)

// postScale changes a flow; it returns an error where no answer came.
func postScale(ctx context.Context, url string) (status int, answer runtime.Scaled, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, nil)
	if err != nil {
		return 0, answer, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, answer, err
	}
	defer func() { _ = res.Body.Close() }()
	return res.StatusCode, answer, json.NewDecoder(res.Body).Decode(&answer)
}

// Operators that change a flow at the same time get each the answer to what they asked
// for, and no record is lost or handled twice.
func TestOperatorsAtOnce(t *testing.T) {
	const records, operators = 3000, 6
	broker := memory.NewBroker()
	app := flow.New("shop", quiet(), flow.CPUs(64))
	var handled [records]atomic.Int32
	flow.Consumer(app, "bill", memory.Topic[int]{Broker: broker, Name: "orders", Partitions: 3}, flow.Discard,
		flow.Do(func(_ context.Context, n int) error { handled[n].Add(1); return nil }), flow.Replicas(1, 8), flow.Ordered(flow.Unordered))
	base := administered(t, app)
	var all sync.WaitGroup
	for operator := range operators {
		all.Go(func() {
			for i := range 30 {
				n := (operator+i)%8 + 1
				ask := fmt.Sprintf("/scale?processor=bill&replicas=%d", n)
				switch i % 6 {
				case 1:
					ask += "&for=1ms"
				case 2:
					ask, n = "/scale?processor=bill&replicas=auto", 0
				case 3:
					ask, n = "/pause?processor=bill", 0
				case 4:
					ask, n = "/resume?processor=bill", 0
				}
				status, answer, err := postScale(t.Context(), base+ask)
				if err != nil || status != 200 || n != 0 && answer.Replicas != n {
					t.Errorf("%s: %d, %+v, %v", ask, status, answer, err)
				}
				for r := range 15 {
					v := (operator*30+i)*15 + r
					broker.Append("orders", int32(v%3), primitives.Record{Value: fmt.Append(nil, v)})
				}
			}
		})
	}
	all.Wait()
	if status, _, err := postScale(t.Context(), base+"/resume?processor=bill"); err != nil || status != 200 {
		t.Fatal(status, err)
	}
	const written = operators * 30 * 15
	for deadline := time.Now().Add(20 * time.Second); app.Snapshot().Processors[0].Messages.OK < written; {
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d handled", app.Snapshot().Processors[0].Messages.OK, written)
		}
		<-time.After(time.Millisecond)
	}
	for v := range written {
		if n := handled[v].Load(); n != 1 {
			t.Fatalf("record %d was handled %d times", v, n)
		}
	}
}

// A flow that is told to end while somebody scales it by hand ends: the Setup under way
// is cancelled, and who has asked is told so, or cut off.
func TestFlowEndsWhileScaledByHand(t *testing.T) {
	app := flow.New("shop", quiet(), flow.CPUs(8))
	hanging := make(chan struct{})
	var setups atomic.Int32
	flow.Consumer(app, "bill", memory.Topic[string]{Broker: memory.NewBroker(), Name: "orders"}, flow.Discard,
		flow.Do(func(context.Context, string) error { return nil }), flow.Replicas(1, 8),
		flow.Setup(func(ctx context.Context) (context.Context, error) {
			if setups.Add(1) == 2 {
				close(hanging)
				<-ctx.Done()
				return ctx, ctx.Err()
			}
			return ctx, nil
		}))
	t.Setenv("FLOW_HTTP", "off")
	t.Setenv("FLOW_ADMIN", "127.0.0.1:0")
	ctx, stop := context.WithCancel(t.Context())
	ready, ended := make(chan flow.Addresses, 1), make(chan error, 1)
	app.AddReady(func(a flow.Addresses) { ready <- a })
	go func() { ended <- app.Run(ctx) }()
	var base string
	select {
	case a := <-ready:
		base = "http://" + a.Admin
	case err := <-ended:
		t.Fatal(err)
	}
	asked, later := make(chan int, 1), make(chan int, 1)
	ask := func(answered chan<- int) {
		status, _, _ := postScale(t.Context(), base+"/scale?processor=bill&replicas=4")
		answered <- status
	}
	go ask(asked)
	<-hanging
	go ask(later) // waits for its turn, or comes too late
	began := time.Now()
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %v to end", took)
	}
	if status := <-asked; status != 503 {
		t.Errorf("status %d, want 503", status)
	}
	if status := <-later; status != 503 && status != 0 {
		t.Errorf("status %d of the second, want 503 or none", status)
	}
	if n := setups.Load(); n != 2 {
		t.Errorf("%d setups: one began after the end", n)
	}
	http.DefaultClient.CloseIdleConnections()
	if !strings.Contains(app.Snapshot().State, "stopped") {
		t.Errorf("state %s", app.Snapshot().State)
	}
}
