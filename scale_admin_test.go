package flow_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flowkit-go/flow"
	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/primitives/memory"
)

// administered runs an app with an admin address until the test ends, and returns its
// base URL.
func administered(t *testing.T, app *flow.Flow) string {
	t.Helper()
	t.Setenv("FLOW_HTTP", "off")
	t.Setenv("FLOW_ADMIN", "127.0.0.1:0")
	ctx, stop := context.WithCancel(t.Context())
	ready, ended := make(chan flow.Addresses, 1), make(chan error, 1)
	app.AddReady(func(a flow.Addresses) { ready <- a })
	go func() { ended <- app.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		http.DefaultClient.CloseIdleConnections()
	})
	select {
	case a := <-ready:
		return "http://" + a.Admin
	case err := <-ended:
		ended <- nil
		t.Fatal(err)
	}
	return ""
}

// askAdmin sends a request to an admin address and decodes its answer.
func askAdmin(t *testing.T, method, url string, header ...string) (status int, answer map[string]any) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		if header[i] == "Host" {
			req.Host = header[i+1]
		}
		req.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		t.Fatalf("%s %s answered %d with no JSON: %q", method, url, res.StatusCode, body)
	}
	return res.StatusCode, answer
}

// shop has a consumer of two topics that scales, one that does not, and an endpoint.
func shop(broker *memory.Broker) *flow.Flow {
	app := flow.New("shop", quiet(), flow.CPUs(8))
	nothing := flow.Do(func(context.Context, string) error { return nil })
	flow.Consumer(app, "bill", memory.Topic[string]{Broker: broker, Name: "orders", Partitions: 3}, flow.Discard, nothing, flow.Replicas(1, 8))
	flow.Consumer(app, "audit", memory.Topic[string]{Broker: broker, Name: "orders", Group: "audit"}, flow.Discard, nothing, flow.EnableAutoscaler(false), flow.Replicas(1, 4))
	flow.Endpoint(app, "GET /find", func(context.Context, flow.None) (string, error) { return "", nil }, flow.Replicas(1, 4), flow.Name("find"))
	return app
}

func TestScaleOverTheAdminAddress(t *testing.T) {
	app := shop(memory.NewBroker())
	base := administered(t, app)
	sizes := func() (out []string) {
		for _, p := range app.Snapshot().Processors {
			out = append(out, fmt.Sprintf("%s %d %s %d-%d", p.Name, p.Replicas, p.Autoscale.Mode, p.Autoscale.Min, p.Autoscale.Max))
		}
		return out
	}
	equal(t, "at the start", sizes(), []string{"bill 1 auto 1-8", "audit 1 off 1-4", "find 1 auto 1-4"})
	for _, tc := range []struct {
		query string
		says  string // mode and replicas of the answer
		sizes []string
	}{
		{"processor=bill&replicas=4&for=10m", "fixed 1 -> 4", []string{"bill 4 fixed 1-8", "audit 1 off 1-4", "find 1 auto 1-4"}},
		{"processor=audit&replicas=2", "fixed 1 -> 2", []string{"bill 4 fixed 1-8", "audit 2 fixed 1-4", "find 1 auto 1-4"}},
		{"processor=find&replicas=9&max=9", "fixed 1 -> 9", []string{"bill 4 fixed 1-8", "audit 2 fixed 1-4", "find 9 fixed 1-9"}},
		{"processor=bill&replicas=auto", "auto 4 -> 4", []string{"bill 4 auto 1-8", "audit 2 fixed 1-4", "find 9 fixed 1-9"}},
		{"processor=audit&replicas=auto", "off 2 -> 1", []string{"bill 4 auto 1-8", "audit 1 off 1-4", "find 9 fixed 1-9"}},
		{"processor=bill&min=5&max=6", "auto 4 -> 5", []string{"bill 5 auto 5-6", "audit 1 off 1-4", "find 9 fixed 1-9"}},
	} {
		status, answer := askAdmin(t, "POST", base+"/scale?"+tc.query)
		auto, _ := answer["autoscale"].(map[string]any)
		says := fmt.Sprintf("%v %v -> %v", auto["mode"], answer["from"], answer["replicas"])
		if status != 200 || says != tc.says {
			t.Errorf("%s: %d, %q, want %q", tc.query, status, says, tc.says)
		}
		if until := auto["fixed_until"]; (until != nil) != strings.Contains(tc.query, "for=") {
			t.Errorf("%s: fixed until %v", tc.query, until)
		}
		equal(t, "after "+tc.query, sizes(), tc.sizes)
	}
	status, answer := askAdmin(t, "GET", base+"/decisions?processor=bill")
	var got []string
	all, _ := answer["decisions"].([]any)
	for _, d := range all {
		d := d.(map[string]any)
		got = append(got, fmt.Sprintf("%v %v %v", d["from"], d["replicas"], d["reason"]))
	}
	want := []string{"1 4 fixed at 4 for 10m0s: 1 -> 4", "4 4 given back to the autoscaler: 4 -> 4", "4 5 bounds are 5 to 6: 4 -> 5"}
	if status != 200 || cmp.Diff(want, got) != "" {
		t.Errorf("%d: %s", status, cmp.Diff(want, got))
	}
	res, err := http.Get(base + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	metrics := text(t, res)
	_ = res.Body.Close()
	for _, line := range []string{
		`flow_autoscale_decisions_total{direction="up",processor="bill",rule="by hand"} 2`,
		`flow_autoscale_decisions_total{direction="hold",processor="bill",rule="by hand"} 1`,
		`flow_replicas{processor="bill"} 5`,
		`flow_wanted_replicas{processor="find"} 9`,
		`flow_wanted_cpus{processor="bill"} 0`,
	} {
		if !strings.Contains(metrics, line+"\n") {
			t.Errorf("metrics lack %s", line)
		}
	}
}

func TestAdminAddressRefuses(t *testing.T) {
	base := administered(t, shop(memory.NewBroker()))
	for _, tc := range []struct {
		request string
		status  int
		says    string
	}{
		{"POST /scale?processor=bill", 400, "nothing is asked for"},
		{"POST /scale?replicas=2", 400, "processor is missing: want one of bill, audit, find"},
		{"POST /scale?processor=bil&replicas=2", 404, `there is no processor "bil"`},
		{"POST /scale?processor=bill&replicas=many", 400, `replicas="many": want a whole number`},
		{"POST /scale?processor=bill&replicas=0", 400, "pause the processor"},
		{"POST /scale?processor=bill&replicas=9", 409, "9 replicas are outside of the bounds 1 to 8: give other bounds"},
		{"POST /scale?processor=bill&min=9", 409, "the bounds would be 9 to 8"},
		{"POST /scale?processor=bill&max=-1", 400, `max="-1"`},
		{"POST /scale?processor=bill&replicas=2&for=10", 400, "want a duration with its unit"},
		{"POST /scale?processor=bill&for=10m", 409, "goes with a number"},
		{"POST /scale?processor=bill&repicas=2", 400, `"repicas" is not a parameter of /scale: want processor, replicas, for, min, max`},
		{"POST /scale?processor=bill&replicas=2&replicas=3", 400, "replicas is given 2 times"},
		{"POST /scale?processor=bill&replicas=2&for=", 400, "for is empty"},
		{"POST /scale?processor=bill&replicas=2&for=NaN", 400, "want a duration with its unit"},
		{"POST /scale?processor=bill&replicas=2&for=-10m", 400, "more than 0"},
		{"POST /scale?processor=bill&replicas=2&for=9999999999h", 400, "want a duration"},
		{"POST /scale?processor=bill&replicas=&max=4", 400, "replicas is empty"},
		{"POST /scale?processor=bill&replicas=-1", 400, "want a whole number, at least 1"},
		{"POST /scale?processor=bill&replicas=99999999999999999999", 400, "want a whole number"},
		{"POST /scale?processor=bill&replicas=9223372036854775807&max=9223372036854775807", 409, "want at most 100000"},
		{"POST /scale?processor=bill&replicas=%zz", 400, "the query cannot be read"},
		{"POST /pause", 400, "processor is missing"},
		{"POST /pause?processor=bill&topic=", 400, "topic is empty"},
		{"POST /pause?processor=bill&partition=", 400, "partition is empty"},
		{"POST /pause?processor=find", 404, `there is no consumer "find"`},
		{"POST /pause?processor=bill&partition=7", 409, "does not hold partition 7"},
		{"POST /pause?processor=bill&partition=x", 400, "want a number"},
		{"POST /pause?processor=bill&topic=other", 409, `no partition of topic "other"`},
		{"GET /decisions?processor=nobody", 404, "there is no such processor"},
	} {
		method, path, _ := strings.Cut(tc.request, " ")
		status, answer := askAdmin(t, method, base+path)
		if said, _ := answer["error"].(string); status != tc.status || !strings.Contains(said, tc.says) {
			t.Errorf("%s: %d %q, want %d %q", tc.request, status, said, tc.status, tc.says)
		}
	}
	res, err := http.Get(base + "/scale?processor=bill&replicas=2")
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	equal(t, "status of a GET", res.StatusCode, 405)
}

// What stands in a body is not left out without a word: "for" would be, and the number
// would stay for good.
func TestAdminAddressRefusesBodies(t *testing.T) {
	app := shop(memory.NewBroker())
	base := administered(t, app)
	for _, kind := range []string{"application/x-www-form-urlencoded", "application/json", ""} {
		for name, body := range map[string]io.Reader{"of known length": strings.NewReader("for=10m"), "in chunks": io.MultiReader(strings.NewReader("for=10m"))} {
			res, err := http.Post(base+"/scale?processor=bill&replicas=2", kind, body)
			if err != nil {
				t.Fatal(err)
			}
			said := text(t, res)
			_ = res.Body.Close()
			if res.StatusCode != 400 || !strings.Contains(said, "give all parameters in the query") {
				t.Errorf("a body %s: %d %s", name, res.StatusCode, said)
			}
		}
	}
	if n := app.Snapshot().Processors[0].Replicas; n != 1 {
		t.Errorf("%d replicas after what was refused", n)
	}
	res, err := http.Post(base+"/scale?processor=bill&replicas=2", "application/json", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	equal(t, "status without a body", res.StatusCode, 200)
}

// A page of another site cannot make the browser of somebody on this machine change a
// flow: not by its name, and not by a name that it points at this machine.
func TestAdminAddressRefusesPagesOfOtherSites(t *testing.T) {
	app := shop(memory.NewBroker())
	base := administered(t, app)
	own := strings.TrimPrefix(base, "http://")
	for _, tc := range []struct {
		name   string
		header []string
		status int
	}{
		{"no browser", nil, 200},
		{"no browser, by name", []string{"Host", "flow.example:9650"}, 200},
		{"another site", []string{"Sec-Fetch-Site", "cross-site"}, 403},
		{"another port of this machine", []string{"Sec-Fetch-Site", "same-site", "Origin", "http://127.0.0.1:1"}, 403},
		{"another site, old browser", []string{"Origin", "http://evil.example"}, 403},
		{"a file", []string{"Origin", "null"}, 403},
		{"a name pointed here", []string{"Sec-Fetch-Site", "same-origin", "Origin", "http://evil.example:9650", "Host", "evil.example:9650"}, 403},
		{"a name pointed here, old browser", []string{"Origin", "http://evil.example", "Host", "evil.example"}, 403},
		{"its own page", []string{"Sec-Fetch-Site", "same-origin", "Origin", base}, 200},
		{"its own page by localhost", []string{"Sec-Fetch-Site", "same-origin", "Origin", "http://localhost:9650", "Host", "localhost:9650"}, 200},
		{"its own page by IPv6", []string{"Sec-Fetch-Site", "same-origin", "Origin", "http://[::1]:9650", "Host", "[::1]:9650"}, 200},
		{"its own page, old browser", []string{"Origin", "http://" + own}, 200},
	} {
		for i, path := range []string{"/scale?processor=bill&replicas=2", "/pause?processor=bill", "/resume?processor=bill"} {
			if status, answer := askAdmin(t, "POST", base+path, tc.header...); status != tc.status {
				t.Errorf("%s: %s: %d %v, want %d", tc.name, path, status, answer, tc.status)
			}
			if p := app.Snapshot().Processors[0]; p.Paused && (i != 1 || tc.status != 200) || tc.status == 403 && p.Replicas != 2 && p.Replicas != 1 {
				t.Errorf("%s: %s has changed the flow: %d replicas, paused %v", tc.name, path, p.Replicas, p.Paused)
			}
		}
	}
}

func TestPauseOverTheAdminAddress(t *testing.T) {
	broker := memory.NewBroker()
	broker.Append("orders", 0, primitives.Record{Value: []byte("a")})
	app := shop(broker)
	base := administered(t, app)
	paused := func() (out []string) {
		p := app.Snapshot().Processors[0]
		if p.Paused {
			out = append(out, "all")
		}
		for _, l := range p.Lanes {
			if l.Paused {
				out = append(out, fmt.Sprintf("%s/%d", l.Topic, l.Partition))
			}
		}
		return out
	}
	for deadline := time.Now().Add(10 * time.Second); len(app.Snapshot().Processors[0].Lanes) < 3; {
		if time.Now().After(deadline) {
			t.Fatal("the partitions were not assigned")
		}
		<-time.After(time.Millisecond)
	}
	for _, tc := range []struct {
		path   string
		answer map[string]any
		paused []string
	}{
		{"/pause?processor=bill", map[string]any{"processor": "bill", "paused": true}, []string{"all"}},
		{"/resume?processor=bill", map[string]any{"processor": "bill", "paused": false}, nil},
		{"/pause?processor=bill&partition=2&partition=1",
			map[string]any{"processor": "bill", "paused": true, "partitions": []any{"orders/2", "orders/1"}}, []string{"orders/1", "orders/2"}},
		{"/resume?processor=bill&topic=orders&partition=2",
			map[string]any{"processor": "bill", "paused": false, "partitions": []any{"orders/2"}}, []string{"orders/1"}},
		{"/pause?processor=bill&topic=orders",
			map[string]any{"processor": "bill", "paused": true, "partitions": []any{"orders/0", "orders/1", "orders/2"}}, []string{"orders/0", "orders/1", "orders/2"}},
	} {
		status, answer := askAdmin(t, "POST", base+tc.path)
		if d := cmp.Diff(tc.answer, answer); status != 200 || d != "" {
			t.Errorf("%s: %d %s", tc.path, status, d)
		}
		equal(t, "paused after "+tc.path, paused(), tc.paused)
	}
}

// Before the flow runs, and when it has ended, nothing can be changed.
func TestScaleOfAFlowThatDoesNotRun(t *testing.T) {
	app := shop(memory.NewBroker())
	gate, reached := make(chan struct{}), make(chan struct{})
	flow.Consumer(app, "slow", memory.Topic[string]{Broker: memory.NewBroker(), Name: "in"}, flow.Discard,
		flow.Do(func(context.Context, string) error { return nil }),
		flow.Setup(func(ctx context.Context) (context.Context, error) { close(reached); <-gate; return ctx, nil }))
	listener := httptest.NewServer(http.NotFoundHandler()) // for a free port
	addr := listener.Listener.Addr().String()
	listener.Close()
	t.Setenv("FLOW_HTTP", "off")
	t.Setenv("FLOW_ADMIN", addr)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- app.Run(ctx) }()
	select {
	case <-reached:
	case err := <-ended:
		t.Fatal(err)
	}
	status, answer := askAdmin(t, "POST", "http://"+addr+"/scale?processor=bill&replicas=2")
	if said, _ := answer["error"].(string); status != 503 || said != "the flow is starting" {
		t.Errorf("%d %q", status, said)
	}
	close(gate)
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	http.DefaultClient.CloseIdleConnections()
}
