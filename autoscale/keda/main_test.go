package keda

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/flowkit-go/flow/autoscale"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeGroup is a source whose group works at a steady speed.
type fakeGroup struct {
	mu      sync.Mutex
	began   time.Time
	done    float64 // until began
	speed   float64 // of the group, per second
	written float64
	parts   int
	members int
	err     error
}

func newGroup(parts int) *fakeGroup { return &fakeGroup{began: time.Now(), parts: parts} }

// set changes something at this moment.
func (g *fakeGroup) set(change func(*fakeGroup)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.done, g.began = g.committed(), time.Now()
	change(g)
}

// committed is how many records are done. mu is held.
func (g *fakeGroup) committed() float64 {
	return min(g.done+g.speed*time.Since(g.began).Seconds(), g.written)
}

// Standing implements Group. Partitions share the work evenly.
func (g *fakeGroup) Standing(context.Context) (Standing, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.err != nil {
		return Standing{}, g.err
	}
	st := Standing{Committed: map[string]int64{}, Waiting: map[string]int64{}, Members: g.members}
	for i := range g.parts {
		part := fmt.Sprintf("orders/%d", i)
		st.Committed[part] = int64(math.Round(g.committed() / float64(g.parts)))
		st.Waiting[part] = int64(math.Round((g.written - g.committed()) / float64(g.parts)))
	}
	return st, nil
}

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// limits are the defaults with at most as many replicas in a process.
func limits(most int) autoscale.Limits {
	l := autoscale.Defaults()
	l.Max = most
	return l
}

// start runs a Scaler until the test ends.
func start(t *testing.T, cfg Config) *Scaler {
	t.Helper()
	cfg.Flow, cfg.Logger = "shop", quiet()
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan struct{})
	go func() {
		defer close(ran)
		s.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-ran
	})
	return s
}

// bill is a consumer with a group.
func bill(g Group) Processor {
	return Processor{Name: "bill", Limits: limits(1), NumCPUs: 1, InOrder: true, Group: g}
}

var errBroker = errors.New("the broker is away")

// wanted asks as KEDA does.
func wanted(t *testing.T, s *Scaler, meta map[string]string) int {
	t.Helper()
	tr, err := s.trigger(meta)
	if err != nil {
		t.Fatal(err)
	}
	n, err := tr.wanted()
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func isActive(t *testing.T, s *Scaler, meta map[string]string) bool {
	t.Helper()
	tr, err := s.trigger(meta)
	if err != nil {
		t.Fatal(err)
	}
	active, _ := tr.active()
	return active
}
