package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flowkit-go/flow/primitives"
)

func TestReaderBeforeTheFlowHasWritten(t *testing.T) {
	env := newEnv(t)
	table := Table[quake]{Name: "quakes", Key: "id"}
	r := reader(t, table)
	empty := func(when string) {
		t.Helper()
		rows, err := r.Select(t.Context(), "where mag > ?", 5)
		if err != nil || len(rows) != 0 {
			t.Errorf("%s: %v %v", when, rows, err)
		}
		if _, found, err := r.Get(t.Context(), "x"); found || err != nil {
			t.Errorf("%s: %v %v", when, found, err)
		}
		if n, err := Query[int](t.Context(), r, "select count(*) from quakes"); len(n) != 0 || err != nil {
			t.Errorf("%s: %v %v", when, n, err)
		}
	}
	empty("no file")
	open(t, Table[quake]{Name: "others"}, env)
	empty("no table")
	w := open(t, table, env)
	if n, err := Query[int](t.Context(), r, "select count(*) from quakes"); len(n) != 1 || n[0] != 0 || err != nil {
		t.Error(n, err)
	}
	w.mustWrite(t, makeQuake(1))
	if got, found, err := r.Get(t.Context(), makeQuake(1).ID); !found || err != nil || got != makeQuake(1) {
		t.Error(got, found, err)
	}
}

func TestReaderSelect(t *testing.T) {
	env := newEnv(t)
	table := Table[quake]{Name: "quakes", Key: "id"}
	w := open(t, table, env)
	w.mustWrite(t, makeQuakes(0, 100)...)
	r := reader(t, table)
	ids := func(clause string, args ...any) []string {
		t.Helper()
		rows, err := r.Select(t.Context(), clause, args...)
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, row := range rows {
			out = append(out, row.ID)
		}
		return out
	}
	at := makeQuake(98).Time
	elsewhere := at.In(time.FixedZone("x", -7200))
	want := []string{"us000000098", "us000000099"}
	for name, got := range map[string][]string{
		"number":        ids("where mag >= ? order by id", 9.8),
		"time":          ids("where time >= ? order by id", elsewhere),
		"pointer":       ids("where time >= ? order by id", &elsewhere),
		"null time":     ids("where time >= ? order by id", sql.NullTime{Time: elsewhere, Valid: true}),
		"named":         ids("where time >= :at order by id", sql.Named("at", elsewhere)),
		"order, limit":  {ids("order by mag desc limit 2")[1], ids("order by mag desc limit 1")[0]},
		"nil condition": ids("where ? is null and mag >= 9.8 order by id", (*time.Time)(nil)),
	} {
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(name, diff)
		}
	}
	if got := ids("where place = ?", "x' or '1'='1"); len(got) != 0 {
		t.Error("an argument was taken for SQL")
	}
	if _, err := r.Select(t.Context(), "where nope = 1"); err == nil || !strings.Contains(err.Error(), "nope") {
		t.Error(err)
	}
	n := 0
	for _, err := range r.All(t.Context(), "order by id") {
		if err != nil {
			t.Fatal(err)
		}
		if n++; n == 3 {
			break
		}
	}
	if n != 3 {
		t.Error(n)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.Select(ctx, ""); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestReaderCannotWrite(t *testing.T) {
	env := newEnv(t)
	table := Table[quake]{Name: "quakes"}
	w := open(t, table, env)
	w.mustWrite(t, makeQuake(1))
	r := reader(t, table)
	if _, err := Query[int](t.Context(), r, "delete from quakes returning felt"); err == nil {
		t.Error("a Reader deleted a row")
	}
	if rows, err := r.Select(t.Context(), ""); err != nil || len(rows) != 1 {
		t.Error(rows, err)
	}
}

func TestQuery(t *testing.T) {
	env := newEnv(t)
	table := Table[quake]{Name: "quakes", Key: "id"}
	w := open(t, table, env)
	w.mustWrite(t, makeQuakes(0, 3)...)
	next := makeQuake(3)
	next.Time = next.Time.AddDate(0, 0, 1)
	w.mustWrite(t, next)
	r := reader(t, table)

	type perDay struct {
		Day     string
		Quakes  int
		Highest *float64
		Unused  string
	}
	days, err := Query[perDay](t.Context(), r, "select date(time) as day, count(*) as quakes, max(mag) as highest from quakes group by 1 order by 1")
	low, high := 0.2, 0.3
	if diff := cmp.Diff([]perDay{{"2026-11-21", 3, &low, ""}, {"2026-11-22", 1, &high, ""}}, days); err != nil || diff != "" {
		t.Error(err, diff)
	}
	times, err := Query[time.Time](t.Context(), r, "select max(time) from quakes")
	if diff := cmp.Diff([]time.Time{next.Time}, times); err != nil || diff != "" {
		t.Error(err, diff)
	}
	if none, err := Query[*float64](t.Context(), r, "select max(mag) from quakes where 0"); err != nil || len(none) != 1 || none[0] != nil {
		t.Error(none, err)
	}
	for want, query := range map[string]string{
		"pointer":         "select max(mag) as day from quakes where 0",
		`column "other"`:  "select 1 as other",
		"no such table":   "select 1 as day from elsewhere",
		"syntax error":    "selec",
		"is not a string": "select x'00' as day",
	} {
		if _, err := Query[perDay](t.Context(), r, query); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	if _, err := Query[int](t.Context(), r, "select 1, 2"); err == nil || !strings.Contains(err.Error(), "2 columns") {
		t.Error(err)
	}
	if _, err := Query[int8](t.Context(), r, "select 300"); err == nil {
		t.Error("300 was read into an int8")
	}
	if _, err := Query[chan int](t.Context(), r, "select 1"); err == nil {
		t.Error("a channel was read")
	}
}

func TestReaderIsSafeForConcurrentUse(t *testing.T) {
	env := newEnv(t)
	table := Table[quake]{Name: "quakes", Key: "id"}
	w := open(t, table, env)
	r := reader(t, table)
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			if err := w.write(t.Context(), makeQuakes(i*10, i*10+10)...); err != nil {
				t.Error(err)
			}
			// What was confirmed is seen at once, by any connection of the pool.
			rows, err := r.Select(t.Context(), "where felt >= ? and felt < ?", i*10, i*10+10)
			if err != nil || len(rows) != 10 {
				t.Error(len(rows), err)
			}
		})
	}
	wg.Wait()
}

func TestReaderClose(t *testing.T) {
	env := newEnv(t)
	table := Table[quake]{Name: "quakes"}
	open(t, table, env)
	r := table.Reader()
	if _, err := r.Select(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := r.Select(t.Context(), ""); !errors.Is(err, primitives.ErrClosed) {
		t.Error(err)
	}
	if _, err := Query[int](t.Context(), r, "select 1"); !errors.Is(err, primitives.ErrClosed) {
		t.Error(err)
	}
}
