package primitivetest

import (
	"context"
	"time"

	"github.com/flowkit-go/flow/primitives"
)

// What was not committed is delivered again when the source is opened again.
func checkRedelivery(h *harness) {
	want := h.records(0, 30)
	h.feed(want...)
	for range 2 {
		s := h.read(100)
		h.equal(recordsOf(s.take(len(want))), want)
		s.stop()
	}
}

// What was committed is not delivered again; what was not, is: a source with
// positions goes on exactly there.
func checkCommit(h *harness) {
	want := h.records(0, 60)
	h.feed(want...)
	s := h.read(100)
	ds := s.take(len(want))
	var kept, committed []Delivery
	for i, d := range ds {
		// Half of each partition: a commit covers what lies below it.
		if rank(ds[:i], d.Lane)%2 == 0 && d.Record.Lease != nil || d.Record.Lease == nil && rank(ds[:i], d.Lane) < rank(ds, d.Lane)/2 {
			committed = append(committed, d)
		} else {
			kept = append(kept, d)
		}
	}
	s.commit(committed)
	s.stop()

	last := h.record(len(want))
	h.feed(last)
	s = h.read(100)
	again := s.take(len(kept) + 1)
	h.equal(recordsOf(again), append(recordsOf(kept), last))
	for _, c := range commitsOf(committed) {
		for _, d := range again {
			if d.Lane.Partition == c.Partition && d.Record.Lease == nil && d.Lane.Start > c.Next {
				h.Errorf("the lane of %s starts at %d after commit %d", c.Partition, d.Lane.Start, c.Next)
			}
		}
	}
	s.commit(again)
	s.stop()

	end := h.record(len(want) + 1)
	h.feed(end)
	s = h.read(100)
	h.equal(recordsOf(s.take(1)), []primitives.Record{end})
}

// rank is the number of deliveries of a lane.
func rank(ds []Delivery, l *Lane) int {
	n := 0
	for _, d := range ds {
		if d.Lane == l {
			n++
		}
	}
	return n
}

// Commits may follow each other while records go on coming, and be repeated;
// the last holds.
func checkCommitInSteps(h *harness) {
	want := h.records(0, 200)
	h.feed(want...)
	s := h.read(20)
	var ds []Delivery
	for len(ds) < len(want)-40 {
		next := s.take(1)
		s.commit(next)
		ds = append(ds, next...)
	}
	if ds[0].Record.Lease == nil {
		s.commit(ds) // the same positions again
	}
	if err := s.Commit(s.ctx, nil); err != nil {
		h.Errorf("Commit of nothing: %v", err)
	}
	s.stop()
	s = h.read(100)
	h.equal(append(recordsOf(ds), recordsOf(s.take(len(want)-len(ds)))...), want)
}

// Backlog counts what is stored and not committed, in flight or not.
func checkBacklog(h *harness) {
	want := h.records(0, 40)
	h.feed(want...)
	s := h.read(100)
	b, ok := s.Reader.(primitives.Backlogger)
	if !ok {
		h.Fatalf("Features.Backlog: %T is no Backlogger", s.Reader)
	}
	ds := s.take(len(want))
	s.waitBacklog(b, len(want))
	if h.Features.Commits {
		s.commit(ds[:10])
		// With positions a commit covers what is below it in its partition only: so is ds[:10].
		s.waitBacklog(b, len(want)-10)
		s.commit(ds)
		s.waitBacklog(b, 0)
	}
}

// waitBacklog waits until the backlog of all partitions is n.
func (s *session) waitBacklog(b primitives.Backlogger, n int) {
	s.Helper()
	var last int64
	for {
		list, err := b.Backlog(s.ctx)
		if err != nil {
			s.Fatalf("Backlog: %v", err)
		}
		last = 0
		for _, p := range list {
			last += p.Records
		}
		if last == int64(n) {
			return
		}
		timer := time.NewTimer(20 * time.Millisecond) // a system may need a while to count
		select {
		case <-timer.C:
		case <-s.ctx.Done():
			timer.Stop()
			s.Fatalf("Backlog is %d, want %d: %v", last, n, context.Cause(s.ctx))
		}
	}
}
