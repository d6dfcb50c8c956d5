package runtime

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/flowkit-go/flow/primitives"
)

// limitModel is what DeadLetterLimit promises, in the simplest form: what became of each
// record, looked at from the start each time.
type limitModel []fate

type fate uint8

const (
	unmet   fate = iota // not started yet
	started             // handled, or about to be, or its outputs are being written
	parked              // failed, and waits for its next attempt
	well
	dead
)

// judge reports by which part of the limit record i must not become a dead letter.
func (m limitModel) judge(i int, limit DeadLimit) (row, ratio bool) {
	m = slices.Clone(m)
	m[i] = dead
	from, to := i, i+1
	for from > 0 && m[from-1] == dead {
		from--
	}
	for to < len(m) && m[to] == dead {
		to++
	}
	row = limit.Consecutive > 0 && to-from > limit.Consecutive
	letters, good, last := 0, 0, 0
	for j, f := range m {
		if f == dead {
			letters, last = letters+1, j
		}
	}
	for _, f := range m[:last] {
		if f == well || f == started {
			good++
		}
	}
	return row, limit.Ratio > 0 && float64(letters) > limit.Ratio*float64(good)
}

// TestDeadLimitModel drives the count of a lane with records that are parked, or handled at
// the same time, against the model.
func TestDeadLimitModel(t *testing.T) {
	runs := uint64(3000)
	if testing.Short() {
		runs = 300
	}
	refused := 0
	for seed := range runs {
		n, err := driveLimit(seed)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		refused += n
	}
	if refused == 0 {
		t.Error("no limit was reached")
	}
}

func driveLimit(seed uint64) (refused int, err error) {
	rnd := rand.New(rand.NewPCG(seed, 1))
	order := []Order{ByPartition, Unordered}[rnd.IntN(2)]
	limit := DeadLimit{Consecutive: rnd.IntN(6)}
	if rnd.IntN(2) == 0 {
		limit.Ratio = rnd.Float64()
	}
	bad := rnd.Float64() // share of records that fail
	tr := newTracker(&primitives.Partition{}, order, 1+rnd.IntN(50), 0)
	var count deadCount
	var m limitModel
	of := func(f fate) int { // a record of that fate, or -1
		var all []int
		for i, have := range m {
			if have == f {
				all = append(all, i)
			}
		}
		if len(all) == 0 {
			return -1
		}
		return all[rnd.IntN(len(all))]
	}
	for range 300 {
		switch rnd.IntN(4) {
		case 0:
			for range rnd.IntN(max(1, tr.free())) {
				tr.push([]primitives.Record{{Offset: int64(len(m))}}, 0)
				m = append(m, unmet)
			}
		case 1:
			if i := of(parked); i >= 0 {
				tr.again(uint64(i))
				m[i] = unmet
			}
		default:
			for _, seq := range tr.take(nil, rnd.IntN(5)) {
				m[seq] = started
			}
			i := of(started)
			switch {
			case i < 0:
			case rnd.Float64() > bad:
				tr.resolve(uint64(i))
				m[i] = well
			case rnd.IntN(2) == 0:
				tr.delay(uint64(i))
				m[i] = parked
			default:
				row, ratio := m.judge(i, limit)
				got := count.count(&tr, uint64(i), limit)
				if errors.Is(got, ErrDeadLetterLimit) != (row || ratio) {
					return 0, fmt.Errorf("%v, %+v: %v for record %d of %v, want refused: %v for its row, %v for the ratio", order, limit, got, i, m, row, ratio)
				}
				if got != nil { // it stays, and fails no more
					refused++
					tr.resolve(uint64(i))
					m[i] = well
					continue
				}
				if n, most := len(count.rows), int(tr.tail-tr.head)/2+2; n > most {
					return 0, fmt.Errorf("%d rows are kept, want %d at most", n, most)
				}
				tr.resolve(uint64(i))
				m[i] = dead
			}
		}
	}
	return refused, nil
}
