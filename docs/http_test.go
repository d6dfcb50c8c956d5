package docs_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/flowkit-go/flow"
	"github.com/flowkit-go/flow/primitives/memory"
)

// The statuses in the tables of http.md are those that are answered.
func TestStatuses(t *testing.T) {
	type order struct {
		ID    string `json:"id" required:"true"`
		Count int    `json:"count"`
		Limit int    `query:"limit" json:"-"`
	}
	broker := memory.NewBroker()
	broker.Control(func(op memory.Op) error {
		if op.Kind == memory.OpWrite && string(op.Records[0].Value) == `{"id":"unlucky","count":0}` {
			return errors.New("the disk is full")
		}
		return nil
	})
	app := flow.New("shop", flow.HTTPAddr("off"), flow.AdminAddr("127.0.0.1:0"), flow.Logger(slog.New(slog.DiscardHandler)))
	flow.Collector(app, "POST /orders", memory.Topic[order]{Broker: broker, Name: "orders"},
		func(_ context.Context, o order) (order, error) {
			switch o.ID {
			case "teapot":
				return o, flow.HTTPError(http.StatusTeapot, "short and stout")
			case "secret":
				return o, errors.New("password is hunter2")
			case "panic":
				panic("password is hunter2")
			case "skip":
				return o, flow.Skip
			}
			return o, nil
		}, flow.MaxBody(200))
	flow.Endpoint(app, "GET /nothing", func(context.Context, struct{}) (struct{}, error) { return struct{}{}, nil })

	ctx, stop := context.WithCancel(t.Context())
	ready, ended := make(chan struct{}), make(chan error, 1)
	app.AddReady(func(flow.Addresses) { close(ready) })
	go func() { ended <- app.Run(ctx) }()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	select {
	case <-ready:
	case err := <-ended:
		t.Fatal(err)
	}

	text := read(t, "http.md")
	const json = "application/json"
	for _, tt := range []struct {
		name, method, path, contentType, body string
		status                                int
	}{
		{"success", "POST", "/orders", json, `{"id":"a"}`, 200},
		{"skip", "POST", "/orders", json, `{"id":"skip"}`, 200},
		{"no output", "GET", "/nothing", "", "", 204},
		{"no such path", "GET", "/elsewhere", "", "", 404},
		{"method", "DELETE", "/orders", "", "", 405},
		{"not JSON", "POST", "/orders", json, `{"id":`, 400},
		{"empty", "POST", "/orders", json, ``, 400},
		{"broken %", "POST", "/orders?limit=%zz", json, `{"id":"a"}`, 400},
		{"wrong type", "POST", "/orders", json, `{"id":7}`, 422},
		{"out of range", "POST", "/orders", json, `{"id":"a","count":1e30}`, 422},
		{"missing", "POST", "/orders", json, `{}`, 422},
		{"twice", "POST", "/orders?limit=1&limit=2", json, `{"id":"a"}`, 422},
		{"too large", "POST", "/orders", json, `{"id":"` + strings.Repeat("a", 300) + `"}`, 413},
		{"content type", "POST", "/orders", "text/csv", `a`, 415},
		{"charset", "POST", "/orders", json + "; charset=latin1", `{"id":"a"}`, 415},
		{"error of the handler", "POST", "/orders", json, `{"id":"teapot"}`, 418},
		{"other error", "POST", "/orders", json, `{"id":"secret"}`, 500},
		{"panic", "POST", "/orders", json, `{"id":"panic"}`, 500},
		{"sink", "POST", "/orders", json, `{"id":"unlucky"}`, 503},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest(tt.method, tt.path, strings.NewReader(tt.body))
			if tt.contentType != "" {
				r.Header.Set("Content-Type", tt.contentType)
			}
			w := httptest.NewRecorder()
			app.Handler().ServeHTTP(w, r)
			if w.Code != tt.status {
				t.Errorf("status %d, want %d: %s", w.Code, tt.status, w.Body)
			}
			if tt.status >= 400 && w.Header().Get("Content-Type") != "application/problem+json" {
				t.Errorf("an error is answered as %s", w.Header().Get("Content-Type"))
			}
			if tt.status == 405 && !strings.Contains(w.Header().Get("Allow"), "POST") {
				t.Errorf("Allow is %q", w.Header().Get("Allow"))
			}
			if strings.Contains(w.Body.String(), "hunter2") || strings.Contains(w.Body.String(), "disk") {
				t.Errorf("the answer tells what is none of the client's business: %s", w.Body)
			}
			if instance := strings.Contains(w.Body.String(), `"instance"`); instance != (tt.status >= 500) {
				t.Errorf("instance given: %v", instance)
			}
			if tt.status != 418 && !strings.Contains(text, strconv.Itoa(tt.status)) {
				t.Errorf("http.md does not have status %d", tt.status)
			}
		})
	}
}
