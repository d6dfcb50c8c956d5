package file_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/primitives/file"
)

func TestTornTails(t *testing.T) {
	for _, c := range []struct{ name, before, kept, torn string }{
		{"x.jsonl", "{\"id\":1}\n{\"id\":2", "{\"id\":1}\n", "{\"id\":2"},
		{"x.jsonl", "{\"id\":1}\n{\"id\":2}", "{\"id\":1}\n{\"id\":2}\n", ""}, // all but its end is there
		{"x.jsonl", "{\"id\":1}\n12", "{\"id\":1}\n", "12"},                   // of 123?
		{"x.jsonl", "{\"id\":", "", "{\"id\":"},
		{"x.jsonl", "{\"id\":1}\n\x00\x00", "{\"id\":1}\n", "\x00\x00"},
		{"x.jsonl", "{\"id\":1}\n" + strings.Repeat("x", 300_000), "{\"id\":1}\n", strings.Repeat("x", 300_000)},
		{"x.csv", "id,name,price\n1,a,1\n2,b,", "id,name,price\n1,a,1\n", "2,b,"},
		{"x.csv", "id,name,price\n1,\"a\nb\",1\n2,\"b\nc\n", "id,name,price\n1,\"a\nb\",1\n", "2,\"b\nc\n"},
		{"x.csv", "id,na", "", "id,na"},
		{"x.csv", "\xef\xbb\xbf\"id\",name,price\n1,", "\xef\xbb\xbf\"id\",name,price\n", "1,"},
		{"x.csv", "id,name,price\n1,a\"b,1\n2,c,2\n3,", "id,name,price\n1,a\"b,1\n2,c,2\n", "3,"}, // a stray quote of somebody's
	} {
		path := writeFile(t, filepath.Join(t.TempDir(), c.name), c.before)
		store(t, file.File[item]{Path: path}, item{ID: 9})
		last := "{\"id\":9,\"name\":\"\",\"price\":0}\n"
		if filepath.Ext(path) == ".csv" {
			last = "9,,0\n"
			if c.kept == "" {
				last = "id,name,price\n" + last
			}
		}
		if got := readFile(t, path); got != c.kept+last {
			t.Errorf("%q became %q, want %q", c.before, got, c.kept+last)
		}
		torn, err := os.ReadFile(path + ".torn")
		if c.torn == "" && !errors.Is(err, os.ErrNotExist) || c.torn != "" && string(torn) != c.torn+"\n" {
			t.Errorf("%q: aside is %q, %v", c.before, torn, err)
		}
	}
}

func TestColumnsMustBeThoseOfTheFile(t *testing.T) {
	path := writeFile(t, filepath.Join(t.TempDir(), "x.csv"), "id,price\n1,2\n")
	_, err := file.File[item]{Path: path}.OpenSink(t.Context(), newEnv(""))
	wantError(t, err, path, `["id" "price"]`, `["id" "name" "price"]`)
	if got := readFile(t, path); got != "id,price\n1,2\n" {
		t.Errorf("the file was changed: %q", got)
	}
	same := writeFile(t, filepath.Join(t.TempDir(), "x.csv"), "\xef\xbb\xbf\"id\",\"name\",price\r\n")
	store(t, file.File[item]{Path: same}, item{ID: 1})
	if got := values(t, file.File[item]{Path: same}); len(got) != 1 || got[0].ID != 1 {
		t.Errorf("got %v", got)
	}
}

func TestLinesThatWouldSpoilTheFileAreRefused(t *testing.T) {
	f := file.File[string]{Path: filepath.Join(t.TempDir(), "x.txt")}
	encode, err := f.Encoder()
	if err != nil {
		t.Fatal(err)
	}
	w, err := f.OpenSink(t.Context(), newEnv(""))
	if err != nil {
		t.Fatal(err)
	}
	err = write(t.Context(), w, encode, "a", "b\nc", "d")
	var batch *primitives.BatchError
	if !errors.As(err, &batch) || len(batch.Failed) != 1 || batch.Failed[0].Index != 1 || !primitives.IsPermanent(batch.Failed[0].Err) {
		t.Errorf("got %v", err)
	}
	if err := w.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if got := readFile(t, f.Path); got != "a\nd\n" {
		t.Errorf("got %q", got)
	}
}

func TestProcessorsShareAFile(t *testing.T) {
	for _, name := range []string{"x.csv", "x.jsonl", "x.parquet"} {
		f := file.File[item]{Path: filepath.Join(t.TempDir(), "sub", name), PartRows: 150}
		encode, err := f.Encoder()
		if err != nil {
			t.Fatal(err)
		}
		env := newEnv("")
		var wg sync.WaitGroup
		for p := range 4 {
			w, err := f.OpenSink(t.Context(), env)
			if err != nil {
				t.Fatal(err)
			}
			wg.Go(func() {
				for i := range 100 {
					id := p*1000 + i
					if err := write(t.Context(), w, encode, item{ID: id, Name: strings.Repeat("x\n", id%300)}); err != nil {
						t.Error(err)
					}
				}
				if err := w.Close(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		last := map[int]int{}
		got := values(t, f)
		for _, v := range got {
			if p := v.ID / 1000; v.ID%1000 != last[p] {
				t.Fatalf("%s: record %d after %d", name, v.ID, last[p])
			} else {
				last[p]++
			}
		}
		if len(got) != 400 {
			t.Errorf("%s: %d records, want 400", name, len(got))
		}
	}
}

func TestOneFlowPerFile(t *testing.T) {
	for _, name := range []string{"x.csv", "x.jsonl", "x.parquet"} {
		f := file.File[item]{Path: filepath.Join(t.TempDir(), name)}
		w, err := f.OpenSink(t.Context(), newEnv(""))
		if err != nil {
			t.Fatal(err)
		}
		_, err = f.OpenSink(t.Context(), newEnv(""))
		wantError(t, err, f.Path, "has it open")
		if err := w.Close(t.Context()); err != nil {
			t.Error(err)
		}
		store(t, f, item{}) // the lock is free again
	}
}

func TestOneTypePerFile(t *testing.T) {
	type other struct{ ID int }
	dir, env := t.TempDir(), newEnv("")
	for _, name := range []string{"x.csv", "x.parquet"} {
		w, err := file.File[item]{Path: filepath.Join(dir, name)}.OpenSink(t.Context(), env)
		if err != nil {
			t.Fatal(err)
		}
		_, err = file.File[other]{Path: filepath.Join(dir, name)}.OpenSink(t.Context(), env)
		wantError(t, err, name, "one processor writes it as")
		if err := w.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

func TestParquetPartsByRowsAndAge(t *testing.T) {
	dir := t.TempDir()
	f := file.File[item]{Path: filepath.Join(dir, "x.parquet"), PartRows: 10, PartAge: 20 * time.Millisecond, Sync: true}
	encode, err := f.Encoder()
	if err != nil {
		t.Fatal(err)
	}
	w, err := f.OpenSink(t.Context(), newEnv(""))
	if err != nil {
		t.Fatal(err)
	}
	for id := range 25 {
		if err := write(t.Context(), w, encode, item{ID: id}); err != nil {
			t.Fatal(err)
		}
	}
	// The rows that do not fill a part appear by their age, without a further one.
	deadline := time.Now().Add(10 * time.Second)
	for n := 0; n < 25; {
		if time.Now().After(deadline) {
			t.Fatalf("%d rows to be seen, want 25", n)
		}
		n = 0
		if parts, _ := filepath.Glob(filepath.Join(dir, "x-*.parquet")); len(parts) > 0 {
			n = len(values(t, file.File[item]{Path: filepath.Join(dir, "x-*.parquet")}))
		}
	}
	if err := w.Close(t.Context()); err != nil {
		t.Error(err)
	}
	for i, v := range values(t, f) {
		if v.ID != i {
			t.Fatalf("row %d is %d", i, v.ID)
		}
	}
}

func TestParquetJournalsAreNotDoubled(t *testing.T) {
	dir := t.TempDir()
	f := file.File[item]{Path: filepath.Join(dir, "x.parquet")}
	store(t, f, item{ID: 1})
	// Killed after the part was there and before its journal was gone; and with
	// a torn line in the next.
	writeFile(t, filepath.Join(dir, "x-00001.parquet.journal"), "{\"id\":1}\n")
	writeFile(t, filepath.Join(dir, "x-00002.parquet.journal"), "{\"id\":2}\n{\"id\":3}\n{\"id")
	writeFile(t, filepath.Join(dir, "x-00003.parquet.journal"), "")
	store(t, f, item{ID: 4})
	want := []item{{ID: 1}, {ID: 2}, {ID: 3}, {ID: 4}}
	if d := cmp.Diff(want, values(t, f)); d != "" {
		t.Error(d)
	}
	// Rows of a type that has changed since are kept, and said.
	writeFile(t, filepath.Join(dir, "x-00009.parquet.journal"), "{\"id\":\"nine\"}\n")
	_, err := f.OpenSink(t.Context(), newEnv(""))
	wantError(t, err, "x-00009.parquet.journal", "line 1", "id", "move the journal away")
	if got := readFile(t, filepath.Join(dir, "x-00009.parquet.journal")); got == "" {
		t.Error("the journal is gone")
	}
}

func TestSinkInAPlaceThatIsNone(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "plain"), "")
	for _, name := range []string{"plain/x.csv", "plain/x.parquet"} {
		_, err := file.File[item]{Path: filepath.Join(dir, name)}.OpenSink(t.Context(), newEnv(""))
		wantError(t, err, name)
	}
}

func TestCloseWithoutTime(t *testing.T) {
	f := file.File[string]{Path: filepath.Join(t.TempDir(), "x.txt")}
	w, err := f.OpenSink(t.Context(), newEnv(""))
	if err != nil {
		t.Fatal(err)
	}
	hold, held := make(chan struct{}), make(chan struct{})
	w.Write(t.Context(), []primitives.Record{{Value: []byte("a")}}, func(error) { close(held); <-hold })
	<-held
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := w.Close(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Close says %v while a batch is under way", err)
	}
	close(hold)
	if err := w.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if got := readFile(t, f.Path); got != "a\n" {
		t.Errorf("got %q", got)
	}
}

func TestDevicesAreNoFiles(t *testing.T) {
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip("no /dev/full")
	}
	_, err := file.File[string]{Path: "/dev/full", Format: file.Text}.OpenSink(t.Context(), newEnv(""))
	wantError(t, err, "not a regular file")
}

func ExampleFile() {
	source := file.File[item]{Path: "items/*.csv", Checkpoint: "items.jsonl"}
	sink := file.File[item]{Path: "items.parquet", PartAge: time.Minute}
	fmt.Println(source, sink)
	// Output: file:items/*.csv file:items.parquet
}
