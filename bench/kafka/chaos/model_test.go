package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

var began = time.Date(2024, 1, 2, 3, 4, 5, 0, time.UTC)

func at(seconds float64) time.Time { return began.Add(time.Duration(seconds * float64(time.Second))) }

// clean is a run of 20 records of 4 keys in 2 partitions, in which member a
// handles all, one each 100 ms, and b takes partition 1 over from offset 7 at 10 s, when 5 is committed.
func clean() *history {
	h := &history{
		inputs: map[int32][]input{}, sent: map[string]int64{}, emissions: make([][]emission, 2), frozen: map[string]bool{},
		maxRestarts: 3, slack: time.Second,
	}
	for p := range int32(2) {
		for o := range int64(10) {
			e := event{fmt.Sprintf("k%d-%d", p, o%2), o / 2}
			h.inputs[p] = append(h.inputs[p], input{e, at(float64(o) / 10)})
			h.sent[e.Key]++
			h.emissions[p] = append(h.emissions[p], emission{e, p, o, "a", at(float64(o) / 10)})
		}
	}
	h.emissions[1] = h.emissions[1][:7]
	for o := int64(5); o < 10; o++ {
		h.emissions[1] = append(h.emissions[1], emission{h.inputs[1][o].event, 1, o, "b", at(10 + float64(o)/10)})
	}
	h.samples = []sample{
		{at(0.01), map[int32]int64{}},
		{at(0.5), map[int32]int64{0: 5, 1: 5}},
		{at(1), map[int32]int64{0: 10, 1: 5}},
		{at(12), map[int32]int64{0: 10, 1: 10}},
	}
	return h
}

func TestJudgeAcceptsARebalance(t *testing.T) {
	v := clean().judge()
	if v.violated > 0 || v.Records != 20 || v.Outputs != 22 || v.Duplicates != 2 || v.Window != 2 || v.Restarts != 0 || v.Late != 0 || v.Pause != 10*time.Second {
		t.Errorf("%+v", v)
	}
	want := "03:04:15.500 b repeats 2 records of partition 1, from 5 to 6, first those of a"
	if len(v.Repetitions) != 1 || v.Repetitions[0].String() != want {
		t.Errorf("%v, want %s", v.Repetitions, want)
	}
}

// TestJudgeSeesWhatIsBroken breaks one thing at a time.
func TestJudgeSeesWhatIsBroken(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(h *history)
		want  string
	}{
		"an output is missing": {func(h *history) { h.emissions[0] = h.emissions[0][:9] }, "lost: 1 of 10 records of partition 0"},
		"a partition is missing": {func(h *history) { h.emissions[0] = nil },
			"lost: 10 of 10 records of partition 0"},
		"an acknowledged record is not stored": {func(h *history) { h.sent["k0-0"]++ }, "6 records were acknowledged to the producer, 5 are in the topic"},
		"two records of a key change places": {func(h *history) {
			e := h.emissions[0]
			e[2].event, e[4].event = e[4].event, e[2].event
			e[2].Offset, e[4].Offset = e[4].Offset, e[2].Offset
		}, "key k0-0: number 2 of a comes when 1 is next"},
		"a record of a key is skipped and comes later": {func(h *history) {
			e := h.emissions[0]
			h.emissions[0] = append(slices.Concat(e[:2], e[3:]), e[2])
		}, "key k0-0: number 2 of a comes when 1 is next"},
		"an output is of another record":      {func(h *history) { h.emissions[0][3].Seq++ }, "no such record was sent"},
		"an output is of no record":           {func(h *history) { h.emissions[0][3].Offset = 99 }, "no such record was sent"},
		"a commit is ahead of the outputs":    {func(h *history) { h.samples[1].committed[0] = 8 }, "8 was committed at 03:04:05.500, and offset 6 had no output"},
		"a commit is ahead of the input":      {func(h *history) { h.samples[3].committed[0] = 11 }, "11 is committed, and it ends at 10"},
		"a commit goes back":                  {func(h *history) { h.samples[2].committed[1] = 4 }, "committed went back from 5 to 4"},
		"the end is not committed":            {func(h *history) { h.samples[3].committed[1] = 9 }, "9 of 10 records are committed in the end"},
		"nothing is committed":                {func(h *history) { h.samples = nil }, "0 of 10 records are committed in the end"},
		"a committed record is repeated":      {func(h *history) { h.samples[1].committed[1], h.samples[2].committed[1] = 6, 6 }, "1@5 is repeated by b at 03:04:15.500, but 6 was committed 1s before"},
		"exactly once, and one comes twice":   {func(h *history) { h.exactlyOnce = true }, "is repeated by b"},
		"a window of one, and two come twice": {func(h *history) { h.window = 1 }, "b repeats 2 records of partition 1, from 5 to 6, first those of a: that are more than 1"},
		"a member goes back again and again":  {func(h *history) { h.repeat("b", 5) }, "b went back more than 3 times"},
		"the input is not numbered as it was": {func(h *history) { h.inputs[0][4].Seq = 7 }, "the producer is wrong"},
	} {
		t.Run(name, func(t *testing.T) {
			h := clean()
			c.spoil(h)
			v := h.judge()
			if !slices.ContainsFunc(v.Violations, func(s string) bool { return strings.Contains(s, c.want) }) {
				t.Errorf("want %q in %q", c.want, v.Violations)
			}
		})
	}
}

// repeat lets a member write its last two records again, some times.
func (h *history) repeat(member string, times int) {
	for range times {
		for o := int64(8); o < 10; o++ {
			h.emissions[1] = append(h.emissions[1], emission{h.inputs[1][o].event, 1, o, member, at(11)})
		}
	}
}

func TestJudgeCountsWhatAFrozenMemberRepeats(t *testing.T) {
	h := clean()
	h.emissions[1] = append(h.emissions[1], emission{h.inputs[1][6].event, 1, 6, "a", at(20)})
	if v := h.judge(); v.violated != 1 || !strings.Contains(v.Violations[0], "1@6 is repeated by a") {
		t.Errorf("%+v", v)
	}
	h.frozen["a"] = true
	if v := h.judge(); v.violated != 0 || v.Late != 1 || v.Duplicates != 3 {
		t.Errorf("%+v", v)
	}
}

func TestJudgeExactlyOnce(t *testing.T) {
	h := clean()
	h.exactlyOnce = true
	h.emissions[1] = slices.DeleteFunc(h.emissions[1], func(e emission) bool { return e.Member == "a" && e.Offset >= 5 })
	h.samples[1].committed[1] = 5
	if v := h.judge(); v.violated != 0 || v.Outputs != 20 {
		t.Errorf("%+v", v)
	}
}
