package runtime

import (
	"context"
	"errors"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flowkit-go/flow/primitives/memory"
)

// A glance asks the source, also when it has just told, and takes nothing away from what
// signals measure.
func TestGlance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watchConsumer(t, takes(100*time.Millisecond), nil)
		time.Sleep(50 * time.Millisecond)
		w.fill(1000, 4)
		w.look(10*time.Second + 50*time.Millisecond) // in the middle of a record
		g, err := w.glance(t.Context())
		if err != nil || g.Replicas != 1 || !g.Time.Equal(time.Now()) {
			t.Errorf("%+v, %v", g, err)
		}
		about(t, "done", g.Done, 100, 0.02)
		about(t, "backlog", g.Backlog, 900, 0.012)
		w.fill(500, 4)
		again, err := w.glance(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		exact(t, "more, as soon as it is there", again.Backlog-g.Backlog, 500)
		exact(t, "done at the same moment", again.Done, g.Done)
		time.Sleep(5 * time.Second)
		if g, err = w.glance(t.Context()); err != nil {
			t.Fatal(err)
		}
		about(t, "done in 5 s", g.Done-again.Done, 50, 0.02)
		s := w.look(5 * time.Second)
		exact(t, "elapsed between decisions", s.Elapsed.Seconds(), 10)
		about(t, "throughput between decisions", s.Throughput, 10, 0.02)
	})
}

func TestGlanceOfWhatIsNotKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watchConsumer(t, takes(time.Second), nil)
		w.fill(100, 4)
		time.Sleep(2500 * time.Millisecond)
		mended := w.broker.Control(func(op memory.Op) error {
			if op.Kind == memory.OpBacklog {
				return errors.New("no answer")
			}
			return nil
		})
		if g, err := w.glance(t.Context()); err == nil || !math.IsNaN(g.Backlog) {
			t.Errorf("%+v, %v", g, err)
		}
		mended()
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		w.asking <- struct{}{} // somebody else asks at this moment
		if _, err := w.glance(ended); !errors.Is(err, context.Canceled) {
			t.Errorf("a glance that is given up: %v", err)
		}
		<-w.asking
		target := &consumerTarget{c: w.consumer}
		w.queue.paused.Store(true)
		if _, err := target.Glance(t.Context()); !errors.Is(err, errPaused) {
			t.Errorf("while paused: %v", err)
		}
		w.queue.paused.Store(false)
		if g, err := target.Glance(t.Context()); err != nil || g.Backlog < 90 {
			t.Errorf("%+v, %v", g, err)
		}
	})
}

// A pause that was over before the next measurement counts as well: what was handled in
// that time says nothing about the replicas.
func TestSignalsOfAPauseBetweenThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watchConsumer(t, takes(100*time.Millisecond), nil)
		w.fill(1000, 4)
		target := &consumerTarget{c: w.consumer}
		look := func() error {
			t.Helper()
			time.Sleep(10 * time.Second)
			_, err := target.Signals()
			return err
		}
		if err := look(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		w.pause(true)
		time.Sleep(30 * time.Second)
		w.pause(false)
		if err := look(); !errors.Is(err, errWasPaused) {
			t.Errorf("paused for half of the time: %v", err)
		}
		if err := look(); err != nil {
			t.Errorf("one later: %v", err)
		}
		w.pause(true)
		w.pause(true)
		if err := look(); !errors.Is(err, errPaused) {
			t.Errorf("paused: %v", err)
		}
		w.pause(false)
		if err := look(); !errors.Is(err, errWasPaused) {
			t.Errorf("paused at the last look: %v", err)
		}
		if err := look(); err != nil {
			t.Errorf("one later: %v", err)
		}
	})
}
