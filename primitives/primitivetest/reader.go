package primitivetest

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"time"

	"github.com/flowkit-go/flow/primitives"
)

// Run of a source that has nothing returns nil soon after its context was
// cancelled.
func checkCancel(h *harness) {
	s := h.read(10)
	if !h.Features.Bounded {
		h.feed(h.record(0))
		s.take(1) // it runs, and is idle now
	}
	s.stop()
}

// Run returns nil soon after its context was cancelled while it waits for room
// in a lane.
func checkCancelWhileFull(h *harness) {
	h.feed(h.records(0, 100)...)
	s := h.read(1)
	s.waitFull()
	s.stop()
}

// waitFull waits until a lane is full.
func (s *session) waitFull() {
	s.Helper()
	err := s.in.Wait(s.ctx, func() bool {
		return slices.ContainsFunc(s.in.Lanes(), func(l *Lane) bool { return l.Free() == 0 })
	})
	if err != nil {
		s.Fatalf("no lane is full, though there is more to read than fits: %v", s.why(err))
	}
}

// A lane that stays full stops the reader; when it is emptied bit by bit,
// everything comes, in order.
func checkBackpressure(h *harness) {
	want := h.records(0, min(h.Records, 500))
	h.feed(want...)
	s := h.read(7)
	var ds []Delivery
	for len(ds) < len(want) {
		if left := len(want) - len(ds); left > 7*len(s.in.Lanes()) {
			s.waitFull()
		}
		next := s.take(1)
		if next[0].Record.Lease != nil {
			s.commit(next)
		}
		ds = append(ds, next...)
	}
	h.equal(recordsOf(ds), want)
	if h.Features.Ordered {
		for lane, got := range byLane(ds) {
			h.ordered(lane.Partition.String(), got, want)
		}
	}
}

// While its lane is full a reader holds no more than Config.MaxBuffer bytes,
// though there is more to read.
func checkBufferBounded(h *harness) {
	if h.MaxBuffer == 0 {
		return
	}
	size := h.Features.MaxValue
	n := int(4*h.MaxBuffer/int64(size)) + 1
	batch := make([]primitives.Record, 1)
	for i := range n {
		batch[0] = h.record(i)
		batch[0].Value = append(make([]byte, size-len(batch[0].Value)), batch[0].Value...)
		h.feed(batch...)
	}
	before := heap()
	s := h.read(1)
	s.waitFull()
	timer := time.NewTimer(200 * time.Millisecond) // to fetch what it should not
	<-timer.C
	if grown := heap() - before; grown > h.MaxBuffer {
		h.Errorf("the heap grew by %d bytes with %d to read and a full lane, want at most %d", grown, n*size, h.MaxBuffer)
	}
	s.take(n)
}

func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// After ErrDraining a reader pushes nothing more, but still commits what was
// resolved; then Run ends with nil.
func checkDrain(h *harness) {
	h.feed(h.records(0, 100)...)
	s := h.read(10)
	ds := s.take(1)
	s.waitFull()
	s.in.Drain()
	before, _ := s.in.Pushed()
	if h.Features.Commits {
		s.commit(ds)
	}
	timer := time.NewTimer(100 * time.Millisecond) // to go on where it should not
	<-timer.C
	s.end()
	if after, _ := s.in.Pushed(); after != before {
		h.Errorf("%d records were pushed after ErrDraining", after-before)
	}
	s.stop()
}

// Close of a reader may be called before Run, again, and by several at once.
func checkReaderClose(h *harness) {
	r := h.openReader()
	h.closeByMany(r.Close)

	h.feed(h.record(0))
	s := h.read(10)
	s.take(1)
	s.end()
	h.closeByMany(s.Close)
	s.stop()
}

// After Close every call on a reader gives ErrClosed.
func checkReaderAfterClose(h *harness) {
	h.feed(h.record(0))
	s := h.read(10)
	ds := s.take(1)
	s.stop()
	closed := func(call string, err error) {
		if !errors.Is(err, primitives.ErrClosed) {
			h.Errorf("%s after Close: %v, want ErrClosed", call, err)
		}
	}
	ctx, cancel := context.WithTimeout(h.ctx, h.Timeout/2)
	defer cancel()
	closed("Run", s.Run(ctx, NewIntake(10)))
	closed("Commit", s.Commit(ctx, commitsOf(ds)))
	if b, ok := s.Reader.(primitives.Backlogger); ok {
		_, err := b.Backlog(ctx)
		closed("Backlog", err)
	}
	if p, ok := s.Reader.(primitives.Partitioned); ok {
		_, err := p.Partitions(ctx)
		closed("Partitions", err)
	}
	if l, ok := s.Reader.(primitives.Leaser); ok && ds[0].Record.Lease != nil {
		closed("Extend", l.Extend(ctx, []any{ds[0].Record.Lease}))
		closed("Release", l.Release(ctx, []any{ds[0].Record.Lease}, 0))
	}
	if p, ok := s.Reader.(primitives.Pauser); ok { // must not panic
		p.Pause([]primitives.Partition{ds[0].Lane.Partition})
		p.Resume([]primitives.Partition{ds[0].Lane.Partition})
	}
}

// Run of a bounded source returns nil by itself when all was pushed (a queue:
// and committed), also when there is nothing.
func checkBounded(h *harness) {
	s := h.read(10)
	s.waitEnd()
	s.stop()

	want := h.records(0, 100)
	h.feed(want...)
	s = h.read(1000)
	ds := s.take(len(want))
	if h.Features.Commits {
		s.commit(ds)
	}
	s.waitEnd()
	h.equal(recordsOf(ds), want)
	if pushed, _ := s.in.Pushed(); pushed != len(want) {
		h.Errorf("%d records were pushed, want %d", pushed, len(want))
	}
}

// waitEnd waits until Run returns by itself.
func (s *session) waitEnd() {
	s.Helper()
	select {
	case err := <-s.result:
		s.ended = true
		if err != nil {
			s.Fatalf("Run returned %v at the end of the input, want nil", err)
		}
	case <-s.ctx.Done():
		s.Fatalf("Run of a bounded source did not return: %v", context.Cause(s.ctx))
	}
}

// Opening what cannot be reached errs within the context's time.
func checkUnreachable(h *harness) {
	if h.Config.Unreachable == nil {
		return
	}
	ends := h.Config.Unreachable(h.TB)
	ctx, cancel := context.WithTimeout(h.ctx, 2*time.Second)
	defer cancel()
	opened := func(call string, closer interface{ Close(context.Context) error }, err error) {
		if err == nil {
			h.Errorf("%s succeeded, though the system cannot be reached", call)
			if err := closer.Close(h.ctx); err != nil {
				h.Logf("Close: %v", err)
			}
		} else if err.Error() == context.DeadlineExceeded.Error() {
			h.Errorf("%s: the error says only %q, want what could not be reached", call, err)
		}
	}
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		if ends.Source != nil {
			r, err := ends.Source.OpenSource(ctx, h.env)
			opened("OpenSource", r, err)
		}
		if ends.Sink != nil {
			w, err := ends.Sink.OpenSink(ctx, h.env)
			opened("OpenSink", w, err)
		}
	}()
	select {
	case <-finished:
	case <-h.ctx.Done():
		h.Fatal("opening has not returned though its context has ended")
	}
}
