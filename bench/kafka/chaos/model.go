package main

import (
	"fmt"
	"slices"
	"time"
)

// An event is an input record: the number seq of its key, from 0.
type event struct {
	Key string `json:"key"`
	Seq int64  `json:"seq"`
}

// An input is an event as it is stored.
type input struct {
	event
	arrived time.Time
}

// An emission is an output record: which input it is made of, and by which member.
type emission struct {
	event
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
	Member    string `json:"member"`

	appended time.Time // by the broker
}

// A sample is what was committed, as a broker answered at a time.
type sample struct {
	at        time.Time
	committed map[int32]int64
}

// A history is all that is known of a run.
type history struct {
	inputs    map[int32][]input // by partition; the index is the offset
	sent      map[string]int64  // records acknowledged to the producer, by key
	emissions [][]emission      // by partition of the output, in order
	samples   []sample          // in order
	frozen    map[string]bool   // members that were stopped for a while

	exactlyOnce bool
	window      int64         // records of a partition that a restart may repeat; 0 means any number
	maxRestarts int           // how often one member may begin anew in a key; 0 means any number
	slack       time.Duration // time from a commit until no other member repeats what is below it
}

// A verdict is what became of a history.
type verdict struct {
	Records    int   `json:"records"`
	Outputs    int   `json:"outputs"`
	Duplicates int   `json:"duplicates"`
	Window     int64 `json:"largest_window"` // records that one restart repeated, at most, in one partition
	Late       int   `json:"late"`           // repeated by a frozen member below what was committed
	Restarts   int   `json:"restarts"`       // most often that one member began anew in a key
	Samples    int   `json:"samples"`

	// Pause is the longest time in which a partition had records without outputs, and
	// got none.
	Pause time.Duration `json:"longest_pause_ns"`

	Violations []string `json:"violations"`
	violated   int

	FailedLeaves int           `json:"failed_leaves"` // of members that were told to end while brokers were away
	Repetitions  []*repetition `json:"repetitions"`
}

// A repetition is a stretch of a partition that one member has put out after it, or
// another one, had.
type repetition struct {
	Partition int32     `json:"partition"`
	First     int64     `json:"first"` // offset
	Last      int64     `json:"last"`
	Records   int       `json:"records"`
	Member    string    `json:"member"`
	Before    string    `json:"before"` // the member of the first output of its first record
	At        time.Time `json:"at"`     // of its first record
}

func (r *repetition) String() string {
	return fmt.Sprintf("%s %s repeats %d records of partition %d, from %d to %d, first those of %s",
		r.At.Format("15:04:05.000"), r.Member, r.Records, r.Partition, r.First, r.Last, r.Before)
}

// repeated adds a record to the repetition that it belongs to.
func (v *verdict) repeated(e emission, before string) {
	for _, r := range slices.Backward(v.Repetitions) {
		if r.Partition == e.Partition && r.Member == e.Member {
			if e.appended.Sub(r.At) > 10*time.Second {
				break
			}
			r.First, r.Last, r.Records = min(r.First, e.Offset), max(r.Last, e.Offset), r.Records+1
			return
		}
	}
	v.Repetitions = append(v.Repetitions, &repetition{e.Partition, e.Offset, e.Offset, 1, e.Member, before, e.appended})
}

const maxViolations = 20 // that are described

func (v *verdict) fail(format string, args ...any) {
	if v.violated++; v.violated <= maxViolations {
		v.Violations = append(v.Violations, fmt.Sprintf(format, args...))
	}
}

// judge says what of the following does not hold:
//
//  1. Every record that the producer was told is stored, is.
//  2. Every input has an output, which is its own.
//  3. An output comes after that of the key's record before: no member skips any or changes
//     their order. What a member repeats of a key begins somewhere and goes on from there.
//  4. A committed offset never goes back, and everything below it has an output by then.
//  5. In the end all is committed.
//  6. What is repeated was not committed when its repetition began: a record below what was
//     committed some time ago is not repeated, except by a member that was frozen.
//  7. With exactly once nothing is repeated, and where each record is committed before the
//     next one starts, one record of a partition at most.
func (h *history) judge() *verdict {
	v := &verdict{Samples: len(h.samples)}
	h.checkInputs(v)
	first := h.checkEmissions(v)
	for _, r := range v.Repetitions {
		if n := r.Last - r.First + 1; h.window > 0 && n > h.window {
			v.fail("%s: that are more than %d", r, h.window)
		}
	}
	h.checkCommits(v, first)
	h.measurePauses(v, first)
	return v
}

// measurePauses looks at the times between the arrival of a record, or the output before it if
// that is later, and its own output.
func (h *history) measurePauses(v *verdict, first map[int32][]time.Time) {
	for partition, times := range first {
		var before time.Time
		for offset, at := range times {
			if arrived := h.inputs[partition][offset].arrived; arrived.After(before) {
				before = arrived
			}
			if at.After(before) {
				v.Pause = max(v.Pause, at.Sub(before))
				before = at
			}
		}
	}
}

func (h *history) checkInputs(v *verdict) {
	next := map[string]int64{}
	for partition, events := range h.inputs {
		v.Records += len(events)
		for offset, e := range events {
			if e.Seq != next[e.Key] {
				v.fail("input %d@%d: key %s has number %d, want %d: the producer is wrong", partition, offset, e.Key, e.Seq, next[e.Key])
			}
			next[e.Key] = e.Seq + 1
		}
	}
	for key, n := range h.sent {
		if next[key] < n {
			v.fail("key %s: %d records were acknowledged to the producer, %d are in the topic", key, n, next[key])
		}
	}
}

// checkEmissions returns the time of each input's first output, by partition and offset.
func (h *history) checkEmissions(v *verdict) map[int32][]time.Time {
	first, firstBy := map[int32][]time.Time{}, map[int32][]string{}
	for partition, events := range h.inputs {
		first[partition], firstBy[partition] = make([]time.Time, len(events)), make([]string, len(events))
	}
	type owner struct{ member, key string }
	last, restarts := map[owner]int64{}, map[owner]int{}
	reached, high := map[string]int64{}, map[int32]int64{} // next number of each key; highest offset of each partition
	for _, log := range h.emissions {
		for _, e := range log {
			v.Outputs++
			events := h.inputs[e.Partition]
			if e.Offset < 0 || e.Offset >= int64(len(events)) || events[e.Offset].event != e.event {
				v.fail("output of %s says it is %d@%d, number %d of key %s, and no such record was sent", e.Member, e.Partition, e.Offset, e.Seq, e.Key)
				continue
			}
			if first[e.Partition][e.Offset].IsZero() {
				first[e.Partition][e.Offset], firstBy[e.Partition][e.Offset] = e.appended, e.Member
				if e.Seq != reached[e.Key] {
					v.fail("key %s: number %d of %s comes when %d is next", e.Key, e.Seq, e.Member, reached[e.Key])
				}
				reached[e.Key] = max(reached[e.Key], e.Seq+1)
			} else {
				v.Duplicates++
				v.repeated(e, firstBy[e.Partition][e.Offset])
				v.Window = max(v.Window, high[e.Partition]-e.Offset+1)
				if h.exactlyOnce {
					v.fail("%d@%d, number %d of key %s, is repeated by %s", e.Partition, e.Offset, e.Seq, e.Key, e.Member)
				} else if below := h.committedBefore(e.Partition, e.appended.Add(-h.slack)); e.Offset < below {
					if v.Late++; !h.frozen[e.Member] {
						v.fail("%d@%d is repeated by %s at %s, but %d was committed %s before", e.Partition, e.Offset, e.Member, e.appended.Format("15:04:05.000"), below, h.slack)
					}
				}
			}
			high[e.Partition] = max(high[e.Partition], e.Offset)
			o := owner{e.Member, e.Key}
			if before, ok := last[o]; ok && e.Seq <= before {
				restarts[o]++
				v.Restarts = max(v.Restarts, restarts[o])
				if h.maxRestarts > 0 && restarts[o] == h.maxRestarts+1 {
					v.fail("key %s: %s went back more than %d times, last from %d to %d", e.Key, e.Member, h.maxRestarts, before, e.Seq)
				}
			}
			last[o] = e.Seq
		}
	}
	for partition, times := range first {
		missing, example := 0, 0
		for offset, at := range times {
			if at.IsZero() {
				missing, example = missing+1, offset
			}
		}
		if missing > 0 {
			v.fail("lost: %d of %d records of partition %d have no output, as that at offset %d", missing, len(times), partition, example)
		}
	}
	return first
}

// committedBefore is what was known to be committed at a time.
func (h *history) committedBefore(partition int32, at time.Time) int64 {
	i, _ := slices.BinarySearchFunc(h.samples, at, func(s sample, at time.Time) int { return s.at.Compare(at) })
	if i == 0 {
		return 0
	}
	return h.samples[i-1].committed[partition]
}

// clockSlack covers brokers' times, which are in milliseconds.
const clockSlack = 2 * time.Millisecond

func (h *history) checkCommits(v *verdict, first map[int32][]time.Time) {
	checked := map[int32]int64{} // by partition: below it, outputs were looked at
	for _, s := range h.samples {
		for partition, next := range s.committed {
			if next < checked[partition] {
				v.fail("partition %d: committed went back from %d to %d at %s", partition, checked[partition], next, s.at.Format("15:04:05.000"))
				continue
			}
			for ; checked[partition] < next; checked[partition]++ {
				offset := checked[partition]
				if offset >= int64(len(first[partition])) {
					v.fail("partition %d: %d is committed, and it ends at %d", partition, next, len(first[partition]))
					checked[partition] = next
					break
				}
				if at := first[partition][offset]; at.IsZero() || at.After(s.at.Add(clockSlack)) {
					v.fail("partition %d: %d was committed at %s, and offset %d had no output", partition, next, s.at.Format("15:04:05.000"), offset)
				}
			}
		}
	}
	for partition, events := range h.inputs {
		if checked[partition] != int64(len(events)) {
			v.fail("partition %d: %d of %d records are committed in the end", partition, checked[partition], len(events))
		}
	}
}
