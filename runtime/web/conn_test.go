package web

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// pipe returns a conn whose rough deadlines are at most a second away, and its peer.
func pipe(t *testing.T) (c *conn, below, peer net.Conn) {
	below, peer = net.Pipe()
	t.Cleanup(func() { below.Close(); peer.Close() })
	return newConn(below, time.Second), below, peer
}

func TestConnDeadlines(t *testing.T) {
	in := func(d time.Duration) time.Time { return time.Now().Add(d) }
	tests := map[string]struct {
		do   func(c *conn, below net.Conn) error
		took time.Duration
	}{
		"read":  {func(c *conn, _ net.Conn) error { c.SetReadDeadline(in(time.Minute)); return readByte(c) }, time.Minute},
		"write": {func(c *conn, _ net.Conn) error { c.SetWriteDeadline(in(time.Minute)); return writeByte(c) }, time.Minute},
		"both":  {func(c *conn, _ net.Conn) error { c.SetDeadline(in(time.Minute)); return readByte(c) }, time.Minute},
		"past":  {func(c *conn, _ net.Conn) error { c.SetReadDeadline(time.Unix(1, 0)); return readByte(c) }, 0},
		"the last one counts": {func(c *conn, _ net.Conn) error {
			c.SetReadDeadline(in(time.Hour))
			c.SetReadDeadline(in(2 * time.Second))
			c.SetReadDeadline(in(time.Minute))
			return readByte(c)
		}, time.Minute},
		"sooner than the one that is set": {func(c *conn, _ net.Conn) error {
			c.SetReadDeadline(in(time.Minute))
			readByte(c)
			c.SetReadDeadline(in(10 * time.Second))
			return readByte(c)
		}, 70 * time.Second},
		"sooner while it waits": {func(c *conn, _ net.Conn) error {
			c.SetReadDeadline(in(time.Minute))
			time.AfterFunc(5*time.Second, func() { c.SetReadDeadline(in(5 * time.Second)) })
			return readByte(c)
		}, 10 * time.Second},
		"later while it waits": {func(c *conn, _ net.Conn) error {
			c.SetReadDeadline(in(5 * time.Second))
			time.AfterFunc(4*time.Second, func() { c.SetReadDeadline(in(time.Minute)) })
			return readByte(c)
		}, 64 * time.Second},
		"taken off while it waits": {func(c *conn, _ net.Conn) error {
			c.SetReadDeadline(in(5 * time.Second))
			time.AfterFunc(4*time.Second, func() { c.SetReadDeadline(time.Time{}) })
			time.AfterFunc(time.Hour, func() { c.Close() })
			if err := readByte(c); errors.Is(err, os.ErrDeadlineExceeded) {
				return nil
			}
			return os.ErrDeadlineExceeded
		}, time.Hour},
		"set below by somebody else": {func(c *conn, below net.Conn) error {
			below.SetReadDeadline(in(time.Minute))
			return readByte(c)
		}, time.Minute},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, below, _ := pipe(t)
				began := time.Now()
				err := test.do(c, below)
				if took := time.Since(began); !errors.Is(err, os.ErrDeadlineExceeded) || took != test.took {
					t.Errorf("%v after %s, want it after %s", err, took, test.took)
				}
			})
		})
	}
}

func readByte(c net.Conn) error {
	_, err := c.Read(make([]byte, 10))
	return err
}

func writeByte(c net.Conn) error {
	_, err := c.Write([]byte("x"))
	return err
}

// Deadlines that pass without anybody wanting them cost no bytes.
func TestConnIsWholeAfterEarlyDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _, peer := pipe(t)
		text := strings.Repeat("0123456789", 100)
		read := make(chan string, 1)
		go func() {
			var b strings.Builder
			for buf := make([]byte, 70); b.Len() < len(text); {
				<-time.After(3 * time.Second) // longer than rough deadlines
				n, err := peer.Read(buf)
				if err != nil {
					break
				}
				b.Write(buf[:n])
			}
			read <- b.String()
		}()
		c.SetWriteDeadline(time.Now().Add(time.Hour))
		if n, err := c.Write([]byte(text)); err != nil || n != len(text) {
			t.Errorf("wrote %d: %v", n, err)
		}
		if got := <-read; got != text {
			t.Errorf("got %d bytes: %.50s", len(got), got)
		}
	})
}

// The background read of net/http waits until somebody wants to know of the
// client, and ends when it is called off.
func TestBackgroundRead(t *testing.T) {
	tests := map[string]struct {
		do   func(c *conn, peer net.Conn)
		want error
	}{
		"called off": {func(c *conn, _ net.Conn) { c.SetReadDeadline(time.Unix(1, 0)) }, os.ErrDeadlineExceeded},
		"closed":     {func(c *conn, _ net.Conn) { c.Close() }, net.ErrClosed},
		"watched, and the client leaves": {func(c *conn, peer net.Conn) {
			c.watch()
			peer.Close()
		}, io.EOF},
		"watched, and called off": {func(c *conn, _ net.Conn) {
			c.watch()
			synctest.Wait()
			c.SetReadDeadline(time.Unix(1, 0))
		}, os.ErrDeadlineExceeded},
		"watched, and the client sends": {func(c *conn, peer net.Conn) {
			c.watch()
			peer.Write([]byte("x"))
		}, nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, _, peer := pipe(t)
				c.begin()
				got := make(chan error, 1)
				go func() {
					_, err := c.Read(make([]byte, 1))
					got <- err
				}()
				synctest.Wait()
				select {
				case err := <-got:
					t.Fatalf("it does not wait: %v", err)
				default:
				}
				test.do(c, peer)
				if err := <-got; !errors.Is(err, test.want) {
					t.Errorf("%v, want %v", err, test.want)
				}
				c.end()
			})
		})
	}
}

// A handler that waits learns that its client has gone, whatever it waits for.
func TestClientLeaves(t *testing.T) {
	wait := func(done <-chan struct{}) error {
		select {
		case <-done:
			return context.Canceled
		case <-time.After(20 * time.Second):
			return errors.New("it was not noticed")
		}
	}
	endpoint := func(f func(ctx context.Context) error) func(s *Server, running func(), ended chan<- error) error {
		return func(s *Server, running func(), ended chan<- error) error {
			return s.Add(must(Endpoint("POST /x", func(ctx context.Context, _ map[string]int) (string, error) {
				running()
				err := f(ctx)
				ended <- err
				return "", err
			})))
		}
	}
	stream := func(s *Server, running func(), ended chan<- error) error {
		rt, err := s.Handle("POST /x", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body)
			running()
			ended <- wait(r.Context().Done())
		}))
		rt.Timeout = -1
		return err
	}
	plain := func(s *Server, running func(), ended chan<- error) error {
		_, err := s.Handle("POST /x", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body)
			running()
			ended <- wait(r.Context().Done())
		}))
		return err
	}
	done := endpoint(func(ctx context.Context) error { return wait(ctx.Done()) })
	tests := map[string]struct {
		add        func(s *Server, running func(), ended chan<- error) error
		middleware bool
	}{
		"Done": {done, false},
		"Err": {endpoint(func(ctx context.Context) error {
			for end := time.Now().Add(20 * time.Second); time.Now().Before(end); <-time.After(time.Millisecond) {
				if err := ctx.Err(); err != nil {
					return err
				}
			}
			return errors.New("it was not noticed")
		}), false},
		"a child": {endpoint(func(ctx context.Context) error {
			child, cancel := context.WithTimeout(ctx, time.Hour)
			defer cancel()
			return wait(child.Done())
		}), false},
		"a Responder": {func(s *Server, running func(), ended chan<- error) error {
			return s.Add(must(Endpoint("POST /x", func(context.Context, map[string]int) (responderFunc, error) {
				return func(_ http.ResponseWriter, r *http.Request) error {
					running()
					ended <- wait(r.Context().Done())
					return nil
				}, nil
			})))
		}, false},
		"a plain handler": {plain, false},
		"a stream":        {stream, false},
		"middleware":      {func(*Server, func(), chan<- error) error { return nil }, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			config := Config{Addr: "127.0.0.1:0"}
			running, ended := make(chan struct{}), make(chan error, 1)
			if test.middleware {
				config.Middleware = []func(http.Handler) http.Handler{func(http.Handler) http.Handler {
					return http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
						io.Copy(io.Discard, r.Body)
						close(running)
						ended <- wait(r.Context().Done())
					})
				}}
			}
			s, _ := newTestServer(t, config)
			if err := test.add(s, func() { close(running) }, ended); err != nil {
				t.Fatal(err)
			}
			if err := s.Listen(t.Context()); err != nil {
				t.Fatal(err)
			}
			served := make(chan error, 1)
			go func() { served <- s.Serve() }()
			c := dial(t, s.Addr().String())
			c.send(t, "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}")
			<-running
			c.Close()
			if err := <-ended; !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
			if err := errors.Join(s.Shutdown(t.Context()), <-served); err != nil {
				t.Error(err)
			}
		})
	}
}

// Requests that a client sends without waiting for answers are not lost to the
// background read.
func TestPipelining(t *testing.T) {
	_, addr := start(t, Config{}, must(Endpoint("GET /{n}", func(ctx context.Context, in struct {
		N int `path:"n"`
	}) (int, error) {
		if in.N%2 == 0 {
			select {
			case <-ctx.Done():
			case <-time.After(time.Millisecond):
			}
		}
		return in.N, ctx.Err()
	})))
	c := dial(t, addr)
	for i := range 20 {
		c.send(t, fmt.Sprintf("GET /%d HTTP/1.1\r\nHost: a\r\n\r\n", i))
	}
	for i := range 20 {
		if res, body := c.answer(t); res.StatusCode != 200 || body != fmt.Sprint(i) {
			t.Errorf("%d: %d %s", i, res.StatusCode, body)
		}
	}
}

// A connection that a handler takes over is an ordinary one.
func TestHijack(t *testing.T) {
	s, _ := newTestServer(t, Config{Addr: "127.0.0.1:0", ReadHeaderTimeout: soon / 5})
	if _, err := s.Handle("GET /x", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		for b := make([]byte, 1); ; { // byte by byte, as the background read
			if _, err := conn.Read(b); err != nil {
				return
			}
			if _, err := conn.Write(b); err != nil {
				t.Error(err)
			}
		}
	})); err != nil {
		t.Fatal(err)
	}
	if err := s.Listen(t.Context()); err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve() }()
	c := dial(t, s.Addr().String())
	c.send(t, getX)
	<-time.After(soon) // past the server's deadlines
	for _, text := range []string{"a", "b"} {
		c.send(t, text)
		if b, err := c.r.ReadByte(); err != nil || string(b) != text {
			t.Errorf("%q %v", b, err)
		}
	}
	c.Close()
	if err := errors.Join(s.Shutdown(t.Context()), <-served); err != nil {
		t.Error(err)
	}
}
