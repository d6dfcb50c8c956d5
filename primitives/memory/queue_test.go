package memory_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/primitives/memory"
	"github.com/flowkit-go/flow/primitives/primitivetest"
)

func fill(t *testing.T, sink primitives.Sink[[]byte], n int) {
	t.Helper()
	w, err := sink.OpenSink(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	w.Write(t.Context(), values(n), func(err error) {
		if err != nil {
			t.Error(err)
		}
	})
	if err := w.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestLeaseRunsOutExactly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.NewBroker()
		q := memory.Queue[[]byte]{Broker: b, Name: "q", Visibility: 30 * time.Second}
		fill(t, q, 1)
		in := primitivetest.NewIntake(10)
		r, _ := open(t, q, in)
		l := r.(primitives.Leaser)
		start := time.Now()
		first := take(t, in, 1)[0].Record
		time.Sleep(20 * time.Second)
		if err := l.Extend(t.Context(), []any{first.Lease}); err != nil {
			t.Fatal(err)
		}
		second := take(t, in, 1)[0].Record
		if d := time.Since(start); d != 50*time.Second || second.Attempt != 2 {
			t.Errorf("attempt %d after %v, want attempt 2 after 20 s + 30 s", second.Attempt, d)
		}
		if err := l.Extend(t.Context(), []any{first.Lease}); err == nil {
			t.Error("a lease that has run out was extended")
		}
		commitLease(t, r, first.Lease)
		b.Look(func(s *memory.State) {
			if n := s.Queued("q"); n != 1 {
				t.Errorf("a commit with an old lease removed the record: %d queued", n)
			}
		})
		b.ExpireLeases("q")
		third := take(t, in, 1)[0].Record
		if d := time.Since(start); d != 50*time.Second || third.Attempt != 3 {
			t.Errorf("attempt %d after %v, want attempt 3 at once", third.Attempt, d)
		}
		if err := l.Release(t.Context(), []any{third.Lease}, 7*time.Second); err != nil {
			t.Fatal(err)
		}
		fourth := take(t, in, 1)[0].Record
		if d := time.Since(start); d != 57*time.Second || fourth.Attempt != 4 {
			t.Errorf("attempt %d after %v, want attempt 4 after 7 s more", fourth.Attempt, d)
		}
		commitLease(t, r, fourth.Lease)
		wait(t, b, func(s *memory.State) bool { return s.Queued("q") == 0 && s.Lent("q") == 0 })
	})
}

func commitLease(t *testing.T, r primitives.Reader, leases ...any) {
	t.Helper()
	if err := r.Commit(t.Context(), []primitives.Commit{{Partition: primitives.Partition{Topic: "q"}, Leases: leases}}); err != nil {
		t.Fatal(err)
	}
}

func TestMaxDeliveries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.NewBroker()
		q := memory.Queue[[]byte]{Broker: b, Name: "q", Visibility: time.Second, MaxDeliveries: 3}
		fill(t, q, 1)
		in := primitivetest.NewIntake(10)
		_, _ = open(t, q, in)
		for want := range int32(3) {
			if got := take(t, in, 1)[0].Record.Attempt; got != want+1 {
				t.Errorf("attempt %d, want %d", got, want+1)
			}
		}
		wait(t, b, func(s *memory.State) bool { return s.Queued("q") == 0 })
		b.Look(func(s *memory.State) {
			if dead := s.Dead("q"); len(dead) != 1 || dead[0].Attempt != 3 || string(dead[0].Value) != "0" {
				t.Errorf("dead: %v, want record 0 after 3 attempts", dead)
			}
		})
	})
}

// What a lane did not take when it began to drain is not lent, and its attempt
// does not count.
func TestDrainGivesBackWhatWasNotPushed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.NewBroker()
		q := memory.Queue[[]byte]{Broker: b, Name: "q", Visibility: time.Hour}
		fill(t, q, 5)
		in := primitivetest.NewIntake(10)
		drained := make(chan struct{})
		b.Control(func(op memory.Op) error {
			if op.Kind == memory.OpRead {
				<-drained
			}
			return nil
		})
		_, stop := open(t, q, in)
		synctest.Wait()
		in.Drain()
		close(drained)
		synctest.Wait()
		b.Look(func(s *memory.State) {
			if s.Queued("q") != 5 || s.Lent("q") != 0 {
				t.Errorf("queued %d, lent %d; want 5 and 0", s.Queued("q"), s.Lent("q"))
			}
		})
		stop()
		in = primitivetest.NewIntake(10)
		_, _ = open(t, q, in)
		for _, d := range take(t, in, 5) {
			if d.Record.Attempt != 1 {
				t.Errorf("attempt %d, want 1", d.Record.Attempt)
			}
		}
	})
}

func TestAsyncWriterQueuesBlocksAndAborts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.NewBroker()
		topic := memory.Topic[[]byte]{Broker: b, Name: "t", Async: 2}
		w, err := topic.OpenSink(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		b.Control(func(op memory.Op) error { // the broker does not answer
			<-op.Context.Done()
			return op.Context.Err()
		})
		results := make(chan error, 3)
		done := func(err error) { results <- err }
		w.Write(t.Context(), values(1), done)
		w.Write(t.Context(), values(1), done)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		w.Write(ctx, values(1), done) // blocks until its context ends
		if err := <-results; !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a Write that found the queue full: %v, want its context's error", err)
		}
		closing, cancelClose := context.WithTimeout(t.Context(), time.Second)
		defer cancelClose()
		if err := w.Close(closing); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Close with work under way: %v, want its context's error", err)
		}
		for range 2 {
			if err := <-results; !errors.Is(err, context.Canceled) {
				t.Errorf("done after Close gave up: %v, want context.Canceled", err)
			}
		}
		if err := w.Close(t.Context()); err != nil {
			t.Errorf("Close again: %v", err)
		}
	})
}
