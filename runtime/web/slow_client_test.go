package web

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Clients that hold a connection without using it are cut off, however little
// and often they send or read.

// The times of these tests are real: they are the network's.
const soon = 100 * time.Millisecond

// cutOff checks that what has taken since began was bounded.
func cutOff(t *testing.T, what string, began time.Time, after time.Duration) {
	t.Helper()
	if took := time.Since(began); took < after/2 || took > after+5*time.Second {
		t.Errorf("%s: cut off after %s, want about %s", what, took, after)
	}
}

// trickle sends a byte every few milliseconds until the connection is gone.
func trickle(c *client, text string) (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(soon / 20)
		defer tick.Stop()
		for i := 0; ; i++ {
			select {
			case <-done:
				return
			case <-tick.C:
			}
			if _, err := c.Write([]byte{text[i%len(text)]}); err != nil {
				return
			}
		}
	}()
	return func() { close(done); <-ended }
}

func echoMap(_ context.Context, in map[string]int) (map[string]int, error) { return in, nil }

func TestSlowHeaders(t *testing.T) {
	_, addr := start(t, Config{ReadHeaderTimeout: soon}, get("GET /x", "hello"))
	for name, before := range map[string]func(*client){
		"first request": func(*client) {},
		"second request": func(c *client) {
			c.send(t, getX)
			c.answer(t)
		},
	} {
		silent := dial(t, addr)
		before(silent)
		began := time.Now()
		silent.send(t, "GET /x HTTP/1.1\r\nHost: a\r\n")
		if !silent.closed() {
			t.Errorf("%s: a client that does not end its headers keeps its connection", name)
		}
		cutOff(t, name, began, soon)

		slow := dial(t, addr)
		before(slow)
		began = time.Now()
		slow.send(t, "GET /x HTTP/1.1\r\nHost: a\r\nX: ")
		stop := trickle(slow, "x")
		if !slow.closed() {
			t.Errorf("%s: a client that sends its headers slowly keeps its connection", name)
		}
		stop()
		cutOff(t, name+", slowly", began, soon)
	}
}

func TestSlowBody(t *testing.T) {
	_, addr := start(t, Config{ReadHeaderTimeout: soon / 2, ReadTimeout: soon}, must(Endpoint("POST /x", echoMap)))
	for name, sends := range map[string]bool{"silent": false, "slow": true} {
		c := dial(t, addr)
		began := time.Now()
		c.send(t, "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n{")
		stop := func() {}
		if sends {
			stop = trickle(c, " ")
		}
		res, text := c.answer(t)
		stop()
		if res.StatusCode != 408 || !res.Close || !strings.Contains(text, "did not come in time") {
			t.Errorf("%s: %d %s", name, res.StatusCode, text)
		}
		cutOff(t, name, began, soon)
	}
}

// A body that comes late, but in time, is taken, whatever other deadlines there were.
func TestLateBody(t *testing.T) {
	_, addr := start(t, Config{ReadHeaderTimeout: soon / 5, ReadTimeout: 10 * time.Second}, must(Endpoint("POST /x", echoMap)))
	c := dial(t, addr)
	for range 3 {
		c.send(t, "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 7\r\n\r\n{\"a\"")
		<-time.After(soon)
		c.send(t, ":1}")
		if res, text := c.answer(t); res.StatusCode != 200 || text != `{"a":1}` {
			t.Errorf("%d %s", res.StatusCode, text)
		}
	}
}

const large = 32 << 20 // more than the system takes from a server whose client does not read

func largeRoute(t *testing.T, done chan<- Observation) *Route {
	t.Helper()
	body := bytes.Repeat([]byte("0123456789abcdef"), large/16)
	rt := must(Endpoint("GET /x", func(context.Context, struct{}) ([]byte, error) { return body, nil }))
	rt.Observe = func(o Observation) { done <- o }
	return rt
}

func TestSlowReader(t *testing.T) {
	for name, reads := range map[string]bool{"silent": false, "slow": true} {
		done := make(chan Observation, 1)
		rt := largeRoute(t, done)
		rt.Timeout = soon
		_, addr := start(t, Config{ReadTimeout: soon}, rt)
		c := dial(t, addr)
		began := time.Now()
		c.send(t, getX)
		n := int64(0)
		tick := time.NewTicker(soon / 20)
		for answered := false; !answered; {
			select {
			case <-done:
				answered = true
			case <-tick.C:
				if reads {
					more, _ := io.CopyN(io.Discard, c.r, 1000)
					n += more
				}
			}
		}
		tick.Stop()
		cutOff(t, name, began, 2*soon)
		rest, _ := io.Copy(io.Discard, c.r) // ends: the connection is closed
		if n += rest; n >= large {
			t.Errorf("%s: a client that does not read gets %d bytes", name, n)
		}
	}
}

// An answer that is taken late, but in time, is whole.
func TestLateReader(t *testing.T) {
	done := make(chan Observation, 1)
	_, addr := start(t, Config{ReadHeaderTimeout: soon / 5}, largeRoute(t, done))
	c := dial(t, addr)
	for range 2 {
		c.send(t, getX)
		<-time.After(soon)
		_, body := c.answer(t)
		if len(body) != large || strings.Count(body, "0123456789abcdef") != large/16 {
			t.Errorf("%d bytes", len(body))
		}
		<-done
	}
}

// The same of a file, which the system sends without a copy.
func TestLateReaderOfFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, bytes.Repeat([]byte("0123456789abcdef"), large/16), 0o600); err != nil {
		t.Fatal(err)
	}
	s, _ := newTestServer(t, Config{Addr: "127.0.0.1:0", ReadHeaderTimeout: soon / 5})
	if _, err := s.Handle("GET /x", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.NewResponseController(w).SetWriteDeadline(time.Now().Add(10 * time.Second))
		http.ServeFile(w, r, name)
	})); err != nil {
		t.Fatal(err)
	}
	if err := s.Listen(t.Context()); err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve() }()
	c := dial(t, s.Addr().String())
	for range 2 {
		c.send(t, getX)
		<-time.After(soon)
		if _, body := c.answer(t); len(body) != large || strings.Count(body, "0123456789abcdef") != large/16 {
			t.Errorf("%d bytes", len(body))
		}
	}
	if err := errors.Join(s.Shutdown(t.Context()), <-served); err != nil {
		t.Error(err)
	}
}

func TestIdleConnection(t *testing.T) {
	_, addr := start(t, Config{IdleTimeout: soon}, get("GET /x", "hello"))
	c := dial(t, addr)
	c.send(t, getX)
	c.answer(t)
	began := time.Now()
	if !c.closed() {
		t.Error("an idle connection is not closed")
	}
	cutOff(t, "idle", began, soon)

	_, addr = start(t, Config{ReadHeaderTimeout: soon}, get("GET /x", "hello"))
	c, began = dial(t, addr), time.Now()
	if !c.closed() {
		t.Error("a connection without a request is not closed")
	}
	cutOff(t, "without a request", began, soon)
}

// A connection may be idle for longer than headers may take, and be used for
// longer than either.
func TestBusyConnection(t *testing.T) {
	_, addr := start(t, Config{ReadHeaderTimeout: soon / 5, ReadTimeout: soon / 5, IdleTimeout: 10 * time.Second}, get("GET /x", "hello"))
	c := dial(t, addr)
	for i := range 60 {
		if i%20 == 19 {
			<-time.After(soon)
		}
		<-time.After(time.Millisecond)
		c.send(t, getX)
		if res, body := c.answer(t); res.StatusCode != 200 || body != "hello" || res.Close {
			t.Errorf("%d %s", res.StatusCode, body)
		}
	}
}

// A handler's own deadlines hold, and end with its request.
func TestDeadlinesOfHandler(t *testing.T) {
	s, _ := newTestServer(t, Config{Addr: "127.0.0.1:0"})
	if _, err := s.Handle("POST /x", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := http.NewResponseController(w).SetReadDeadline(time.Now().Add(soon)); err != nil {
			t.Error(err)
		}
		_, err := io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, err != nil)
	})); err != nil {
		t.Fatal(err)
	}
	if err := s.Listen(t.Context()); err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve() }()
	c := dial(t, s.Addr().String())
	const post = "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n"
	c.send(t, post+"abc")
	if _, body := c.answer(t); body != "false" {
		t.Errorf("a whole body: %s", body)
	}
	<-time.After(2 * soon)
	c.send(t, post+"abc")
	if _, body := c.answer(t); body != "false" {
		t.Errorf("the next request: %s", body)
	}
	began := time.Now()
	c.send(t, post+"a")
	if _, body := c.answer(t); body != "true" {
		t.Errorf("half a body: %s", body)
	}
	cutOff(t, "body", began, soon)
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
}
