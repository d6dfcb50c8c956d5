package sqlite

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestMissingColumnsAreAdded(t *testing.T) {
	type before struct {
		ID string
	}
	type after struct {
		ID    string
		N     int
		F     float64
		S     string
		B     []byte
		D     [2]byte
		T     time.Time
		L     level
		P     *int
		Place place
		Tags  []string
	}
	env := newEnv(t)
	old := open(t, Table[before]{Name: "t", Key: "id"}, env)
	old.mustWrite(t, before{"a"})
	table := Table[after]{Name: "t", Key: "id"}
	w := open(t, table, env)
	w.mustWrite(t, after{ID: "b", N: 1, D: [2]byte{1, 2}})
	old.mustWrite(t, before{"c"}) // a processor with the old struct goes on

	got, err := reader(t, table).Select(t.Context(), "order by id")
	want := []after{{ID: "a"}, {ID: "b", N: 1, D: [2]byte{1, 2}}, {ID: "c"}}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Error(err, diff)
	}
}

func TestTableThatDoesNotFit(t *testing.T) {
	type row struct {
		ID  string
		N   *int
		Mag float64
	}
	for name, c := range map[string]struct {
		create string
		key    string
		want   []string // empty when it fits
	}{
		"same":             {"CREATE TABLE t (id TEXT PRIMARY KEY, n INTEGER, mag REAL)", "id", nil},
		"other spelling":   {"CREATE TABLE t (ID VARCHAR(9), N BIGINT, MAG DOUBLE PRECISION, UNIQUE (id))", "id", nil},
		"own row number":   {"CREATE TABLE t (nr INTEGER PRIMARY KEY, id TEXT, n INTEGER, mag REAL)", "", nil},
		"spare column":     {"CREATE TABLE t (id TEXT, n INTEGER, mag REAL, x TEXT, y TEXT NOT NULL DEFAULT '')", "", nil},
		"type":             {"CREATE TABLE t (id INTEGER, n INTEGER, mag REAL)", "", []string{`"id"`, "INTEGER", "TEXT", "field ID"}},
		"real for integer": {"CREATE TABLE t (id TEXT, n REAL, mag REAL)", "", []string{`"n"`, "REAL", "INTEGER"}},
		"not null":         {"CREATE TABLE t (id TEXT, n INTEGER NOT NULL, mag REAL)", "", []string{`"n"`, "NOT NULL", "field N"}},
		"generated":        {"CREATE TABLE t (id TEXT, n INTEGER, mag REAL AS (n) STORED)", "", []string{`"mag"`, "generated"}},
		"nobody writes":    {"CREATE TABLE t (id TEXT, n INTEGER, mag REAL, must TEXT NOT NULL)", "", []string{`"must"`, "NOT NULL"}},
		"no key there":     {"CREATE TABLE t (id TEXT, n INTEGER, mag REAL)", "id", []string{`"id"`, "no primary key"}},
		"other key":        {"CREATE TABLE t (id TEXT, n INTEGER, mag REAL PRIMARY KEY)", "id", []string{`"id"`, `"mag"`}},
		"key not wanted":   {"CREATE TABLE t (id TEXT PRIMARY KEY, n INTEGER, mag REAL)", "", []string{`"id"`, "Key is empty"}},
		"partial index":    {"CREATE TABLE t (id TEXT, n INTEGER, mag REAL); CREATE UNIQUE INDEX i ON t(id) WHERE n > 1", "id", []string{"no primary key"}},
	} {
		t.Run(name, func(t *testing.T) {
			env := newEnv(t)
			sqlExec(t, filepath.Join(env.DataDir, defaultPath), c.create)
			table := Table[row]{Name: "t", Key: c.key}
			if c.want == nil {
				w := open(t, table, env)
				w.mustWrite(t, row{"a", nil, 2})
				got, err := reader(t, table).Select(t.Context(), "")
				if diff := cmp.Diff([]row{{"a", nil, 2}}, got); err != nil || diff != "" {
					t.Error(err, diff)
				}
				return
			}
			w, err := table.OpenSink(t.Context(), env)
			if err == nil {
				t.Fatal("opened", w.Close(t.Context()))
			}
			for _, part := range append(c.want, "table t") {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q does not mention %q", err, part)
				}
			}
		})
	}
}

func TestNamesAreQuoted(t *testing.T) {
	type row struct {
		A int `db:"select"`
		B int `db:"it's \"b\"; drop table t--"`
	}
	env := newEnv(t)
	table := Table[row]{Name: `ta"ble; --`, Path: "odd ?#% dir/fl%41w&mode=memory.db", Key: "select"}
	w := open(t, table, env)
	w.mustWrite(t, row{1, 2})
	got, found, err := reader(t, table).Get(t.Context(), 1)
	if err != nil || !found || got != (row{1, 2}) {
		t.Error(got, found, err)
	}
}

func TestFileThatIsNoDatabase(t *testing.T) {
	env := newEnv(t)
	path := filepath.Join(env.DataDir, defaultPath)
	writeFile(t, path, strings.Repeat("not a database ", 100))
	if w, err := (Table[quake]{Name: "t"}).OpenSink(t.Context(), env); err == nil {
		t.Error("opened", w.Close(t.Context()))
	} else if !strings.Contains(err.Error(), path) {
		t.Error(err)
	}
}
