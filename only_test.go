package flow

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/primitives/memory"
)

// newTrio has three consumers of one topic that ends, and two things that answer
// requests. It counts what each consumer handles.
func newTrio() (app *Flow, handled map[string]*atomic.Int32) {
	broker := memory.NewBroker()
	broker.Append("in", 0, primitives.Record{Value: []byte("a")}, primitives.Record{Value: []byte("b")})
	app = New("trio", HTTPAddr("off"), AdminAddr("off"), Logger(slog.New(slog.DiscardHandler)))
	handled = map[string]*atomic.Int32{}
	for _, name := range []string{"one", "two", "three"} {
		n := &atomic.Int32{}
		handled[name] = n
		Consumer(app, name, memory.Topic[string]{Broker: broker, Name: "in", Group: name, StopAtEnd: true}, Discard,
			Do(func(context.Context, string) error { n.Add(1); return nil }))
	}
	Endpoint(app, "GET /size", func(context.Context, None) (int, error) { return 3, nil }, Name("size"))
	Handle(app, "GET /page", http.NotFoundHandler())
	return app, handled
}

// The processors that are named run, and no other one. With consumers alone the
// program ends when their input does, though the flow has endpoints too.
func TestOnly(t *testing.T) {
	for _, tt := range []struct{ flag, env string }{
		{"one,three", ""},
		{"", " three , one,"},
		{"three, one", "two"}, // the flag wins
	} {
		t.Run(tt.flag+"/"+tt.env, func(t *testing.T) {
			t.Setenv("FLOW_ONLY", tt.env) // also to put back what the flag sets
			app, handled := newTrio()
			args := []string{"run"}
			if tt.flag != "" {
				args = append(args, "--only", tt.flag)
			}
			var stdout, stderr bytes.Buffer
			if code := app.execute(t.Context(), args, nil, &stdout, &stderr); code != ExitOK {
				t.Fatalf("exit code %d\n%s", code, stderr.String())
			}
			got := map[string]int32{}
			for name, n := range handled {
				got[name] = n.Load()
			}
			if diff := cmp.Diff(map[string]int32{"one": 2, "two": 0, "three": 2}, got); diff != "" {
				t.Errorf("records handled (-want +got):\n%s", diff)
			}
			for _, name := range []string{"two", "size", "GET /page"} {
				if strings.Contains(stdout.String(), name) {
					t.Errorf("it announces %s, which does not run:\n%s", name, stdout.String())
				}
			}
		})
	}
}

// What answers requests is chosen by name, or by pattern where there is none.
func TestOnlyRoutes(t *testing.T) {
	for only, want := range map[string]int{"": 2, "size": 1, "GET /page": 1, "size,GET /page": 2, "two": 0} {
		t.Run(only, func(t *testing.T) {
			t.Setenv("FLOW_ONLY", only)
			app, _ := newTrio()
			cfg, err := app.config()
			if err != nil {
				t.Fatal(err)
			}
			if got := len(cfg.Routes); got != want {
				t.Errorf("%d routes, want %d", got, want)
			}
		})
	}
}

// A name that there is not is a mistake of the user's, and starts nothing.
func TestOnlyUnknown(t *testing.T) {
	for only, want := range map[string]string{
		"one,four,five": `there is no processor "four", "five": use one or several of one, two, three, size, GET /page`,
		" , ":           "names no processor: use one or several of one, two, three, size, GET /page",
	} {
		t.Run(only, func(t *testing.T) {
			t.Setenv("FLOW_ONLY", "")
			app, handled := newTrio()
			var stderr bytes.Buffer
			code := app.execute(t.Context(), []string{"--only", only}, nil, io.Discard, &stderr)
			if code != ExitUsage || !strings.Contains(stderr.String(), want) {
				t.Errorf("exit code %d, %s", code, stderr.String())
			}
			if handled["one"].Load() != 0 {
				t.Error("a processor ran all the same")
			}
		})
	}
}

// A mistake in a processor that does not run here is reported here too.
func TestOnlyChecksAll(t *testing.T) {
	t.Setenv("FLOW_ONLY", "one")
	t.Setenv("FLOW_TWO_NUM_CPUS", "none")
	app, _ := newTrio()
	if err := app.Validate(); err == nil || !strings.Contains(err.Error(), "FLOW_TWO_NUM_CPUS") {
		t.Errorf("Validate: %v", err)
	}
}

// The graph tells which consumers end, and has all of them whatever runs.
func TestGraphEnds(t *testing.T) {
	t.Setenv("FLOW_ONLY", "one")
	app, _ := newTrio()
	ends := map[string]bool{}
	for _, n := range app.Graph().Processors {
		ends[n.Name] = n.Ends
	}
	if diff := cmp.Diff(map[string]bool{"one": true, "two": true, "three": true, "size": false, "GET /page": false}, ends); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
