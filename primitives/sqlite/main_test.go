package sqlite

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"github.com/flowkit-go/flow/primitives"
)

func TestMain(m *testing.M) {
	if path := os.Getenv(childVariable); path != "" {
		if err := child(path); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// newEnv is a flow's environment in a folder of its own, to which DataDir points.
func newEnv(t testing.TB) *primitives.Env {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data")
	t.Setenv("FLOW_DATA", dir)
	return &primitives.Env{
		Flow: "test", Processor: t.Name(), Logger: slog.New(slog.DiscardHandler),
		DataDir: dir, Shared: new(primitives.Shared),
	}
}

// sink is an open table with its encoder.
type sink[T any] struct {
	primitives.Writer
	encode primitives.Encoder[T]
}

func open[T any](t testing.TB, table Table[T], env *primitives.Env) sink[T] {
	t.Helper()
	encode, err := table.Encoder()
	if err != nil {
		t.Fatal(err)
	}
	w, err := table.OpenSink(t.Context(), env)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return sink[T]{w, encode}
}

// records encodes rows.
func (s sink[T]) records(rows ...T) ([]primitives.Record, error) {
	var out primitives.Outputs
	for _, row := range rows {
		if err := s.encode(row, &out); err != nil {
			return nil, err
		}
	}
	return out.Records, nil
}

// write writes rows and waits for the result.
func (s sink[T]) write(ctx context.Context, rows ...T) error {
	batch, err := s.records(rows...)
	if err != nil {
		return err
	}
	result := make(chan error, 1)
	s.Write(ctx, batch, func(err error) { result <- err })
	return <-result
}

func (s sink[T]) mustWrite(t testing.TB, rows ...T) {
	t.Helper()
	if err := s.write(t.Context(), rows...); err != nil {
		t.Fatal(err)
	}
}

// reader is a read handle that is closed with the test.
func reader[T any](t testing.TB, table Table[T]) *Reader[T] {
	t.Helper()
	r := table.Reader()
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// sqlExec runs statements on a file as another program would.
func sqlExec(t testing.TB, path string, stmts ...string) {
	t.Helper()
	c, err := connect(path, func() bool { return false })
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	for _, stmt := range stmts {
		if err := c.exec(stmt); err != nil {
			t.Fatalf("%s: %v", stmt, err)
		}
	}
}
