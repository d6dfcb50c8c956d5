package file

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/flowkit-go/flow/primitives"
)

const chunkSize = 128 << 10

// lines reads text line by line. Records refer to chunks that are filled once
// and never again, so that no line is copied, except those across two chunks.
type lines struct {
	path      string
	src       io.ReadCloser
	headers   []primitives.Header
	max       int
	skipBlank bool
	next      int64 // first line wanted

	chunk      []byte
	begin, end int // what of chunk is not split yet
	line       int64
	eof        bool
}

func openLines(fsys fs.FS, path string, next int64, maxLine int, skipBlank bool) (rows, error) {
	src, err := openText(fsys, path)
	if err != nil {
		return nil, err
	}
	return &lines{path: path, src: src, headers: fileHeaders(path), max: maxLine, skipBlank: skipBlank, next: next}, nil
}

func (l *lines) read(dst []primitives.Record) ([]primitives.Record, error) {
	for len(dst) < cap(dst) {
		rest := l.chunk[l.begin:l.end]
		n := bytes.IndexByte(rest, '\n')
		if n < 0 && !l.eof {
			if len(rest) > l.max {
				return dst, l.tooLong(l.line + 1)
			}
			if len(dst) > 0 {
				return dst, nil
			}
			if err := l.fill(); err != nil {
				return dst, err
			}
			continue
		}
		if n < 0 {
			if len(rest) == 0 {
				if len(dst) > 0 {
					return dst, nil
				}
				return dst, io.EOF
			}
			n = len(rest)
		}
		line := rest[:n:n]
		l.begin = min(l.begin+n+1, l.end)
		l.line++
		if n > l.max {
			return dst, l.tooLong(l.line)
		}
		if l.line < l.next {
			continue
		}
		if n > 0 && line[n-1] == '\r' {
			line = line[: n-1 : n-1]
		}
		if l.skipBlank && len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		dst = append(dst, primitives.Record{Value: line, Offset: l.line, Headers: l.headers})
	}
	return dst, nil
}

// fill reads more, behind what is there when there is room, else into a new chunk.
func (l *lines) fill() error {
	if l.end == len(l.chunk) {
		rest := l.chunk[l.begin:l.end]
		chunk := make([]byte, max(chunkSize, 2*len(rest)))
		l.begin, l.end = 0, copy(chunk, rest)
		l.chunk = chunk
	}
	n, err := l.src.Read(l.chunk[l.end:])
	l.end += n
	if errors.Is(err, io.EOF) {
		l.eof = true
		return nil
	}
	if err != nil {
		return fmt.Errorf("file: read %s: %w", l.path, err)
	}
	return nil
}

func (l *lines) tooLong(line int64) error {
	return fmt.Errorf("file: %s:%d: the line is longer than MaxLine (%d bytes): raise it if that is right", l.path, line, l.max)
}

func (l *lines) Close() error { return l.src.Close() }

// fileHeaders returns what all records of a file have in common.
func fileHeaders(path string) []primitives.Header {
	return []primitives.Header{{Name: HeaderFile, Value: []byte(path)}}
}

// openText opens a file, uncompressed, without a byte order mark.
func openText(fsys fs.FS, path string) (io.ReadCloser, error) {
	f, err := fsys.Open(path)
	if err != nil {
		return nil, fmt.Errorf("file: %w", err)
	}
	t := &textFile{file: f}
	src := io.Reader(f)
	if strings.HasSuffix(strings.ToLower(path), ".gz") {
		gz, err := gzip.NewReader(bufio.NewReaderSize(f, chunkSize))
		if err != nil {
			return nil, errors.Join(fmt.Errorf("file: %s: %w", path, err), f.Close())
		}
		src = gz
	}
	start := make([]byte, len(byteOrderMark))
	n, err := io.ReadFull(src, start)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, errors.Join(fmt.Errorf("file: read %s: %w", path, err), f.Close())
	}
	t.start = bytes.TrimPrefix(start[:n], byteOrderMark)
	t.rest = src
	return t, nil
}

// byteOrderMark is what some programs put before UTF-8 text.
var byteOrderMark = []byte("\xef\xbb\xbf")

type textFile struct {
	file  fs.File
	start []byte // was read ahead
	rest  io.Reader
}

func (t *textFile) Read(p []byte) (int, error) {
	if len(t.start) > 0 {
		n := copy(p, t.start)
		t.start = t.start[n:]
		return n, nil
	}
	return t.rest.Read(p)
}

func (t *textFile) Close() error { return t.file.Close() }
