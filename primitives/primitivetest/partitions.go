package primitivetest

import (
	"errors"
	"slices"
	"time"

	"github.com/flowkit-go/flow/primitives"
)

// Records of one key share a partition, also when they were written through
// different openings of the sink.
func checkPartitionOfKey(h *harness) {
	want := h.records(0, 4*keys)
	h.feed(want[:2*keys]...)
	h.feed(want[2*keys:]...)
	s := h.read(1000)
	at := map[string]primitives.Partition{}
	for _, d := range s.take(len(want)) {
		key := string(d.Record.Key)
		if p, ok := at[key]; ok && p != d.Lane.Partition {
			h.Fatalf("key %q is in %s and in %s", key, p, d.Lane.Partition)
		}
		at[key] = d.Lane.Partition
	}
}

// Partitions names all partitions, and each has a lane of its own.
func checkPartitions(h *harness) {
	h.feed(h.records(0, 4*keys)...)
	s := h.read(1000)
	all, ok := s.Reader.(primitives.Partitioned)
	if !ok {
		h.Fatalf("Features.Partitions: %T is not Partitioned", s.Reader)
	}
	parts, err := all.Partitions(h.ctx)
	if err != nil {
		h.Fatalf("Partitions: %v", err)
	}
	if len(parts) < 2 {
		h.Errorf("Partitions are %v, want two at least", parts)
	}
	met := map[primitives.Partition]bool{}
	for _, d := range s.take(4 * keys) {
		met[d.Lane.Partition] = true
		if !slices.Contains(parts, d.Lane.Partition) {
			h.Errorf("%s has a lane, but is not one of %v", d.Lane.Partition, parts)
		}
	}
	if len(met) < 2 {
		h.Errorf("%d keys are all in %v", keys, met)
	}
}

// A partition whose lane is full does not stop the others.
func checkFullLaneAlone(h *harness) {
	want := h.records(0, 20*keys)
	h.feed(want...)
	s := h.read(3)
	s.waitFull()
	full := s.in.Lanes()[0]
	if err := s.in.Wait(s.ctx, func() bool { return full.Free() == 0 }); err != nil {
		h.Fatalf("%s is never full: %v", full.Partition, err)
	}
	var ds []Delivery
	got := map[*Lane]int{}
	for _, lane := range s.in.Lanes() {
		for lane != full && got[lane] < 10 {
			d, err := lane.Take(s.ctx, 1)
			if err != nil {
				h.Fatalf("%s stays empty while %s is full: %v", lane.Partition, full.Partition, s.why(err))
			}
			ds = append(ds, d...)
			got[lane]++
		}
	}
	ds = append(ds, s.take(len(want)-len(ds))...)
	h.equal(recordsOf(ds), want)
}

// A commit of several partitions, one of which the reader does not hold, fails
// for that one with ErrNotAssigned and holds for the others.
func checkCommitNotAssigned(h *harness) {
	want := h.records(0, 4*keys)
	h.feed(want...)
	s := h.read(1000)
	ds := s.take(len(want))
	commits := commitsOf(ds)
	foreign := primitives.Partition{Topic: ds[0].Lane.Partition.Topic, ID: 9999}
	commits = slices.Insert(commits, 1, primitives.Commit{Partition: foreign, Next: 1})
	err := s.Commit(s.ctx, commits)
	var some *primitives.CommitError
	if !errors.As(err, &some) {
		h.Fatalf("Commit with a partition that is not held: %v, want a CommitError", err)
	}
	if len(some.Errs) != len(commits) {
		h.Fatalf("CommitError has %d entries for %d commits", len(some.Errs), len(commits))
	}
	for i, err := range some.Errs {
		if i == 1 && !errors.Is(err, primitives.ErrNotAssigned) {
			h.Errorf("commit of %s: %v, want ErrNotAssigned", foreign, err)
		}
		if i != 1 && err != nil {
			h.Errorf("commit of %s beside one that is not held: %v", commits[i].Partition, err)
		}
	}
	s.stop()
	last := h.record(len(want))
	h.feed(last)
	s = h.read(1000)
	h.equal(recordsOf(s.take(1)), []primitives.Record{last})
}

// A paused partition gets nothing, the others go on, and after Resume nothing is
// missing.
func checkPause(h *harness) {
	first := h.records(0, 4*keys)
	h.feed(first...)
	s := h.read(1000)
	ds := s.take(len(first))
	p, ok := s.Reader.(primitives.Pauser)
	if !ok {
		return // it need not be one
	}
	paused := ds[0].Lane
	p.Pause([]primitives.Partition{paused.Partition})
	second := h.records(len(first), 4*keys)
	h.feed(second...)
	stays := 0 // what belongs to the paused partition: as many as in the first round, the keys being the same
	for _, d := range ds {
		if d.Lane == paused {
			stays++
		}
	}
	others := s.take(len(second) - stays)
	for _, d := range others {
		if d.Lane == paused {
			h.Fatalf("%s@%d was pushed while it was paused", paused.Partition, d.Record.Offset)
		}
	}
	p.Resume([]primitives.Partition{paused.Partition})
	h.equal(append(recordsOf(others), recordsOf(s.take(stays))...), second)
}

// Readers of one group share the records; what one leaves behind uncommitted
// goes to another.
func checkGroups(h *harness) {
	a := h.read(5)
	b := h.read(5)
	want := h.records(0, 8*keys)
	h.feed(want...)

	// Whoever gets the first records does not commit them and leaves.
	ds, err := a.in.Take(a.ctx, 5)
	if err != nil {
		h.Fatalf("the first reader of two gets nothing: %v", a.why(err))
	}
	a.stop()
	left := map[string]bool{}
	for _, d := range ds {
		left[string(d.Record.Value)] = true
	}
	seen := map[string]bool{}
	start := time.Now()
	for len(seen) < len(want) {
		for _, d := range b.take(1) {
			if gone, _ := d.Lane.Released(); gone {
				continue // its partition was moved meanwhile: the record comes again
			}
			seen[string(d.Record.Value)] = true
			b.commit([]Delivery{d})
		}
	}
	h.Logf("the second reader had everything after %v", time.Since(start).Round(time.Millisecond))
	for v := range left {
		if !seen[v] {
			h.Errorf("a record that the first reader left is missing: %s", short([]byte(v)))
		}
	}
}
