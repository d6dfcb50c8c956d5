package file

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/flowkit-go/flow/primitives"
)

// A destination is where an appender puts its lines. Only the appender's
// goroutine calls it.
type destination interface {
	// append makes whole lines durable, or none of them.
	append(lines []byte, rows int) error

	// due is when tick wants to be called, the zero time for never.
	due() time.Time
	tick()

	close() error
}

// An appender is the one writer of a path in a process: the writers of all
// processors that append to it share it, so that their lines do not mix. Batches
// that wait while one is written go together in the next write.
type appender struct {
	path     string
	kind     string
	format   Format
	dest     destination
	requests chan request
	quit     chan struct{}
	finished chan struct{}
	closeErr error // once finished
}

type request struct {
	batch []primitives.Record
	done  func(error)
	from  *writer
}

const (
	queuedBatches = 64
	joinedBytes   = 4 << 20
)

// startAppender starts the goroutine that writes. Close ends it.
func startAppender(path, kind string, format Format, dest destination) *appender {
	a := &appender{path: path, kind: kind, format: format, dest: dest,
		requests: make(chan request, queuedBatches), quit: make(chan struct{}), finished: make(chan struct{})}
	go a.run()
	return a
}

// Close closes the file. It is called when the last writer has been closed.
func (a *appender) Close() error {
	close(a.quit)
	<-a.finished
	return a.closeErr
}

func (a *appender) run() {
	defer close(a.finished)
	var (
		buf   []byte
		group []request
		fails []error
		timer = time.NewTimer(time.Hour)
	)
	defer timer.Stop()
	for {
		var tick <-chan time.Time
		if at := a.dest.due(); !at.IsZero() {
			timer.Reset(time.Until(at))
			tick = timer.C
		}
		var r request
		select {
		case r = <-a.requests:
		case <-tick:
			a.dest.tick()
			continue
		case <-a.quit:
			a.closeErr = a.dest.close() // every writer has waited for its batches
			return
		}

		group, fails, buf = group[:0], fails[:0], buf[:0]
		rows := 0
	join:
		for {
			var n int
			var refused []primitives.RecordError
			buf, n, refused = a.appendLines(buf, r.batch)
			rows += n
			var err error
			if len(refused) > 0 {
				err = &primitives.BatchError{Failed: refused}
			}
			group, fails = append(group, r), append(fails, err)
			if len(buf) >= joinedBytes {
				break
			}
			select {
			case r = <-a.requests:
			default:
				break join
			}
		}

		var err error
		if rows > 0 {
			if err = a.dest.append(buf, rows); err != nil {
				err = fmt.Errorf("file: append to %s: %w", a.path, err)
			}
		}
		for i, r := range group {
			if err != nil {
				r.finish(err)
			} else {
				r.finish(fails[i])
			}
		}
		clear(group)
		if cap(buf) > 2*joinedBytes {
			buf = nil
		}
	}
}

func (r request) finish(err error) {
	r.done(err)
	r.from.leave()
}

// appendLines appends the lines of a batch to buf. It returns how many there
// are, and the records that would spoil the file.
func (a *appender) appendLines(buf []byte, batch []primitives.Record) ([]byte, int, []primitives.RecordError) {
	var refused []primitives.RecordError
	for i := range batch {
		var err error
		if buf, err = a.appendLine(buf, batch[i].Value); err != nil {
			refused = append(refused, primitives.RecordError{Index: i, Err: primitives.Permanent(fmt.Errorf("file: %s: %w", a.path, err))})
			continue
		}
		buf = append(buf, '\n')
	}
	return buf, len(batch) - len(refused), refused
}

var (
	errEmptyLine = errors.New("an empty line is not a JSON document")
	errManyLines = errors.New("the text has more than one line: write it as JSON Lines, or cut it up")
)

func (a *appender) appendLine(buf, value []byte) ([]byte, error) {
	if a.format == CSV { // its encoder has quoted the ends of lines
		return append(buf, value...), nil
	}
	if a.format != Text && len(value) == 0 {
		return buf, errEmptyLine
	}
	if bytes.IndexByte(value, '\n') < 0 {
		return append(buf, value...), nil
	}
	if a.format == Text {
		return buf, errManyLines
	}
	var line bytes.Buffer // a document that was laid out for people
	if err := json.Compact(&line, value); err != nil {
		return buf, err
	}
	return append(buf, line.Bytes()...), nil
}
