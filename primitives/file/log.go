package file

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"
)

// A log is a text file that lines are appended to, each batch by one write. It
// ends with a whole line at all times, except when the process is killed in the
// middle of a write: the next open mends that.
type log struct {
	file *os.File
	sync bool
	size int64 // of what is whole
	torn bool  // a write failed and may have left something behind size
}

var _ destination = (*log)(nil)

// openLog opens or makes the file at path. A header, when there is one, is the
// first line.
func openLog(path string, format Format, header []byte, comma byte, sync bool, logger *slog.Logger) (*log, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	l := &log{file: f, sync: sync}
	if err := l.prepare(path, format, header, comma, logger); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return l, nil
}

func (l *log) prepare(path string, format Format, header []byte, comma byte, logger *slog.Logger) error {
	if err := lock(l.file); err != nil {
		return err
	}
	info, err := l.file.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return errors.New("not a regular file")
	}
	size, err := mendTail(l.file, info.Size(), path, format, comma, logger)
	if err != nil {
		return fmt.Errorf("mend the last line: %w", err)
	}
	l.size = size
	if len(header) == 0 {
		return nil
	}
	if size > 0 {
		return checkHeader(l.file, size, header, comma)
	}
	return l.append(header, 0)
}

// checkHeader compares the first row with the header of what will be written.
func checkHeader(f io.ReaderAt, size int64, want []byte, comma byte) error {
	names := func(r io.Reader) ([]string, error) {
		c := newCSVReader(r, comma)
		return c.Read()
	}
	start := io.NewSectionReader(f, 0, size)
	mark := make([]byte, len(byteOrderMark))
	if _, err := io.ReadFull(start, mark); err != nil || !bytes.Equal(mark, byteOrderMark) {
		start = io.NewSectionReader(f, 0, size)
	}
	has, err := names(start)
	if err != nil {
		return fmt.Errorf("header: %w", err)
	}
	wants, err := names(bytes.NewReader(want))
	if err != nil {
		return fmt.Errorf("header: %w", err)
	}
	for i := range max(len(has), len(wants)) {
		if i >= len(has) || i >= len(wants) || has[i] != wants[i] {
			return fmt.Errorf("its columns are %q, those to write are %q: use another file, or change the type", has, wants)
		}
	}
	return nil
}

func (l *log) append(lines []byte, _ int) error {
	if l.torn {
		if err := l.file.Truncate(l.size); err != nil {
			return fmt.Errorf("take back a write that failed: %w", err)
		}
		l.torn = false
	}
	if _, err := l.file.Write(lines); err != nil {
		l.torn = true
		if l.file.Truncate(l.size) == nil {
			l.torn = false
		}
		return err
	}
	l.size += int64(len(lines))
	if !l.sync {
		return nil
	}
	return l.file.Sync()
}

func (l *log) due() time.Time { return time.Time{} }
func (l *log) tick()          {}

func (l *log) close() error {
	if !l.torn {
		return l.file.Close()
	}
	return errors.Join(l.file.Truncate(l.size), l.file.Close())
}
