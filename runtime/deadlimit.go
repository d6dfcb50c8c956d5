package runtime

import (
	"errors"
	"fmt"
	"slices"
	"sort"
)

// ErrDeadLetterLimit is joined to the error with which a flow stops when a partition
// has more dead letters than DeadLetterLimit allows.
var ErrDeadLetterLimit = errors.New("more dead letters than DeadLetterLimit allows: mend what they fail of, or raise the limit")

// deadCount is what a lane knows of its dead letters since it was assigned. They are
// counted by position: records that are parked, or handled at the same time, fail in any
// order.
type deadCount struct {
	all  int
	end  uint64    // sequence number after that of the last in sequence
	rows []deadRow // in sequence, those that may still grow: they are in the window, or end where it begins
}

// deadRow is dead letters in a row, [from, to) of the sequence numbers.
type deadRow struct{ from, to uint64 }

// join returns the row that a dead letter is part of, which takes the place of rows[i:j].
func (d *deadCount) join(seq uint64) (row deadRow, i, j int) {
	row = deadRow{seq, seq + 1}
	i = sort.Search(len(d.rows), func(i int) bool { return d.rows[i].to >= seq })
	j = i
	if j < len(d.rows) && d.rows[j].to == seq {
		row.from = d.rows[j].from
		j++
	}
	if j < len(d.rows) && d.rows[j].from == row.to {
		row.to = d.rows[j].to
		j++
	}
	return row, i, j
}

// count counts one more dead letter, and errs when that is beyond the limit; then it is
// not counted. Up to the last dead letter, in sequence, all records that are none and do
// not wait for an attempt were handled well.
func (d *deadCount) count(t *tracker, seq uint64, limit DeadLimit) error {
	row, i, j := d.join(seq)
	if n := row.to - row.from; limit.Consecutive > 0 && n > uint64(limit.Consecutive) {
		return fmt.Errorf("%w: %d in a row", ErrDeadLetterLimit, n)
	}
	all, end := d.all+1, max(d.end, seq+1)
	if limit.Ratio > 0 {
		if well := max(0, int(end)-all-t.waiting(end)); float64(all) > limit.Ratio*float64(well) {
			return fmt.Errorf("%w: %d, with %d records handled well", ErrDeadLetterLimit, all, well)
		}
	}
	d.all, d.end = all, end
	d.rows = slices.Replace(d.rows, i, j, row)
	// Rows end for good where the record behind them is resolved.
	closed := sort.Search(len(d.rows), func(i int) bool { return d.rows[i].to >= t.head })
	d.rows = slices.Delete(d.rows, 0, closed)
	return nil
}

// countDead counts one more dead letter, and errs when that is beyond the limit.
func (l *lane) countDead(seq uint64) error {
	limit := l.c.spec.DeadLimit
	if limit == (DeadLimit{}) {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.dead.count(&l.t, seq, limit)
}
