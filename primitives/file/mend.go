package file

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
)

const tornSuffix = ".torn"

// mendTail makes a file end with a whole line and returns its new size. A crash
// in the middle of a write leaves the beginning of a line, which was never
// acknowledged. It is moved to the end of PATH.torn rather than dropped, because
// it may as well be the last line of somebody who puts no end to it. A JSON
// object or array that is complete stays, and gets its end of line. A journal is
// nobody's but ours: there, it is dropped.
func mendTail(f *os.File, size int64, path string, format Format, comma byte, logger *slog.Logger) (int64, error) {
	if size == 0 {
		return 0, nil
	}
	var end int64
	var err error
	if format == CSV {
		end, err = lastRow(f, size, comma)
	} else {
		end, err = lastLine(f, size)
	}
	if err != nil || end == size {
		return size, err
	}
	if format == journalLines {
		return end, f.Truncate(end)
	}
	if format == JSONLines && isDocument(f, end, size) {
		if _, err := f.Write([]byte("\n")); err != nil {
			return size, err
		}
		return size + 1, nil
	}
	if err := keepTail(f, end, size, path+tornSuffix); err != nil {
		return size, err
	}
	logger.Warn("the last line had no end: moved it out of the file", "path", path, "bytes", size-end, "to", path+tornSuffix)
	return end, f.Truncate(end)
}

// keepTail appends what lies between two offsets to another file.
func keepTail(f *os.File, begin, end int64, path string) error {
	out, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, io.NewSectionReader(f, begin, end-begin))
	if err == nil {
		_, err = out.Write([]byte("\n"))
	}
	if err == nil {
		err = out.Sync()
	}
	return errors.Join(err, out.Close())
}

// isDocument reports whether a tail is a whole object or array. A number or a
// bare word could be the beginning of a longer one.
func isDocument(f *os.File, begin, end int64) bool {
	if end-begin > defaultMaxLine {
		return false
	}
	tail := make([]byte, end-begin)
	if _, err := f.ReadAt(tail, begin); err != nil {
		return false
	}
	tail = bytes.TrimSpace(tail)
	return len(tail) > 0 && (tail[0] == '{' || tail[0] == '[') && json.Valid(tail)
}

// lastLine returns the offset behind the last end of line, searching backwards.
func lastLine(f io.ReaderAt, size int64) (int64, error) {
	buf := make([]byte, chunkSize)
	for end := size; end > 0; {
		begin := max(end-chunkSize, 0)
		chunk := buf[:end-begin]
		if _, err := f.ReadAt(chunk, begin); err != nil && !errors.Is(err, io.EOF) {
			return 0, fmt.Errorf("read at %d: %w", begin, err)
		}
		if i := bytes.LastIndexByte(chunk, '\n'); i >= 0 {
			return begin + int64(i) + 1, nil
		}
		end = begin
	}
	return 0, nil
}

// lastRow returns the offset behind the last whole row of CSV. A quoted field
// may hold ends of lines, so only a look at all that comes before tells.
func lastRow(f io.ReaderAt, size int64, comma byte) (int64, error) {
	s := rowScanner{comma: comma}
	buf := make([]byte, chunkSize)
	var end, pos int64
	mark := make([]byte, len(byteOrderMark))
	if _, err := f.ReadAt(mark, 0); err == nil && bytes.Equal(mark, byteOrderMark) {
		pos = int64(len(mark))
	}
	for pos < size {
		n, err := f.ReadAt(buf[:min(chunkSize, size-pos)], pos)
		if n == 0 && err != nil {
			return 0, fmt.Errorf("read at %d: %w", pos, err)
		}
		if i := s.feed(buf[:n]); i > 0 {
			end = pos + int64(i)
		}
		pos += int64(n)
	}
	return end, nil
}

// A rowScanner finds the ends of rows in CSV. It takes quotes as encoding/csv
// does, also where they are wrong: then the row ends with the line.
type rowScanner struct {
	comma byte
	state rowState
}

type rowState int

const (
	fieldStart rowState = iota
	unquoted
	quoted
	quoteInQuoted  // the end of the field, or the first of two
	returnInQuoted // a carriage return after the closing quote
	wrong          // up to the end of the line
)

// feed goes on with the next bytes and returns the index behind the last end of
// a row in them, 0 when there is none.
func (s *rowScanner) feed(data []byte) int {
	if s.state != quoted && s.state != quoteInQuoted && bytes.IndexByte(data, '"') < 0 {
		i := bytes.LastIndexByte(data, '\n') + 1
		switch {
		case i == len(data) || data[len(data)-1] == s.comma && (i > 0 || s.state != wrong):
			s.state = fieldStart
		case i > 0 || s.state == fieldStart:
			s.state = unquoted
		}
		return i
	}
	end := 0
	for i, c := range data {
		if c == '\n' && s.state != quoted {
			s.state = fieldStart
			end = i + 1
			continue
		}
		switch s.state {
		case fieldStart:
			s.state = unquoted
			if c == '"' {
				s.state = quoted
			} else if c == s.comma {
				s.state = fieldStart
			}
		case unquoted:
			if c == s.comma {
				s.state = fieldStart
			} else if c == '"' {
				s.state = wrong
			}
		case quoted:
			if c == '"' {
				s.state = quoteInQuoted
			}
		case quoteInQuoted:
			switch c {
			case '"':
				s.state = quoted
			case s.comma:
				s.state = fieldStart
			case '\r':
				s.state = returnInQuoted
			default:
				s.state = wrong
			}
		case returnInQuoted:
			s.state = wrong
		}
	}
	return end
}
