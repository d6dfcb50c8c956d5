package main

import (
	"context"
	"errors"
	"sync"
	"time"
)

// Bounds of what a gate holds back.
const (
	holdMost = 1024        // requests
	holdTime = time.Minute // each of them; longer than a drain and a start
)

var (
	errHeldTooMany = errors.New("too many requests wait for the flow to start")
	errHeldTooLong = errors.New("the flow did not start in time")
)

// A gate decides where requests go, and makes them wait while a program is
// replaced. Its zero value is of no use: see newGate.
type gate struct {
	mu       sync.Mutex
	addr     string        // of the program; "" where it does not listen
	opened   chan struct{} // closed while requests pass, or are refused
	refusal  error         // set while requests are refused
	held     int
	inFlight int
	idle     chan struct{} // closed when inFlight falls to 0; nil unless awaited
	cut      context.Context
	cutNow   context.CancelFunc
}

// newGate returns a gate that holds.
func newGate() *gate {
	g := &gate{opened: make(chan struct{})}
	g.cut, g.cutNow = context.WithCancel(context.Background())
	return g
}

// hold makes requests wait from now on. Those that have passed go on.
func (g *gate) hold() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.refusal = nil
	select {
	case <-g.opened:
		g.opened = make(chan struct{})
	default:
	}
}

// open lets requests pass to addr, first those that wait.
func (g *gate) open(addr string) { g.release(addr, nil) }

// refuse answers requests with err from now on, also those that wait.
func (g *gate) refuse(err error) { g.release("", err) }

func (g *gate) release(addr string, refusal error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.addr, g.refusal = addr, refusal
	select {
	case <-g.opened:
	default:
		close(g.opened)
	}
}

// enter waits until the gate is open and returns where the request goes. The
// caller calls leave when it is answered.
func (g *gate) enter(ctx context.Context) (addr string, leave func(), err error) {
	var timeout <-chan time.Time
	for waited := false; ; waited = true {
		g.mu.Lock()
		if waited {
			g.held--
		}
		opened := g.opened
		select {
		case <-opened:
			defer g.mu.Unlock()
			if g.refusal != nil {
				return "", nil, g.refusal
			}
			g.inFlight++
			return g.addr, sync.OnceFunc(g.leave), nil
		default:
		}
		if g.held >= holdMost {
			g.mu.Unlock()
			return "", nil, errHeldTooMany
		}
		g.held++
		g.mu.Unlock()
		if timeout == nil {
			timer := time.NewTimer(holdTime)
			defer timer.Stop()
			timeout = timer.C
		}
		select {
		case <-opened:
			continue
		case <-ctx.Done():
			err = ctx.Err()
		case <-timeout:
			err = errHeldTooLong
		}
		g.mu.Lock()
		g.held--
		g.mu.Unlock()
		return "", nil, err
	}
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inFlight--
	if g.inFlight == 0 && g.idle != nil {
		close(g.idle)
		g.idle = nil
	}
}

// settled is closed when no request is under way; the gate must hold.
func (g *gate) settled() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.idle == nil {
		g.idle = make(chan struct{})
		if g.inFlight == 0 {
			done := g.idle
			g.idle = nil
			close(done)
			return done
		}
	}
	return g.idle
}

// streams returns a context that ends with the program that answers now: what
// never ends by itself is bound to it.
func (g *gate) streams() context.Context {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.cut
}

// cutStreams ends what is bound to streams.
func (g *gate) cutStreams() {
	g.mu.Lock()
	cut := g.cutNow
	g.cut, g.cutNow = context.WithCancel(context.Background())
	g.mu.Unlock()
	cut()
}
