package file_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/primitives/file"
	"github.com/flowkit-go/flow/primitives/primitivetest"
)

// A watching is a Watch that runs.
type watching struct {
	t      *testing.T
	reader primitives.Reader
	in     *primitivetest.Intake
	ctx    context.Context
	stop   func()
	ended  chan error
	last   primitives.Commit
}

func watch(t *testing.T, w file.Watch, env *primitives.Env) *watching {
	t.Helper()
	if w.Settle == 0 {
		w.Settle = 50 * time.Millisecond
	}
	r, err := w.OpenSource(t.Context(), env)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(t.Context(), 20*time.Second)
	s := &watching{t: t, reader: r, in: primitivetest.NewIntake(1000), ctx: ctx, stop: stop, ended: make(chan error, 1)}
	go func() { s.ended <- r.Run(ctx, s.in) }()
	return s
}

// expect takes as many changes as are wanted, as "created a.txt 3", in any order.
func (s *watching) expect(want ...string) []file.Change {
	s.t.Helper()
	decode, err := file.Watch{}.Decoder()
	if err != nil {
		s.t.Fatal(err)
	}
	var changes []file.Change
	var got []string
	for len(got) < len(want) {
		ds, err := s.in.Take(s.ctx, 1)
		if err != nil {
			s.t.Fatalf("got %q, want %q: %v", got, want, err)
		}
		c, err := decode([]primitives.Record{ds[0].Record})
		if err != nil {
			s.t.Fatal(err)
		}
		if string(ds[0].Record.Key) != c.Path || c.Time.IsZero() {
			s.t.Errorf("key %q of %+v", ds[0].Record.Key, c)
		}
		s.last = primitives.Commit{Partition: ds[0].Lane.Partition, Next: ds[0].Record.Offset + 1}
		changes = append(changes, c)
		got = append(got, fmt.Sprintf("%s %s %d", c.Op, filepath.Base(c.Path), c.Size))
	}
	slices.Sort(got) // the order of changes of different files is not promised
	slices.Sort(want)
	if d := cmp.Diff(want, got); d != "" {
		s.t.Error(d)
	}
	return changes
}

// commit resolves everything that was expected so far.
func (s *watching) commit() {
	s.t.Helper()
	if err := s.reader.Commit(s.ctx, []primitives.Commit{s.last}); err != nil {
		s.t.Error(err)
	}
}

// end stops, and fails when there were more changes.
func (s *watching) end() {
	s.t.Helper()
	s.stop()
	if err := <-s.ended; err != nil {
		s.t.Error(err)
	}
	if err := s.reader.Close(context.WithoutCancel(s.ctx)); err != nil {
		s.t.Error(err)
	}
	if err := s.in.Check(); err != nil {
		s.t.Error(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if ds, _ := s.in.Take(ctx, 100); len(ds) > 0 {
		s.t.Errorf("%d further changes, the first: %s", len(ds), ds[0].Record.Value)
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
}

func rename(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

func TestWatchReportsChanges(t *testing.T) {
	dir := t.TempDir()
	s := watch(t, file.Watch{Dir: dir}, newEnv(t.TempDir()))
	path := filepath.Join(dir, "a.txt")
	writeFile(t, path, "one")
	c := s.expect("created a.txt 3")[0]
	if b, err := c.ReadFile(); err != nil || string(b) != "one" || c.Path != path {
		t.Errorf("%+v has %q, %v", c, b, err)
	}
	f, err := c.Open()
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	writeFile(t, path, "three")
	s.expect("modified a.txt 5")
	writeFile(t, filepath.Join(dir, ".part"), "renamed into place")
	rename(t, filepath.Join(dir, ".part"), filepath.Join(dir, "b.txt"))
	s.expect("created b.txt 18")
	rename(t, filepath.Join(dir, "b.txt"), path) // as editors do
	s.expect("modified a.txt 18", "removed b.txt 18")
	remove(t, path)
	s.expect("removed a.txt 18")
	s.end()
}

func TestWatchWaitsUntilAFileIsLeftAlone(t *testing.T) {
	dir := t.TempDir()
	s := watch(t, file.Watch{Dir: dir, Settle: 300 * time.Millisecond}, newEnv(t.TempDir()))
	f, err := os.Create(filepath.Join(dir, "a.txt"))
	if err != nil {
		t.Fatal(err)
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for range 50 { // longer than Settle as a whole
		<-tick.C
		if _, err := f.WriteString("0123456789"); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	s.expect("created a.txt 500")
	s.end()
}

func TestWatchRemembersOverRestarts(t *testing.T) {
	dir, env := t.TempDir(), newEnv(t.TempDir())
	for _, name := range []string{"a", "b", "c"} {
		writeFile(t, filepath.Join(dir, name), name)
		old := time.Unix(1700000000, int64(len(name))).Add(time.Duration(name[0]) * time.Second)
		if err := os.Chtimes(filepath.Join(dir, name), old, old); err != nil {
			t.Fatal(err)
		}
	}
	s := watch(t, file.Watch{Dir: dir}, env)
	s.expect("created a 1", "created b 1")
	s.commit()
	s.expect("created c 1") // is not committed
	s.end()

	writeFile(t, filepath.Join(dir, "b"), "changed while down")
	remove(t, filepath.Join(dir, "a"))
	s = watch(t, file.Watch{Dir: dir}, env)
	s.expect("created c 1", "modified b 18", "removed a 1")
	s.commit()
	s.end()

	s = watch(t, file.Watch{Dir: dir}, env)
	writeFile(t, filepath.Join(dir, "d"), "")
	s.expect("created d 0") // and nothing before it
	s.end()
}

func TestWatchSkipsWhatExists(t *testing.T) {
	dir, env := t.TempDir(), newEnv(t.TempDir())
	w := file.Watch{Dir: dir, SkipExisting: true}
	writeFile(t, filepath.Join(dir, "a"), "")
	s := watch(t, w, env)
	writeFile(t, filepath.Join(dir, "b"), "")
	s.expect("created b 0")
	s.end() // killed, as it were: nothing is committed
	writeFile(t, filepath.Join(dir, "a"), "1")
	s = watch(t, w, env)
	s.expect("created b 0", "modified a 1")
	s.end()
}

func TestWatchPatternsAndEvents(t *testing.T) {
	dir := t.TempDir()
	w := file.Watch{Dir: dir, Pattern: "*.csv", Events: []file.Op{file.Created}}
	env := newEnv(t.TempDir())
	s := watch(t, w, env)
	writeFile(t, filepath.Join(dir, "a.txt"), "1")
	writeFile(t, filepath.Join(dir, "sub", "b.csv"), "1")
	writeFile(t, filepath.Join(dir, "a.csv"), "1")
	s.expect("created a.csv 1")
	writeFile(t, filepath.Join(dir, "a.csv"), "12")
	writeFile(t, filepath.Join(dir, "b.csv"), "1")
	s.expect("created b.csv 1")
	lane := s.in.Lanes()[0]
	before := lane.Advanced()
	remove(t, filepath.Join(dir, "a.csv"))
	if err := s.in.Wait(s.ctx, func() bool { return lane.Advanced() > before }); err != nil {
		t.Fatalf("the removal was not noted: %v", err)
	}
	s.last.Next = lane.Advanced()
	s.commit()
	s.end()
	writeFile(t, filepath.Join(dir, "a.csv"), "again") // its removal was not reported, but noted
	s = watch(t, w, env)
	s.expect("created a.csv 5")
	s.end()
}

func TestWatchRecursive(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "1", "a"), "")
	s := watch(t, file.Watch{Dir: dir, Recursive: true}, newEnv(t.TempDir()))
	s.expect("created a 0")
	writeFile(t, filepath.Join(dir, "2", "3", "b"), "") // before anyone watches these
	writeFile(t, filepath.Join(dir, ".git", "c"), "")
	s.expect("created b 0")
	writeFile(t, filepath.Join(dir, "2", "3", "d"), "")
	s.expect("created d 0")
	remove(t, filepath.Join(dir, "1"))
	s.expect("removed a 0")
	outside := filepath.Join(t.TempDir(), "moved")
	rename(t, filepath.Join(dir, "2"), outside)
	s.expect("removed b 0", "removed d 0")
	s.end()
}

func TestWatchManyFilesAtOnce(t *testing.T) {
	dir := t.TempDir()
	s := watch(t, file.Watch{Dir: dir, Recursive: true}, newEnv(t.TempDir()))
	const n = 3000 // more than the lane holds
	seen := map[string]string{}
	for i := range n {
		writeFile(t, filepath.Join(dir, fmt.Sprint(i%7), fmt.Sprint(i)), "x")
	}
	for len(seen) < n {
		ds, err := s.in.Take(s.ctx, n)
		if err != nil {
			t.Fatalf("%d of %d files: %v", len(seen), n, err)
		}
		for _, d := range ds {
			seen[string(d.Record.Key)] = string(d.Record.Value)
		}
	}
	for path, change := range seen {
		if !strings.Contains(change, `"size":1`) {
			t.Errorf("the last of %s is %s", path, change)
		}
	}
	s.end()
}

func TestWatchFolderThatGoesAndComes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "d")
	writeFile(t, filepath.Join(dir, "a"), "")
	s := watch(t, file.Watch{Dir: dir}, newEnv(t.TempDir()))
	s.expect("created a 0")
	remove(t, dir)
	s.expect("removed a 0")
	if err := s.in.Wait(s.ctx, func() bool { return len(s.in.Retries()) > 0 }); err != nil {
		t.Fatalf("nobody says that the folder is gone: %v", err)
	}
	writeFile(t, filepath.Join(dir, "b"), "")
	s.expect("created b 0")
	writeFile(t, filepath.Join(dir, "c"), "")
	s.expect("created c 0")
	s.end()
}

func TestWatchNeedsAFolder(t *testing.T) {
	dir := t.TempDir()
	_, err := file.Watch{Dir: filepath.Join(dir, "none")}.OpenSource(t.Context(), newEnv(dir))
	wantError(t, err, "none", "no such file")
	_, err = file.Watch{Dir: writeFile(t, filepath.Join(dir, "f"), "")}.OpenSource(t.Context(), newEnv(dir))
	wantError(t, err, "not a folder")
	w := file.Watch{Dir: dir}
	s := watch(t, w, newEnv(t.TempDir()))
	if b, err := s.reader.(primitives.Backlogger).Backlog(t.Context()); err != nil || len(b) != 1 {
		t.Errorf("backlog: %v, %v", b, err)
	}
	s.expect("created f 0")
	s.end()
}

func TestWatchDrainsAndCloses(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "a"), "")
	s := watch(t, file.Watch{Dir: dir}, newEnv(t.TempDir()))
	s.expect("created a 0")
	s.in.Drain()
	writeFile(t, filepath.Join(dir, "b"), "")
	s.commit() // commits go on while it drains
	other := primitives.Commit{Partition: primitives.Partition{Topic: "other"}}
	if err := s.reader.Commit(t.Context(), []primitives.Commit{other}); err == nil {
		t.Error("a commit of another partition is accepted")
	}
	s.end()
	if err := s.reader.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if err := s.reader.Run(t.Context(), s.in); err != primitives.ErrClosed {
		t.Errorf("Run after Close: %v", err)
	}
	if err := s.reader.Commit(t.Context(), []primitives.Commit{s.last}); err != primitives.ErrClosed {
		t.Errorf("Commit after Close: %v", err)
	}
}

func ExampleWatch() {
	source := file.Watch{Dir: "incoming", Pattern: "*.csv", Events: []file.Op{file.Created}}
	fmt.Println(source)
	// Output: watch:incoming/*.csv
}
