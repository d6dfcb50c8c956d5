package nats

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"go.uber.org/goleak"

	"github.com/flowkit-go/flow/primitives"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childVar); dir != "" {
		if err := runChild(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if dir := os.Getenv(serverVar); dir != "" {
		if err := runServer(dir, os.Getenv(serverVar+"_PORT")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	for _, name := range []string{urlVar, credentialsVar, listenVar} {
		os.Unsetenv(name)
	}
	goleak.VerifyTestMain(m)
}

// serverVar makes the test binary a nats-server with that folder.
const serverVar = "FLOW_NATS_TEST_SERVER"

func runServer(dir, port string) error {
	opts := &server.Options{ServerName: "remote", Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true, JetStream: true, StoreDir: dir}
	if port != "" {
		if _, err := fmt.Sscan(port, &opts.Port); err != nil {
			return err
		}
	}
	srv, err := server.NewServer(opts)
	if err != nil {
		return err
	}
	srv.Start()
	if !srv.ReadyForConnections(20 * time.Second) {
		return errors.New("the server is not ready")
	}
	fmt.Println(srv.Addr().(*net.TCPAddr).Port)
	_, err = io.Copy(io.Discard, os.Stdin) // until the test ends, however it ends
	return err
}

// remoteServer is a server in a process of its own.
type remoteServer struct {
	t    testing.TB
	dir  string
	port string
	cmd  *exec.Cmd
}

func startRemote(t testing.TB) *remoteServer {
	r := &remoteServer{t: t, dir: t.TempDir()}
	r.start()
	t.Cleanup(r.kill)
	return r
}

func (r *remoteServer) url() string { return "nats://127.0.0.1:" + r.port }

func (r *remoteServer) start() {
	r.t.Helper()
	r.cmd = exec.Command(os.Args[0])
	r.cmd.Env = append(os.Environ(), serverVar+"="+r.dir, serverVar+"_PORT="+r.port)
	r.cmd.Stderr = os.Stderr
	if _, err := r.cmd.StdinPipe(); err != nil {
		r.t.Fatal(err)
	}
	out, err := r.cmd.StdoutPipe()
	if err != nil {
		r.t.Fatal(err)
	}
	if err := r.cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	if _, err := fmt.Fscan(out, &r.port); err != nil {
		r.kill()
		r.t.Fatalf("the server has not started: %v", err)
	}
}

// kill ends the server as kill -9 does.
func (r *remoteServer) kill() {
	_ = r.cmd.Process.Kill()
	_ = r.cmd.Wait()
}

// place is a data folder and what a flow shares: a process of its own, in a test.
func place(t testing.TB, processor string) *primitives.Env {
	return &primitives.Env{Flow: "test", Processor: processor, Logger: slog.New(slog.DiscardHandler), DataDir: t.TempDir(), Shared: &primitives.Shared{}}
}

// as is the same place for another processor.
func as(env *primitives.Env, processor string) *primitives.Env {
	other := *env
	other.Processor = processor
	return &other
}

func testContext(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func openTestWriter[T any](t testing.TB, ctx context.Context, env *primitives.Env, s Stream[T]) *writer {
	t.Helper()
	w, err := s.OpenSink(ctx, env)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(context.Background()); err != nil {
			t.Errorf("close the writer: %v", err)
		}
	})
	return w.(*writer)
}

func openTestReader[T any](t testing.TB, ctx context.Context, env *primitives.Env, s Stream[T]) *reader {
	t.Helper()
	r, err := s.OpenSource(ctx, env)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(context.Background()); err != nil {
			t.Errorf("close the reader: %v", err)
		}
	})
	return r.(*reader)
}

// write writes a batch and waits for its end.
func write(ctx context.Context, w primitives.Writer, records ...primitives.Record) error {
	done := make(chan error, 1)
	w.Write(ctx, records, func(err error) { done <- err })
	return <-done
}

func values(from, n int) []primitives.Record {
	out := make([]primitives.Record, n)
	for i := range out {
		out[i].Value = fmt.Appendf(nil, "value-%d", from+i)
	}
	return out
}
