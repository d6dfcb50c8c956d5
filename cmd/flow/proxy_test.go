package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/flowkit-go/flow"
)

// newFront listens, with a program behind it that answers with handler.
func newFront(t *testing.T, wait bool, handler http.HandlerFunc) (f *front, program string) {
	t.Helper()
	backend := httptest.NewServer(handler)
	f, err := listenFront("http", "127.0.0.1:0", "--http", wait)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		f.gate.cutStreams()
		f.close(time.Second)
		backend.CloseClientConnections()
		backend.Close()
		http.DefaultClient.CloseIdleConnections()
	})
	return f, strings.TrimPrefix(backend.URL, "http://")
}

func read(t *testing.T, resp *http.Response, err error) string {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(resp.StatusCode, " ", string(body))
}

// A request that waits keeps its body, its host and its query as they came.
func TestFrontPassesOnWhatWaited(t *testing.T) {
	f, program := newFront(t, true, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		_, _ = fmt.Fprintf(w, "%s %s?%s %s %s %s", r.Method, r.URL.EscapedPath(), r.URL.RawQuery, r.Host, r.Header.Get("X-Forwarded-For"), body)
	})
	unread := make(chan struct{})
	body, feed := io.Pipe()
	go func() {
		_, _ = feed.Write([]byte("first "))
		close(unread)
		_, _ = feed.Write([]byte("second"))
		_ = feed.Close()
	}()
	req, err := http.NewRequest("PUT", "http://"+f.addr+"/a%2Fb//c?x=1;y=%zz", body)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = "shop.example"
	req.Header.Set("X-Forwarded-For", "10.0.0.1")
	answer := make(chan string, 1)
	go func() {
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			answer <- err.Error()
			return
		}
		answer <- read(t, resp, nil)
	}()
	<-unread
	eventually(t, "the request waits", func() bool { f.gate.mu.Lock(); defer f.gate.mu.Unlock(); return f.gate.held == 1 })
	f.gate.open(program)
	want := "200 PUT /a%2Fb//c?x=1;y=%zz shop.example 10.0.0.1, 127.0.0.1 first second"
	if got := <-answer; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// An upgraded connection works both ways, is not waited for, and ends with its
// program.
func TestFrontUpgrades(t *testing.T) {
	f, program := newFront(t, true, func(w http.ResponseWriter, r *http.Request) {
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		_, _ = rw.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		_ = rw.Flush()
		_, _ = io.Copy(conn, rw)
	})
	f.gate.open(program)
	conn, err := net.Dial("tcp", f.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	in := bufio.NewReader(conn)
	resp, err := http.ReadResponse(in, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("upgrade: %v %v", resp, err)
	}
	for _, word := range []string{"one\n", "two\n"} {
		_, _ = io.WriteString(conn, word)
		if got, err := in.ReadString('\n'); got != word {
			t.Fatalf("echo of %q: %q, %v", word, got, err)
		}
	}
	f.gate.hold()
	<-f.gate.settled()
	f.gate.cutStreams()
	if _, err := in.ReadByte(); err == nil {
		t.Error("the connection outlives its program")
	}
}

// What is not held is refused with 503; a program that is gone is a 502; both are
// problem documents.
func TestFrontAnswersByItself(t *testing.T) {
	f, program := newFront(t, false, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") })
	get := func() string {
		resp, err := http.Get("http://" + f.addr)
		return read(t, resp, err)
	}
	if got := get(); !strings.HasPrefix(got, "503 ") || !strings.Contains(got, "being replaced") {
		t.Errorf("while it holds: %s", got)
	}
	f.gate.open(program)
	if got := get(); got != "200 ok" {
		t.Errorf("open: %s", got)
	}
	fronts{http: f}.open(flow.Addresses{})
	if got := get(); !strings.HasPrefix(got, "503 ") || !strings.Contains(got, "answers no HTTP") {
		t.Errorf("for a program without HTTP: %s", got)
	}
	f.gate.refuse(errors.New("it is over"))
	if got := get(); !strings.HasPrefix(got, "503 ") || !strings.Contains(got, "it is over") {
		t.Errorf("refused: %s", got)
	}
	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = nobody.Close()
	f.gate.open(nobody.Addr().String())
	if got := get(); !strings.HasPrefix(got, "502 ") || !strings.Contains(got, `"status":502`) {
		t.Errorf("nobody listens: %s", got)
	}
}

func TestFrontURL(t *testing.T) {
	for addr, want := range map[string]string{
		"127.0.0.1:80": "http://127.0.0.1:80",
		"[::]:8080":    "http://localhost:8080",
		"0.0.0.0:8080": "http://localhost:8080",
	} {
		if got := (&front{addr: addr}).url(); got != want {
			t.Errorf("%s: %s, want %s", addr, got, want)
		}
	}
}
