package file

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/flowkit-go/flow/primitives"
)

// A watchReader compares the folder with known. Only Run's goroutine touches
// known, pending and sweepAt; mu guards what Commit shares with it.
type watchReader struct {
	Watch
	env       *primitives.Env
	ledger    *ledger
	notify    *fsnotify.Watcher
	partition primitives.Partition

	known   map[string]stamp     // what was reported, or found at the start
	pending map[string]time.Time // files to look at, and when
	sweepAt time.Time            // not after the first of them; zero when there is none

	mu       sync.Mutex
	next     int64     // position of the next change
	reported []seenNow // changes that are not committed, by position
	closed   bool
}

// seenNow is an entry of the checkpoint that waits for its change to be resolved.
type seenNow struct {
	offset int64
	entry  entry
}

var (
	_ primitives.Reader     = (*watchReader)(nil)
	_ primitives.Backlogger = (*watchReader)(nil)
)

func newWatchReader(w Watch, env *primitives.Env, l *ledger) (*watchReader, error) {
	r := &watchReader{Watch: w, env: env, ledger: l, partition: primitives.Partition{Topic: w.Dir},
		known: map[string]stamp{}, pending: map[string]time.Time{}}
	fresh := true
	for _, e := range l.all() {
		fresh = false
		if e.Path == "" {
			r.next = e.Next
		} else if e.Time != nil {
			r.known[e.Path] = stamp{e.Size, *e.Time}
		}
	}
	var err error
	if r.notify, err = fsnotify.NewWatcher(); err != nil {
		return nil, fmt.Errorf("file: watch %s: %w", w.Dir, err)
	}
	if err := r.begin(fresh); err != nil {
		return nil, errors.Join(fmt.Errorf("file: watch %s: %w", w.Dir, err), r.notify.Close())
	}
	return r, nil
}

// begin finds what is there. On the first run, what is to be skipped is noted at
// once, so that it stays skipped.
func (r *watchReader) begin(fresh bool) error {
	if err := r.scan(); err != nil {
		return err
	}
	if !fresh {
		return nil
	}
	entries := []entry{{Next: 0}}
	if r.SkipExisting {
		for path := range r.pending {
			info, err := os.Lstat(path)
			if err != nil {
				continue // gone again
			}
			s := stampOf(info)
			r.known[path] = s
			entries = append(entries, seen(path, s))
		}
		clear(r.pending)
	}
	return r.ledger.append(entries)
}

func seen(path string, s stamp) entry { return entry{Path: path, Size: s.size, Time: &s.time} }

// Run implements primitives.Reader.
func (r *watchReader) Run(ctx context.Context, intake primitives.Intake) error {
	r.mu.Lock()
	closed, start := r.closed, r.next
	r.mu.Unlock()
	if closed {
		return primitives.ErrClosed
	}
	lane := intake.Assign(r.partition, start)
	err := r.watch(ctx, intake, lane)
	switch {
	case ctx.Err() != nil:
		return nil
	case errors.Is(err, primitives.ErrDraining), errors.Is(err, primitives.ErrReleased):
		<-ctx.Done() // commits of what is in flight are still to come
		return nil
	}
	return err
}

func (r *watchReader) watch(ctx context.Context, intake primitives.Intake, lane primitives.Lane) error {
	rescan := time.NewTicker(r.Rescan)
	defer rescan.Stop()
	settled := time.NewTimer(0)
	defer settled.Stop()
	look := time.NewTimer(time.Hour) // through the whole folder
	defer look.Stop()
	lookSoon := func() { look.Reset(lookDelay) }
	for {
		if r.sweepAt.IsZero() {
			settled.Stop()
		} else {
			settled.Reset(time.Until(r.sweepAt))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-rescan.C:
			lookSoon()
		case <-look.C:
			if err := r.scan(); err != nil {
				if err := intake.Retry(ctx, fmt.Errorf("file: watch %s: %w", r.Dir, err)); err != nil {
					return err
				}
				lookSoon()
			}
		case <-settled.C:
			if err := r.report(ctx, lane); err != nil {
				return err
			}
		case event, ok := <-r.notify.Events:
			if !ok {
				return primitives.ErrClosed
			}
			if r.hint(event) {
				lookSoon()
			}
		case err, ok := <-r.notify.Errors:
			if !ok {
				return primitives.ErrClosed
			}
			// Whatever was lost, above all when the system's queue was full, a
			// look at everything finds it.
			r.env.Logger.Warn("notifications of changes were lost: looking through the folder", "dir", r.Dir, "error", err)
			lookSoon()
		}
	}
}

// lookDelay gathers the hints that come with, say, a tree of new folders.
const lookDelay = 20 * time.Millisecond

// lookAt notes when to look at a file.
func (r *watchReader) lookAt(path string, at time.Time) {
	r.pending[path] = at
	if r.sweepAt.IsZero() || at.Before(r.sweepAt) {
		r.sweepAt = at
	}
}

// hint notes which file to look at. It returns true when that does not do.
func (r *watchReader) hint(e fsnotify.Event) (look bool) {
	if e.Op == fsnotify.Chmod {
		return false
	}
	path := filepath.Clean(e.Name)
	if path == filepath.Clean(r.Dir) {
		return true
	}
	if info, err := os.Lstat(path); err == nil && info.IsDir() {
		return r.Recursive
	}
	if r.wants(filepath.Base(path)) {
		r.lookAt(path, time.Now().Add(r.Settle))
	}
	// The name may have been a folder's, with files that are known.
	return r.Recursive && e.Has(fsnotify.Remove|fsnotify.Rename)
}

// scan adds every file that is not as it is known to pending. New folders are
// watched before they are read, so that no file falls between the two.
func (r *watchReader) scan() error {
	found := map[string]bool{}
	err := filepath.WalkDir(r.Dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			if path != r.Dir && errors.Is(err, fs.ErrNotExist) {
				return nil // gone since its folder was read
			}
			return err
		}
		if d.IsDir() {
			if path != r.Dir && (!r.Recursive || strings.HasPrefix(d.Name(), ".")) {
				return fs.SkipDir
			}
			return r.add(path)
		}
		if !r.wants(d.Name()) {
			return nil
		}
		info, err := os.Stat(path)
		if err != nil || !info.Mode().IsRegular() {
			return nil // gone since, or a link that leads nowhere
		}
		found[path] = true
		r.expect(path, info)
		return nil
	})
	if err != nil {
		return err
	}
	for path := range r.known {
		if !found[path] && r.pending[path].IsZero() {
			r.lookAt(path, time.Now().Add(r.Settle))
		}
	}
	return nil
}

// add watches one folder. Adding it again does nothing.
func (r *watchReader) add(dir string) error {
	err := r.notify.Add(dir)
	if errors.Is(err, fs.ErrNotExist) && dir != r.Dir {
		return fs.SkipDir
	}
	if err != nil {
		return fmt.Errorf("%s: %w: on Linux, fs.inotify.max_user_watches and max_user_instances limit how much can be watched", dir, err)
	}
	return nil
}

// expect puts a file among the pending when it is not as known. One that was
// last written long ago needs not settle.
func (r *watchReader) expect(path string, info os.FileInfo) {
	if s, found := r.known[path]; found && s.same(stampOf(info)) {
		return
	}
	if _, found := r.pending[path]; found {
		return
	}
	at := info.ModTime().Add(r.Settle)
	if limit := time.Now().Add(r.Settle); at.After(limit) { // a clock that differs
		at = limit
	}
	r.lookAt(path, at)
}

// report pushes what has changed of the files that are due.
func (r *watchReader) report(ctx context.Context, lane primitives.Lane) error {
	now := time.Now()
	var changes []Change
	stamps := map[string]stamp{}
	for path, at := range r.pending {
		if at.After(now) {
			continue
		}
		old, known := r.known[path]
		info, err := os.Stat(path)
		switch {
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			r.pending[path] = now.Add(max(r.Settle, time.Second))
			r.env.Logger.Warn("cannot look at a file", "path", path, "error", err)
			continue
		case err != nil || !info.Mode().IsRegular():
			delete(r.pending, path)
			if known {
				changes = append(changes, Change{path, Removed, now, old.size})
			}
			continue
		}
		// Written since the notification: wait on.
		if at := info.ModTime().Add(r.Settle); at.After(now) && !at.After(now.Add(r.Settle)) {
			r.pending[path] = at
			continue
		}
		delete(r.pending, path)
		s := stampOf(info)
		if known && old.same(s) {
			continue
		}
		op := Created
		if known {
			op = Modified
		}
		stamps[path] = s
		changes = append(changes, Change{path, op, s.time, s.size})
	}
	r.sweepAt = time.Time{}
	for path, at := range r.pending {
		// Not for each file by itself when many become due one after the other.
		r.lookAt(path, later(at, now.Add(r.Settle/4)))
	}
	sortChanges(changes)
	return r.push(ctx, lane, changes, stamps)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func (r *watchReader) push(ctx context.Context, lane primitives.Lane, changes []Change, stamps map[string]stamp) error {
	for _, c := range changes {
		e := entry{Path: c.Path, Gone: true}
		if s, there := stamps[c.Path]; there {
			e = seen(c.Path, s)
		}
		var rec []primitives.Record
		if r.reports(c.Op) {
			value, err := json.Marshal(c)
			if err != nil {
				return fmt.Errorf("file: watch %s: %w", r.Dir, err)
			}
			rec = []primitives.Record{{Key: []byte(c.Path), Value: value, Time: c.Time}}
		}
		r.mu.Lock()
		offset := r.next
		r.next++
		r.reported = append(r.reported, seenNow{offset, e})
		r.mu.Unlock()
		if rec == nil {
			lane.Advance(offset + 1)
		} else {
			rec[0].Offset = offset
			if _, err := lane.Push(ctx, rec); err != nil {
				return err
			}
		}
		if e.Gone {
			delete(r.known, c.Path)
		} else {
			r.known[c.Path] = stamps[c.Path]
		}
	}
	return nil
}

// Commit implements primitives.Reader.
func (r *watchReader) Commit(_ context.Context, commits []primitives.Commit) error {
	for _, c := range commits {
		if c.Partition != r.partition {
			errs := make([]error, len(commits))
			for i := range commits {
				errs[i] = primitives.ErrNotAssigned
			}
			return &primitives.CommitError{Errs: errs}
		}
		r.mu.Lock()
		closed := r.closed
		n := 0
		entries := []entry{{Next: c.Next}}
		for n < len(r.reported) && r.reported[n].offset < c.Next {
			entries = append(entries, r.reported[n].entry)
			n++
		}
		r.mu.Unlock()
		if closed {
			return primitives.ErrClosed
		}
		if err := r.ledger.append(entries); err != nil {
			return fmt.Errorf("file: checkpoint of %s: %w", r, err)
		}
		r.mu.Lock()
		r.reported = r.reported[n:]
		r.mu.Unlock()
	}
	return nil
}

// Backlog implements primitives.Backlogger.
func (r *watchReader) Backlog(context.Context) ([]primitives.Backlog, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, primitives.ErrClosed
	}
	return []primitives.Backlog{{Partition: r.partition, Records: int64(len(r.reported))}}, nil
}

// Close implements primitives.Reader.
func (r *watchReader) Close(context.Context) error {
	r.mu.Lock()
	closed := r.closed
	r.closed = true
	r.mu.Unlock()
	if closed {
		return nil
	}
	return errors.Join(r.notify.Close(), r.ledger.close())
}
