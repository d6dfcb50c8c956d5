package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/flowkit-go/flow"
)

// A session is one flow run: a program at a time, the addresses that outlive it,
// and what replaces it. Its fields belong to the goroutine of loop; the ones down
// to the blank line do not change once it runs.
type session struct {
	builder         *builder
	talk            *talk
	stdout, stderr  io.Writer
	ctx, hard, kill context.Context // ended by the first, second, third signal
	args            []string        // of the program
	rest            []string        // those of them that the user gave
	replicas        []replicas
	envName         string // the env file as the user wrote it
	envFile         string // the same, absolute
	envAsked        bool
	watching        bool
	terminal        bool   // somebody looks on: wait for a correction where others give up
	http, admin     string // addresses
	httpFlag        string // as given, "" if not
	adminFlag       string
	data            string
	drain           time.Duration
	watcher         *watcher // nil unless watching
	fronts          fronts
	local           *standIn // belongs to run, and to the rebuild that is under way

	current  *child
	started  bool   // current is ready
	previous *build // to go back to while current is not ready
	note     string // to be completed when current is ready
	swapped  bool   // a program was replaced
	verbs    bool   // programs call flow.Main
	scope    []listed
	changed  []string // since the last build that came to an end
	building context.CancelFunc
	results  chan result
}

// A result is a rebuild that has ended.
type result struct {
	build *build
	err   error
}

// loop runs until the flow ends for good, and returns how.
func (s *session) loop(changes <-chan []string) error {
	defer s.abandon()
	for {
		var ready <-chan flow.Addresses
		var done <-chan struct{}
		if s.current != nil {
			ready, done = s.current.ready, s.current.done
		}
		select {
		case <-s.ctx.Done():
			return s.shutdown()
		case names := <-changes:
			s.rebuild(names)
		case r := <-s.results:
			s.building = nil
			if err := s.take(r); err != nil {
				return err
			}
		case a := <-ready:
			s.release(a)
		case <-done:
			if again, err := s.ended(); !again || err != nil {
				return err
			}
		}
	}
}

// start starts a program; its addresses come later.
func (s *session) start(b *build) (err error) {
	s.started = false
	if b.verbs {
		s.current, err = startChild(b, s.args, s.stdout, s.stderr)
		return err
	}
	if s.current, err = startChild(b, s.rest, s.stdout, s.stderr); err == nil {
		s.release(flow.Addresses{}) // it will not tell
	}
	return err
}

// release lets the requests that wait through to the new program.
func (s *session) release(a flow.Addresses) {
	s.started = true
	s.fronts.open(a)
	if s.previous != nil && s.previous != s.current.build {
		s.previous.forget()
	}
	s.previous = nil
	if s.note != "" {
		s.talk.say("%s%s", s.note, seconds(time.Since(s.current.began)))
		s.note = ""
	}
}

// ended reacts to the end of the current program and reports whether the session
// goes on.
func (s *session) ended() (again bool, err error) {
	c := s.current
	select {
	case a := <-c.ready: // it was quick
		s.release(a)
	default:
	}
	s.current = nil
	code := c.code()
	if !s.started && code != flow.ExitOK && s.previous != nil {
		back := s.previous
		s.previous, s.note = nil, ""
		s.talk.warn("the new build ended before it was ready (exit %d): back to the old one", code)
		c.build.forget()
		return true, s.start(back)
	}
	s.fronts.refuse(errEnded)
	if code == flow.ExitOK && !s.swapped {
		return false, nil
	}
	if s.watching && s.terminal {
		tell := s.talk.warn
		if code == flow.ExitOK {
			tell = s.talk.say
		}
		tell("the flow has ended (exit %d): change its source to start it again, Ctrl-C to stop", code)
		return true, nil
	}
	if code == flow.ExitOK {
		return false, nil
	}
	return false, exitError(code)
}

// rebuild starts a build because files have changed, in place of one under way.
func (s *session) rebuild(names []string) {
	s.abandon()
	for _, n := range names {
		if !slices.Contains(s.changed, n) {
			s.changed = append(s.changed, n)
		}
	}
	ctx, cancel := context.WithCancel(s.ctx)
	s.building = cancel
	go func() {
		b, err := s.builder.build(ctx)
		if err == nil {
			err = s.prepare(ctx, b)
		}
		s.results <- result{b, err}
	}()
}

// abandon ends a build under way and waits for it.
func (s *session) abandon() {
	if s.building != nil {
		s.building()
		r := <-s.results
		r.build.forget()
		s.building = nil
	}
}

// take puts a build in the place of the current program, if it is good.
func (s *session) take(r result) error {
	what := names(s.changed) + " changed, "
	if r.build.deps != nil {
		s.watch(r.build.deps, r.err != nil)
	}
	err := r.err
	switch {
	case err != nil:
	case r.build.verbs != s.verbs:
		err = errors.New("the call of flow.Main was added or removed: start flow run again")
	case s.verbs:
		err = s.listenHTTP(r.build.graph)
	}
	if err != nil {
		if s.ctx.Err() != nil {
			return nil
		}
		s.talk.warn("%v%s", err, s.consequence())
		r.build.forget()
		return nil
	}
	if r.build.kafka != "" && (s.current == nil || s.current.build.kafka == "") {
		s.talk.say("%s", kafkaLine(r.build))
	}
	s.changed = nil
	what += "building... ok " + seconds(r.build.took)
	if s.current != nil && r.build.sum == s.current.build.sum && slices.Equal(r.build.env, s.current.build.env) {
		s.talk.say("%s, the program is the same", what)
		r.build.forget()
		return nil
	}
	s.swapped = true
	if s.current != nil {
		began := time.Now()
		s.retire()
		what += ", drained in " + seconds(time.Since(began))
		if s.ctx.Err() != nil {
			return nil // shutdown follows
		}
	} else {
		s.fronts.hold()
	}
	s.note = what + ", swapped in "
	return s.start(r.build)
}

// consequence says what a build that failed means.
func (s *session) consequence() string {
	if s.current == nil {
		return "   (nothing runs until that is corrected)"
	}
	return "   (old build keeps serving)"
}

// Bounds of a swap, beside the program's own time to drain.
const (
	settleTime  = 10 * time.Second // for requests under way, before the program is told
	stopTime    = 2 * time.Second  // the same when a signal ends all
	drainMargin = 10 * time.Second // for a program to end after its drain
)

// retire drains and ends the current program, for another to take its place.
// Requests that arrive wait. Those under way are answered first, so that none is
// on its way to a program that closes its connections.
func (s *session) retire() {
	c := s.current
	s.fronts.hold()
	select {
	case <-c.ready: // this moment
		s.started = true
	default:
	}
	s.settled(s.ctx, settleTime)
	if s.ctx.Err() == nil {
		c.stop(s.hard, s.kill, s.drain+drainMargin)
		if code := c.code(); code != flow.ExitOK && s.started {
			s.talk.warn("the old build ended with exit %d: what it has not finished is delivered again", code)
		}
		if s.started {
			s.previous = c.build
		} else {
			c.build.forget()
		}
		s.current = nil
	}
}

// settled waits until no request is under way, or it takes too long, or ctx ends; the
// rest is the program's own to finish.
func (s *session) settled(ctx context.Context, limit time.Duration) {
	if s.fronts.http == nil {
		return
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-s.fronts.http.gate.settled():
	case <-timer.C:
	case <-s.current.done:
	case <-ctx.Done():
	}
	s.fronts.http.gate.cutStreams()
}

// shutdown drains the program after a signal.
func (s *session) shutdown() error {
	s.fronts.refuse(errors.New("the flow is shutting down"))
	c := s.current
	if c == nil {
		return nil
	}
	s.talk.say("draining; Ctrl-C again stops at once")
	began := time.Now()
	s.settled(s.hard, stopTime)
	c.stop(s.hard, s.kill, 0)
	code := c.code()
	if code == flow.ExitOK || !s.started {
		s.talk.say("drained in %s", seconds(time.Since(began)))
		return nil
	}
	return exitError(code)
}

// watch follows the packages that a build depends on. What a failed build does not
// know of stays watched.
func (s *session) watch(deps []listed, failed bool) {
	if failed {
		deps = append(deps, s.scope...)
	} else {
		s.scope = deps
	}
	if err := s.watcher.set(newScope(deps, s.envFile)); err != nil {
		s.talk.warn("%v", err)
	}
}

// names lists changed files by their last part.
func names(files []string) string {
	const most = 3
	var short []string
	for i, f := range files {
		if i == most {
			short = append(short, fmt.Sprintf("%d more", len(files)-most))
			break
		}
		short = append(short, filepath.Base(f))
	}
	return strings.Join(short, ", ")
}
