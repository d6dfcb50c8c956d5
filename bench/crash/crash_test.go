package main

import (
	"bytes"
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/primitives/sqlite"
)

func TestMain(m *testing.M) {
	if roles := os.Getenv(roleVar); roles != "" {
		serve(roles)
	}
	goleak.VerifyTestMain(m)
}

// TestNothingIsLost is the command in its short form.
func TestNothingIsLost(t *testing.T) {
	if testing.Short() {
		t.Skip("starts and kills processes for several seconds")
	}
	conf := config{records: 5000, size: 1000, batch: 50, kills: 2, seed: uint64(time.Now().UnixNano()), dir: t.TempDir(), deadline: time.Minute}
	var out bytes.Buffer
	if err := crash(t.Context(), conf, &out); err != nil {
		t.Fatalf("seed %d: %v\n%s", conf.seed, err, out.String())
	}
	t.Logf("\n%s", out.String())
}

// fill makes a table as the service would have made it.
func fill(t *testing.T, dir string, rows ...Record) {
	t.Helper()
	env := &primitives.Env{Flow: "test", Processor: "test", DataDir: dir, Shared: &primitives.Shared{}}
	writeAll(t, records, env, rows...)
	writeAll(t, deliveries, env, Delivery{0, 1}, Delivery{0, 2}, Delivery{1, 1})
}

func writeAll[T any](t *testing.T, table sqlite.Table[T], env *primitives.Env, rows ...T) {
	t.Helper()
	encode, err := table.Encoder()
	if err != nil {
		t.Fatal(err)
	}
	w, err := table.OpenSink(t.Context(), env)
	if err != nil {
		t.Fatal(err)
	}
	var out primitives.Outputs
	for _, row := range rows {
		if err := encode(row, &out); err != nil {
			t.Fatal(err)
		}
	}
	result := make(chan error, 1)
	w.Write(t.Context(), out.Records, func(err error) { result <- err })
	if err := <-result; err != nil {
		t.Fatal(err)
	}
	if err := w.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
}

// TestVerifySeesLoss shows that the comparison finds what it is there for.
func TestVerifySeesLoss(t *testing.T) {
	conf := config{records: 5, size: 20, seed: 3}
	row := func(seq int64) Record { return Record{seq, string(payload(nil, conf.seed, seq, conf.size))} }
	altered := row(1)
	altered.Payload = altered.Payload[:19] + "!"
	for _, c := range []struct {
		name                      string
		rows                      []Record
		missing, first, wrong, ok int64
	}{
		{"all", []Record{row(0), row(1), row(2), row(3), row(4)}, 0, 0, 0, 5},
		{"the first", []Record{row(1), row(2), row(3), row(4)}, 1, 0, 0, 4},
		{"two in between", []Record{row(0), row(3), row(4)}, 2, 1, 0, 3},
		{"the last", []Record{row(0), row(1), row(2), row(3)}, 1, 4, 0, 4},
		{"altered", []Record{row(0), altered, row(2), row(3), row(4)}, 0, 0, 1, 4},
		{"never sent", []Record{row(0), row(1), row(2), row(3), row(4), row(9)}, 0, 0, 1, 5},
		{"never sent in place of the last", []Record{row(0), row(1), row(2), row(3), row(9)}, 1, 4, 1, 4},
	} {
		t.Run(c.name, func(t *testing.T) {
			conf.dir = t.TempDir()
			fill(t, conf.dir, c.rows...)
			v, err := verify(t.Context(), conf)
			if err != nil {
				t.Fatal(err)
			}
			want := verdict{present: c.ok, altered: c.wrong, missing: c.missing, first: c.first,
				handled: 3, repeated: 1, redelivered: 1, integrity: "ok"}
			if v != want {
				t.Errorf("got %+v, want %+v", v, want)
			}
			if v.lost() != (c.missing+c.wrong > 0) {
				t.Errorf("lost is %v", v.lost())
			}
		})
	}
}

// TestVerifySeesDamage overwrites a part of the file.
func TestVerifySeesDamage(t *testing.T) {
	conf := config{records: 200, size: 1000, seed: 3, dir: t.TempDir()}
	rows := make([]Record, conf.records)
	for i := range rows {
		rows[i] = Record{int64(i), string(payload(nil, conf.seed, int64(i), conf.size))}
	}
	fill(t, conf.dir, rows...)
	f, err := os.OpenFile(conf.dir+"/flow.db", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(bytes.Repeat([]byte{0xee}, 4096), 20*4096); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if v, err := verify(t.Context(), conf); err == nil && !v.lost() {
		t.Errorf("the damage is not seen: %+v", v)
	}
}

func TestFolderInUse(t *testing.T) {
	conf := config{records: 1, size: 20, batch: 1, dir: t.TempDir(), deadline: time.Minute}
	fill(t, conf.dir, Record{Seq: 0})
	err := crash(t.Context(), conf, &bytes.Buffer{})
	if err == nil || !strings.Contains(err.Error(), "--dir") {
		t.Errorf("got %v, want an error that names --dir", err)
	}
}

func TestFlags(t *testing.T) {
	for _, args := range [][]string{{"--records", "0"}, {"--size", "0"}, {"--batch", "-1"}, {"--kills", "-1"}, {"--deadline", "0s"}, {"--nope"}} {
		var stderr bytes.Buffer
		if code := command(t.Context(), args, &bytes.Buffer{}, &stderr); code != 2 || stderr.Len() == 0 {
			t.Errorf("%v: exit code %d, %q, want 2 and a reason", args, code, stderr.String())
		}
	}
}

// TestPhases wants all records sent once and all kills made.
func TestPhases(t *testing.T) {
	for kills := range 25 {
		conf := config{records: 1001, kills: kills}
		sum, next := 0, int64(0)
		for _, ph := range conf.phases() {
			sum += ph.kills
			if ph.last == 0 {
				continue
			}
			if ph.first != next {
				t.Errorf("phase %q begins at %d, want %d", ph.name, ph.first, next)
			}
			next = ph.last
		}
		if sum != kills || next != conf.records {
			t.Errorf("%d kills and %d records, want %d and %d", sum, next, kills, conf.records)
		}
	}
}
