package sqlite

import (
	"database/sql"
	"fmt"
	"path/filepath"
	"sync"
	"testing"

	"github.com/flowkit-go/flow/primitives"
)

// BenchmarkWrite has four callers who write bursts, each the next one when its
// last is confirmed. It compares the Writer with the loop that one would write
// by hand on database/sql: a transaction per burst, with one prepared statement.
func BenchmarkWrite(b *testing.B) {
	for _, burst := range []int{1, 16, 256} {
		for _, noSync := range []bool{false, true} {
			suffix := fmt.Sprintf("burst=%d/noSync=%v", burst, noSync)
			b.Run("writer/"+suffix, func(b *testing.B) { benchmarkWriter(b, burst, noSync) })
			b.Run("byHand/"+suffix, func(b *testing.B) { benchmarkByHand(b, burst, noSync) })
		}
	}
}

// fourCallers lets each of four callers write its share of b.N rows in bursts.
func fourCallers(b *testing.B, burst int, write func(from, to int) error) {
	b.ReportAllocs()
	b.ResetTimer()
	var callers sync.WaitGroup
	for caller := range 4 {
		callers.Go(func() {
			first, last := b.N*caller/4, b.N*(caller+1)/4
			for from := first; from < last; from += burst {
				if err := write(from, min(from+burst, last)); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	callers.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "rows/s")
}

func benchmarkWriter(b *testing.B, burst int, noSync bool) {
	w := open(b, Table[quake]{Name: "quakes", Key: "id", NoSync: noSync}, newEnv(b))
	outputs := sync.Pool{New: func() any { return new(primitives.Outputs) }}
	fourCallers(b, burst, func(from, to int) error {
		out := outputs.Get().(*primitives.Outputs)
		defer outputs.Put(out)
		out.Reset()
		for i := from; i < to; i++ {
			if err := w.encode(makeQuake(i), out); err != nil {
				return err
			}
		}
		result := make(chan error, 1)
		w.Write(b.Context(), out.Records, func(err error) { result <- err })
		return <-result
	})
}

func benchmarkByHand(b *testing.B, burst int, noSync bool) {
	mode := "full"
	if noSync {
		mode = "normal"
	}
	db, err := sql.Open("sqlite", dsn(filepath.Join(b.TempDir(), "hand.db"), "journal_mode(wal)", "synchronous("+mode+")"))
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	s, err := Table[quake]{Name: "quakes", Key: "id"}.schema()
	if err != nil {
		b.Fatal(err)
	}
	if _, err := db.Exec(s.createTable()); err != nil {
		b.Fatal(err)
	}
	insert, err := db.Prepare(s.insert(1))
	if err != nil {
		b.Fatal(err)
	}
	defer insert.Close()
	fourCallers(b, burst, func(from, to int) error {
		tx, err := db.Begin()
		if err != nil {
			return err
		}
		defer tx.Rollback()
		stmt := tx.Stmt(insert)
		for i := from; i < to; i++ {
			q := makeQuake(i)
			if _, err := stmt.Exec(q.ID, q.Mag, q.Place, q.Time.Format(timeLayout), q.Depth, q.Lat, q.Lon, q.Felt); err != nil {
				return err
			}
		}
		return tx.Commit()
	})
}

func BenchmarkEncode(b *testing.B) {
	encode, err := Table[quake]{Name: "quakes"}.Encoder()
	if err != nil {
		b.Fatal(err)
	}
	q := makeQuake(1)
	var out primitives.Outputs
	b.ReportAllocs()
	for b.Loop() {
		out.Reset()
		if err := encode(q, &out); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkGet(b *testing.B) {
	env := newEnv(b)
	table := Table[quake]{Name: "quakes", Key: "id"}
	w := open(b, table, env)
	w.mustWrite(b, makeQuakes(0, 1000)...)
	r := reader(b, table)
	b.ReportAllocs()
	for b.Loop() {
		if _, found, err := r.Get(b.Context(), "us000000500"); !found || err != nil {
			b.Fatal(found, err)
		}
	}
}
