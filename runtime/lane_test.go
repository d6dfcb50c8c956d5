package runtime

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flowkit-go/flow/primitives"
)

func push(l *lane, n int, size int) (int, error) {
	recs := make([]primitives.Record, n)
	for i := range recs {
		recs[i] = primitives.Record{Offset: int64(i), Value: make([]byte, size)}
	}
	return l.Push(context.Background(), recs)
}

// A reader that fills a lane which is being revoked is told so, and not that the
// flow drains: its other lanes go on.
func TestPushWhileRevoked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := idleConsumer(t, ByPartition, &counting{})
		ctx, cancel := context.WithCancel(t.Context())
		go c.committer.run(ctx)
		in := intake{c}
		l := in.Assign(primitives.Partition{Topic: "in"}, 0).(*lane)
		pushed := make(chan error)
		go func() { _, err := push(l, 2000, 1); pushed <- err }()
		synctest.Wait()
		seqs, _ := l.begin(nil, 1)
		revoked := make(chan error)
		go func() { revoked <- in.Revoke(t.Context(), l) }()
		if err := <-pushed; !errors.Is(err, primitives.ErrReleased) {
			t.Errorf("Push returned %v, want ErrReleased", err)
		}
		l.resolveNow(ref{l, seqs[0]})
		l.end(nil)
		if err := <-revoked; err != nil {
			t.Error(err)
		}
		cancel()
		<-c.committer.done
	})
}

// What a lost lane held is room for the others at once.
func TestLostLaneGivesBackItsBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := idleConsumer(t, ByPartition, &counting{})
		in := intake{c}
		a := in.Assign(primitives.Partition{Topic: "in"}, 0).(*lane)
		b := in.Assign(primitives.Partition{Topic: "in", ID: 1}, 0).(*lane)
		if _, err := push(b, 1, 1); err != nil {
			t.Fatal(err)
		}
		if _, err := push(a, 1, c.spec.Buffer.Bytes); err != nil {
			t.Fatal(err)
		}
		pushed := make(chan error, 1)
		go func() { _, err := push(b, 1, 1); pushed <- err }()
		synctest.Wait()
		in.Lose(a)
		synctest.Wait()
		select {
		case err := <-pushed:
			if err != nil {
				t.Error(err)
			}
		default:
			t.Error("the other lane's Push still waits")
			in.Lose(b)
			<-pushed
		}
	})
}

// Batches that are full before their time leave no timers behind.
func TestBatchTimersDoNotPileUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := idleConsumer(t, ByPartition, &counting{})
		f := &former{c: c, spec: Batch{Size: 1, Wait: time.Hour}}
		c.former = f
		l := intake{c}.Assign(primitives.Partition{Topic: "in"}, 0).(*lane)
		const n = 100
		if _, err := push(l, n, 1); err != nil {
			t.Fatal(err)
		}
		for i := range n {
			time.Sleep(time.Second)
			f.collect(l)
			b, ok := f.due()
			if !ok {
				t.Fatalf("batch %d is not due", i)
			}
			l.mu.Lock()
			l.turns--
			l.finish()
			l.mu.Unlock()
			l.resolveNow(b.refs...)
		}
		c.timers.mu.Lock()
		pending := len(c.timers.pending)
		c.timers.mu.Unlock()
		if pending > 1 {
			t.Errorf("%d timers for %d batches", pending, n)
		}
		// one that is not full is due in its time all the same
		f.spec.Size = 2
		if _, err := push(l, 1, 1); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		f.collect(l)
		for kicks := c.queue.kicks.Load(); ; kicks = c.queue.kicks.Load() {
			if _, ok := f.due(); ok {
				break
			}
			for c.queue.kicks.Load() == kicks { // what a task waits for
				time.Sleep(time.Second)
			}
		}
		if took := time.Since(began); took < time.Hour || took > time.Hour+2*time.Second {
			t.Errorf("due after %v, want an hour", took)
		}
		c.timers.stop()
	})
}

// A record that is committed already has nothing to wait for, where each record waits for
// its commit.
func TestEachRecordDeliveredTwice(t *testing.T) {
	c := idleConsumer(t, ByPartition, &counting{})
	c.spec.Commit.Mode = EachRecord
	l := intake{c}.Assign(primitives.Partition{Topic: "in"}, 5).(*lane)
	for _, o := range []int64{5, 4, 6} {
		if _, err := l.Push(t.Context(), []primitives.Record{{Offset: o}}); err != nil {
			t.Fatal(err)
		}
		seqs, _ := l.begin(nil, 1)
		if len(seqs) == 0 {
			t.Fatalf("record %d is not started", o)
		}
		l.resolveNow(ref{l, seqs[0]})
		l.end(nil)
		if err := c.committer.round(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}
