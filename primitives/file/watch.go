package file

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/flowkit-go/flow/primitives"
)

// An Op is what happened to a file.
type Op string

const (
	Created  Op = "created"
	Modified Op = "modified"
	Removed  Op = "removed"
)

// A Change says that a file appeared, has other content, or is gone. Its key as
// a record is the path, so that with order by key the changes of one file stay
// in order.
type Change struct {
	// Path of the file: the folder's, as it was given, and what lies below.
	Path string `json:"path"`

	Op Op `json:"op"`

	// Time is when the file was last modified; of a removed one, when that was seen.
	Time time.Time `json:"time"`

	// Size in bytes; of a removed one, the last that was known.
	Size int64 `json:"size"`
}

// Open opens the file for reading. The file may have changed again, or be gone.
func (c Change) Open() (*os.File, error) { return os.Open(c.Path) }

// ReadFile returns the content of the file. The same holds as for Open.
func (c Change) ReadFile() ([]byte, error) { return os.ReadFile(c.Path) }

// A Watch is a source of the changes of the files in a folder. It never ends.
//
// It compares what is in the folder with what it has reported, and takes the
// notifications of the operating system as hints where to look. So nothing is
// missed when notifications are lost, but changes of one file in quick
// succession are one change. A change that was not resolved when the process
// ended is reported again by the next run, and so is what changed in between.
type Watch struct {
	// Dir is the folder, relative to the working directory. Needed.
	Dir string

	// Pattern is what names of files must match, as "*.csv" (see
	// [filepath.Match]). Default: all but those that begin with a dot, which
	// programs use for files that they have not finished.
	Pattern string

	// Recursive includes the folders below Dir, except those that begin with a dot.
	Recursive bool

	// Events are the changes to report. Default: all three.
	Events []Op

	// SkipExisting leaves out what is in the folder when the first run starts.
	// Default false: it is reported as created. With a checkpoint, later runs
	// always report what changed while the flow was down.
	SkipExisting bool

	// Settle is how long a file must have been left alone before it is reported,
	// so that it is not read half written. Default 200 ms.
	Settle time.Duration

	// Rescan is how often the folder is looked through as a whole, for folders on
	// a network whose changes by other machines are not notified. Default 1 minute.
	Rescan time.Duration

	// Checkpoint is the file that remembers what was resolved. A relative path
	// lies in the data folder (FLOW_DATA). Default: one named for the processor
	// and the folder, as "watch-import-3f2a9c1b.jsonl". To start anew, remove it.
	Checkpoint string
}

const (
	defaultSettle = 200 * time.Millisecond
	defaultRescan = time.Minute
)

var (
	_ primitives.Source[Change] = Watch{}
	_ primitives.Validator      = Watch{}
)

// String returns "watch:" and the folder with the pattern.
func (w Watch) String() string { return "watch:" + filepath.Join(w.Dir, w.Pattern) }

// Decoder returns a decoder of changes, which are JSON.
func (w Watch) Decoder() (primitives.Decoder[Change], error) {
	return primitives.DecoderOf(primitives.JSON[Change]())
}

// Validate reports a missing folder name, a malformed pattern, an unknown event
// and negative times.
func (w Watch) Validate() error {
	if w.Dir == "" {
		return errors.New("file: Dir of a Watch is empty: name a folder")
	}
	if _, err := filepath.Match(w.Pattern, ""); err != nil {
		return fmt.Errorf("file: watch %s: Pattern %q: %w", w.Dir, w.Pattern, err)
	}
	if strings.ContainsRune(w.Pattern, filepath.Separator) {
		return fmt.Errorf("file: watch %s: Pattern %q is for names, not for paths: set Dir and Recursive", w.Dir, w.Pattern)
	}
	for _, op := range w.Events {
		if op != Created && op != Modified && op != Removed {
			return fmt.Errorf("file: watch %s: Events has %q: must be file.Created, file.Modified or file.Removed", w.Dir, string(op))
		}
	}
	if w.Settle < 0 || w.Rescan < 0 {
		return fmt.Errorf("file: watch %s: Settle and Rescan must not be negative (0 is the default)", w.Dir)
	}
	return nil
}

// OpenSource starts to watch. It errs when the folder is not there.
func (w Watch) OpenSource(_ context.Context, env *primitives.Env) (primitives.Reader, error) {
	if err := w.Validate(); err != nil {
		return nil, err
	}
	info, err := os.Stat(w.Dir)
	if err != nil {
		dir, _ := os.Getwd()
		return nil, fmt.Errorf("file: watch (from %s): %w", dir, err)
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("file: watch %s: not a folder", w.Dir)
	}
	checkpoint := w.Checkpoint
	if checkpoint == "" {
		if checkpoint, err = w.checkpointName(env); err != nil {
			return nil, fmt.Errorf("file: watch %s: %w", w.Dir, err)
		}
	}
	ledger, err := openLedger(statePath(env, checkpoint))
	if err != nil {
		return nil, fmt.Errorf("file: checkpoint of %s: %w", w, err)
	}
	w.Dir = filepath.Clean(w.Dir)
	w.Settle = orDefault(w.Settle, defaultSettle)
	w.Rescan = orDefault(w.Rescan, defaultRescan)
	r, err := newWatchReader(w, env, ledger)
	if err != nil {
		return nil, errors.Join(err, ledger.close())
	}
	return r, nil
}

func (w Watch) checkpointName(env *primitives.Env) (string, error) {
	abs, err := filepath.Abs(w.Dir)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %q %t", env.Flow, abs, w.Pattern, w.Recursive))
	name := strings.Map(func(r rune) rune {
		if r == '-' || r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			return r
		}
		return '_'
	}, env.Processor)
	return fmt.Sprintf("watch-%s-%x.jsonl", name, sum[:4]), nil
}

// wants reports whether a file of this name is watched.
func (w Watch) wants(name string) bool {
	if w.Pattern == "" {
		return !strings.HasPrefix(name, ".")
	}
	ok, _ := filepath.Match(w.Pattern, name) // Validate has tried the pattern
	return ok
}

func (w Watch) reports(op Op) bool { return len(w.Events) == 0 || slices.Contains(w.Events, op) }

// A stamp is what tells one content of a file from another.
type stamp struct {
	size int64
	time time.Time
}

func stampOf(info os.FileInfo) stamp { return stamp{info.Size(), info.ModTime()} }

func (s stamp) same(o stamp) bool { return s.size == o.size && s.time.Equal(o.time) }

// sortChanges puts changes in the order in which they happened, as far as known.
func sortChanges(changes []Change) {
	slices.SortFunc(changes, func(a, b Change) int {
		return cmp.Or(a.Time.Compare(b.Time), cmp.Compare(a.Path, b.Path))
	})
}
