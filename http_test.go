package flow_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flowkit-go/flow"
	"github.com/flowkit-go/flow/primitives/memory"
)

// serving starts an app without a network and returns what answers its requests.
func serving(t *testing.T, app *flow.Flow) http.Handler {
	t.Helper()
	t.Setenv("FLOW_HTTP", "off")
	t.Setenv("FLOW_ADMIN", "off")
	ctx, stop := context.WithCancel(t.Context())
	ready, ended := make(chan struct{}), make(chan error, 1)
	app.AddReady(func(flow.Addresses) { close(ready) })
	go func() { ended <- app.Run(ctx) }()
	select {
	case <-ready:
	case err := <-ended:
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return app.Handler()
}

func post(h http.Handler, path, contentType, body string) *http.Response {
	req := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
	req.Header.Set("Content-Type", contentType)
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, req)
	return rec.Result()
}

func text(t *testing.T, res *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func quiet() flow.Option { return flow.Logger(slog.New(slog.DiscardHandler)) }

func TestCollectorAnswersAfterTheSinkConfirmed(t *testing.T) {
	broker := memory.NewBroker()
	sink := memory.Topic[invoice]{Broker: broker, Name: "invoices"}
	app := flow.New("shop", quiet())
	flow.Collector(app, "POST /invoices", sink, pass[invoice])
	h := serving(t, app)

	confirm, asked := make(chan error), make(chan struct{})
	remove := broker.Control(func(op memory.Op) error {
		if op.Kind != memory.OpWrite {
			return nil
		}
		close(asked)
		return <-confirm
	})
	answer := make(chan *http.Response, 1)
	go func() { answer <- post(h, "/invoices", "application/json", `{"id":"a","cents":3}`) }()
	<-asked
	select {
	case res := <-answer:
		t.Fatalf("answered %d before the sink confirmed", res.StatusCode)
	default:
	}
	confirm <- nil
	res := <-answer
	remove()
	if got := text(t, res); res.StatusCode != http.StatusOK || got != `{"success": true}` {
		t.Errorf("answer %d %s", res.StatusCode, got)
	}
	if got := broker.Records("invoices", 0); len(got) != 1 || string(got[0].Value) != `{"id":"a","cents":3}` {
		t.Errorf("stored %v", got)
	}
}

func TestCollectorFailures(t *testing.T) {
	broker := memory.NewBroker()
	sink := memory.Topic[invoice]{Broker: broker, Name: "invoices"}
	app := flow.New("shop", quiet())
	flow.Collector(app, "POST /invoices", sink, func(_ context.Context, i invoice) (invoice, error) {
		switch i.ID {
		case "secret":
			return i, errors.New("password of the database is hunter2")
		case "panic":
			panic("password of the database is hunter2")
		case "teapot":
			return i, flow.HTTPError(http.StatusTeapot, "short and stout")
		case "skip":
			return i, flow.Skip
		}
		return i, nil
	}, flow.MaxBody(100))
	h := serving(t, app)
	broker.Control(func(op memory.Op) error {
		if op.Kind == memory.OpWrite && strings.Contains(string(op.Records[0].Value), "away") {
			return errors.New("password of the broker is hunter2")
		}
		return nil
	})
	for _, tc := range []struct {
		name, contentType, body string
		status                  int
		contains                string
	}{
		{"malformed", "application/json", `{"id":`, 400, "JSON"},
		{"wrong type", "application/json", `{"id":"a","cents":"3"}`, 422, "cents"},
		{"too large", "application/json", `{"id":"` + strings.Repeat("x", 200) + `"}`, 413, "100"},
		{"wrong media type", "text/html", `<p>`, 415, "application/json"},
		{"error of the handler", "application/json", `{"id":"secret"}`, 500, "instance"},
		{"panic of the handler", "application/json", `{"id":"panic"}`, 500, "instance"},
		{"status of the handler", "application/json", `{"id":"teapot"}`, 418, "short and stout"},
		{"sink away", "application/json", `{"id":"away"}`, 503, "try again"},
		{"skipped", "application/json", `{"id":"skip"}`, 200, `{"success": true}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			res := post(h, "/invoices", tc.contentType, tc.body)
			body := text(t, res)
			if res.StatusCode != tc.status || !strings.Contains(body, tc.contains) {
				t.Errorf("answer %d %s, want %d with %q", res.StatusCode, body, tc.status, tc.contains)
			}
			if strings.Contains(body, "hunter2") {
				t.Errorf("internal text in the answer: %s", body)
			}
			if tc.status >= 400 {
				if got := res.Header.Get("Content-Type"); got != "application/problem+json" {
					t.Errorf("content type %s", got)
				}
				var problem struct {
					Title  string
					Status int
				}
				if err := json.Unmarshal([]byte(body), &problem); err != nil || problem.Status != tc.status || problem.Title == "" {
					t.Errorf("problem %s: %v", body, err)
				}
			}
		})
	}
	req := httptest.NewRequest(http.MethodDelete, "/invoices", nil)
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, req)
	if rec.Code != http.StatusMethodNotAllowed || !strings.Contains(rec.Header().Get("Allow"), "POST") {
		t.Errorf("DELETE: %d, Allow %q", rec.Code, rec.Header().Get("Allow"))
	}
	if got := len(broker.Records("invoices", 0)); got != 0 {
		t.Errorf("%d records stored, want none", got)
	}
}

func TestEndpointBinds(t *testing.T) {
	type query struct {
		ID     string        `path:"id"`
		Limit  int           `query:"limit" default:"10"`
		Tags   []string      `query:"tag"`
		Tenant string        `header:"X-Tenant"`
		Wait   time.Duration `query:"wait"`
		Note   string        `json:"note"`
	}
	app := flow.New("shop", quiet())
	flow.Endpoint(app, "PUT /orders/{id}", func(_ context.Context, q query) (query, error) { return q, nil })
	h := serving(t, app)
	req := httptest.NewRequest(http.MethodPut, "/orders/a%2Fb?tag=x&tag=y&wait=2s", strings.NewReader(`{"note":"n"}`))
	req.Header.Set("X-Tenant", "t")
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, req)
	var got query
	if err := json.Unmarshal(rec.Body.Bytes(), &got); err != nil {
		t.Fatalf("%s: %v", rec.Body, err)
	}
	if diff := cmp.Diff(query{"a/b", 10, []string{"x", "y"}, "t", 2 * time.Second, "n"}, got); diff != "" {
		t.Error(diff)
	}
	rec = httptest.NewRecorder()
	h.ServeHTTP(rec, httptest.NewRequest(http.MethodPut, "/orders/a?limit=many", strings.NewReader("{}")))
	if rec.Code < 400 || rec.Code >= 500 || !strings.Contains(rec.Body.String(), "limit") {
		t.Errorf("answer %d %s", rec.Code, rec.Body)
	}
}

type replicaKey struct{}

func TestSetupOfHTTPReplicas(t *testing.T) {
	torn := make(chan any, 3)
	n := 0
	app := flow.New("shop", quiet())
	flow.Endpoint(app, "GET /who", func(ctx context.Context, _ struct{}) (int, error) { return ctx.Value(replicaKey{}).(int), nil },
		flow.NumReplicas(2),
		flow.Setup(func(ctx context.Context) (context.Context, error) {
			n++
			return context.WithValue(ctx, replicaKey{}, n), nil
		}),
		flow.Teardown(func(ctx context.Context) error { torn <- ctx.Value(replicaKey{}); return nil }))
	t.Run("run", func(t *testing.T) {
		h := serving(t, app)
		seen := map[string]bool{}
		for range 4 {
			rec := httptest.NewRecorder()
			h.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/who", nil))
			seen[strings.TrimSpace(rec.Body.String())] = true
		}
		if diff := cmp.Diff(map[string]bool{"1": true, "2": true}, seen); diff != "" {
			t.Error(diff)
		}
	})
	if len(torn) != 2 {
		t.Errorf("%d replicas torn down, want 2", len(torn))
	}
}

func TestPlainHandler(t *testing.T) {
	app := flow.New("shop", quiet())
	flow.Handle(app, "GET /files/*", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "file "+r.URL.Path)
	}))
	h := serving(t, app)
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/files/a/b", nil))
	if rec.Code != http.StatusOK || rec.Body.String() != "file /files/a/b" {
		t.Errorf("answer %d %s", rec.Code, rec.Body)
	}
}
