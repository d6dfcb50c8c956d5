package primitivetest

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
)

// A fakeT takes the place of a testing.T, so that a test can see a check fail.
type fakeT struct {
	testing.TB // for the method that nobody else can have, TempDir, Name
	mu         sync.Mutex
	failed     bool
	lines      []string
	cleanups   []func()
}

// try runs a check as testing would and returns what it said when it failed.
func try(t testing.TB, c Config, k check) (failed bool, said string) {
	f := &fakeT{TB: t}
	f.goexit(func() { k.run(newHarness(f, c.withDefaults(), k.name)) })
	for len(f.cleanups) > 0 {
		last := len(f.cleanups) - 1
		do := f.cleanups[last]
		f.cleanups = f.cleanups[:last]
		f.goexit(do)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.failed, strings.Join(f.lines, "\n")
}

// goexit runs f where FailNow ends it and nothing else.
func (t *fakeT) goexit(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	<-done
}

func (t *fakeT) say(fail bool, line string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.failed = t.failed || fail
	t.lines = append(t.lines, line)
}

func (t *fakeT) Failed() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.failed
}

func (t *fakeT) Helper()                           {}
func (t *fakeT) Context() context.Context          { return context.Background() }
func (t *fakeT) Cleanup(f func())                  { t.cleanups = append(t.cleanups, f) }
func (t *fakeT) Log(args ...any)                   { t.say(false, fmt.Sprintln(args...)) }
func (t *fakeT) Logf(format string, args ...any)   { t.say(false, fmt.Sprintf(format, args...)) }
func (t *fakeT) Error(args ...any)                 { t.say(true, fmt.Sprintln(args...)) }
func (t *fakeT) Errorf(format string, args ...any) { t.say(true, fmt.Sprintf(format, args...)) }
func (t *fakeT) Fail()                             { t.say(true, "") }
func (t *fakeT) FailNow()                          { t.say(true, ""); runtime.Goexit() }
func (t *fakeT) Fatal(args ...any)                 { t.Error(args...); runtime.Goexit() }
func (t *fakeT) Fatalf(format string, args ...any) { t.Errorf(format, args...); runtime.Goexit() }
