package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// A process is a member while it runs.
type process struct {
	name   string
	cmd    *exec.Cmd
	log    *tail
	exited chan struct{} // closed when it has ended
	err    error         // how, once exited is closed
}

func startMember(mode string, m membership, verbose bool) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &process{name: m.name, log: &tail{name: m.name, verbose: verbose}, exited: make(chan struct{})}
	p.cmd = exec.Command(self, "-mode", mode, "-member", m.name, "-bootstrap", m.brokers, "-in", m.in, "-out", m.out, "-group", m.group)
	p.cmd.Env = append(os.Environ(), "KAFKA_BROKERS="+m.brokers)
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for the harness
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start member %s: %w", m.name, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.exited)
	}()
	return p, nil
}

// ended says how the member has ended by itself, if it has.
func (p *process) ended() error {
	select {
	case <-p.exited:
		return fmt.Errorf("member %s has ended by itself: %w\n%s", p.name, errors.Join(p.err, errors.New("without being told")), p.log)
	default:
		return nil
	}
}

// leave ends the member in good order, within 30 s.
func (p *process) leave() error {
	if err := p.ended(); err != nil {
		return err
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.exited:
	case <-time.After(30 * time.Second):
		_ = p.cmd.Process.Signal(syscall.SIGABRT) // for the goroutines of a Go program
		<-p.exited
		return fmt.Errorf("member %s did not end within 30 s after SIGTERM\n%s", p.name, p.log)
	}
	if p.err != nil {
		return fmt.Errorf("member %s was told to end, and failed: %w\n%s", p.name, p.err, p.log)
	}
	return nil
}

// kill ends the member with SIGKILL.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.exited
}

func (p *process) signal(s os.Signal) { _ = p.cmd.Process.Signal(s) }

// tail keeps the end of what a member prints.
type tail struct {
	name    string
	verbose bool

	mu   sync.Mutex
	last []byte
}

const tailSize = 16 << 10

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last = append(t.last, b...)
	t.last = t.last[max(0, len(t.last)-tailSize):]
	if t.verbose {
		for line := range bytes.Lines(b) {
			fmt.Fprintf(os.Stderr, "  %s: %s\n", t.name, bytes.TrimSpace(line))
		}
	}
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(bytes.TrimSpace(t.last))
}
