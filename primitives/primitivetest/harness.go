package primitivetest

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/flowkit-go/flow/primitives"
	"go.uber.org/goleak"
)

// A harness is what one check works with.
type harness struct {
	testing.TB
	Config
	ends Ends
	env  *primitives.Env
	ctx  context.Context // ends with Timeout
}

func newHarness(t testing.TB, c Config, name string) *harness {
	t.Helper()
	// Registered first, so it looks when all other clean-up is done.
	leaks := append([]goleak.Option{goleak.IgnoreCurrent()}, c.Leaks...)
	t.Cleanup(func() { goleak.VerifyNone(t, leaks...) })

	h := &harness{TB: t, Config: c, env: &primitives.Env{
		Flow: "primitivetest", Processor: name, Logger: slog.New(slog.DiscardHandler),
		DataDir: t.TempDir(), Shared: &primitives.Shared{},
	}}
	h.ends = c.New(t)
	if h.ends.Source == nil && h.ends.ReadBack == nil || h.ends.Sink == nil && h.ends.Feed == nil {
		t.Fatal("primitivetest: New must return a Source or ReadBack, and a Sink or Feed")
	}
	ctx, cancel := context.WithTimeoutCause(context.Background(), c.Timeout, fmt.Errorf("not within %v", c.Timeout))
	t.Cleanup(cancel)
	h.ctx = ctx
	return h
}

// anyValue is a value of up to 200 bytes that starts with i.
func anyValue(i int) []byte {
	rng := rand.New(rand.NewPCG(uint64(i), 7))
	v := fmt.Appendf(nil, "%d\x00", i)
	for range rng.IntN(190) {
		v = append(v, byte(rng.Uint32()))
	}
	return v
}

// record makes the i-th record, with all that the features offer. Records of
// consecutive numbers have different keys.
func (h *harness) record(i int) primitives.Record {
	r := primitives.Record{Value: h.Value(i)}
	if h.Features.Keys {
		r.Key = fmt.Appendf(nil, "key-%d", i%keys)
	}
	return r
}

// keys is the number of different keys: enough to meet every partition.
const keys = 32

func (h *harness) records(from, n int) []primitives.Record {
	out := make([]primitives.Record, n)
	for i := range out {
		out[i] = h.record(from + i)
	}
	return out
}

// openWriter opens the sink; the test's end closes it if the check has not.
func (h *harness) openWriter() primitives.Writer {
	h.Helper()
	w, err := h.ends.Sink.OpenSink(h.ctx, h.env)
	if err != nil {
		h.Fatalf("OpenSink: %v", err)
	}
	h.Cleanup(func() {
		if err := w.Close(context.WithoutCancel(h.ctx)); err != nil {
			h.Errorf("Close of the writer: %v", err)
		}
	})
	return w
}

// feed makes records be there for the source, or for ReadBack.
func (h *harness) feed(records ...primitives.Record) {
	h.Helper()
	if h.ends.Sink == nil {
		if err := h.ends.Feed(h.ctx, records); err != nil {
			h.Fatalf("Feed: %v", err)
		}
		return
	}
	w := h.openWriter()
	for len(records) > 0 {
		n := min(len(records), 1+len(records)%97)
		if err := h.write(w, records[:n]); err != nil {
			h.Fatalf("Write of %d records: %v", n, err)
		}
		records = records[n:]
	}
	if err := w.Close(h.ctx); err != nil {
		h.Fatalf("Close of the writer: %v", err)
	}
}

// write writes a batch, waits for done and returns its error.
func (h *harness) write(w primitives.Writer, batch []primitives.Record) error {
	h.Helper()
	select {
	case err := <-h.start(h.ctx, w, batch):
		return err
	case <-h.ctx.Done():
		h.Fatalf("done of Write was not called: %v", context.Cause(h.ctx))
		return nil
	}
}

// start writes a copy of a batch. The channel gets the error that done was
// called with. When done was called, the copy is overwritten: the bytes belong
// to the caller again. A second call of done fails the test.
func (h *harness) start(ctx context.Context, w primitives.Writer, batch []primitives.Record) <-chan error {
	own := clone(batch)
	result := make(chan error, 1)
	var mu sync.Mutex
	called := false
	w.Write(ctx, own, func(err error) {
		mu.Lock()
		again := called
		called = true
		mu.Unlock()
		if again {
			h.Errorf("done was called a second time for one Write, with %v", err)
			return
		}
		scribble(own)
		result <- err
	})
	return result
}

func clone(batch []primitives.Record) []primitives.Record {
	out := make([]primitives.Record, len(batch))
	for i, r := range batch {
		out[i] = r
		out[i].Key, out[i].Value, out[i].Headers = bytes.Clone(r.Key), bytes.Clone(r.Value), nil
		for _, head := range r.Headers {
			out[i].Headers = append(out[i].Headers, primitives.Header{Name: head.Name, Value: bytes.Clone(head.Value)})
		}
	}
	return out
}

func scribble(batch []primitives.Record) {
	fill := func(b []byte) {
		for i := range b {
			b[i] = '#'
		}
	}
	for i := range batch {
		fill(batch[i].Key)
		fill(batch[i].Value)
		for j := range batch[i].Headers {
			fill(batch[i].Headers[j].Value)
			batch[i].Headers[j].Name = "#"
		}
		batch[i] = primitives.Record{}
	}
}

// readBack returns n records that were written, in order of each partition.
func (h *harness) readBack(n int) []primitives.Record {
	h.Helper()
	if h.ends.Source == nil {
		got, err := h.ends.ReadBack(h.ctx)
		if err != nil {
			h.Fatalf("ReadBack: %v", err)
		}
		return got
	}
	s := h.read(n + 100)
	return recordsOf(s.takeAll(n, h.Features.Commits))
}
