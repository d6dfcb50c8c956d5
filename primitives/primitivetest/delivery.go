package primitivetest

import (
	"bytes"
	"fmt"
	"sync"
	"time"

	"github.com/flowkit-go/flow/primitives"
)

// What is written comes out: value, key, headers and time are intact, though the
// writer's caller reuses the bytes as soon as done was called.
func checkRoundTrip(h *harness) {
	want := h.records(0, 50)
	at := time.Date(2024, 2, 29, 23, 59, 59, 123_000_000, time.UTC)
	for i := range want {
		if h.Features.Headers {
			want[i].Headers = []primitives.Header{
				{Name: "trace-id", Value: fmt.Appendf(nil, "t-%d", i)},
				{Name: "Content-Type", Value: []byte("application/x; charset=utf-8")},
			}
		}
		if h.Features.Time {
			want[i].Time = at.Add(time.Duration(i) * time.Second)
		}
	}
	h.feed(want...)
	h.equal(h.readBack(len(want)), want)
}

// Values may be empty, hold any byte, and be as long as Features.MaxValue.
func checkSizes(h *harness) {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	values := [][]byte{
		{}, {0}, {'\n'}, {0xff, 0xfe}, []byte("\r\n\"',;\\"), []byte("zürich \xf0\x9f\x8c\x8d"), all,
		bytes.Repeat(all, h.Features.MaxValue/len(all)/16),
		append(bytes.Repeat([]byte{0}, h.Features.MaxValue-1), 1),
	}
	want := make([]primitives.Record, len(values))
	for i, v := range values {
		want[i] = h.record(i)
		want[i].Value = v
	}
	h.feed(want...)
	h.equal(h.readBack(len(want)), want)
}

// The records of a partition come in the order in which one caller has written
// them, over many batches and over two openings of the sink.
func checkOrder(h *harness) {
	want := h.records(0, h.Records)
	h.feed(want[:h.Records/2]...)
	h.feed(want[h.Records/2:]...)
	if h.ends.Source == nil {
		got := h.readBack(len(want))
		h.equal(got, want)
		h.ordered("all", got, want)
		return
	}
	ds := h.read(h.Records+100).takeAll(len(want), false)
	h.equal(recordsOf(ds), want)
	for lane, got := range byLane(ds) {
		h.ordered(lane.Partition.String(), got, want)
	}
}

// What was acknowledged, records and commits, is there after the system has
// started again.
func checkDurable(h *harness) {
	if h.ends.Restart == nil {
		h.Fatal("primitivetest: Features.Durable needs Ends.Restart")
	}
	want := h.records(0, 100)
	h.feed(want...)
	if h.ends.Source == nil || !h.Features.Commits {
		h.ends.Restart(h.TB)
		h.equal(h.readBack(len(want)), want)
		return
	}
	s := h.read(1000)
	before := s.take(40)
	s.commit(before)
	s.stop()
	h.ends.Restart(h.TB)
	s = h.read(1000)
	after := s.take(60)
	h.equal(append(recordsOf(before), recordsOf(after)...), want)
}

// Nothing is lost or doubled when many write at once, through one Writer and
// through several; each caller's batches keep their order.
func checkConcurrentWriters(h *harness) {
	const callers = 8
	writers := []primitives.Writer{h.openWriter(), h.openWriter()}
	per := max(h.Records/callers, 10)
	want := h.records(0, callers*per)
	var wg sync.WaitGroup
	for c := range callers {
		wg.Go(func() {
			w := writers[c%len(writers)]
			mine := want[c*per : (c+1)*per]
			var pending []<-chan error
			for n := 1; len(mine) > 0; n = n*3%17 + 1 {
				n = min(n, len(mine))
				pending = append(pending, h.start(h.ctx, w, mine[:n]))
				mine = mine[n:]
			}
			for _, result := range pending {
				select {
				case err := <-result:
					if err != nil {
						h.Errorf("caller %d: Write: %v", c, err)
					}
				case <-h.ctx.Done():
					h.Errorf("caller %d: done was not called", c)
					return
				}
			}
		})
	}
	wg.Wait()
	if h.Failed() {
		return
	}
	if h.ends.Source == nil {
		got := h.readBack(len(want))
		h.equal(got, want)
		if h.Features.Ordered {
			for c := range callers {
				h.ordered(fmt.Sprintf("caller %d", c), got, want[c*per:(c+1)*per])
			}
		}
		return
	}
	ds := h.read(len(want)+100).takeAll(len(want), false)
	h.equal(recordsOf(ds), want)
	if h.Features.Ordered {
		for lane, got := range byLane(ds) {
			for c := range callers {
				h.ordered(fmt.Sprintf("caller %d in %s", c, lane.Partition), got, want[c*per:(c+1)*per])
			}
		}
	}
}
