package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/goleak"
)

// asCommand makes the test binary the flow command: tests run it as a process.
const asCommand = "FLOW_COMMAND_UNDER_TEST"

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) != "" {
		_ = os.Unsetenv(asCommand)
		os.Exit(command(os.Args[1:], os.Stdout, os.Stderr))
	}
	goleak.VerifyTestMain(m)
}

// patience bounds all waiting for real processes; builds share the machine.
const patience = 90 * time.Second

// A process is a flow command that runs.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	stdout output
	stderr output
	done   chan struct{}
}

// An output collects what a process writes and tells those who wait for it.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
	more chan struct{} // closed and replaced with each write
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text.Write(p)
	if o.more != nil {
		close(o.more)
		o.more = nil
	}
	return len(p), nil
}

func (o *output) read() (string, <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.more == nil {
		o.more = make(chan struct{})
	}
	return o.text.String(), o.more
}

func (o *output) String() string { text, _ := o.read(); return text }

// start runs the flow command in dir.
func start(t *testing.T, dir string, env []string, args ...string) *process {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, cmd: exec.Command(self, args...), done: make(chan struct{})}
	p.cmd.Dir = dir
	p.cmd.Env = append(os.Environ(), append([]string{asCommand + "=1", "GOPROXY=off", "GOWORK=off", "GOFLAGS=-ldflags=-w"}, env...)...)
	p.cmd.Stdout, p.cmd.Stderr = &p.stdout, &p.stderr
	p.cmd.WaitDelay = 5 * time.Second
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.done)
		_ = p.cmd.Wait()
	}()
	t.Cleanup(func() {
		select {
		case <-p.done:
		default:
			_ = p.cmd.Process.Kill()
			<-p.done
		}
		if t.Failed() {
			t.Logf("flow %s\nstdout:\n%s\nstderr:\n%s", strings.Join(args, " "), &p.stdout, &p.stderr)
		}
	})
	return p
}

// sees waits until stderr matches, and returns the submatches.
func (p *process) sees(pattern string) []string {
	p.t.Helper()
	re := regexp.MustCompile(pattern)
	late := time.After(patience)
	for ended := p.done; ; {
		text, more := p.stderr.read()
		if m := re.FindStringSubmatch(text); m != nil {
			return m
		}
		if ended == nil {
			p.t.Fatalf("the command ended without %q", pattern)
		}
		select {
		case <-more:
		case <-ended:
			ended = nil
		case <-late:
			p.t.Fatalf("no %q in %v", pattern, patience)
		}
	}
}

// exits waits for the end and checks the exit code.
func (p *process) exits(code int) {
	p.t.Helper()
	select {
	case <-p.done:
	case <-time.After(patience):
		p.t.Fatalf("the command has not ended in %v", patience)
	}
	if got := p.cmd.ProcessState.ExitCode(); got != code {
		p.t.Fatalf("exit code %d, want %d", got, code)
	}
}

func (p *process) signal(s os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// tempModule makes a module out of a folder of testdata, in a temporary folder.
func tempModule(t *testing.T, name string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), name)
	if err := os.CopyFS(dir, os.DirFS(filepath.Join("testdata", name))); err != nil {
		t.Fatal(err)
	}
	origin, err := findOrigin()
	if err != nil {
		t.Fatal(err)
	}
	quiet := &cobra.Command{}
	quiet.SetErr(io.Discard)
	if err := origin.require(quiet, project{Name: name, Module: name, GoVersion: origin.goVersion}, dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

// edit replaces text in a file.
func edit(t *testing.T, file, old, new string) {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.Replace(string(content), old, new, 1)
	if changed == string(content) {
		t.Fatalf("%s has no %q", file, old)
	}
	if err := os.WriteFile(file, []byte(changed), 0o644); err != nil {
		t.Fatal(err)
	}
}

// eventually polls a condition of the outside world.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("not in %v: %s", patience, what)
		}
	}
}
