package web

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
)

type redirect string

func (to redirect) Respond(w http.ResponseWriter, r *http.Request) error {
	if to == "" {
		return NewError(http.StatusGone, "moved away")
	}
	http.Redirect(w, r, string(to), http.StatusSeeOther)
	return nil
}

type unencodable struct{ A int }

func (unencodable) MarshalJSON() ([]byte, error) { return nil, errors.New("secret internals") }

func get[Out any](pattern string, out Out) *Route {
	return must(Endpoint(pattern, func(context.Context, struct{}) (Out, error) { return out, nil }))
}

func TestReply(t *testing.T) {
	type item struct {
		A int `json:"a"`
	}
	created := Response[item]{Status: 201, Header: http.Header{"location": {"/x/1"}}, Body: item{1}}
	tests := []struct {
		route             *Route
		status            int
		contentType, body string
	}{
		{get("GET /struct", item{1}), 200, "application/json", `{"a":1}`},
		{get("GET /html", map[string]string{"k": "<&>"}), 200, "application/json", `{"k":"<&>"}`},
		{get("GET /string", "hé"), 200, "text/plain; charset=utf-8", "hé"},
		{get("GET /empty", ""), 200, "text/plain; charset=utf-8", ""},
		{get("GET /bytes", []byte{0, 1}), 200, "application/octet-stream", "\x00\x01"},
		{get("GET /nobytes", []byte(nil)), 204, "", ""},
		{get("GET /none", struct{}{}), 204, "", ""},
		{get("GET /nil", (*item)(nil)), 204, "", ""},
		{get[any]("GET /nilany", nil), 204, "", ""},
		{get[any]("GET /any", 5), 200, "application/json", "5"},
		{get("GET /nilslice", []item(nil)), 200, "application/json", "[]"},
		{get("GET /nilmap", map[string]int(nil)), 200, "application/json", "{}"},
		{get("GET /created", created), 201, "application/json", `{"a":1}`},
		{get("GET /nobody", Response[struct{}]{Status: 202}), 202, "", ""},
		{get("GET /text", Response[string]{Header: http.Header{"Content-Type": {"text/csv"}}, Body: "a,b"}), 200, "text/csv", "a,b"},
		{get("GET /redirect", redirect("/y")), 303, "text/html; charset=utf-8", "<a href=\"/y\">See Other</a>.\n\n"},
		{get("GET /responder", Responder(redirect("/y"))), 303, "text/html; charset=utf-8", "<a href=\"/y\">See Other</a>.\n\n"},
		{get[Responder]("GET /noresponder", nil), 204, "", ""},
		{must(Collector("GET /collect", func(context.Context, struct{}) error { return nil })), 200, "application/json", `{"success": true}`},
	}
	for _, tt := range tests {
		t.Run(tt.route.Pattern.Path, func(t *testing.T) {
			seen := 0
			tt.route.Observe = func(o Observation) { seen = o.Status }
			s, log := newTestServer(t, Config{}, tt.route)
			w := send(s, "GET", tt.route.Pattern.Path, "")
			if w.Code != tt.status || w.Body.String() != tt.body || w.Header().Get("Content-Type") != tt.contentType {
				t.Errorf("got %d %q %q, want %d %q %q", w.Code, w.Header().Get("Content-Type"), w.Body, tt.status, tt.contentType, tt.body)
			}
			if seen != tt.status {
				t.Errorf("observed %d", seen)
			}
			if log.Len() > 0 {
				t.Error(log)
			}
		})
	}
	s, _ := newTestServer(t, Config{}, get("GET /created", created))
	if got := send(s, "GET", "/created", "").Header().Get("Location"); got != "/x/1" {
		t.Errorf("Location %q", got)
	}
}

func TestReplyNeedsOneStatus(t *testing.T) {
	if _, err := NewReply[Response[redirect]](); err == nil || !strings.Contains(err.Error(), "sets its own status") {
		t.Errorf("a Response around a Responder: %v", err)
	}
}

func BenchmarkReply(b *testing.B) {
	reply := must(NewReply[benchTotal]())
	r, err := http.NewRequest("GET", "/", nil)
	if err != nil {
		b.Fatal(err)
	}
	w := &benchWriter{header: http.Header{}}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := reply.Write(w, r, benchTotal{"o-1", 5}); err != nil {
			b.Fatal(err)
		}
	}
}
