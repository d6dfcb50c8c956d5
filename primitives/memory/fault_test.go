package memory_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/primitives/memory"
	"github.com/flowkit-go/flow/primitives/primitivetest"
	"github.com/google/go-cmp/cmp"
)

func TestRevokeCommitsAndAssignGoesOnThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.NewBroker()
		topic := memory.Topic[[]byte]{Broker: b, Name: "orders", Partitions: 2}
		b.Append("orders", 0, values(5)...)
		b.Append("orders", 1, values(5)...)
		in := primitivetest.NewIntake(100)
		var r primitives.Reader
		in.OnRevoke = func(ctx context.Context, lanes []*primitivetest.Lane) error {
			return r.Commit(ctx, []primitives.Commit{{Partition: lanes[0].Partition, Next: 3}})
		}
		r, _ = open(t, topic, in)
		ds := take(t, in, 10)
		b.Revoke("default", "orders", 1)
		wait(t, b, func(s *memory.State) bool { return s.Holder("default", "orders", 1) == "" })
		if got := b.Committed("default", "orders", 1); got != 3 {
			t.Errorf("committed while the lane was given back: %d, want 3", got)
		}
		for _, d := range ds {
			gone, lost := d.Lane.Released()
			if want := d.Lane.Partition.ID == 1; gone != want || lost {
				t.Errorf("lane of %s: gone %t, lost %t", d.Lane.Partition, gone, lost)
			}
		}
		err := r.Commit(t.Context(), []primitives.Commit{
			{Partition: primitives.Partition{Topic: "orders", ID: 0}, Next: 5},
			{Partition: primitives.Partition{Topic: "orders", ID: 1}, Next: 5},
		})
		var some *primitives.CommitError
		if !errors.As(err, &some) || some.Errs[0] != nil || !errors.Is(some.Errs[1], primitives.ErrNotAssigned) {
			t.Errorf("commit of a partition that is elsewhere: %v", err)
		}
		b.Assign("default", "orders")
		again := take(t, in, 2)
		if l := again[0].Lane; l.Start != 3 || l.Partition.ID != 1 || again[0].Record.Offset != 3 {
			t.Errorf("the new lane is of %s from %d, its first record %d; want orders/1 from 3", l.Partition, l.Start, again[0].Record.Offset)
		}
	})
}

func TestLoseDropsLanesWithoutCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.NewBroker()
		b.Append("orders", 0, values(5)...)
		in := primitivetest.NewIntake(2) // the reader is stuck in a Push when the partition is lost
		in.OnRevoke = func(context.Context, []*primitivetest.Lane) error {
			t.Error("Revoke was called for a partition that was lost")
			return nil
		}
		r, _ := open(t, memory.Topic[[]byte]{Broker: b, Name: "orders"}, in)
		synctest.Wait()
		lane := in.Lanes()[0]
		b.Lose("default", "orders")
		err := r.Commit(t.Context(), []primitives.Commit{{Partition: lane.Partition, Next: 2}})
		if !errors.Is(err, primitives.ErrNotAssigned) {
			t.Errorf("commit right after the loss: %v, want ErrNotAssigned", err)
		}
		synctest.Wait()
		if gone, lost := lane.Released(); !gone || !lost {
			t.Errorf("lane gone: %t, lost: %t, want both", gone, lost)
		}
		if got := b.Committed("default", "orders", 0); got != -1 {
			t.Errorf("committed %d, want -1", got)
		}
		b.Assign("default", "orders")
		synctest.Wait()
		lanes := in.Lanes()
		if len(lanes) != 1 || lanes[0] == lane || lanes[0].Start != 0 {
			t.Errorf("lanes after the partition came back: %v", lanes)
		}
	})
}

func TestLoseWhileRevoking(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.NewBroker()
		b.Append("orders", 0, values(1)...)
		in := primitivetest.NewIntake(2)
		in.OnRevoke = func(ctx context.Context, _ []*primitivetest.Lane) error {
			<-ctx.Done() // a handler that never ends
			return ctx.Err()
		}
		_, _ = open(t, memory.Topic[[]byte]{Broker: b, Name: "orders", RevokeTimeout: time.Minute}, in)
		lane := take(t, in, 1)[0].Lane
		b.Revoke("default", "orders")
		synctest.Wait()
		if gone, _ := lane.Released(); gone {
			t.Fatal("the lane was released before its handler ended")
		}
		b.Lose("default", "orders")
		synctest.Wait()
		if _, lost := lane.Released(); !lost {
			t.Error("a lane that is being given back was not told of the loss")
		}
		b.Assign("default", "orders")
		synctest.Wait()
		time.Sleep(2 * time.Minute) // the old Revoke has ended meanwhile, and must not touch the new lane
		if n := len(in.Lanes()); n != 1 {
			t.Errorf("%d lanes, want the new one", n)
		}
		b.Look(func(s *memory.State) {
			if got := s.Holder("default", "orders", 0); got != "reader-1" {
				t.Errorf("holder %q, want reader-1", got)
			}
		})
	})
}

func TestControlInjectsAndBlocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.NewBroker()
		topic := memory.Topic[[]byte]{Broker: b, Name: "orders"}
		down := errors.New("broker down")
		var ops []string
		var mu sync.Mutex
		left := map[memory.OpKind]int{memory.OpOpen: 1, memory.OpWrite: 1, memory.OpRead: 2, memory.OpCommit: 1, memory.OpBacklog: 1}
		remove := b.Control(func(op memory.Op) error {
			mu.Lock()
			defer mu.Unlock()
			ops = append(ops, op.Kind.String())
			if left[op.Kind]--; left[op.Kind] >= 0 {
				return down
			}
			return nil
		})
		if _, err := topic.OpenSink(t.Context(), nil); !errors.Is(err, down) {
			t.Fatalf("OpenSink: %v, want the injected error", err)
		}
		w, err := topic.OpenSink(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range []error{down, nil} {
			w.Write(t.Context(), values(3), func(err error) {
				if !errors.Is(err, want) {
					t.Errorf("write %d: %v, want %v", i, err, want)
				}
			})
		}
		in := primitivetest.NewIntake(10)
		r, _ := open(t, topic, in)
		ds := take(t, in, 3)
		if n := len(in.Retries()); n != 2 {
			t.Errorf("%d errors given to Retry, want 2", n)
		}
		commit := []primitives.Commit{{Partition: ds[0].Lane.Partition, Next: 3}}
		if err := r.Commit(t.Context(), commit); !errors.Is(err, down) || b.Committed("default", "orders", 0) != -1 {
			t.Errorf("refused commit: %v, committed %d", err, b.Committed("default", "orders", 0))
		}
		if err := r.Commit(t.Context(), commit); err != nil || b.Committed("default", "orders", 0) != 3 {
			t.Errorf("second commit: %v, committed %d", err, b.Committed("default", "orders", 0))
		}
		if _, err := r.(primitives.Backlogger).Backlog(t.Context()); !errors.Is(err, down) {
			t.Errorf("Backlog: %v, want the injected error", err)
		}
		remove()
		mu.Lock()
		defer mu.Unlock()
		want := []string{"open", "open", "write", "write", "open", "read", "read", "read", "commit", "commit", "backlog"}
		if diff := cmp.Diff(want, ops); diff != "" {
			t.Errorf("operations (-want +got):\n%s", diff)
		}
	})
}

func TestPermanentReadErrorEndsRun(t *testing.T) {
	b := memory.NewBroker()
	b.Append("orders", 0, values(1)...)
	gone := errors.New("topic deleted")
	b.Control(func(op memory.Op) error {
		if op.Kind == memory.OpRead {
			return primitives.Permanent(gone)
		}
		return nil
	})
	r, err := memory.Topic[[]byte]{Broker: b, Name: "orders"}.OpenSource(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Run(t.Context(), primitivetest.NewIntake(1)); !errors.Is(err, gone) {
		t.Errorf("Run: %v, want the permanent error", err)
	}
}

func TestPartOfABatchIsRefused(t *testing.T) {
	for _, tt := range []struct {
		name       string
		partitions int
		fail       func(op memory.Op) error
		want       []int // indexes refused; nil and whole: a plain error
		whole      bool
		stored     int
	}{
		{"one partition of two", 2, func(op memory.Op) error {
			if op.Partition == 1 {
				return errors.New("no leader")
			}
			return nil
		}, []int{1, 3, 5}, false, 3},
		{"records by index", 2, func(op memory.Op) error {
			return &primitives.BatchError{Failed: []primitives.RecordError{{Index: 1, Err: errors.New("too large")}}}
		}, []int{2, 3}, false, 4},
		{"everything", 2, func(memory.Op) error { return errors.New("no leader") }, nil, true, 0},
		{"nothing, by an empty BatchError", 1, func(memory.Op) error { return &primitives.BatchError{} }, nil, false, 6},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := memory.NewBroker()
			w, err := memory.Topic[[]byte]{Broker: b, Name: "t", Partitions: tt.partitions}.OpenSink(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			b.Control(func(op memory.Op) error {
				if op.Kind == memory.OpWrite {
					return tt.fail(op)
				}
				return nil
			})
			var got error
			w.Write(t.Context(), values(6), func(err error) { got = err })
			var some *primitives.BatchError
			var indexes []int
			if errors.As(got, &some) {
				for _, f := range some.Failed {
					indexes = append(indexes, f.Index)
				}
			}
			slices.Sort(indexes)
			if diff := cmp.Diff(tt.want, indexes); diff != "" || tt.whole != (got != nil && some == nil) {
				t.Errorf("done got %v; indexes (-want +got):\n%s", got, diff)
			}
			b.Look(func(s *memory.State) {
				if n := s.Len("t"); n != tt.stored {
					t.Errorf("%d records are stored, want %d", n, tt.stored)
				}
			})
		})
	}
}

func wait(t *testing.T, b *memory.Broker, f func(*memory.State) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := b.Wait(ctx, f); err != nil {
		t.Fatal(err)
	}
}
