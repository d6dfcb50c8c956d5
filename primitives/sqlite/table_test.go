package sqlite

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flowkit-go/flow/primitives"
)

type quake struct {
	ID    string    `json:"id"`
	Mag   float64   `json:"mag"`
	Place string    `json:"place"`
	Time  time.Time `json:"time"`
	Depth float64   `json:"depth"`
	Lat   float64   `json:"lat"`
	Lon   float64   `json:"lon"`
	Felt  int       `json:"felt"`
}

func makeQuake(i int) quake {
	return quake{
		ID: fmt.Sprintf("us%09d", i), Mag: float64(i%100) / 10, Place: "120 km W of Somewhere", Depth: 10, Lat: 1.5, Lon: -2.5,
		Time: time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC).Add(time.Duration(i) * time.Second), Felt: i,
	}
}

func makeQuakes(from, to int) []quake {
	var out []quake
	for i := from; i < to; i++ {
		out = append(out, makeQuake(i))
	}
	return out
}

func TestUpsertMakesRedeliveryHarmless(t *testing.T) {
	env := newEnv(t)
	table := Table[quake]{Name: "quakes", Key: "id"}
	w := open(t, table, env)
	w.mustWrite(t, makeQuakes(0, 10)...)
	changed := makeQuake(3)
	changed.Place = "elsewhere"
	w.mustWrite(t, append(makeQuakes(0, 10), changed)...) // the key twice in one statement
	got, err := reader(t, table).Select(t.Context(), "order by id")
	want := makeQuakes(0, 10)
	want[3] = changed
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Error(err, diff)
	}
}

func TestKeyOfSeveralColumns(t *testing.T) {
	type key struct {
		Station string
		Day     int
	}
	env := newEnv(t)
	table := Table[key]{Name: "days", Key: "station, day"}
	w := open(t, table, env)
	w.mustWrite(t, key{"a", 1}, key{"a", 2}, key{"b", 1}, key{"a", 1})
	r := reader(t, table)
	if got, err := r.Select(t.Context(), ""); err != nil || len(got) != 3 {
		t.Error(got, err)
	}
	if got, found, err := r.Get(t.Context(), "a", 2); err != nil || !found || got != (key{"a", 2}) {
		t.Error(got, found, err)
	}
	if _, found, err := r.Get(t.Context(), "b", 2); err != nil || found {
		t.Error(found, err)
	}
	if _, _, err := r.Get(t.Context(), "b"); err == nil {
		t.Error("half a key was accepted")
	}
}

func TestWithoutKeyRowsAreAppended(t *testing.T) {
	env := newEnv(t)
	table := Table[quake]{Name: "quakes"}
	w := open(t, table, env)
	w.mustWrite(t, makeQuake(1), makeQuake(1))
	w.mustWrite(t, makeQuake(1))
	if got, err := reader(t, table).Select(t.Context(), ""); err != nil || len(got) != 3 {
		t.Error(len(got), err)
	}
}

func TestTwoTablesShareOneFile(t *testing.T) {
	env := newEnv(t)
	first, second := Table[quake]{Name: "a", Key: "id"}, Table[quake]{Name: "b", NoSync: true}
	wa, wb, again := open(t, first, env), open(t, second, env), open(t, first, env)
	if wa.Writer.(*writer).db != wb.Writer.(*writer).db {
		t.Error("one file was opened twice")
	}
	var wg sync.WaitGroup
	for i := range 20 {
		for _, w := range []sink[quake]{wa, wb, again} {
			wg.Go(func() {
				if err := w.write(t.Context(), makeQuakes(i*10, i*10+10)...); err != nil {
					t.Error(err)
				}
			})
		}
	}
	wg.Wait()
	for _, table := range []Table[quake]{first, second} {
		if got, err := reader(t, table).Select(t.Context(), ""); err != nil || len(got) != 200 {
			t.Error(table, len(got), err)
		}
	}
}

func TestBadRowIsRefusedAlone(t *testing.T) {
	env := newEnv(t)
	path := filepath.Join(env.DataDir, defaultPath)
	sqlExec(t, path, `CREATE TABLE quakes (id TEXT PRIMARY KEY, mag REAL NOT NULL CHECK (mag < 100))`)
	table := Table[quake]{Name: "quakes", Key: "id"}
	w := open(t, table, env)
	rows := makeQuakes(0, 11)
	rows[2].Mag, rows[10].Mag = 100, 101
	batch, err := w.records(rows...)
	if err != nil {
		t.Fatal(err)
	}
	batch[5].Value = []byte("no row")
	result := make(chan error, 1)
	w.Write(t.Context(), batch, func(err error) { result <- err })

	var refused *primitives.BatchError
	if err := <-result; !errors.As(err, &refused) {
		t.Fatal(err)
	}
	var indexes []int
	for _, f := range refused.Failed {
		indexes = append(indexes, f.Index)
		if !primitives.IsPermanent(f.Err) || !strings.Contains(f.Err.Error(), "quakes") {
			t.Errorf("not permanent, or without the table's name: %v", f.Err)
		}
	}
	if diff := cmp.Diff([]int{2, 5, 10}, indexes); diff != "" {
		t.Error(diff)
	}
	got, err := Query[string](t.Context(), reader(t, table), "select id from quakes order by id")
	want := []string{"us000000000", "us000000001", "us000000003", "us000000004", "us000000006", "us000000007", "us000000008", "us000000009"}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Error(err, diff)
	}
}

func TestErrorOfATriggerMayPass(t *testing.T) {
	env := newEnv(t)
	w := open(t, Table[quake]{Name: "quakes"}, env)
	sqlExec(t, filepath.Join(env.DataDir, defaultPath),
		`CREATE TRIGGER tr BEFORE INSERT ON quakes WHEN new.felt = 1 BEGIN SELECT json_extract(new.place, '$'); END`)
	err := w.write(t.Context(), makeQuakes(0, 3)...)
	var refused *primitives.BatchError
	if !errors.As(err, &refused) || len(refused.Failed) != 1 || refused.Failed[0].Index != 1 || primitives.IsPermanent(err) {
		t.Error(err)
	}
}

func TestDelivery141_Closed(t *testing.T) {
	env := newEnv(t)
	table := Table[quake]{Name: "quakes"}
	w := open(t, table, env)
	written := make(chan error, 50)
	batch, err := w.records(makeQuakes(0, 100)...)
	if err != nil {
		t.Fatal(err)
	}
	for range cap(written) {
		w.Write(t.Context(), batch, func(err error) { written <- err })
	}
	if err := w.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range cap(written) {
		select {
		case err := <-written:
			if err != nil {
				t.Error(err)
			}
		default:
			t.Fatal("Close returned before a batch was reported")
		}
	}
	if err := w.write(t.Context(), makeQuake(1)); !errors.Is(err, primitives.ErrClosed) {
		t.Error(err)
	}
	if err := w.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if got, err := Query[int](t.Context(), reader(t, table), "select count(*) from quakes"); err != nil || got[0] != 5000 {
		t.Error(got, err)
	}
}

// locked opens a transaction on the file, as another process would, and returns
// the function that ends it.
func locked(t *testing.T, env *primitives.Env) (unlock func()) {
	t.Helper()
	c, err := connect(filepath.Join(env.DataDir, defaultPath), func() bool { return false })
	if err != nil {
		t.Fatal(err)
	}
	if err := c.exec("BEGIN IMMEDIATE"); err != nil {
		t.Fatal(err)
	}
	return sync.OnceFunc(func() {
		if err := errors.Join(c.exec("COMMIT"), c.close()); err != nil {
			t.Error(err)
		}
	})
}

func TestWriteWaitsForAnotherProcess(t *testing.T) {
	env := newEnv(t)
	w := open(t, Table[quake]{Name: "quakes"}, env)
	unlock := locked(t, env)
	result := make(chan error, 1)
	batch, err := w.records(makeQuake(1))
	if err != nil {
		t.Fatal(err)
	}
	w.Write(t.Context(), batch, func(err error) { result <- err })
	select {
	case err := <-result:
		t.Error("did not wait", err)
	case <-time.After(3 * lockSlice):
	}
	unlock()
	if err := <-result; err != nil {
		t.Error(err)
	}
}

func TestFullQueueHonoursContext(t *testing.T) {
	env := newEnv(t)
	w := open(t, Table[quake]{Name: "quakes"}, env)
	unlock := locked(t, env)
	defer unlock()
	results := make(chan error, 1+queued)
	report := func(err error) { results <- err }
	large, err := w.records(makeQuakes(0, maxGroup)...)
	if err != nil {
		t.Fatal(err)
	}
	w.Write(t.Context(), large, report) // fills the transaction, which waits for the lock
	for range queued {                  // blocks until that one was taken, then fills the queue
		w.Write(t.Context(), large[:1], report)
	}
	ctx, cancel := context.WithCancel(t.Context())
	blocked := make(chan error, 1)
	returned := make(chan struct{})
	go func() {
		defer close(returned)
		w.Write(ctx, large[:1], func(err error) { blocked <- err })
	}()
	select {
	case err := <-blocked:
		t.Fatal("a full queue took a batch:", err)
	case <-time.After(lockSlice):
	}
	cancel()
	<-returned
	if err := <-blocked; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	unlock()
	for range cap(results) {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
}

func TestCloseGivesUpWithItsContext(t *testing.T) {
	env := newEnv(t)
	w := open(t, Table[quake]{Name: "quakes"}, env)
	unlock := locked(t, env)
	defer unlock()
	batch, err := w.records(makeQuake(1))
	if err != nil {
		t.Fatal(err)
	}
	results := make(chan error, 3)
	for range cap(results) {
		w.Write(t.Context(), batch, func(err error) { results <- err })
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	start := time.Now()
	err = w.Close(ctx)
	if took := time.Since(start); !errors.Is(err, context.Canceled) || took > lockWait/2 {
		t.Errorf("Close took %s: %v", took, err)
	}
	w.Writer.(*writer).err = nil // so that the test's own Close is not reported
	for range cap(results) {
		if err := <-results; err == nil || primitives.IsPermanent(err) {
			t.Error("reported as written or refused for ever:", err)
		}
	}
}

func TestRemovedFileIsNoticed(t *testing.T) {
	env := newEnv(t)
	w := open(t, Table[quake]{Name: "quakes"}, env)
	w.mustWrite(t, makeQuake(1))
	moved := filepath.Join(env.DataDir, "moved")
	if err := renameAll(filepath.Join(env.DataDir, defaultPath), moved); err != nil {
		t.Fatal(err)
	}
	if err := w.write(t.Context(), makeQuake(2)); !errors.Is(err, errMoved) || primitives.IsPermanent(err) {
		t.Error(err)
	}
	if err := renameAll(moved, filepath.Join(env.DataDir, defaultPath)); err != nil {
		t.Fatal(err)
	}
	w.mustWrite(t, makeQuake(2))
}

func TestFullDiskMayPass(t *testing.T) {
	env := newEnv(t)
	w := open(t, Table[quake]{Name: "quakes"}, env)
	db := w.Writer.(*writer).db
	limit := func(pages int) error {
		return db.onConnection(t.Context(), func() error { return db.conn.exec(fmt.Sprintf("PRAGMA max_page_count = %d", pages)) })
	}
	if err := limit(3); err != nil {
		t.Fatal(err)
	}
	err := w.write(t.Context(), makeQuakes(0, 1000)...)
	var refused *primitives.BatchError
	if err == nil || errors.As(err, &refused) || primitives.IsPermanent(err) {
		t.Fatal(err)
	}
	if err := limit(1 << 30); err != nil {
		t.Fatal(err)
	}
	w.mustWrite(t, makeQuakes(0, 1000)...)
	got, err := Query[int](t.Context(), reader(t, Table[quake]{Name: "quakes"}), "select count(*) from quakes")
	if err != nil || got[0] != 1000 {
		t.Error(got, err)
	}
}

func TestValidate(t *testing.T) {
	for want, err := range map[string]error{
		"Name is empty": Table[quake]{}.Validate(),
		"sqlite_x":      Table[quake]{Name: "sqlite_x"}.Validate(),
		":memory:":      Table[quake]{Name: "t", Path: ":memory:"}.Validate(),
		`"nope"`:        Table[quake]{Name: "t", Key: "id, nope"}.Validate(),
		"twice":         Table[quake]{Name: "t", Key: "id, id"}.Validate(),
		"may be NULL":   Table[struct{ P *int }]{Name: "t", Key: "p"}.Validate(),
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	if err := (Table[quake]{Name: "t", Key: "id"}).Validate(); err != nil {
		t.Error(err)
	}
	if got := (Table[quake]{Name: "quakes"}).String(); got != "sqlite:quakes" {
		t.Error(got)
	}
}
