//go:build unix

package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// A service is a flow run of testdata/service.
type service struct {
	*process
	dir, main, url string
	client         *http.Client
}

func startService(t *testing.T, env []string, args ...string) *service {
	t.Helper()
	return runService(t, tempModule(t, "service"), env, args...)
}

func runService(t *testing.T, dir string, env []string, args ...string) *service {
	t.Helper()
	s := &service{dir: dir, main: filepath.Join(dir, "main.go")}
	s.process = start(t, dir, env, append([]string{"run", "--http", "127.0.0.1:0", "--admin", "127.0.0.1:0"}, args...)...)
	s.url = s.sees(`http +(http://\S+)`)[1]
	s.client = &http.Client{Transport: &http.Transport{}, Timeout: patience}
	t.Cleanup(s.client.CloseIdleConnections)
	return s
}

// get returns what a path answers with 200.
func (s *service) get(path string) string {
	s.t.Helper()
	resp, err := s.client.Get(s.url + path)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		s.t.Fatalf("GET %s: %s %s %v", path, resp.Status, body, err)
	}
	return string(body)
}

type reply struct {
	Version, Word string
	PID           int
}

func (s *service) report() (r reply) {
	s.t.Helper()
	if err := json.Unmarshal([]byte(s.get("/version")), &r); err != nil {
		s.t.Fatal(err)
	}
	return r
}

// A load posts numbers, each once, until it is stopped.
type load struct {
	next   atomic.Int64
	failed atomic.Pointer[string]
	stop   chan struct{}
	all    sync.WaitGroup
}

func (s *service) load(workers int) *load {
	l := &load{stop: make(chan struct{})}
	for range workers {
		l.all.Go(func() {
			for {
				select {
				case <-l.stop:
					return
				default:
				}
				n := l.next.Add(1)
				resp, err := s.client.Post(s.url+"/numbers", "application/json", strings.NewReader(fmt.Sprintf(`{"n": %d}`, n)))
				if err != nil {
					l.fail(fmt.Sprintf("number %d: %v", n, err))
					return
				}
				body, err := io.ReadAll(resp.Body)
				_ = resp.Body.Close()
				if err != nil || resp.StatusCode != http.StatusOK {
					l.fail(fmt.Sprintf("number %d: %s %s %v", n, resp.Status, body, err))
					return
				}
			}
		})
	}
	return l
}

func (l *load) fail(text string) { l.failed.CompareAndSwap(nil, &text) }

// end stops the load and returns how many numbers were accepted: 1 to n.
func (l *load) end(t *testing.T) int {
	t.Helper()
	close(l.stop)
	l.all.Wait()
	if text := l.failed.Load(); text != nil {
		t.Fatal(*text)
	}
	return int(l.next.Load())
}

// kept are the numbers that the service has written, and how often.
func (s *service) kept() map[int]int {
	content, _ := os.ReadFile(filepath.Join(s.dir, ".flow", "kept"))
	count := map[int]int{}
	for line := range bytes.Lines(content) {
		if n, err := strconv.Atoi(strings.TrimSpace(string(line))); err == nil {
			count[n]++
		}
	}
	return count
}

// A program is edited five times under load: two builds replace it, and one that
// does not compile, one whose check fails and one that ends at its start do not.
// Every request is answered with 200, every number arrives, and nothing arrives twice.
func TestSwapLosesNothing(t *testing.T) {
	t.Parallel()
	s := startService(t, nil)
	if got := s.report().Version; got != "one" {
		t.Fatalf("version %q", got)
	}
	events, err := s.client.Get(s.url + "/events")
	if err != nil {
		t.Fatal(err)
	}
	defer events.Body.Close()
	stream := bufio.NewReader(events.Body)
	if line, err := stream.ReadString('\n'); err != nil || line != "data: one\n" {
		t.Fatalf("stream: %q, %v", line, err)
	}
	load := s.load(3)

	edit(t, s.main, `"one"`, `"two"`)
	s.sees(`main.go changed, building... ok \S+, drained in \S+, swapped in `)
	if got := s.report().Version; got != "two" {
		t.Fatalf("version %q after the first swap", got)
	}
	if _, err := io.Copy(io.Discard, stream); err == nil {
		t.Log("the stream ended in good order")
	}

	edit(t, s.main, `"two"`, `nowhere`)
	s.sees(`main.go:\d+:\d+: undefined: nowhere   \(old build keeps serving\)`)
	edit(t, s.main, `nowhere`, `"two"`)
	edit(t, s.main, `"GET /version"`, `"GET /slow/../version"`)
	edit(t, s.main, `"keep"`, `""`)
	s.sees(`the name is empty(?s:.*)\(old build keeps serving\)`)
	edit(t, s.main, `""`, `"keep"`)
	edit(t, s.main, `"GET /slow/../version"`, `"GET /version"`)
	edit(t, s.main, `app := `, "if os.Getenv(flow.ReadyFD) != \"\" { os.Exit(3) }\n\tapp := ")
	s.sees(`the new build ended before it was ready \(exit 3\): back to the old one`)
	if got := s.report().Version; got != "two" {
		t.Fatalf("version %q after builds that failed", got)
	}
	edit(t, s.main, `os.Exit(3)`, `_ = 3`)
	edit(t, s.main, `"two"`, `"three"`)
	eventually(t, "version three", func() bool { return s.report().Version == "three" })

	total := load.end(t)
	eventually(t, "all numbers are kept", func() bool { return len(s.kept()) >= total })
	s.signal(syscall.SIGTERM)
	s.exits(0)
	for n, times := range s.kept() {
		if n < 1 || n > total || times != 1 {
			t.Errorf("number %d of %d is kept %d times", n, total, times)
		}
	}
	t.Logf("%d requests", total)
}

// The first signal lets a request under way finish, and ends with 0.
func TestFirstSignalDrains(t *testing.T) {
	t.Parallel()
	s := startService(t, nil, "--watch=false")
	s.report()
	answer := make(chan string, 1)
	go func() {
		resp, err := s.client.Get(s.url + "/slow?for=1s")
		if err != nil {
			answer <- err.Error()
			return
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		answer <- string(body)
	}()
	s.underWay()
	s.signal(os.Interrupt)
	s.sees("draining")
	if got := <-answer; got != "one\n" {
		t.Errorf("the request under way got %q", got)
	}
	s.exits(0)
	if _, err := net.DialTimeout("tcp", strings.TrimPrefix(s.url, "http://"), time.Second); err == nil {
		t.Error("the address is still taken")
	}
}

// underWay waits until the program answers a request to /slow.
func (s *service) underWay() {
	s.t.Helper()
	admin := s.sees(`admin +(http://\S+)`)[1]
	eventually(s.t, "a request to /slow is under way", func() bool {
		resp, err := s.client.Get(admin + "/debug/pprof/goroutine?debug=1")
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		return bytes.Contains(body, []byte("main.slow"))
	})
}

// The second signal does not wait for a request that takes a minute.
func TestSecondSignalStops(t *testing.T) {
	t.Parallel()
	s := startService(t, nil, "--watch=false")
	over := make(chan struct{})
	go func() {
		defer close(over)
		if resp, err := s.client.Get(s.url + "/slow?for=1m"); err == nil {
			_ = resp.Body.Close()
		}
	}()
	s.underWay()
	pid := s.report().PID
	began := time.Now()
	s.signal(os.Interrupt)
	s.sees("draining")
	s.signal(os.Interrupt)
	s.exits(1)
	if took := time.Since(began); took > 15*time.Second {
		t.Errorf("it took %v to stop at once", took)
	}
	if alive(pid) {
		t.Errorf("the program runs on")
	}
	<-over
}

// A parent that is killed takes the program with it, and its state is free then.
func TestProgramEndsWithParent(t *testing.T) {
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		t.Skip("only Linux ends a child with its parent")
	}
	t.Parallel()
	s := startService(t, nil, "--watch=false")
	pid := s.report().PID
	s.signal(os.Kill)
	<-s.done
	eventually(t, "the program is gone", func() bool { return !alive(pid) || zombie(pid) })
}

func alive(pid int) bool { return !errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) }

// zombie reports whether only the entry of the process is left: in a container
// nobody may wait for orphans.
func zombie(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || strings.Contains(string(stat), ") Z ")
}

// Variables of the env file reach the program, those of the shell win, and a change
// of the file restarts it.
func TestEnvFile(t *testing.T) {
	t.Parallel()
	dir := tempModule(t, "service")
	file := filepath.Join(dir, ".env")
	if err := os.WriteFile(file, []byte("# words\nexport SERVICE_WORD=\"first word\"\nFLOW_KEEP_NUM_REPLICAS=2\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	s := runService(t, dir, nil, "--replicas", "keep=3")
	if got := s.report().Word; got != "first word" {
		t.Errorf("word %q", got)
	}
	s.sees(`consumer +keep .* replicas 1..3\n`)
	edit(t, file, "first", "second")
	eventually(t, "the changed word", func() bool { return s.report().Word == "second word" })
	s.sees(`\.env changed, `)
	s.signal(syscall.SIGTERM)
	s.exits(0)
}

// A flow whose input ends, ends flow run: with 0, or the code of its failure.
func TestBatchEnds(t *testing.T) {
	t.Parallel()
	dir := tempModule(t, "batch")
	for _, tt := range []struct {
		lines, out string
		code       int
	}{
		{"a\nb\n", "line a\nline b\n", 0},
		{"a\nfail\n", "line a\n", 1},
	} {
		file := filepath.Join(t.TempDir(), "lines.txt")
		if err := os.WriteFile(file, []byte(tt.lines), 0o644); err != nil {
			t.Fatal(err)
		}
		p := start(t, dir, []string{"BATCH_FILE=" + file}, "run", "--admin", "off")
		p.exits(tt.code)
		if got := p.stdout.String(); got != tt.out {
			t.Errorf("stdout %q, want %q", got, tt.out)
		}
		if strings.Contains(p.stderr.String(), "http") {
			t.Errorf("a flow without HTTP listens:\n%s", &p.stderr)
		}
	}
}

// A program that does not call flow.Main runs as it is; nothing asks it for commands
// that it does not know.
func TestProgramWithoutMain(t *testing.T) {
	t.Parallel()
	dir := tempModule(t, "alone")
	p := start(t, dir, nil, "run", "--", "a", "b")
	p.exits(0)
	if got, want := p.stdout.String(), "line a\nline b\n"; got != want {
		t.Errorf("stdout %q, want %q", got, want)
	}
	p = start(t, dir, nil, "check")
	p.exits(2)
	if got, want := p.stderr.String(), "error: alone does not call flow.Main, which flow check needs: call it in the main function\n"; got != want || p.stdout.String() != "" {
		t.Errorf("check: stdout %q, stderr %q, want %q", &p.stdout, got, want)
	}
}

// A port in use, of either address, is one line that names it and the flag.
func TestPortInUse(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dir := tempModule(t, "service")
	for _, flag := range []string{"--http", "--admin"} {
		p := start(t, dir, nil, "run", "--http", "127.0.0.1:0", "--admin", "127.0.0.1:0", flag, l.Addr().String())
		p.exits(2)
		got := p.stderr.String()
		if strings.Count(got, "\n") != 1 || !strings.Contains(got, l.Addr().String()+" is in use") || !strings.Contains(got, flag) {
			t.Errorf("stderr %q", got)
		}
	}
}

// What is wrong at the start is said once, and ends with 2.
func TestBrokenAtStart(t *testing.T) {
	t.Parallel()
	dir := tempModule(t, "batch")
	edit(t, filepath.Join(dir, "main.go"), `flow.Main(app)`, `flow.Main(apq)`)
	p := start(t, filepath.Dir(dir), nil, "run", "./batch")
	p.exits(2)
	want := "batch/main.go:19:12: undefined: apq\nerror: the package cannot be run: correct it, or name another package than \"./batch\"\n"
	if got := p.stderr.String(); !strings.HasSuffix(got, want) || strings.Count(got, "undefined") != 1 {
		t.Errorf("stderr %q, want %q", got, want)
	}
}
