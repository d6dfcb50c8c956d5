package file

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// A ledger is a checkpoint file: a log of JSON lines, the last one of a path
// counts. Each append is one write and an fsync, so it is there as a whole or
// was not acknowledged; a torn last line is ignored. The log is rewritten, by a
// rename, when most of it is outdated.
//
// append is called by one goroutine at a time.
type ledger struct {
	path   string
	lock   io.Closer
	out    *os.File
	broken bool // the last write failed: rewrite before the next
	lines  int  // in the log

	mu      sync.Mutex
	entries map[string]entry
}

// An entry is what is known of one file. The entry with an empty path is the
// position of a whole folder.
type entry struct {
	Path string     `json:"path"`
	Next int64      `json:"next,omitempty"`
	Size int64      `json:"size,omitempty"`
	Time *time.Time `json:"time,omitempty"`
	Gone bool       `json:"gone,omitempty"`
}

// openLedger reads the checkpoint at path, or makes it. It errs when another
// reader has it open.
func openLedger(path string) (*ledger, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	lock, err := lockFile(path + ".lock")
	if err != nil {
		return nil, err
	}
	l := &ledger{path: path, lock: lock, entries: map[string]entry{}}
	if err := l.load(); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	if err := l.rewrite(); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return l, nil
}

func (l *ledger) load() error {
	f, err := os.Open(l.path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	in := bufio.NewReader(f)
	for n := 1; ; n++ {
		line, err := in.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return nil // what has no end of line was never acknowledged
		}
		if err != nil {
			return err
		}
		var e entry
		if err := json.Unmarshal(line, &e); err != nil {
			return fmt.Errorf("%s:%d: not a checkpoint: %w: remove it to start anew", l.path, n, err)
		}
		l.put(e)
	}
}

// put takes an entry in and returns how many there are.
func (l *ledger) put(e entry) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e.Gone {
		delete(l.entries, e.Path)
	} else {
		l.entries[e.Path] = e
	}
	return len(l.entries)
}

func (l *ledger) get(path string) (entry, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e, found := l.entries[path]
	return e, found
}

// all returns the entries.
func (l *ledger) all() []entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make([]entry, 0, len(l.entries))
	for _, e := range l.entries {
		out = append(out, e)
	}
	return out
}

// append makes entries durable.
func (l *ledger) append(entries []entry) error {
	live := 0
	for _, e := range entries {
		live = l.put(e)
	}
	if l.broken || l.lines > 1000+4*live {
		return l.rewrite()
	}
	buf, err := encodeEntries(entries)
	if err != nil {
		return err
	}
	l.lines += len(entries)
	if _, err = l.out.Write(buf); err == nil {
		err = l.out.Sync()
	}
	l.broken = err != nil
	return err
}

func (l *ledger) rewrite() error {
	l.broken = true
	all := l.all()
	buf, err := encodeEntries(all)
	if err != nil {
		return err
	}
	if l.out != nil {
		_ = l.out.Close() // its content is about to be replaced
		l.out = nil
	}
	if err := replaceFile(l.path, func(w io.Writer) error {
		_, err := w.Write(buf)
		return err
	}); err != nil {
		return err
	}
	if l.out, err = os.OpenFile(l.path, os.O_WRONLY|os.O_APPEND, 0o644); err != nil {
		return err
	}
	l.lines, l.broken = len(all), false
	return nil
}

func (l *ledger) close() error {
	var err error
	if l.out != nil {
		err = l.out.Close()
	}
	return errors.Join(err, l.lock.Close())
}

func encodeEntries(entries []entry) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	for _, e := range entries {
		if err := enc.Encode(e); err != nil {
			return nil, err
		}
	}
	return buf.Bytes(), nil
}

// replaceFile writes a file so that path is either the old or the whole new one.
func replaceFile(path string, write func(io.Writer) error) error {
	tmp := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".tmp")
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	err = write(f)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(tmp))
	}
	syncDir(filepath.Dir(path))
	return nil
}
