package runtime

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"runtime/pprof"
	"testing"
	"time"

	"github.com/google/pprof/profile"

	"github.com/flowkit-go/flow/autoscale"
	"github.com/flowkit-go/flow/autoscale/cpu"
	"github.com/flowkit-go/flow/primitives"
)

// labelsOfThis returns the label of the calling goroutine, as the profile of goroutines
// shows it.
func labelsOfThis(t *testing.T) string {
	t.Helper()
	var buf bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&buf, 0); err != nil {
		t.Fatal(err)
	}
	p, err := profile.ParseData(buf.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range p.Sample {
		for _, l := range s.Location {
			for _, line := range l.Line {
				if line.Function.Name == "github.com/flowkit-go/flow/runtime.labelsOfThis" && len(s.Label[cpu.Label]) > 0 {
					return s.Label[cpu.Label][0]
				}
			}
		}
	}
	return ""
}

// A handler runs under its processor's label, and so do the goroutines that it starts;
// pprof.Do in it keeps the label, and gives it back.
func TestHandlersCarryTheirLabel(t *testing.T) {
	labels := make(chan [4]string, 1)
	src := &replay{n: 1, lanes: 1, burst: make([]primitives.Record, 1)}
	e := New(Config{Name: "shop", AdminAddr: AddrOff, Consumers: []*Consumer{{
		Name:   "bill",
		Source: Source{Name: "replay", Bounded: true, Open: func(context.Context, *primitives.Env) (primitives.Reader, error) { return src, nil }},
		Handle: func(ctx context.Context, _ []primitives.Record, _ *primitives.Outputs) error {
			var seen [4]string
			seen[0] = labelsOfThis(t)
			started := make(chan struct{})
			go func() { defer close(started); seen[1] = labelsOfThis(t) }()
			<-started
			pprof.Do(ctx, pprof.Labels("step", "one"), func(context.Context) { seen[2] = labelsOfThis(t) })
			seen[3] = labelsOfThis(t)
			labels <- seen
			return nil
		},
		Commit: CommitPolicy{Every: time.Second}, Buffer: Buffer{Records: 10, Bytes: 1 << 20}, StallAfter: time.Minute,
		Processor: Processor{Replicas: autoscale.Defaults(), ConcurrentTasks: 1},
	}}})
	if err := e.Run(t.Context(), t.Context()); err != nil {
		t.Fatal(err)
	}
	if seen := <-labels; seen != [4]string{"bill", "bill", "bill", "bill"} {
		t.Errorf("labels of the handler, of its goroutine, in pprof.Do and after it: %q", seen)
	}
}

// A profile that is asked for over HTTP is answered in the middle of a window too.
func TestProfileWhileMetering(t *testing.T) {
	e := New(Config{Name: "shop"})
	e.meter = cpu.NewMeter(cpu.Config{Every: 20 * time.Millisecond, Window: 10 * time.Millisecond, Busy: map[string]func() time.Duration{}})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		e.meter.Run(ctx)
	}()
	defer func() {
		cancel()
		<-ended
	}()
	h := adminHandler(e)
	for range 3 {
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, httptest.NewRequest("GET", "/debug/pprof/profile?seconds=1", nil))
		if rec.Code != http.StatusOK {
			t.Fatalf("status %d: %s", rec.Code, rec.Body)
		}
		if _, err := profile.ParseData(rec.Body.Bytes()); err != nil {
			t.Error(err)
		}
	}
}
