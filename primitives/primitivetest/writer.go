package primitivetest

import (
	"context"
	"errors"
	"sync"

	"github.com/flowkit-go/flow/primitives"
)

// done is called exactly once for each Write, also for an empty batch. Calls
// after the first are looked for in all checks.
func checkDoneOnce(h *harness) {
	w := h.openWriter()
	for _, n := range []int{0, 1, 0, 20} {
		if err := h.write(w, h.records(0, n)); err != nil {
			h.Errorf("Write of %d records: %v", n, err)
		}
	}
	if err := w.Close(h.ctx); err != nil {
		h.Errorf("Close: %v", err)
	}
}

// Close waits until what was written is durable or refused: when it returns,
// done was called for everything, and what done called durable is there. Close
// may be called again, also by several at once.
func checkWriterClose(h *harness) {
	w := h.openWriter()
	want := h.records(0, 200)
	var pending []<-chan error
	for i := 0; i < len(want); i += 10 {
		pending = append(pending, h.start(h.ctx, w, want[i:i+10]))
	}
	h.closeByMany(w.Close)
	for i, result := range pending {
		select {
		case err := <-result:
			if err != nil {
				h.Errorf("batch %d, written before Close: %v", i, err)
			}
		default:
			h.Fatalf("Close returned before done was called for batch %d", i)
		}
	}
	h.equal(h.readBack(len(want)), want)
}

// closeByMany calls a Close from several goroutines and then once more.
func (h *harness) closeByMany(end func(context.Context) error) {
	h.Helper()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if err := end(h.ctx); err != nil {
				h.Errorf("Close, called by several at once: %v", err)
			}
		})
	}
	wg.Wait()
	if err := end(h.ctx); err != nil {
		h.Errorf("Close, called again: %v", err)
	}
}

// A Write after Close calls done with ErrClosed, and stores nothing.
func checkWriteAfterClose(h *harness) {
	w := h.openWriter()
	if err := h.write(w, h.records(0, 1)); err != nil {
		h.Fatalf("Write: %v", err)
	}
	if err := w.Close(h.ctx); err != nil {
		h.Fatalf("Close: %v", err)
	}
	for range 2 {
		if err := h.write(w, h.records(1, 3)); !errors.Is(err, primitives.ErrClosed) {
			h.Errorf("Write after Close: done got %v, want ErrClosed", err)
		}
	}
	h.feed(h.record(4))
	h.equal(h.readBack(2), []primitives.Record{h.record(0), h.record(4)})
}

// A Write whose context has ended returns and calls done, either with the
// context's error or because the records are stored all the same.
func checkWriteCancelled(h *harness) {
	w := h.openWriter()
	ctx, cancel := context.WithCancel(h.ctx)
	cancel()
	want := h.records(0, 1)
	select {
	case err := <-h.start(ctx, w, want):
		switch {
		case err == nil:
		case errors.Is(err, context.Canceled):
			want = nil
		default:
			h.Errorf("Write with a context that has ended: done got %v, want nil or the context's error", err)
		}
	case <-h.ctx.Done():
		h.Fatal("Write with a context that has ended: done was not called")
	}
	if err := h.write(w, h.records(1, 1)); err != nil {
		h.Fatalf("the Write after one that was cancelled: %v", err)
	}
	want = append(want, h.record(1))
	got := h.readBack(len(want))
	if len(want) == 1 && len(got) > 0 && string(got[0].Value) == string(h.record(0).Value) {
		return // refused in the end, but stored: the context's error says only that it is not known
	}
	h.equal(got, want)
}

// Writes that race with Close get done exactly once: with nil and are there, or
// with ErrClosed.
func checkWriteWhileClosing(h *harness) {
	w := h.openWriter()
	const callers = 4
	var mu sync.Mutex
	var want []primitives.Record
	started := make(chan struct{}, callers)
	var wg sync.WaitGroup
	for c := range callers {
		wg.Go(func() {
			for i := range 1000 {
				batch := h.records(c*1000+i, 1)
				var err error
				select {
				case err = <-h.start(h.ctx, w, batch):
				case <-h.ctx.Done():
					h.Errorf("done of a Write that races with Close was not called")
					return
				}
				if i == 0 {
					started <- struct{}{}
				}
				switch {
				case err == nil:
					mu.Lock()
					want = append(want, batch...)
					mu.Unlock()
				case errors.Is(err, primitives.ErrClosed):
					return
				default:
					h.Errorf("Write while closing: done got %v, want nil or ErrClosed", err)
					return
				}
			}
		})
	}
	for range callers {
		select {
		case <-started:
		case <-h.ctx.Done():
			h.Fatalf("no Write was done: %v", context.Cause(h.ctx))
		}
	}
	h.closeByMany(w.Close)
	wg.Wait()
	if !h.Failed() {
		h.equal(h.readBack(len(want)), want)
	}
}
