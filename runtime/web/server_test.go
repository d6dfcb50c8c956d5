package web

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"
)

// start serves on a free port of 127.0.0.1 until the test ends.
func start(t *testing.T, config Config, routes ...*Route) (*Server, string) {
	t.Helper()
	config.Addr = "127.0.0.1:0"
	s, _ := newTestServer(t, config, routes...)
	if err := s.Listen(t.Context()); err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve() }()
	t.Cleanup(func() {
		if err := s.Shutdown(context.Background()); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return s, s.Addr().String()
}

// A client is one connection.
type client struct {
	net.Conn
	r *bufio.Reader
}

func dial(t *testing.T, addr string) *client {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return &client{conn, bufio.NewReader(conn)}
}

func (c *client) send(t *testing.T, request string) {
	t.Helper()
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
}

func (c *client) answer(t *testing.T) (*http.Response, string) {
	t.Helper()
	res, err := http.ReadResponse(c.r, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(body)
}

func (c *client) closed() bool {
	_, err := c.r.ReadByte()
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET)
}

const getX = "GET /x HTTP/1.1\r\nHost: a\r\n\r\n"

func TestServe(t *testing.T) {
	_, addr := start(t, Config{}, get("GET /x", "hello"))
	c := dial(t, addr)
	for range 3 {
		c.send(t, getX)
		if res, body := c.answer(t); res.StatusCode != 200 || body != "hello" || res.ContentLength != 5 || res.Close {
			t.Errorf("%+v %s", res, body)
		}
	}
}

func TestAddressInUse(t *testing.T) {
	_, addr := start(t, Config{})
	s := NewServer(Config{Addr: addr, AddrHint: "--http or FLOW_HTTP"})
	err := s.Listen(t.Context())
	want := fmt.Sprintf("web: address %s is in use: stop the program that listens there, or choose another address with --http or FLOW_HTTP", addr)
	if err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("got %v", err)
	}
	if err := NewServer(Config{Addr: "nonsense"}).Listen(t.Context()); err == nil || !strings.Contains(err.Error(), "nonsense cannot be listened on") {
		t.Errorf("bad address: %v", err)
	}
	if err := NewServer(Config{}).Serve(); err == nil {
		t.Error("Serve without Listen is no error")
	}
}

// held is a route whose requests say that they are there and wait for finish.
func held() (rt *Route, running chan struct{}, finish chan struct{}) {
	running, finish = make(chan struct{}, 10), make(chan struct{})
	rt = must(Endpoint("GET /x", func(ctx context.Context, _ struct{}) (string, error) {
		running <- struct{}{}
		select {
		case <-finish:
			return "done", nil
		case <-ctx.Done():
			return "", context.Cause(ctx)
		}
	}))
	return rt, running, finish
}

func TestShutdownAnswersWhatIsThere(t *testing.T) {
	rt, running, finish := held()
	s, addr := start(t, Config{}, rt)
	busy := dial(t, addr)
	busy.send(t, getX)
	<-running
	stopped := make(chan error, 1)
	go func() { stopped <- s.Shutdown(t.Context()) }()
	for { // until the port is closed
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			break
		}
		conn.Close()
	}
	select {
	case err := <-stopped:
		t.Fatalf("stopped before the answer: %v", err)
	default:
	}
	close(finish)
	if res, body := busy.answer(t); res.StatusCode != 200 || body != "done" || !res.Close {
		t.Errorf("%d %s, close %t", res.StatusCode, body, res.Close)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	if !busy.closed() {
		t.Error("the connection is still open")
	}
}

// TestShutdownClosesSilentConnections has a client that has opened a connection
// in advance, as http.Transport does, beside one that is being answered.
func TestShutdownClosesSilentConnections(t *testing.T) {
	s, addr := start(t, Config{}, get("GET /x", "hello"))
	used := dial(t, addr)
	used.send(t, "GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
	used.answer(t)
	silent := dial(t, addr)
	third := dial(t, addr)
	third.send(t, "GET /x HTTP/1.1\r\nHost: x\r\n\r\n") // accepted after silent, which the server has then, too
	third.answer(t)
	began := time.Now()
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took < silentPatience || took > silentPatience+2*time.Second {
		t.Errorf("took %v, want about %v", took, silentPatience)
	}
	if _, err := silent.r.ReadByte(); err == nil {
		t.Error("the silent connection is open")
	}
}

func TestShutdownIsBounded(t *testing.T) {
	rt, running, _ := held()
	cause := make(chan error, 1)
	handle := rt.Handler
	rt.Handler = func(ctx context.Context, w http.ResponseWriter, r *http.Request) (int, error) {
		status, err := handle(ctx, w, r)
		cause <- err
		return status, err
	}
	s, addr := start(t, Config{}, rt)
	c := dial(t, addr)
	c.send(t, getX)
	<-running
	if n := s.InFlight(); n != 1 {
		t.Errorf("%d in flight", n)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	err := s.Shutdown(ctx)
	if err == nil || !strings.Contains(err.Error(), "stopped with 1 requests under way") || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	if err := <-cause; err != ErrStopping {
		t.Errorf("the handler ended with %v", err)
	}
}

// After Cancel, handlers have what is left of the drain to answer.
func TestCancelDuringShutdown(t *testing.T) {
	rt, running, _ := held()
	s, addr := start(t, Config{}, rt)
	c := dial(t, addr)
	c.send(t, getX)
	<-running
	stopped := make(chan error, 1)
	go func() { stopped <- s.Shutdown(t.Context()) }()
	s.Cancel()
	if res, body := c.answer(t); res.StatusCode != 503 || res.Header.Get("Retry-After") == "" {
		t.Errorf("%d %s", res.StatusCode, body)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

// A request that a client sends on an open connection while the server stops is answered.
func TestLameDuck(t *testing.T) {
	s, addr := start(t, Config{LameDuck: 10 * time.Second}, get("GET /x", "hello"))
	c := dial(t, addr)
	c.send(t, getX)
	if res, _ := c.answer(t); res.Close {
		t.Error("closed before the shutdown")
	}
	began := time.Now()
	stopped := make(chan error, 1)
	go func() { stopped <- s.Shutdown(t.Context()) }()
	for !s.draining.Load() {
		if conn, err := net.Dial("tcp", addr); err == nil {
			conn.Close()
		}
	}
	c.send(t, getX)
	if res, body := c.answer(t); res.StatusCode != 200 || body != "hello" || !res.Close {
		t.Errorf("%d %s, close %t", res.StatusCode, body, res.Close)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("waited %s though no connection was left", took)
	}
}

func TestBodyOnTheWire(t *testing.T) {
	rt := must(Endpoint("POST /x", func(_ context.Context, in []int) ([]int, error) { return in, nil }))
	_, addr := start(t, Config{}, rt)
	const head = "POST /x HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
	for _, tt := range []struct {
		name, request string
		status        int
	}{
		{"chunked", head + "Transfer-Encoding: chunked\r\n\r\n2\r\n[1\r\n2\r\n,2\r\n1\r\n]\r\n0\r\n\r\n", 200},
		{"chunked and empty", head + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
		{"bad chunk", head + "Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400},
		{"announced too large", head + "Content-Length: 2000000\r\n\r\n", 413},
		{"chunked too large", head + "Transfer-Encoding: chunked\r\n\r\n" + strings.Repeat("10000\r\n"+strings.Repeat(" ", 1<<16)+"\r\n", 17), 413},
		{"empty", head + "Content-Length: 0\r\n\r\n", 400},
		{"large", head + "Content-Length: 300000\r\n\r\n[" + strings.Repeat("1,", 149999) + "", 200},
	} {
		c := dial(t, addr)
		if tt.name == "large" {
			tt.request = strings.TrimSuffix(tt.request, ",") + "]"
			tt.request = strings.Replace(tt.request, "300000", "299999", 1)
		}
		c.send(t, tt.request)
		if res, body := c.answer(t); res.StatusCode != tt.status {
			t.Errorf("%s: %d %.200s", tt.name, res.StatusCode, body)
		}
	}
}

// A panic after the first byte cuts the connection, so that the client does not
// take half an answer for a whole one.
func TestPanicOnTheWire(t *testing.T) {
	s, _ := newTestServer(t, Config{Addr: "127.0.0.1:0"}, must(Endpoint("GET /early", func(context.Context, struct{}) (string, error) { panic("early") })))
	if _, err := s.Handle("GET /late", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "10")
		io.WriteString(w, "half")
		w.(http.Flusher).Flush()
		panic("late")
	})); err != nil {
		t.Fatal(err)
	}
	if err := s.Listen(t.Context()); err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve() }()
	c := dial(t, s.Addr().String())
	c.send(t, "GET /early HTTP/1.1\r\nHost: a\r\n\r\n")
	if res, body := c.answer(t); res.StatusCode != 500 || strings.Contains(body, "early") || res.Close {
		t.Errorf("early: %d %s", res.StatusCode, body)
	}
	c.send(t, "GET /late HTTP/1.1\r\nHost: a\r\n\r\n")
	res, err := http.ReadResponse(c.r, nil)
	if err != nil {
		t.Fatal(err)
	}
	if body, err := io.ReadAll(res.Body); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("late: %q, %v", body, err)
	}
	if err := errors.Join(s.Shutdown(t.Context()), <-served); err != nil {
		t.Error(err)
	}
}

// Streams outlast the server's timeouts.
func TestStreaming(t *testing.T) {
	s, _ := newTestServer(t, Config{Addr: "127.0.0.1:0", ReadTimeout: 30 * time.Millisecond})
	next := make(chan string)
	rt, err := s.Handle("GET /stream", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for text := range next {
			fmt.Fprint(w, text, r.Context().Err())
			w.(http.Flusher).Flush()
		}
	}))
	if err != nil {
		t.Fatal(err)
	}
	rt.Timeout = -1
	if err := s.Listen(t.Context()); err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve() }()
	c := dial(t, s.Addr().String())
	c.send(t, "GET /stream HTTP/1.1\r\nHost: a\r\n\r\n")
	next <- "a"
	res, err := http.ReadResponse(c.r, nil)
	if err != nil {
		t.Fatal(err)
	}
	<-time.After(60 * time.Millisecond) // past the deadlines, in real time: they are the network's
	next <- "b"
	close(next)
	if body, err := io.ReadAll(res.Body); err != nil || string(body) != "a<nil>b<nil>" {
		t.Errorf("%q %v", body, err)
	}
	if err := errors.Join(s.Shutdown(t.Context()), <-served); err != nil {
		t.Error(err)
	}
}

func TestNoRoutesWhileServing(t *testing.T) {
	s, addr := start(t, Config{}, get("GET /x", "hello"))
	c := dial(t, addr)
	c.send(t, getX)
	c.answer(t) // so Serve has begun
	if err := s.Add(get("GET /y", "")); err == nil || !strings.Contains(err.Error(), "cannot be added once the server serves") {
		t.Errorf("got %v", err)
	}
}

func TestHeaderLimit(t *testing.T) {
	_, addr := start(t, Config{}, get("GET /x", "hello"))
	c := dial(t, addr)
	c.send(t, "GET /x HTTP/1.1\r\nHost: a\r\nX: "+strings.Repeat("x", 80<<10)+"\r\n\r\n")
	if res, _ := c.answer(t); res.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("status %d", res.StatusCode)
	}
}
