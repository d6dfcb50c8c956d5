package sqlite

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/flowkit-go/flow/primitives"
)

// childVariable makes the test binary write to the file that it names. The
// value is the path, a colon, and the first number to write.
const childVariable = "FLOW_SQLITE_CHILD"

// child writes rows from four callers and prints the number of each once it is
// confirmed, until it is killed or its standard input ends.
func child(arg string) error {
	path, first, _ := strings.Cut(arg, ":")
	start, err := strconv.Atoi(first)
	if err != nil {
		return err
	}
	table := Table[quake]{Path: path, Name: "quakes", Key: "id"}
	encode, err := table.Encoder()
	if err != nil {
		return err
	}
	w, err := table.OpenSink(context.Background(), &primitives.Env{Logger: slog.Default(), Shared: new(primitives.Shared)})
	if err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = bufio.NewReader(os.Stdin).ReadByte()
	}()
	var print sync.Mutex
	var callers sync.WaitGroup
	errs := make(chan error, 4)
	for caller := range 4 {
		callers.Go(func() {
			for i := start + caller*1_000_000; ; i += 5 {
				select {
				case <-ended:
					return
				default:
				}
				var out primitives.Outputs
				for n := range 5 {
					if err := encode(makeQuake(i+n), &out); err != nil {
						errs <- err
						return
					}
				}
				result := make(chan error, 1)
				w.Write(context.Background(), out.Records, func(err error) { result <- err })
				if err := <-result; err != nil {
					errs <- err
					return
				}
				print.Lock()
				fmt.Printf("%d\n", i)
				print.Unlock()
			}
		})
	}
	callers.Wait()
	close(errs)
	for err := range errs {
		return err
	}
	return w.Close(context.Background())
}

// startChild runs the test binary as another process.
func startChild(t *testing.T, path string, first int) (cmd *exec.Cmd, lines *bufio.Scanner, end func() error) {
	t.Helper()
	cmd = exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s:%d", childVariable, path, first))
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, bufio.NewScanner(stdout), stdin.Close
}

// present returns the numbers of the rows in the file, read by a Reader, and
// checks the file.
func present(t *testing.T, path string) map[int]bool {
	t.Helper()
	r := reader(t, Table[quake]{Path: path, Name: "quakes"})
	got, err := Query[int](t.Context(), r, "select felt from quakes")
	if err != nil {
		t.Fatal(err)
	}
	rows := map[int]bool{}
	for _, n := range got {
		rows[n] = true
	}
	if ok, err := Query[string](t.Context(), r, "pragma integrity_check"); err != nil || len(ok) != 1 || ok[0] != "ok" {
		t.Error("integrity_check:", ok, err)
	}
	return rows
}

func TestDelivery125_KillLosesNothingThatWasConfirmed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "flow.db")
	var confirmed []int
	for kill := range 5 {
		cmd, lines, _ := startChild(t, path, 10_000*kill)
		for n := 0; lines.Scan(); n++ {
			first, err := strconv.Atoi(lines.Text())
			if err != nil {
				t.Fatal(err)
			}
			confirmed = append(confirmed, first)
			if n == 100+37*kill {
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := cmd.Wait(); err == nil {
			t.Fatal("the child ended by itself")
		}
		rows := present(t, path)
		for _, first := range confirmed {
			for n := range 5 {
				if !rows[first+n] {
					t.Fatalf("kill %d: row %d was confirmed and is not there", kill, first+n)
				}
			}
		}
	}
}

func TestTwoProcessesWriteOneFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "flow.db")
	var running sync.WaitGroup
	var mu sync.Mutex
	var confirmed []int
	for p := range 2 {
		cmd, lines, end := startChild(t, path, 500_000*p)
		running.Go(func() {
			for n := 0; lines.Scan(); n++ {
				first, err := strconv.Atoi(lines.Text())
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				confirmed = append(confirmed, first)
				mu.Unlock()
				if n == 200 {
					if err := end(); err != nil {
						t.Error(err)
					}
				}
			}
			if err := cmd.Wait(); err != nil {
				t.Error(err)
			}
		})
	}
	running.Wait()
	rows := present(t, path)
	for _, first := range confirmed {
		if !rows[first] || !rows[first+4] {
			t.Fatalf("row %d was confirmed and is not there", first)
		}
	}
	if len(confirmed) < 400 {
		t.Errorf("%d batches", len(confirmed))
	}
}
