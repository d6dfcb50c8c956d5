package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
)

const secret = "pq: password authentication failed for user root"

func failing(err error) func(context.Context, struct{}) (string, error) {
	return func(context.Context, struct{}) (string, error) { return "", err }
}

// What goes wrong inside is in the log, under the id that the client got, and
// nowhere else.
func TestInternalErrorsStayInside(t *testing.T) {
	tests := map[string]*Route{
		"error":    must(Endpoint("GET /x", failing(errors.New(secret)))),
		"wrapped":  must(Endpoint("GET /x", failing(fmt.Errorf("find: %w", errors.New(secret))))),
		"panic":    must(Endpoint("GET /x", func(context.Context, struct{}) (string, error) { panic(secret) })),
		"encoding": get("GET /x", unencodable{}),
		"canceled": must(Endpoint("GET /x", failing(fmt.Errorf("%s: %w", secret, context.Canceled)))),
		"panic with an Error": must(Endpoint("GET /x", func(context.Context, struct{}) (string, error) {
			panic(NewError(404, "no"))
		})),
		"status out of range": must(Endpoint("GET /x", failing(&Error{Status: 200, Err: errors.New(secret)}))),
		"bad reply status":    get("GET /x", Response[string]{Status: 99, Body: secret}),
		"collector":           must(Collector("GET /x", func(context.Context, struct{}) error { return errors.New(secret) })),
		"responder": must(Endpoint("GET /x", func(context.Context, struct{}) (Responder, error) {
			return responderFunc(func(http.ResponseWriter, *http.Request) error { return errors.New(secret) }), nil
		})),
	}
	instance := regexp.MustCompile(`^urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	for name, rt := range tests {
		t.Run(name, func(t *testing.T) {
			s, log := newTestServer(t, Config{}, rt)
			w := send(s, "GET", "/x", "")
			if w.Code != 500 || strings.Contains(w.Body.String(), "pq") || strings.Contains(w.Body.String(), "secret") {
				t.Fatalf("%d %s", w.Code, w.Body)
			}
			var p problem
			if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
				t.Fatal(err)
			}
			if !instance.MatchString(p.Instance) || !strings.Contains(log.String(), p.Instance) {
				t.Errorf("instance %q, log %s", p.Instance, log)
			}
			if strings.HasPrefix(name, "panic") && !strings.Contains(log.String(), "failure_test.go") {
				t.Errorf("no stack in the log: %s", log)
			}
		})
	}
}

type responderFunc func(http.ResponseWriter, *http.Request) error

func (f responderFunc) Respond(w http.ResponseWriter, r *http.Request) error { return f(w, r) }

func TestChosenStatus(t *testing.T) {
	tests := []struct {
		err    error
		status int
		detail string
	}{
		{NewError(404, "no such order"), 404, "no such order"},
		{fmt.Errorf("find: %w", NewError(409, "already paid")), 409, "already paid"},
		{&Error{Status: 503, Detail: "the table is being built", Header: http.Header{"Retry-After": {"60"}}}, 503, "the table is being built"},
		{context.DeadlineExceeded, 504, "the request took too long"},
		{ErrBusy, 503, "too many requests at this time: try again"},
		{ErrStopping, 503, "the server is stopping: try again"},
	}
	for _, tt := range tests {
		s, log := newTestServer(t, Config{}, must(Endpoint("GET /x", failing(tt.err))))
		w := send(s, "GET", "/x", "")
		var p problem
		if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
			t.Fatal(err)
		}
		if w.Code != tt.status || p.Detail != tt.detail {
			t.Errorf("%v: %d %s", tt.err, w.Code, w.Body)
		}
		if (tt.status == 503) != (w.Header().Get("Retry-After") != "") {
			t.Errorf("%v: Retry-After %q", tt.err, w.Header().Get("Retry-After"))
		}
		if (tt.status < 500 || tt.err == ErrBusy) != (log.Len() == 0) {
			t.Errorf("%v: log %q", tt.err, log)
		}
	}
}

func TestClientGone(t *testing.T) {
	status := 0
	rt := must(Endpoint("GET /x", func(ctx context.Context, _ struct{}) (string, error) { return "", ctx.Err() }))
	rt.Observe = func(o Observation) { status = o.Status }
	s, log := newTestServer(t, Config{}, rt)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, httptest.NewRequestWithContext(ctx, "GET", "/x", nil))
	if status != StatusClientGone || w.Body.Len() > 0 || !strings.Contains(log.String(), "level=DEBUG") {
		t.Errorf("status %d, body %q, log %s", status, w.Body, log)
	}
}

// That the client left does not hide what went wrong for another reason.
func TestClientGoneAndFailure(t *testing.T) {
	s, log := newTestServer(t, Config{}, must(Endpoint("GET /x", failing(errors.New(secret)))))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s.Handler().ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, "GET", "/x", nil))
	if !strings.Contains(log.String(), "level=ERROR") || !strings.Contains(log.String(), secret) {
		t.Errorf("log %s", log)
	}
}

func TestPlainHandlers(t *testing.T) {
	s, log := newTestServer(t, Config{})
	for pattern, h := range map[string]http.HandlerFunc{
		"/echo/*": func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Method, " ", r.PathValue("*")) },
		"POST /limited": func(w http.ResponseWriter, r *http.Request) {
			if _, err := io.ReadAll(r.Body); err != nil {
				http.Error(w, err.Error(), http.StatusRequestEntityTooLarge)
			}
		},
		"GET /early": func(http.ResponseWriter, *http.Request) { panic(secret) },
		"GET /late": func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, "half")
			panic(secret)
		},
		"GET /abort": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"GET /flush": func(w http.ResponseWriter, _ *http.Request) { w.(http.Flusher).Flush() },
	} {
		if _, err := s.Handle(pattern, h); err != nil {
			t.Fatal(err)
		}
	}
	for _, method := range []string{"GET", "POST", "OPTIONS"} {
		if w := send(s, method, "/echo/a/b", ""); w.Body.String() != method+" a/b" {
			t.Errorf("%s: %d %s", method, w.Code, w.Body)
		}
	}
	if w := send(s, "POST", "/limited", strings.Repeat("x", DefaultBodyLimit+1)); w.Code != 413 {
		t.Errorf("limited: %d", w.Code)
	}
	if w := send(s, "GET", "/early", ""); w.Code != 500 || strings.Contains(w.Body.String(), "pq") {
		t.Errorf("early: %d %s", w.Code, w.Body)
	}
	if w := send(s, "GET", "/flush", ""); w.Code != 200 || !w.Flushed {
		t.Errorf("flush: %d", w.Code)
	}
	log.Reset()
	if !aborts(func() { send(s, "GET", "/late", "") }) || !strings.Contains(log.String(), secret) {
		t.Errorf("late: the answer is not cut off, or not logged: %s", log)
	}
	if !aborts(func() { send(s, "GET", "/abort", "") }) {
		t.Error("ErrAbortHandler did not reach net/http")
	}
}

func aborts(f func()) (aborted bool) {
	defer func() { aborted = recover() == http.ErrAbortHandler }()
	f()
	return false
}

func TestMiddleware(t *testing.T) {
	var order []string
	layer := func(name string) func(http.Handler) http.Handler {
		return func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				order = append(order, name)
				if r.URL.Path == "/panic" && name == "inner" {
					panic(secret)
				}
				next.ServeHTTP(w, r)
			})
		}
	}
	s, _ := newTestServer(t, Config{Middleware: []func(http.Handler) http.Handler{layer("outer"), layer("inner")}}, get("GET /x", "ok"))
	if w := send(s, "GET", "/x", ""); w.Code != 200 || strings.Join(order, " ") != "outer inner" {
		t.Errorf("%d, order %s", w.Code, order)
	}
	if w := send(s, "GET", "/panic", ""); w.Code != 500 || strings.Contains(w.Body.String(), "pq") {
		t.Errorf("panic: %d %s", w.Code, w.Body)
	}
}

func TestAddErrors(t *testing.T) {
	a, b := get("GET /a/{x}", ""), get("GET /a/{y}", "")
	a.Name, b.Name = "first", "second"
	s, _ := newTestServer(t, Config{}, a)
	err := s.Add(b)
	if want := "web: GET /a/{y} (second) takes the same requests as GET /a/{x} (first)"; err == nil || err.Error() != want {
		t.Errorf("conflict: %v", err)
	}
	if _, err := s.Handle("/a/{z}", http.NotFoundHandler()); err == nil {
		t.Error("a path for any method conflicts with nothing")
	}
	if err := s.Add(&Route{Pattern: must(ParsePattern("GET /b"))}); err == nil || !strings.Contains(err.Error(), "handler is nil") {
		t.Errorf("nil: %v", err)
	}
	if _, err := s.Handle("/b/{", http.NotFoundHandler()); err == nil || !strings.Contains(err.Error(), "position 4") {
		t.Errorf("bad path: %v", err)
	}
	if err := errors.Join(s.Add(get("POST /a/{x}", "")), s.Add(get("GET /", ""))); err != nil {
		t.Fatal(err)
	}
	var table []string
	for _, rt := range s.Routes() {
		table = append(table, rt.Pattern.String())
	}
	if got := strings.Join(table, ", "); got != "GET /, GET /a/{x}, POST /a/{x}" {
		t.Errorf("routes: %s", got)
	}
}
