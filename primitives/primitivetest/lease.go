package primitivetest

import (
	"time"

	"github.com/flowkit-go/flow/primitives"
)

// leaser returns the reader as a Leaser.
func (s *session) leaser() primitives.Leaser {
	s.Helper()
	l, ok := s.Reader.(primitives.Leaser)
	if !ok {
		s.Fatalf("Features.Leases: %T is no Leaser", s.Reader)
	}
	if l.LeaseTime() <= 0 {
		s.Fatalf("LeaseTime is %v, want more than 0", l.LeaseTime())
	}
	return l
}

// attempt fails the check unless a delivery is the n-th of its record.
func (s *session) attempt(d Delivery, n int32) {
	s.Helper()
	if d.Record.Lease == nil {
		s.Errorf("record %s has no lease", short(d.Record.Value))
	}
	if s.Features.Attempts && d.Record.Attempt != n {
		s.Errorf("record %s: attempt %d, want %d", short(d.Record.Value), d.Record.Attempt, n)
	}
}

// A released record is delivered again, after the delay and not before, with
// its attempts counted; the others are not.
func checkLeaseRelease(h *harness) {
	want := h.records(0, 4)
	h.feed(want...)
	s := h.readOnly(100)
	l := s.leaser()
	ds := s.take(len(want))
	for _, d := range ds {
		s.attempt(d, 1)
	}
	s.commit(ds[2:])
	if err := l.Release(s.ctx, []any{ds[0].Record.Lease}, 0); err != nil {
		h.Fatalf("Release: %v", err)
	}
	again := s.take(1)
	h.equal(recordsOf(again), recordsOf(ds[:1]))
	s.attempt(again[0], 2)
	s.commit(again)

	delay := l.LeaseTime() + time.Second // SQS and others count whole seconds
	start := time.Now()
	if err := l.Release(s.ctx, []any{ds[1].Record.Lease}, delay); err != nil {
		h.Fatalf("Release: %v", err)
	}
	again = s.take(1)
	h.equal(recordsOf(again), recordsOf(ds[1:2]))
	if waited := time.Since(start); waited < delay-50*time.Millisecond {
		h.Errorf("a record released with a delay of %v came after %v", delay, waited)
	}
	s.commit(again)
}

// A lease that is extended in time holds for longer than LeaseTime: nothing is
// delivered again, and the record can still be committed.
func checkLeaseExtend(h *harness) {
	h.feed(h.records(0, 3)...)
	s := h.readOnly(100)
	l := s.leaser()
	ds := s.take(3)
	var leases []any
	for _, d := range ds {
		leases = append(leases, d.Record.Lease)
	}
	for range 5 {
		timer := time.NewTimer(l.LeaseTime() / 3)
		<-timer.C
		if err := l.Extend(s.ctx, leases); err != nil {
			h.Fatalf("Extend: %v", err)
		}
	}
	last := h.record(3)
	h.feed(last)
	s.commit(ds)
	h.equal(recordsOf(s.take(1)), []primitives.Record{last})
	if pushed, _ := s.in.Pushed(); pushed != 4 {
		h.Errorf("%d deliveries of 4 records whose leases were held", pushed)
	}
}

// A record whose lease has run out is delivered again, to the same reader or the
// next.
func checkLeaseExpiry(h *harness) {
	h.feed(h.records(0, 2)...)
	s := h.readOnly(100)
	s.leaser()
	first := s.take(2)
	s.commit(first[:1])
	again := s.take(1)
	h.equal(recordsOf(again), recordsOf(first[1:]))
	s.attempt(again[0], 2)
	s.stop()

	s = h.readOnly(100)
	again = s.take(1)
	h.equal(recordsOf(again), recordsOf(first[1:]))
	s.attempt(again[0], 3)
	s.commit(again)
}
