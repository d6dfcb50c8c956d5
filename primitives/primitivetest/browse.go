package primitivetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/flowkit-go/flow/primitives"
	"github.com/google/go-cmp/cmp"
)

// RunBrowse checks what people need who look into a system: Ends.Source must be
// a primitives.Browser. Where its Browsing is a primitives.Remover, or the source
// a primitives.Replayer, that is checked too.
func RunBrowse(t *testing.T, c Config) {
	t.Helper()
	runChecks(t, c, []check{
		{name: "BrowseAll", run: checkBrowseAll},
		{name: "BrowseSpan", run: checkBrowseSpan},
		{name: "BrowseSince", run: checkBrowseSince},
		{name: "BrowseFollow", run: checkBrowseFollow},
		{name: "BrowseError", run: checkBrowseError},
		{name: "Remove", run: checkRemove},
		{name: "Reset", run: checkReset},
	})
}

func (h *harness) browse() primitives.Browsing {
	h.Helper()
	b, ok := h.ends.Source.(primitives.Browser)
	if !ok {
		h.Fatalf("%T is no primitives.Browser", h.ends.Source)
	}
	look, err := b.Browse(h.ctx, h.env)
	if err != nil {
		h.Fatalf("Browse: %v", err)
	}
	h.Cleanup(func() {
		for range 2 { // the second does nothing
			if err := look.Close(context.WithoutCancel(h.ctx)); err != nil {
				h.Errorf("Close of the look: %v", err)
			}
		}
	})
	return look
}

func (h *harness) spans(b primitives.Browsing, since time.Time) []primitives.Span {
	h.Helper()
	spans, err := b.Spans(h.ctx, since)
	if err != nil {
		h.Fatalf("Spans: %v", err)
	}
	return spans
}

// readSpans reads spans to their end and looks at positions and order.
func (h *harness) readSpans(b primitives.Browsing, spans []primitives.Span) []primitives.Record {
	h.Helper()
	last := map[primitives.Partition]int64{}
	within := map[primitives.Partition]primitives.Span{}
	for _, s := range spans {
		last[s.Partition], within[s.Partition] = s.From-1, s
	}
	var got []primitives.Record
	err := b.Read(h.ctx, spans, func(r primitives.Record) error {
		if r.Partition == nil {
			return errors.New("a record without a partition")
		}
		s, ok := within[*r.Partition]
		if !ok || r.Offset < s.From || r.Offset >= s.To || r.Offset <= last[*r.Partition] {
			return fmt.Errorf("%s@%d comes after %d and is not in its turn in span %+v", r.Partition, r.Offset, last[*r.Partition], s)
		}
		last[*r.Partition] = r.Offset
		got = append(got, r)
		return nil
	})
	if err != nil {
		h.Fatalf("Read: %v", err)
	}
	return got
}

func contents(records []primitives.Record) []string {
	var all []string
	for _, r := range records {
		all = append(all, fmt.Sprintf("%q %q %v", r.Key, r.Value, r.Headers))
	}
	slices.Sort(all)
	return all
}

func checkBrowseAll(h *harness) {
	want := h.records(0, 100)
	if h.Features.Headers {
		want[7].Headers = []primitives.Header{{Name: "trace", Value: []byte("a")}, {Name: "trace", Value: []byte("b")}}
	}
	h.feed(want...)
	b := h.browse()
	for range 2 { // looking changes nothing
		if diff := cmp.Diff(contents(want), contents(h.readSpans(b, h.spans(b, time.Time{})))); diff != "" {
			h.Errorf("records read (-written +read):\n%s", diff)
		}
	}
	if got := recordsOf(h.read(200).takeAll(len(want), false)); len(got) != len(want) {
		h.Errorf("a reader gets %d records after a look, want %d", len(got), len(want))
	}
}

func checkBrowseSpan(h *harness) {
	h.feed(h.records(0, 100)...)
	b := h.browse()
	spans := h.spans(b, time.Time{})
	all := h.readSpans(b, spans)
	for i := range spans {
		n := spans[i].To - spans[i].From
		spans[i].From, spans[i].To = spans[i].From+n/4, spans[i].To-n/4
	}
	var want []primitives.Record
	for _, r := range all {
		for _, s := range spans {
			if *r.Partition == s.Partition && r.Offset >= s.From && r.Offset < s.To {
				want = append(want, r)
			}
		}
	}
	if diff := cmp.Diff(contents(want), contents(h.readSpans(b, spans))); diff != "" {
		h.Errorf("records of a part (-want +got):\n%s", diff)
	}
	for i := range spans {
		spans[i].To = spans[i].From
	}
	if got := h.readSpans(b, spans); len(got) > 0 {
		h.Errorf("%d records in empty spans", len(got))
	}
}

func checkBrowseSince(h *harness) {
	h.feed(h.records(0, 20)...)
	pause := time.NewTimer(50 * time.Millisecond) // more than the precision of any system's clock
	<-pause.C
	between := time.Now()
	late := h.records(20, 20)
	h.feed(late...)
	b := h.browse()
	if diff := cmp.Diff(contents(late), contents(h.readSpans(b, h.spans(b, between)))); diff != "" {
		h.Errorf("records since a time (-want +got):\n%s", diff)
	}
	if got := h.readSpans(b, h.spans(b, time.Now().Add(time.Hour))); len(got) != 0 {
		h.Errorf("%d records since the future", len(got))
	}
	if got := h.readSpans(b, h.spans(b, between.Add(-time.Hour))); len(got) != 40 {
		h.Errorf("%d records since before the first, want all 40", len(got))
	}
}

// errEnough ends a Read from within.
var errEnough = errors.New("enough")

func checkBrowseFollow(h *harness) {
	h.feed(h.records(0, 10)...)
	b := h.browse()
	spans := h.spans(b, time.Time{})
	for i := range spans {
		spans[i].From, spans[i].To = spans[i].To, primitives.Endless
	}
	ctx, cancel := context.WithCancel(h.ctx)
	defer cancel()
	came := make(chan primitives.Record, 100)
	result := make(chan error, 1)
	go func() {
		result <- b.Read(ctx, spans, func(r primitives.Record) error { came <- r; return nil })
	}()
	late := h.records(10, 20)
	h.feed(late...)
	var got []primitives.Record
	for len(got) < len(late) {
		select {
		case r := <-came:
			got = append(got, r)
		case err := <-result:
			h.Fatalf("Read of an endless span returned %v", err)
		case <-h.ctx.Done():
			h.Fatalf("%d of %d records came", len(got), len(late))
		}
	}
	if diff := cmp.Diff(contents(late), contents(got)); diff != "" {
		h.Errorf("records that came (-want +got):\n%s", diff)
	}
	cancel()
	select {
	case err := <-result:
		if !errors.Is(err, context.Canceled) {
			h.Errorf("Read returned %v when its context was cancelled", err)
		}
	case <-h.ctx.Done():
		h.Fatal("Read did not return when its context was cancelled")
	}
}

func checkBrowseError(h *harness) {
	h.feed(h.records(0, 10)...)
	b := h.browse()
	n := 0
	err := b.Read(h.ctx, h.spans(b, time.Time{}), func(primitives.Record) error {
		if n++; n == 3 {
			return errEnough
		}
		return nil
	})
	if !errors.Is(err, errEnough) || n != 3 {
		h.Errorf("Read returned %v after %d records, want the error of the third", err, n)
	}
}

func checkRemove(h *harness) {
	h.feed(h.records(0, 10)...)
	b := h.browse()
	remover, ok := b.(primitives.Remover)
	if !ok {
		h.Skip("not a Remover: this is a log")
	}
	all := h.readSpans(b, h.spans(b, time.Time{}))
	gone := []int64{all[2].Offset, all[7].Offset}
	for range 2 { // what is gone is no error
		if err := remover.Remove(h.ctx, *all[2].Partition, gone); err != nil {
			h.Fatalf("Remove: %v", err)
		}
	}
	want := contents(append(append(append([]primitives.Record(nil), all[:2]...), all[3:7]...), all[8:]...))
	if diff := cmp.Diff(want, contents(h.readSpans(b, h.spans(b, time.Time{})))); diff != "" {
		h.Errorf("what is left (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want, contents(recordsOf(h.read(100).takeAll(len(want), false)))); diff != "" {
		h.Errorf("what a reader gets (-want +got):\n%s", diff)
	}
}

func checkReset(h *harness) {
	replayer, ok := h.ends.Source.(primitives.Replayer)
	if !ok {
		h.Skip("not a Replayer")
	}
	h.feed(h.records(0, 100)...)
	s := h.read(200)
	ds := s.take(100)
	s.commit(ds)
	p, err := replayer.OpenProgress(h.ctx, h.env)
	if err != nil {
		h.Fatalf("OpenProgress: %v", err)
	}
	h.Cleanup(func() {
		for range 2 {
			if err := p.Close(context.WithoutCancel(h.ctx)); err != nil {
				h.Errorf("Close of the progress: %v", err)
			}
		}
	})
	if p.String() == "" {
		h.Error("the progress has no name")
	}
	b := h.browse()
	var first []primitives.Commit
	for _, span := range h.spans(b, time.Time{}) {
		first = append(first, primitives.Commit{Partition: span.Partition, Next: span.From})
	}
	if members, err := p.Members(h.ctx); err != nil || len(members) != 1 {
		h.Errorf("members %q, %v, want one while a reader runs", members, err)
	}
	if err := p.Reset(h.ctx, first); !errors.Is(err, primitives.ErrInUse) {
		h.Errorf("Reset while a reader runs: %v, want ErrInUse", err)
	}
	s.stop()
	if members, err := p.Members(h.ctx); err != nil || len(members) != 0 {
		h.Errorf("members %q, %v, want none", members, err)
	}
	committed, err := p.Committed(h.ctx)
	if err != nil {
		h.Fatalf("Committed: %v", err)
	}
	want := map[primitives.Partition]int64{}
	for _, c := range commitsOf(ds) {
		want[c.Partition] = c.Next
	}
	got := map[primitives.Partition]int64{}
	for _, c := range committed {
		if want[c.Partition] != 0 {
			got[c.Partition] = c.Next
		}
	}
	if diff := cmp.Diff(want, got); diff != "" && !h.Features.Leases { // a queue numbers its records in another way
		h.Errorf("committed (-want +got):\n%s", diff)
	}
	checkWaiting(h, p, 0)
	if err := p.Reset(h.ctx, first); err != nil {
		h.Fatalf("Reset: %v", err)
	}
	checkWaiting(h, p, 100)
	if got := recordsOf(h.read(200).takeAll(100, true)); len(got) != 100 {
		h.Errorf("%d records after a reset to the beginning, want 100", len(got))
	}
	// to the end of one partition only: the others stay at their end
	again := primitives.Commit{Partition: first[0].Partition, Next: first[0].Next}
	if err := p.Reset(h.ctx, []primitives.Commit{again}); err != nil {
		h.Fatalf("Reset of one partition: %v", err)
	}
	n := 0
	if err := b.Read(h.ctx, h.spans(b, time.Time{})[:1], func(primitives.Record) error { n++; return nil }); err != nil {
		h.Fatal(err)
	}
	if got := recordsOf(h.read(200).takeAll(n, true)); len(got) != n {
		h.Errorf("%d records after a reset of one partition, want its %d", len(got), n)
	}
}

// checkWaiting asks a progress that knows it how much is waiting for all.
func checkWaiting(h *harness, p primitives.Progress, want int64) {
	b, ok := p.(primitives.Backlogger)
	if !ok {
		return
	}
	waiting, err := b.Backlog(h.ctx)
	sum := int64(0)
	for _, w := range waiting {
		sum += w.Records
	}
	if err != nil || sum != want {
		h.Errorf("backlog of the progress: %v, %v, want %d in all", waiting, err, want)
	}
}
