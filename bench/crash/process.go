package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/flowkit-go/flow"
)

// A process is the service while it runs.
type process struct {
	cmd    *exec.Cmd
	stdin  io.Closer // its end ends the process
	log    *tail
	began  time.Time
	ready  chan flow.Addresses // has one entry once it has started
	exited chan struct{}       // closed when it has ended
	err    error               // how, once exited is closed
}

// start starts this program as the service, with its state in dir.
func start(dir, roles string, verbose io.Writer) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	hear, tell, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	p := &process{
		cmd: exec.Command(self), log: &tail{also: verbose}, began: time.Now(),
		ready: make(chan flow.Addresses, 1), exited: make(chan struct{}),
	}
	p.cmd.Env = append(os.Environ(), roleVar+"="+roles, "FLOW_DATA="+dir, "FLOW_HTTP=127.0.0.1:0", "FLOW_ADMIN=127.0.0.1:0",
		flow.ReadyFD+"=3", flow.Announce+"=off", "NATS_URL=")
	p.cmd.Stdout, p.cmd.Stderr, p.cmd.ExtraFiles = p.log, p.log, []*os.File{tell}
	if p.stdin, err = p.cmd.StdinPipe(); err == nil {
		err = p.cmd.Start()
	}
	_ = tell.Close() // the process has its own
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start the service: %w", err), hear.Close())
	}
	go p.wait(hear)
	return p, nil
}

// wait owns the process until it has ended.
func (p *process) wait(hear *os.File) {
	defer close(p.exited)
	var a flow.Addresses
	if json.NewDecoder(hear).Decode(&a) == nil {
		p.ready <- a
	}
	_ = hear.Close()
	p.err = p.cmd.Wait()
	_ = p.stdin.Close()
}

// kill ends the process with SIGKILL and waits for that. It errs when it was not
// running any more.
func (p *process) kill() error {
	select {
	case <-p.exited:
		return p.unexpected()
	default:
	}
	if err := p.cmd.Process.Kill(); err != nil {
		return fmt.Errorf("kill the service: %w", err)
	}
	<-p.exited
	return nil
}

// stop ends the process with SIGTERM and waits for that, at most until ctx ends.
// It errs when it does not end with code 0.
func (p *process) stop(ctx context.Context) error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("stop the service: %w", err)
	}
	select {
	case <-p.exited:
	case <-ctx.Done():
		_ = p.kill()
		return fmt.Errorf("the service does not end: %w\n%s", context.Cause(ctx), p.log)
	}
	if p.err != nil {
		return p.unexpected()
	}
	return nil
}

// unexpected says how the process ended.
func (p *process) unexpected() error {
	how := "with code 0"
	if p.err != nil {
		how = p.err.Error()
	}
	return fmt.Errorf("the service has ended by itself: %s\n%s", how, p.log)
}

// state asks the service for its snapshot.
func (p *process) state(ctx context.Context, client *http.Client, admin string) (s flow.Snapshot, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+admin+"/state", nil)
	if err != nil {
		return s, err
	}
	answer, err := client.Do(req)
	if err != nil {
		return s, err
	}
	defer func() { _ = answer.Body.Close() }()
	return s, json.NewDecoder(answer.Body).Decode(&s)
}

// tail keeps the end of what a process prints, for the report of a failure.
type tail struct {
	also io.Writer // nil for none

	mu   sync.Mutex
	last []byte
}

const tailSize = 8 << 10

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	t.last = append(t.last, b...)
	t.last = t.last[max(0, len(t.last)-tailSize):]
	t.mu.Unlock()
	if t.also != nil {
		_, _ = t.also.Write(b)
	}
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(t.last))
}
