package sqlite

import (
	"database/sql/driver"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// FuzzDecodeRow gives arbitrary bytes to the writer's side. What it takes must
// come out the same when it is encoded again.
func FuzzDecodeRow(f *testing.F) {
	header := []byte{rowVersion, 3}
	f.Add([]byte{})
	f.Add(header)
	f.Add(appendNull(appendNull(appendNull(header))))
	f.Add(appendBlob(appendText(appendInt(header, -1), "text"), []byte{0}))
	f.Add(appendFloat(appendText(appendInt(header, math.MinInt64), ""), math.Inf(1)))
	f.Add(append(appendInt(appendInt(header, 1), 2), tagText, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1))
	f.Fuzz(func(t *testing.T, row []byte) {
		var first, second [3]driver.NamedValue
		if decodeRow(row, first[:]) != nil {
			return
		}
		again := []byte{rowVersion, 3}
		for _, arg := range first {
			switch v := arg.Value.(type) {
			case nil:
				again = appendNull(again)
			case int64:
				again = appendInt(again, v)
			case float64:
				again = appendFloat(again, v)
			case string:
				again = appendText(again, v)
			case []byte:
				again = appendBlob(again, v)
			default:
				t.Fatalf("%T", v)
			}
		}
		if err := decodeRow(again, second[:]); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(first, second, cmpopts.EquateNaNs()); diff != "" {
			t.Error(diff)
		}
	})
}

func TestRowOfAnotherTableIsRefused(t *testing.T) {
	row := appendText(appendInt([]byte{rowVersion, 2}, 1), "x")
	if err := decodeRow(row, make([]driver.NamedValue, 2)); err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string][]byte{
		"empty": {}, "version": append([]byte{9}, row[1:]...), "more": append(row[:len(row):len(row)], 0), "less": row[:len(row)-1],
		"columns": append([]byte{rowVersion, 1}, row[2:]...), "tag": {rowVersion, 2, 9, 0},
	} {
		if err := decodeRow(bad, make([]driver.NamedValue, 2)); err != errRow {
			t.Errorf("%s: %v", name, err)
		}
	}
}
