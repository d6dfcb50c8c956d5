package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/pprof"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/flowkit-go/flow/bench/kafka/programs"
)

// profileVar names the file of a child's CPU profile.
const profileVar = "BENCH_CPUPROFILE"

// runProgram is the child process: it runs until its standard input ends.
func runProgram(ctx context.Context, name string, w programs.Work) error {
	job, name, _ := strings.Cut(name, "/")
	p, err := programs.ByName(job, name)
	if err != nil {
		return err
	}
	if path := os.Getenv(profileVar); path != "" {
		file, err := os.Create(path)
		if err != nil {
			return err
		}
		defer func() { _ = file.Close() }()
		if err := pprof.StartCPUProfile(file); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // ends with the process
		cancel()
	}()
	w.Ready = func(addr string) { fmt.Println(addr) }
	w.Handled = new(atomic.Int64)
	err = p.Run(ctx, w)
	fmt.Println(w.Handled.Load())
	return err
}

// A child is a program that runs.
type child struct {
	cmd    *exec.Cmd
	in     io.Closer
	hear   *os.File
	out    *bufio.Reader // of hear
	errs   *tail
	exited chan struct{}
	err    error // once exited is closed
}

// usage is what a child has taken.
type usage struct {
	cpu  time.Duration
	peak int // bytes
}

func (b *bench) start(job, name string, w programs.Work) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	errs := &tail{}
	cmd := exec.Command(self, "-program", job+"/"+name, "-brokers", strings.Join(b.brokers, ","), "-in", w.In, "-out", w.Out, "-group", w.Group,
		"-wait", w.Wait.String(), "-tasks", strconv.Itoa(max(w.Tasks, 1)))
	cmd.Stderr = errs
	cmd.Env = append(os.Environ(), "KAFKA_BROKERS="+strings.Join(b.brokers, ","))
	if b.profiles != "" {
		cmd.Env = append(cmd.Env, profileVar+"="+filepath.Join(b.profiles, job+"-"+name+".pprof"))
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	hear, tell, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	cmd.Stdout = tell
	err = cmd.Start()
	_ = tell.Close()
	if err != nil {
		return nil, errors.Join(err, hear.Close())
	}
	c := &child{cmd: cmd, in: in, hear: hear, out: bufio.NewReader(hear), errs: errs, exited: make(chan struct{})}
	go func() {
		c.err = cmd.Wait()
		close(c.exited)
	}()
	return c, nil
}

// failed tells why the child has ended, if it has.
func (c *child) failed() error {
	select {
	case <-c.exited:
		return fmt.Errorf("the program has ended: %w\n%s", errors.Join(c.err, errors.New("by itself")), c.errs)
	default:
		return nil
	}
}

// resident are the bytes that the child has in memory, and the most that it had.
func (c *child) resident() (now, peak int) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.cmd.Process.Pid))
	if err != nil {
		return 0, 0 // not on this system
	}
	for line := range bytes.Lines(status) {
		name, value, _ := strings.Cut(string(line), ":")
		kilobytes, _ := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(value), " kB"))
		switch name {
		case "VmRSS":
			now = kilobytes << 10
		case "VmHWM":
			peak = kilobytes << 10
		}
	}
	return now, peak
}

// stop lets the child end in good order, within 30 s.
func (c *child) stop() (usage, error) {
	if err := c.failed(); err != nil {
		return usage{}, err
	}
	_, peak := c.resident()
	_ = c.in.Close()
	select {
	case <-c.exited:
	case <-time.After(30 * time.Second):
		_ = c.cmd.Process.Kill()
		<-c.exited
		return usage{}, fmt.Errorf("the program did not end within 30 s\n%s", c.errs)
	}
	u := usage{c.cmd.ProcessState.UserTime() + c.cmd.ProcessState.SystemTime(), peak}
	if c.err != nil {
		return u, fmt.Errorf("the program failed: %w\n%s", c.err, c.errs)
	}
	return u, nil
}

// kill ends the child when it still runs, and lets go of it.
func (c *child) kill() {
	_ = c.cmd.Process.Kill()
	<-c.exited
	_ = c.hear.Close()
}

// tail keeps the end of what a program prints.
type tail struct {
	mu   sync.Mutex
	last []byte
}

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last = append(t.last, b...)
	t.last = t.last[max(0, len(t.last)-4096):]
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(t.last))
}
