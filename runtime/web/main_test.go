package web

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// newTestServer returns a server with the routes, whose log goes to the returned builder.
func newTestServer(t *testing.T, config Config, routes ...*Route) (*Server, *strings.Builder) {
	t.Helper()
	log := &strings.Builder{}
	config.Logger = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	s := NewServer(config)
	for _, rt := range routes {
		if err := s.Add(rt); err != nil {
			t.Fatal(err)
		}
	}
	return s, log
}

// send answers a request without a network. Headers are "Name: value".
func send(s *Server, method, target, body string, headers ...string) *httptest.ResponseRecorder {
	var r *http.Request
	if body == "" {
		r = httptest.NewRequest(method, target, nil)
	} else {
		r = httptest.NewRequest(method, target, strings.NewReader(body))
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Add(name, value)
	}
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, r)
	return w
}
