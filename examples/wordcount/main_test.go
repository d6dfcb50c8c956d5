package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/csv"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode"

	gocmp "github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/flowkit-go/flow"
)

const (
	book   = "data/opticks.txt"
	killAt = "WORDCOUNT_KILL_AT" // the number of lines after which the process kills itself
)

// TestMain runs the tests or, when TestKilled has started this binary, the program
// that kills itself.
func TestMain(m *testing.M) {
	if n, err := strconv.ParseInt(os.Getenv(killAt), 10, 64); err == nil {
		err := wordcount(context.Background(), os.Args[1], os.Args[2], often, at(n, func() {
			self, _ := os.FindProcess(os.Getpid())
			_ = self.Kill()
			select {} // the end is near
		}))
		println("not killed:", err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

// wordcount runs the program for the file text.
func wordcount(ctx context.Context, text, out string, opts ...flow.ConsumerOption) error {
	app := newApp(os.DirFS(filepath.Dir(text)), filepath.Base(text), out, opts...)
	return cmp.Or(app.Run(ctx), context.Cause(ctx))
}

// often commits often enough that a part of the text is done when a run ends early.
var often = flow.CommitEvery(time.Second, 100)

// at calls fn at the n-th line.
func at(n int64, fn func()) flow.ConsumerOption {
	var seen atomic.Int64
	return each(func() {
		if seen.Add(1) == n {
			fn()
		}
	})
}

// counted counts the lines that a run has handled.
func counted(n *atomic.Int64) flow.ConsumerOption { return each(func() { n.Add(1) }) }

// each calls fn before each line.
func each(fn func()) flow.ConsumerOption {
	return flow.Use(func(next flow.Next) flow.Next {
		return func(ctx context.Context, d *flow.Delivery) error {
			fn()
			return next(ctx, d)
		}
	})
}

// excerpt makes a text of the first lines of the book.
func excerpt(t *testing.T, lines int) (path string) {
	t.Helper()
	text, err := os.ReadFile(book)
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(t.TempDir(), "excerpt.txt")
	if err := os.WriteFile(path, bytes.Join(bytes.SplitAfterN(text, []byte("\n"), lines+1)[:lines], nil), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// wanted counts the words rune by rune.
func wanted(t *testing.T, path string) map[string]int {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	counts := map[string]int{}
	runes := append([]rune(string(text)), ' ')
	begin := 0
	for i, r := range runes {
		inside := r == '\'' && i > begin && unicode.IsLetter(runes[i+1])
		if unicode.IsLetter(r) || inside {
			continue
		}
		if i > begin {
			counts[strings.ToLower(string(runes[begin:i]))]++
		}
		begin = i + 1
	}
	return counts
}

// check compares a file of totals with what is wanted for text.
func check(t *testing.T, path, text string) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(bytes.NewReader(raw)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]int{}
	last := -1
	for _, row := range rows[1:] {
		n, err := strconv.Atoi(row[1])
		if err != nil {
			t.Fatal(err)
		}
		if last >= 0 && n > last {
			t.Errorf("%s stands behind a rarer word", row[0])
		}
		got[row[0]], last = n, n
	}
	if d := gocmp.Diff(wanted(t, text), got); d != "" {
		t.Error(d)
	}
	if len(got) != len(rows)-1 {
		t.Error("a word is listed twice")
	}
}

func TestCounts(t *testing.T) {
	t.Setenv("FLOW_DATA", t.TempDir())
	out := filepath.Join(t.TempDir(), "words.csv")
	if err := wordcount(t.Context(), book, out); err != nil {
		t.Fatal(err)
	}
	check(t, out, book)
	words, err := os.ReadFile(out)
	if want := "word,count\nthe,9825\nof,5241\nand,4183\n"; err != nil || !strings.HasPrefix(string(words), want) {
		t.Errorf("the file begins with %.60q, %v", words, err)
	}
}

func TestSecondRun(t *testing.T) {
	t.Setenv("FLOW_DATA", t.TempDir())
	text, dir := excerpt(t, 500), t.TempDir()
	var handled atomic.Int64
	for _, name := range []string{"first.csv", "second.csv"} {
		if err := wordcount(t.Context(), text, filepath.Join(dir, name), counted(&handled)); err != nil {
			t.Fatal(err)
		}
		check(t, filepath.Join(dir, name), text)
	}
	if n := handled.Load(); n != 500 {
		t.Errorf("both runs have counted %d lines, want 500: the second has nothing left to count", n)
	}
}

func TestStopped(t *testing.T) {
	t.Setenv("FLOW_DATA", t.TempDir())
	const lines = 2000
	text, out := excerpt(t, lines), filepath.Join(t.TempDir(), "words.csv")
	ctx, cancel := context.WithCancel(t.Context())
	if err := wordcount(ctx, text, out, at(700, cancel)); !errors.Is(err, context.Canceled) {
		t.Fatalf("a run that was stopped ended with %v", err)
	}
	if _, err := os.Stat(out); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it has written a part of the words: %v", err)
	}
	var handled atomic.Int64
	if err := wordcount(t.Context(), text, out, counted(&handled)); err != nil {
		t.Fatal(err)
	}
	check(t, out, text)
	if n := handled.Load(); n == 0 || n > lines-700 {
		t.Errorf("the next run has counted %d lines, want the other %d at most", n, lines-700)
	}
}

func TestKilled(t *testing.T) {
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("FLOW_DATA", t.TempDir())
	const lines = 2000
	text, out := excerpt(t, lines), filepath.Join(t.TempDir(), "words.csv")
	for _, n := range []string{"400", "1400"} {
		cmd := exec.CommandContext(t.Context(), program, text, out)
		cmd.Env = append(os.Environ(), killAt+"="+n)
		said, err := cmd.CombinedOutput()
		if err == nil || bytes.Contains(said, []byte("not killed")) {
			t.Fatalf("the program was not killed at line %s: %v %s", n, err, said)
		}
	}
	if _, err := os.Stat(out); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("it has written a part of the words: %v", err)
	}
	var handled atomic.Int64
	if err := wordcount(t.Context(), text, out, counted(&handled)); err != nil {
		t.Fatal(err)
	}
	check(t, out, text)
	t.Logf("%d of %d lines were counted by the last run", handled.Load(), lines)
}

func TestEditedText(t *testing.T) {
	t.Setenv("FLOW_DATA", t.TempDir())
	dir := t.TempDir()
	text, out := filepath.Join(dir, "text"), filepath.Join(dir, "words.csv")
	for _, content := range []string{"To be, or not to be", "L'Æther n'est pas\nl'æther' 1730", "", "to"} {
		if err := os.WriteFile(text, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := wordcount(t.Context(), text, out); err != nil {
			t.Fatal(err)
		}
		check(t, out, text)
	}
	if err := wordcount(t.Context(), filepath.Join(dir, "missing"), out); err == nil || !strings.Contains(err.Error(), "no file missing") {
		t.Errorf("without a text: %v", err)
	}
}
