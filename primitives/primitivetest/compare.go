package primitivetest

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/flowkit-go/flow/primitives"
)

// equal fails the check unless got holds each of want once, in any order, with
// what the features promise of them intact.
func (h *harness) equal(got, want []primitives.Record) {
	h.Helper()
	index := map[string]int{}
	for i, r := range want {
		index[string(r.Value)] = i
	}
	if len(index) != len(want) {
		h.Fatalf("primitivetest: Config.Value made %d different values for %d records", len(index), len(want))
	}
	seen := make([]int, len(want))
	var faults faults
	for _, g := range got {
		i, ok := index[string(g.Value)]
		if !ok {
			faults.add("a record that was not written: value %s", short(g.Value))
			continue
		}
		if seen[i]++; seen[i] == 2 && !h.Features.Duplicates {
			faults.add("record %d came twice", i)
		}
		faults.add("%s", h.difference(fmt.Sprintf("record %d", i), &g, &want[i]))
	}
	for i, n := range seen {
		if n == 0 {
			faults.add("record %d is missing: value %s", i, short(want[i].Value))
		}
	}
	if len(faults) > 0 {
		h.Errorf("%d records came back of %d:\n%s", len(got), len(want), faults)
	}
}

// difference says what of got is not as it was written, or nothing.
func (h *harness) difference(name string, got, want *primitives.Record) string {
	f := h.Features
	switch {
	case !bytes.Equal(got.Value, want.Value):
		return fmt.Sprintf("%s: value %s, want %s", name, short(got.Value), short(want.Value))
	case f.Keys && !bytes.Equal(got.Key, want.Key):
		return fmt.Sprintf("%s: key %s, want %s", name, short(got.Key), short(want.Key))
	case f.Time && !want.Time.IsZero() && got.Time.Sub(want.Time).Abs() > f.TimePrecision:
		return fmt.Sprintf("%s: time %v, want %v", name, got.Time, want.Time)
	}
	if f.Headers {
		for _, w := range want.Headers {
			if v, ok := got.Header(w.Name); !ok || !bytes.Equal(v, w.Value) {
				return fmt.Sprintf("%s: header %q is %s (there: %t), want %s", name, w.Name, short(v), ok, short(w.Value))
			}
		}
	}
	return ""
}

// ordered fails the check when records come in another order than written, or
// one of those before the last is missing. It wants all records of one partition.
func (h *harness) ordered(name string, got, written []primitives.Record) {
	h.Helper()
	index := map[string]int{}
	for i, r := range written {
		index[string(r.Value)] = i
	}
	last := -1
	for _, g := range got {
		i, ok := index[string(g.Value)]
		if !ok {
			continue // equal says so
		}
		if i < last {
			h.Errorf("%s: record %d came after record %d", name, i, last)
			return
		}
		last = i
	}
}

// byLane splits deliveries by the lane to which they were pushed.
func byLane(ds []Delivery) map[*Lane][]primitives.Record {
	out := map[*Lane][]primitives.Record{}
	for _, d := range ds {
		out[d.Lane] = append(out[d.Lane], d.Record)
	}
	return out
}

func recordsOf(ds []Delivery) []primitives.Record {
	out := make([]primitives.Record, len(ds))
	for i, d := range ds {
		out[i] = d.Record
	}
	return out
}

// faults are the first few things that are wrong.
type faults []string

func (f *faults) add(format string, args ...any) {
	if s := fmt.Sprintf(format, args...); s != "" && len(*f) < 8 {
		*f = append(*f, "\t"+s)
	}
}

func (f faults) String() string { return strings.Join(f, "\n") }

func short(b []byte) string {
	if len(b) > 40 {
		return fmt.Sprintf("%q... (%d bytes)", b[:40], len(b))
	}
	return fmt.Sprintf("%q", b)
}
