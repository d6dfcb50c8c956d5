package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	goruntime "runtime"
	"time"

	"github.com/flowkit-go/flow"
)

// A child is a program that runs. Its output goes where this process's goes.
type child struct {
	build *build
	cmd   *exec.Cmd
	began time.Time
	ready chan flow.Addresses // gets one value when the flow has started
	done  chan struct{}       // closed when it has ended; ready is filled by then
}

// startChild starts the program. The child ends with this process, as far as the
// system can see to that.
func startChild(b *build, args []string, stdout, stderr io.Writer) (*child, error) {
	c := &child{build: b, began: time.Now(), ready: make(chan flow.Addresses, 1), done: make(chan struct{})}
	c.cmd = exec.Command(b.path, args...)
	c.cmd.Stdout, c.cmd.Stderr = stdout, stderr
	if !isTerminal(os.Stdin) { // a process group in the background may not read one
		c.cmd.Stdin = os.Stdin
	}
	group(c.cmd)
	dieWithParent(c.cmd)
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("start the flow: %w", err)
	}
	fd, err := handOver(c.cmd, w)
	if err != nil {
		return nil, fmt.Errorf("start the flow: %w", err)
	}
	c.cmd.Env = b.env.with(flow.ReadyFD, fd)
	started := make(chan error)
	go c.own(r, w, started)
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start the flow: %w", err)
	}
	return c, nil
}

// own starts the program, and waits for its end, in one thread: where the kernel
// ends a child with its parent, the parent is a thread.
func (c *child) own(r, w *os.File, started chan<- error) {
	goruntime.LockOSThread()
	defer goruntime.UnlockOSThread()
	defer r.Close()
	err := c.cmd.Start()
	_ = w.Close()
	started <- err
	if err != nil {
		return
	}
	told := make(chan struct{})
	go func() {
		defer close(told)
		var a flow.Addresses
		if json.NewDecoder(r).Decode(&a) == nil {
			c.ready <- a
		}
	}()
	_ = c.cmd.Wait() // the state has the code
	// What the child has told is in the pipe; its own children may hold it open.
	_ = r.SetReadDeadline(time.Now().Add(time.Second))
	<-told
	close(c.done)
}

// ended reports whether it has.
func (c *child) ended() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// code is the exit code, once it has ended.
func (c *child) code() int { return exitCode(c.cmd.ProcessState) }

// toDie is how long a program may take to stop that was told to stop at once.
const toDie = 5 * time.Second

// stop drains the program and waits for its end. When hard ends, or after limit
// unless that is 0, it is told to stop at once, and killed when kill ends or it does
// not obey.
func (c *child) stop(hard, kill context.Context, limit time.Duration) {
	if c.ended() {
		return
	}
	_ = interrupt(c.cmd, false) // an error means that it has just ended
	var timeout <-chan time.Time
	if limit > 0 {
		timeout = time.After(limit)
	}
	told := false
	for hurry, now := hard.Done(), kill.Done(); ; {
		select {
		case <-c.done:
			return
		case <-now:
			_ = killGroup(c.cmd)
			now, hurry, timeout = nil, nil, nil
		case <-hurry:
			_ = interrupt(c.cmd, true)
			hurry, told, timeout = nil, true, time.After(toDie)
		case <-timeout:
			if told {
				_ = killGroup(c.cmd)
				timeout = nil
				continue
			}
			_ = interrupt(c.cmd, true)
			hurry, told, timeout = nil, true, time.After(toDie)
		}
	}
}
