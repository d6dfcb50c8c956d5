package file_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/primitives/primitivetest"
)

// TestMain runs the tests or, when a crash test has started this binary, the
// writer that it will kill.
func TestMain(m *testing.M) {
	if path := os.Getenv(crashPath); path != "" {
		if err := writeUntilKilled(path); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

func newEnv(dir string) *primitives.Env {
	return &primitives.Env{Flow: "test", Processor: "p", Logger: slog.New(slog.DiscardHandler), DataDir: dir, Shared: &primitives.Shared{}}
}

func writeFile(t testing.TB, path, content string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func readFile(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// write encodes values and writes them in one batch.
func write[T any](ctx context.Context, w primitives.Writer, encode primitives.Encoder[T], values ...T) error {
	records, err := encodeAll(encode, values)
	if err != nil {
		return err
	}
	result := make(chan error, 1)
	w.Write(ctx, records, func(err error) { result <- err })
	return <-result
}

// store opens a sink, writes values and closes it.
func store[T any](t testing.TB, sink primitives.Sink[T], values ...T) {
	t.Helper()
	encode, err := sink.Encoder()
	if err != nil {
		t.Fatal(err)
	}
	w, err := sink.OpenSink(t.Context(), newEnv(""))
	if err != nil {
		t.Fatal(err)
	}
	if err := write(t.Context(), w, encode, values...); err != nil {
		t.Error(err)
	}
	if err := w.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

// outcome is what became of one record.
type outcome[T any] struct {
	Value T
	At    string // file:line
	Err   error
}

// load reads a bounded source to its end. commit, when not nil, says how many
// records are committed before the reader is closed.
func load[T any](t testing.TB, source primitives.Source[T], env *primitives.Env, commit func(n int) int) ([]outcome[T], error) {
	t.Helper()
	decode, err := source.Decoder()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	r, err := source.OpenSource(ctx, env)
	if err != nil {
		return nil, err
	}
	in := primitivetest.NewIntake(1 << 20)
	runErr := r.Run(ctx, in)
	var out []outcome[T]
	var all []primitivetest.Delivery
	for pushed, _ := in.Pushed(); len(all) < pushed; {
		ds, err := in.Take(ctx, pushed)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, ds...)
	}
	for _, d := range all {
		v, err := decode([]primitives.Record{d.Record})
		out = append(out, outcome[T]{v, fmt.Sprintf("%s:%d", filepath.Base(d.Lane.Partition.Topic), d.Record.Offset), err})
	}
	if commit != nil {
		for _, d := range all[:commit(len(all))] {
			c := primitives.Commit{Partition: d.Lane.Partition, Next: d.Record.Offset + 1}
			if err := r.Commit(ctx, []primitives.Commit{c}); err != nil {
				t.Error(err)
			}
		}
	}
	if err := r.Close(ctx); err != nil {
		t.Error(err)
	}
	if err := in.Check(); err != nil {
		t.Error(err)
	}
	return out, runErr
}

// values reads a source that has no mistakes in it.
func values[T any](t testing.TB, source primitives.Source[T]) []T {
	t.Helper()
	out, err := load(t, source, newEnv(""), nil)
	if err != nil {
		t.Fatal(err)
	}
	var vs []T
	for _, o := range out {
		if o.Err != nil {
			t.Fatal(o.Err)
		}
		vs = append(vs, o.Value)
	}
	return vs
}

func wantError(t testing.TB, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want one with %q", parts)
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("error %q does not say %q", err, p)
		}
	}
}

func encodeAll[T any](encode primitives.Encoder[T], values []T) ([]primitives.Record, error) {
	var out primitives.Outputs
	for _, v := range values {
		if err := encode(v, &out); err != nil {
			return nil, err
		}
	}
	return out.Records, nil
}
