package primitives

import (
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
)

// Env is what the runtime tells a primitive about the place it is opened in.
type Env struct {
	// Flow and Processor are the names that the user gave.
	Flow, Processor string

	// Logger has the flow's and the processor's name set. Never nil.
	Logger *slog.Logger

	// DataDir is the folder for state that primitives in this process keep.
	// Relative paths of such state lie in it.
	DataDir string

	// Shared holds what primitives of one flow have in common, so that two
	// processors that use the same thing open it once. Never nil.
	Shared *Shared
}

// DataDir returns the folder in which embedded primitives keep their state:
// the environment variable FLOW_DATA, or ".flow" in the working directory.
func DataDir() string {
	if dir := os.Getenv("FLOW_DATA"); dir != "" {
		return dir
	}
	return ".flow"
}

// DataPath resolves the path of an embedded primitive's state: absolute paths
// stay, relative ones lie in DataDir.
func DataPath(path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(DataDir(), path)
}

// Shared counts the users of things that are opened once per flow, such as a
// connection or an embedded server. The zero value is ready.
type Shared struct {
	mu      sync.Mutex
	entries map[string]*sharedEntry
}

type sharedEntry struct {
	ready chan struct{}
	value io.Closer
	err   error
	users int
}

// Share returns the value kept under key, which the first caller opens. Every
// caller gets a release function; the value is closed when the last has called
// it. Keys start with the name of the primitive's package. When open fails, all
// who wait for it get its error, and the next caller tries again. Calling
// release again does nothing. All users of a key must use the same R.
func Share[R io.Closer](s *Shared, key string, open func() (R, error)) (value R, release func() error, err error) {
	s.mu.Lock()
	if s.entries == nil {
		s.entries = map[string]*sharedEntry{}
	}
	e, found := s.entries[key]
	if !found {
		e = &sharedEntry{ready: make(chan struct{})}
		s.entries[key] = e
	}
	e.users++
	s.mu.Unlock()

	if !found {
		e.err = errors.New("what is shared could not be opened") // should open panic
		func() {
			defer close(e.ready)
			v, err := open()
			e.value, e.err = v, err
		}()
	}
	<-e.ready
	if e.err != nil {
		return value, nil, errors.Join(e.err, s.drop(key, e))
	}
	var once sync.Once
	return e.value.(R), func() (err error) {
		once.Do(func() { err = s.drop(key, e) })
		return err
	}, nil
}

// drop takes one user off an entry and closes its value after the last.
func (s *Shared) drop(key string, e *sharedEntry) error {
	s.mu.Lock()
	e.users--
	last := e.users == 0
	if last || e.err != nil {
		if s.entries[key] == e {
			delete(s.entries, key)
		}
	}
	s.mu.Unlock()
	if last && e.err == nil {
		return e.value.Close()
	}
	return nil
}
