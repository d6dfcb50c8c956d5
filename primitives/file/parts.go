package file

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// parts is the destination of a Parquet sink. Parquet cannot be appended to, so
// rows go to a journal of JSON lines first, where they are durable, and the
// journal becomes a part when it is large or old enough. The part appears by a
// rename: every file that can be seen is whole.
type parts struct {
	path   string
	limits partLimits
	sync   bool
	write  func(io.Reader, io.Writer) error
	logger *slog.Logger
	lock   io.Closer

	number  int  // of the part that is being collected
	journal *log // nil until its first row
	rows    int
	since   time.Time

	sealed     []int // journals that are to become parts
	converting chan error
}

type partLimits struct {
	rows  int
	bytes int64
	age   time.Duration
}

var _ destination = (*parts)(nil)

// openParts turns what an earlier run left into parts.
func openParts(path string, limits partLimits, sync bool, write func(io.Reader, io.Writer) error, logger *slog.Logger) (*parts, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	lock, err := lockFile(filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".lock"))
	if err != nil {
		return nil, err
	}
	p := &parts{path: path, limits: limits, sync: sync, write: write, logger: logger, lock: lock, number: 1}
	if err := p.recover(); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return p, nil
}

func (p *parts) recover() error {
	done, journals, err := listParts(p.path)
	if err != nil {
		return err
	}
	for _, n := range journals {
		journal := journalPath(p.path, n)
		l, err := openLog(journal, journalLines, nil, 0, false, p.logger)
		if err != nil {
			return err
		}
		if err := l.close(); err != nil {
			return err
		}
		if l.size == 0 {
			err = os.Remove(journal)
		} else {
			err = convert(p.path, n, p.write)
		}
		if err != nil {
			return err
		}
		p.number = n + 1
	}
	if len(done) > 0 {
		p.number = max(p.number, done[len(done)-1]+1)
	}
	return nil
}

func (p *parts) append(lines []byte, rows int) error {
	if p.journal == nil {
		journal, err := openLog(journalPath(p.path, p.number), journalLines, nil, 0, p.sync, p.logger)
		if err != nil {
			return err
		}
		if p.sync {
			syncDir(filepath.Dir(p.path))
		}
		p.journal, p.rows, p.since = journal, 0, time.Now()
	}
	if err := p.journal.append(lines, rows); err != nil {
		return err
	}
	p.rows += rows
	if p.rows >= p.limits.rows || p.journal.size >= p.limits.bytes {
		p.roll()
	}
	return nil
}

func (p *parts) due() time.Time {
	if p.journal == nil {
		return time.Time{}
	}
	return p.since.Add(p.limits.age)
}

func (p *parts) tick() { p.roll() }

// roll begins a new part and makes one of what was collected, in the background.
// It waits while the part before is not finished: that is the backpressure. The
// rows are durable in their journal, so that a failure is logged, and tried
// again with the next part, at the end, and by the next run.
func (p *parts) roll() {
	if err := p.seal(); err != nil {
		p.logger.Error("close a journal", "path", p.path, "part", p.number, "error", err)
	}
	p.wait()
	pending := slices.Clone(p.sealed)
	p.converting = make(chan error, 1)
	go func() { p.converting <- convertAll(p.path, pending, p.write) }()
}

// seal closes the journal.
func (p *parts) seal() error {
	if p.journal == nil {
		return nil
	}
	err := p.journal.close()
	if p.rows > 0 || p.journal.size > 0 {
		p.sealed = append(p.sealed, p.number)
	} else {
		err = errors.Join(err, os.Remove(journalPath(p.path, p.number)))
	}
	p.journal = nil
	p.number++
	return err
}

// wait waits for the goroutine that roll has started, and finds out which
// journals it has left.
func (p *parts) wait() {
	if p.converting == nil {
		return
	}
	if err := <-p.converting; err != nil {
		p.logger.Error("the rows stay in the journal for now", "path", p.path, "error", err)
	}
	p.converting = nil
	var left []int
	for _, n := range p.sealed {
		if _, err := os.Stat(journalPath(p.path, n)); err == nil {
			left = append(left, n)
		}
	}
	p.sealed = left
}

func convertAll(path string, numbers []int, write func(io.Reader, io.Writer) error) error {
	for _, n := range numbers {
		if err := convert(path, n, write); err != nil {
			return err
		}
	}
	return nil
}

func (p *parts) close() error {
	err := p.seal()
	p.wait()
	if e := convertAll(p.path, p.sealed, p.write); e != nil {
		err = errors.Join(err, fmt.Errorf("file: %w: its rows are safe, the next run tries again", e))
	}
	return errors.Join(err, p.lock.Close())
}
