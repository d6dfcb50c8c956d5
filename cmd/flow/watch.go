package main

import (
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
)

// Editors write a file in several steps, and tools many files at once.
const (
	quietFor  = 150 * time.Millisecond // without a change, before a build
	quietMost = 2 * time.Second        // after the first change, whatever follows
)

// A watcher tells when a file has changed that a build depends on.
type watcher struct {
	fs      *fsnotify.Watcher
	changes chan []string // names of changed files; the reader is never late
	stop    chan struct{}
	done    chan struct{}

	mu    sync.Mutex
	scope scope
}

// A scope says which files matter. Folders are watched, not files: editors
// replace files by new ones.
type scope struct {
	sources map[string]bool   // folders of packages
	files   map[string]bool   // single files
	embeds  map[string]string // folder -> package folder whose patterns may take its files
	pattern map[string][]string
}

// newScope collects what a build of the packages depends on, and the files more.
func newScope(deps []listed, more ...string) scope {
	s := scope{sources: map[string]bool{}, files: map[string]bool{}, embeds: map[string]string{}, pattern: map[string][]string{}}
	for _, p := range deps {
		if !p.local() {
			continue
		}
		s.sources[p.Dir] = true
		s.pattern[p.Dir] = p.EmbedPatterns
		for _, f := range p.EmbedFiles {
			f = filepath.Join(p.Dir, f)
			s.files[f] = true
			s.embeds[filepath.Dir(f)] = p.Dir
		}
		if p.Module.GoMod != "" {
			s.files[p.Module.GoMod] = true
			s.files[filepath.Join(filepath.Dir(p.Module.GoMod), "go.sum")] = true
			s.files[filepath.Join(filepath.Dir(p.Module.GoMod), "go.work")] = true
		}
	}
	for _, f := range more {
		s.files[f] = true
	}
	return s
}

// folders are what has to be watched for the scope.
func (s scope) folders() []string {
	all := map[string]bool{}
	for dir := range s.sources {
		all[dir] = true
	}
	for f := range s.files {
		all[filepath.Dir(f)] = true
	}
	out := make([]string, 0, len(all))
	for dir := range all {
		out = append(out, dir)
	}
	slices.Sort(out)
	return out
}

// compiled are the files of a package's folder that the go command builds from.
var compiled = []string{".go", ".c", ".cc", ".cpp", ".cxx", ".m", ".h", ".hh", ".hpp", ".hxx", ".f", ".F", ".for", ".f90", ".s", ".S", ".sx", ".swig", ".swigcxx", ".syso"}

// matters reports whether a change of the file may change the program.
func (s scope) matters(file string) bool {
	if s.files[file] {
		return true
	}
	dir, name := filepath.Split(file)
	dir = filepath.Clean(dir)
	if strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_") || strings.HasSuffix(name, "~") {
		return false
	}
	if s.sources[dir] && slices.Contains(compiled, filepath.Ext(name)) {
		return !strings.HasSuffix(name, "_test.go")
	}
	if pkg, ok := s.embeds[dir]; ok {
		return embeds(s.pattern[pkg], pkg, file)
	}
	return false
}

// embeds reports whether patterns of go:embed take the file, as a match or as a
// part of a folder that matches.
func embeds(patterns []string, pkg, file string) bool {
	rel, err := filepath.Rel(pkg, file)
	if err != nil {
		return false
	}
	rel = filepath.ToSlash(rel)
	for _, p := range patterns {
		for name := rel; name != "." && name != "/"; name = path.Dir(name) {
			if ok, _ := path.Match(strings.TrimPrefix(p, "all:"), name); ok {
				return true
			}
		}
	}
	return false
}

// watch starts to watch. The caller calls close.
func watch(s scope) (*watcher, error) {
	fs, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, fmt.Errorf("watch for changes: %w: use --watch=false", err)
	}
	w := &watcher{fs: fs, changes: make(chan []string), stop: make(chan struct{}), done: make(chan struct{})}
	if err := w.set(s); err != nil {
		_ = fs.Close()
		return nil, err
	}
	go w.run()
	return w, nil
}

// set changes what is watched.
func (w *watcher) set(s scope) error {
	w.mu.Lock()
	w.scope = s
	w.mu.Unlock()
	want := s.folders()
	have := w.fs.WatchList()
	for _, dir := range want {
		if !slices.Contains(have, dir) {
			if err := w.fs.Add(dir); err != nil {
				return fmt.Errorf("watch %s for changes: %w: use --watch=false", dir, err)
			}
		}
	}
	for _, dir := range have {
		if !slices.Contains(want, dir) {
			_ = w.fs.Remove(dir) // it may be gone
		}
	}
	return nil
}

func (w *watcher) close() {
	close(w.stop)
	<-w.done
	_ = w.fs.Close()
}

// run collects changes until there are no more for a while, and hands them over.
func (w *watcher) run() {
	defer close(w.done)
	var names []string
	var first time.Time
	quiet := time.NewTimer(time.Hour)
	quiet.Stop()
	var out chan []string // nil until it is quiet
	for {
		select {
		case <-w.stop:
			return
		case e, ok := <-w.fs.Events:
			if !ok {
				return
			}
			if !e.Has(fsnotify.Create | fsnotify.Write | fsnotify.Remove | fsnotify.Rename) {
				continue // a change of mode or time
			}
			w.mu.Lock()
			matters := w.scope.matters(e.Name)
			w.mu.Unlock()
			if !matters {
				continue
			}
			if len(names) == 0 {
				first = time.Now()
			}
			if !slices.Contains(names, e.Name) {
				names = append(names, e.Name)
			}
			out = nil
			quiet.Reset(min(quietFor, max(0, quietMost-time.Since(first))))
		case err := <-w.fs.Errors:
			// Events were lost: build, to be sure.
			if err != nil && len(names) == 0 {
				names, first = append(names, "files"), time.Now()
				quiet.Reset(quietFor)
			}
		case <-quiet.C:
			out = w.changes
		case out <- names:
			names, out = nil, nil
		}
	}
}
