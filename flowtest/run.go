package flowtest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flowkit-go/flow"
	"github.com/flowkit-go/flow/primitives/memory"
)

// Test runs f in a bubble of testing/synctest: time stands still while anything
// runs, and jumps to the next timer when everything waits.
func Test(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, f)
}

// A Run is a flow that runs in a test.
type Run struct {
	t      testing.TB
	app    *flow.Flow
	broker *memory.Broker
	keep   []string
	stop   context.CancelFunc
	done   chan struct{}
	err    error

	mu      sync.Mutex
	sources map[string]map[string]bool // source -> processors that read it
}

// An Option configures Start.
type Option func(*Run)

// Keep leaves primitives as they are, by name: "sqlite:quakes", or "sqlite:" for
// all of a kind. Their state lies in a temporary folder. Default: everything is
// kept in memory.
func Keep(names ...string) Option { return func(r *Run) { r.keep = append(r.keep, names...) } }

// Start runs the flow until Stop or the end of the test. It returns when the flow
// is ready. A flow that does not start, or that fails while it runs, fails the
// test; call Stop to look at its error.
func Start(t testing.TB, app *flow.Flow, opts ...Option) *Run {
	t.Helper()
	r := &Run{t: t, app: app, broker: memory.NewBroker(), done: make(chan struct{}), sources: map[string]map[string]bool{}}
	for _, o := range opts {
		o(r)
	}
	t.Setenv("FLOW_HTTP", "off")
	t.Setenv("FLOW_ADMIN", "off")
	t.Setenv("FLOW_DATA", t.TempDir())
	app.Substitute(ends{r})
	var ctx context.Context
	ctx, r.stop = context.WithCancel(context.Background())
	started := make(chan struct{})
	app.AddReady(func(flow.Addresses) { close(started) })
	go func() {
		defer close(r.done)
		r.err = app.Run(ctx)
	}()
	t.Cleanup(func() {
		if err := r.Stop(); err != nil && !t.Failed() {
			t.Errorf("the flow ended with an error: %v", err)
		}
	})
	select {
	case <-started:
	case <-r.done:
		t.Fatalf("the flow did not start: %v", r.Stop())
	}
	return r
}

// Stop ends the flow as a signal would, and returns what Run returned. The end of
// the test does not report that again.
func (r *Run) Stop() error {
	r.stop()
	<-r.done
	err := r.err
	r.err = nil
	return err
}

// Done is closed when the flow has ended, by Stop or by itself.
func (r *Run) Done() <-chan struct{} { return r.done }

// Settle waits until every record that was sent or written to a source is handled
// and committed, or until the flow has ended. Inside Test that takes no time; a
// record that can never be handled makes the test fail after an hour of its fake
// time, and after 30 s otherwise.
func (r *Run) Settle() {
	r.t.Helper()
	limit := 30 * time.Second
	if time.Now().Year() < 2001 { // the clock of a bubble starts at the year 2000
		limit = time.Hour
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	waiting := make(chan struct{})
	var watcher sync.WaitGroup
	watcher.Go(func() {
		select {
		case <-r.done:
			cancel()
		case <-waiting:
		}
	})
	var open string
	err := r.broker.Wait(ctx, func(s *memory.State) bool {
		open = r.unsettled(s)
		return open == ""
	})
	close(waiting)
	watcher.Wait()
	select {
	case <-r.done:
	default:
		if err != nil {
			r.t.Fatalf("the flow does not settle: %s: %v", open, err)
		}
	}
}

// unsettled describes a source that has records which are not committed.
func (r *Run) unsettled(s *memory.State) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	for source, processors := range r.sources {
		for p := range processors {
			if next, done := s.Next(source, 0), s.Committed(p, source, 0); next > 0 && done < next {
				return fmt.Sprintf("%s has handled %d of %d records of %s", p, max(done, 0), next, source)
			}
		}
	}
	return ""
}

// Do sends a request to the flow's collectors and endpoints, without a network.
func (r *Run) Do(req *http.Request) *http.Response {
	r.t.Helper()
	h := r.app.Handler()
	if h == nil {
		r.t.Fatal("the flow has no collector or endpoint, or it is not running")
	}
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, req)
	return rec.Result()
}

// Post sends a JSON body and returns the answer.
func (r *Run) Post(path, body string) *http.Response {
	r.t.Helper()
	req := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
	req.Header.Set("Content-Type", "application/json")
	return r.Do(req)
}

// Get sends a request without a body and returns the answer.
func (r *Run) Get(path string) *http.Response {
	r.t.Helper()
	return r.Do(httptest.NewRequest(http.MethodGet, path, nil))
}

// Fail makes writes to the sink with that name, and reads of the source, fail with
// err until the returned function is called: to see what the flow does then.
func (r *Run) Fail(name string, err error) (mend func()) {
	if err == nil {
		err = errors.New("made to fail by the test")
	}
	return r.broker.Control(func(op memory.Op) error {
		if op.Name == name && (op.Kind == memory.OpWrite || op.Kind == memory.OpRead) {
			return err
		}
		return nil
	})
}
