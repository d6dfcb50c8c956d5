package file_test

import (
	"bufio"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"

	"github.com/flowkit-go/flow/primitives/file"
)

// crashPath is the environment variable that makes this binary a writer.
const crashPath = "FLOW_TEST_CRASH_PATH"

func crashFile(path string) file.File[item] {
	return file.File[item]{Path: path, PartRows: 3000}
}

func crashItem(id int) item {
	return item{ID: id, Name: strings.Repeat("long, \"quoted\"\nname ", id%40), Price: float64(id) / 4}
}

// writeUntilKilled appends batches of items, and prints the last ID of each when
// it was acknowledged. Several batches are under way at a time.
func writeUntilKilled(path string) error {
	f := crashFile(path)
	encode, err := f.Encoder()
	if err != nil {
		return err
	}
	w, err := f.OpenSink(context.Background(), newEnv(""))
	if err != nil {
		return err
	}
	first, err := strconv.Atoi(os.Getenv(crashPath + "_FIRST"))
	if err != nil {
		return err
	}
	slots := make(chan struct{}, 8)
	out := make(chan string, 8)
	go func() {
		for line := range out {
			fmt.Println(line)
			<-slots
		}
	}()
	for id := first; ; {
		batch := make([]item, 1+id%50)
		for i := range batch {
			batch[i] = crashItem(id + i)
		}
		id += len(batch)
		slots <- struct{}{}
		encoded, err := encodeAll(encode, batch)
		if err != nil {
			return err
		}
		last := id - 1
		w.Write(context.Background(), encoded, func(err error) {
			if err != nil {
				out <- "error " + err.Error()
				return
			}
			out <- "acked " + strconv.Itoa(last)
		})
	}
}

func TestKilledWhileAppending(t *testing.T) {
	for _, name := range []string{"x.jsonl", "x.csv", "x.parquet"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), name)
			next := 1
			for range 8 {
				next = killOnce(t, path, next)
			}
			if next == 1 {
				t.Fatal("nothing was acknowledged in all runs")
			}
			store(t, crashFile(path)) // mends what the last one left
			valid(t, path)
			// Batches are acknowledged in order, so all IDs below next are there.
			seen := map[int]bool{}
			for _, v := range values(t, crashFile(path)) {
				if v != crashItem(v.ID) {
					t.Fatalf("damaged: %+v", v)
				}
				seen[v.ID] = true
			}
			for id := 1; id < next; id++ {
				if !seen[id] {
					t.Fatalf("%d was acknowledged and is not there", id)
				}
			}
			t.Logf("%d records acknowledged, %d there", next-1, len(seen))
		})
	}
}

// killOnce starts a writer, kills it after some acknowledgements, and returns
// the first ID that was not acknowledged.
func killOnce(t *testing.T, path string, next int) int {
	t.Helper()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), crashPath+"="+path, crashPath+"_FIRST="+strconv.Itoa(next))
	child.Stderr = os.Stderr
	stdout, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(stdout)
	killAfter := rand.IntN(300)
	for n := 0; lines.Scan(); n++ {
		id, ok := strings.CutPrefix(lines.Text(), "acked ")
		if !ok {
			t.Errorf("the writer says: %s", lines.Text())
			continue
		}
		last, err := strconv.Atoi(id)
		if err != nil {
			t.Error(err)
		}
		next = last + 1
		if n == killAfter {
			if err := child.Process.Kill(); err != nil { // SIGKILL
				t.Fatal(err)
			}
		}
	}
	if err := child.Wait(); err == nil || child.ProcessState.ExitCode() != -1 {
		t.Fatalf("the writer has ended by itself: %v", err)
	}
	return next
}

// valid reads a file with other means than this package.
func valid(t *testing.T, path string) {
	t.Helper()
	if filepath.Ext(path) == ".parquet" {
		parts, err := filepath.Glob(strings.TrimSuffix(path, ".parquet") + "-*.parquet")
		if err != nil || len(parts) == 0 {
			t.Fatalf("no parts: %v", err)
		}
		for _, p := range parts {
			if _, err := parquet.ReadFile[item](p); err != nil {
				t.Errorf("%s: %v", p, err)
			}
		}
		if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), "*journal*")); len(left) > 0 {
			t.Errorf("journals are left: %v", left)
		}
		return
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if filepath.Ext(path) == ".csv" {
		rows, err := csv.NewReader(f).ReadAll()
		if err != nil || len(rows) == 0 || rows[0][0] != "id" {
			t.Errorf("not CSV: %v", err)
		}
		return
	}
	for dec := json.NewDecoder(f); ; {
		var v item
		err := dec.Decode(&v)
		if err == io.EOF {
			return
		}
		if err != nil {
			t.Fatalf("not JSON Lines: %v", err)
		}
	}
}
