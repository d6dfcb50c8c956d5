package flow

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/flowkit-go/flow/autoscale/keda"
	"github.com/flowkit-go/flow/primitives/kafka"
	"github.com/flowkit-go/flow/primitives/memory"
	"github.com/flowkit-go/flow/primitives/nats"
)

func TestScalerOnce(t *testing.T) {
	d := newDepot(Replicas(1, 4))
	for i := range int32(30) {
		d.broker.Append("parcels", i%3, Raw{Value: fmt.Appendf(nil, `{"id":"p%d","grams":10}`, i)})
	}
	d.broker.Append("sent", 0) // so that it is there
	var out, errs bytes.Buffer
	// Nobody runs: the collector and the endpoint cannot be asked, and the consumers can.
	code := d.execute(t.Context(), []string{"scaler", "--once", "--window", "1s"}, strings.NewReader(""), &out, &errs)
	if code != ExitFailed || !strings.Contains(errs.String(), "POST /parcels: the source does not tell how far all processes are: name them by --peers or FLOW_PEERS") {
		t.Errorf("exit code %d\n%s", code, errs.String())
	}
	if lines := strings.Count(errs.String(), "the source does not tell"); lines != 2 || strings.Contains(errs.String(), "level=") {
		t.Errorf("%s\nwant one line for each of the collector and the endpoint, and no log", errs.String())
	}
	for _, want := range []string{
		"weigh: 1 wanted, 0 processes run, active\n  backlog     30\n  throughput  0/s\n  partitions  3\n  start: no process runs",
		"count: 1 wanted, 0 processes run, nothing to do\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%s\nwant in it: %s", out.String(), want)
		}
	}
}

// A queue that lends its records tells what waits while no process runs, so that the
// first one can be started.
func TestScalerStartsAQueueFromZero(t *testing.T) {
	pods := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"flow": "shop", "processors": []}`) // of a process that runs other processors
	}))
	defer pods.Close()
	t.Setenv("FLOW_DATA", t.TempDir())
	execute := func(in string, args ...string) (int, string) {
		app := New("shop")
		Consumer(app, "ship", nats.Stream[string]{Name: "ships"}, Discard, Do(func(context.Context, string) error { return nil }), Replicas(1, 4))
		var out bytes.Buffer
		return app.execute(t.Context(), args, strings.NewReader(in), &out, &out), out.String()
	}
	if code, said := execute("a\nb\nc\n", "send", "nats:ships"); code != ExitOK {
		t.Fatalf("%d, %s", code, said)
	}
	code, said := execute("", "scaler", "--once", "--window", "1s", "--peers", strings.TrimPrefix(pods.URL, "http://"))
	if want := "ship: 1 wanted, 0 processes run, active\n  in progress 0\n  backlog     3\n"; code != ExitOK || !strings.HasPrefix(said, want) {
		t.Errorf("%d, %s\nwant %s", code, said, want)
	}
}

func TestScalerMistakes(t *testing.T) {
	for _, tc := range []struct {
		args []string
		env  string
		want string
	}{
		{[]string{"--poll", "0s"}, "", "--poll is 0s"},
		{[]string{"--idle", "-1s"}, "", "--idle -1s"},
		{[]string{"--once", "--window", "1ms"}, "", "--window is 1ms, want at least 1s"},
		{[]string{"--peers", "pods"}, "", `peer "pods": want host:port`},
		{nil, "pods", `peer "pods": want host:port`},
		{[]string{"--listen", "nowhere"}, "", "set --listen or FLOW_SCALER"},
		{[]string{"bill"}, "", `"bill" is not a command`},
	} {
		t.Run(strings.Join(tc.args, " "), func(t *testing.T) {
			t.Setenv("FLOW_PEERS", tc.env)
			var out, errs bytes.Buffer
			code := newDepot().execute(t.Context(), append([]string{"scaler"}, tc.args...), strings.NewReader(""), &out, &errs)
			if code != ExitUsage || !strings.Contains(errs.String(), tc.want) {
				t.Errorf("exit code %d, %s want %s", code, errs.String(), tc.want)
			}
		})
	}
}

// A flow whose sources tell nothing can be scaled by its processes only.
func TestScalerWithNothingToAsk(t *testing.T) {
	app := New("shop")
	Consumer(app, "bill", memory.Queue[string]{Broker: memory.NewBroker(), Name: "orders"}, Discard, Do(func(context.Context, string) error { return nil }))
	var out, errs bytes.Buffer
	code := app.execute(t.Context(), []string{"scaler"}, strings.NewReader(""), &out, &errs)
	if code != ExitUsage || !strings.Contains(errs.String(), "name the processes by --peers or FLOW_PEERS") {
		t.Errorf("exit code %d, %s", code, errs.String())
	}
}

// A flow with two replicas runs, and the scaler learns of them from its process, and of
// the backlog from the broker.
func TestScalerAsksBrokerAndProcesses(t *testing.T) {
	broker, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(4, "orders"))
	if err != nil {
		t.Fatal(err)
	}
	defer broker.Close()
	orders := kafka.Topic[string]{Name: "orders", Cluster: kafka.Cluster{Brokers: broker.ListenAddrs()}}
	made := func() *Flow {
		app := New("shop", HTTPAddr("off"), AdminAddr("127.0.0.1:0"), Logger(slog.New(slog.DiscardHandler)))
		Consumer(app, "bill", orders, Discard, Do(func(context.Context, string) error { return nil }), Replicas(2, 6))
		return app
	}
	app := made()
	ready := make(chan Addresses, 1)
	app.AddReady(func(a Addresses) { ready <- a })
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 2)
	go func() { ended <- app.Run(ctx) }()
	var at Addresses
	select {
	case at = <-ready:
	case err := <-ended:
		t.Fatalf("the flow did not start: %v", err)
	}

	t.Setenv("FLOW_PEERS", at.Admin)
	t.Setenv("FLOW_SCALER", "127.0.0.1:0")
	out := &lines{more: make(chan string, 8)}
	code := make(chan int, 1)
	go func() {
		code <- made().execute(ctx, []string{"scaler", "--poll", "20ms"}, strings.NewReader(""), out, os.Stderr)
	}()
	var where string
	select {
	case said := <-out.more:
		_, rest, _ := strings.Cut(said, "scaler   ")
		where, _, _ = strings.Cut(rest, " ")
	case c := <-code:
		t.Fatalf("the scaler ended with code %d", c)
	}
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	deadline := time.After(20 * time.Second)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		var states []keda.State
		resp, err := client.Get("http://" + where + "/state")
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil || resp.Body.Close() != nil || json.Unmarshal(body, &states) != nil || len(states) != 1 {
			t.Fatalf("%s, %v", body, err)
		}
		// 2 replicas of 6 that one process runs at most: 1 process is enough.
		if st := states[0]; st.Error == "" && st.Processes == 1 && st.Replicas == 2 && st.Backlog != nil && *st.Backlog == 0 && st.Partitions == 4 {
			if st.Decision.Replicas != 2 || st.Wanted != 1 || len(st.Unanswered) != 0 {
				t.Errorf("%s", body)
			}
			break
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("after 20 s: %s", body)
		}
	}
	cancel()
	if c := <-code; c != ExitOK {
		t.Errorf("the scaler ended with code %d", c)
	}
	if err := <-ended; err != nil {
		t.Errorf("the flow ended with %v", err)
	}
}
