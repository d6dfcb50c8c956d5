package flow

import (
	"context"
	"fmt"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/runtime"
)

// A letter is a dead letter: the record as it was read, and what its headers say
// about it.
type letter struct {
	record  Raw                  // without those headers
	origin  primitives.Partition // where it was read
	offset  int64
	time    string // of the record, as it was read
	attempt string
	reason  string
}

// letterOf reads a record of a dead-letter sink. ok is false for what is none, or
// belongs to another processor.
func letterOf(r Raw, flow, processor string) (l letter, ok bool) {
	header := func(name string) string {
		// the last counts: a record may have brought headers of that name along
		value := ""
		for _, h := range r.Headers {
			if h.Name == name {
				value = string(h.Value)
			}
		}
		return value
	}
	if header(runtime.HeaderDeadProcessor) != processor || header(runtime.HeaderDeadFlow) != flow {
		return l, false
	}
	l = letter{
		record: r, time: header(runtime.HeaderDeadTime),
		attempt: header(runtime.HeaderDeadAttempt), reason: header(runtime.HeaderDeadError),
	}
	id, _ := strconv.ParseInt(header(runtime.HeaderDeadPartition), 10, 32)
	l.origin = primitives.Partition{Topic: header(runtime.HeaderDeadTopic), ID: int32(id)}
	l.offset, _ = strconv.ParseInt(header(runtime.HeaderDeadOffset), 10, 64)
	l.record.Headers = nil
	for _, h := range r.Headers {
		if !strings.HasPrefix(h.Name, deadPrefix) {
			l.record.Headers = append(l.record.Headers, h)
		}
	}
	return l, true
}

const deadPrefix = "flow-dead-"

// headerDone marks a record that is no letter but says which letters of a log are
// done: its value names them, as "orders.dead/0@3-7 orders.dead/2@12". The header's
// value is retry or drop.
//
// A log cannot delete single records, and a position cannot tell a letter that is
// done from one before it that is not. Marks lie in the log itself, so that they
// last as long as what they speak of, and two people who work on the same letters
// at the same time add marks and overwrite none.
const headerDone = "flow-dead-done"

// mostRuns is the number of runs that one mark names at most.
const mostRuns = 500

// runs are offsets of one partition, as sorted runs that do not touch.
type runs [][2]int64

func (r runs) has(offset int64) bool {
	i := sort.Search(len(r), func(i int) bool { return r[i][1] >= offset })
	return i < len(r) && r[i][0] <= offset
}

// add returns r with the run from first to last.
func (r runs) add(first, last int64) runs {
	i := sort.Search(len(r), func(i int) bool { return r[i][1] >= first-1 })
	j := i
	for ; j < len(r) && r[j][0] <= last+1; j++ {
		first, last = min(first, r[j][0]), max(last, r[j][1])
	}
	return append(append(append(runs(nil), r[:i]...), [2]int64{first, last}), r[j:]...)
}

// done is which letters of a log are done.
type done map[primitives.Partition]runs

// text is the value of marks, each with a limited number of runs.
func (d done) text() (values []string) {
	var parts []primitives.Partition
	for p := range d {
		parts = append(parts, p)
	}
	sort.Slice(parts, func(i, j int) bool { return parts[i].String() < parts[j].String() })
	var words []string
	flush := func() {
		if len(words) > 0 {
			values, words = append(values, strings.Join(words, " ")), nil
		}
	}
	for _, p := range parts {
		for _, run := range d[p] {
			words = append(words, fmt.Sprintf("%s@%d-%d", p, run[0], run[1]))
			if len(words) == mostRuns {
				flush()
			}
		}
	}
	flush()
	return values
}

// read adds what a mark says.
func (d done) read(value []byte) error {
	for word := range strings.FieldsSeq(string(value)) {
		pos, err := parsePosition(word)
		if err != nil {
			return err
		}
		i := strings.LastIndexByte(pos.partition, '/')
		if i < 0 {
			return fmt.Errorf("%q names no topic", word)
		}
		id, _ := strconv.ParseInt(pos.partition[i+1:], 10, 32) // parsePosition has looked
		p := primitives.Partition{Topic: pos.partition[:i], ID: int32(id)}
		d[p] = d[p].add(pos.first, pos.last)
	}
	return nil
}

// deadLetters is a look at the dead letters of one processor.
type deadLetters struct {
	*verbSession
	p       *Processor
	sink    resource
	look    primitives.Browsing
	remover primitives.Remover // nil: a log
	spans   []primitives.Span  // what is stored now: later letters are left alone
	done    done               // of a log
	others  int                // letters of other processors that a scan has passed
	marker  primitives.Writer  // of marks; nil until something is to be marked
}

// openLetters opens the dead-letter sink of a processor.
func (s *verbSession) openLetters(p *Processor) (*deadLetters, error) {
	sinks := p.with(buries)
	if len(sinks) == 0 {
		return nil, usageError{fmt.Errorf("the %s %q has no dead letters: give it flow.DeadLetter(sink)", p.kind, p.name())}
	}
	d := &deadLetters{verbSession: s, p: p, sink: sinks[0], done: done{}}
	for _, res := range sinks {
		if _, ok := res.value.(primitives.Browser); ok {
			d.sink = res
			break
		}
	}
	var err error
	if d.look, err = s.browse(d.sink, p); err != nil {
		return nil, err
	}
	d.remover, _ = d.look.(primitives.Remover)
	if d.spans, err = d.look.Spans(s.ctx, time.Time{}); err == nil && d.remover == nil {
		err = d.readMarks()
	}
	if err != nil {
		closing(d.look, &err)
		return nil, err
	}
	return d, nil
}

// readMarks collects what is done. Marks may lie anywhere in the log, before or
// behind what they speak of.
func (d *deadLetters) readMarks() error {
	return d.look.Read(d.ctx, d.spans, func(r Raw) error {
		if _, ok := r.Header(headerDone); !ok {
			return nil
		}
		if err := d.done.read(r.Value); err != nil {
			return fmt.Errorf("the mark at %s in %s cannot be read: %w", at(&r), d.sink.name, err)
		}
		return nil
	})
}

// each calls f for the letters of the processor that are not done.
func (d *deadLetters) each(f func(letter) error) error {
	d.others = 0
	return d.look.Read(d.ctx, d.spans, func(r Raw) error {
		if _, mark := r.Header(headerDone); mark || d.done[*r.Partition].has(r.Offset) {
			return nil
		}
		l, ok := letterOf(r, d.flow.name, d.p.name())
		if !ok {
			d.others++
			return nil
		}
		return f(l)
	})
}

// prepare opens what finish writes to, before anything is sent back.
func (d *deadLetters) prepare() (err error) {
	if d.remover != nil {
		return nil
	}
	sink, ok := d.sink.value.(writable)
	if !ok {
		return usageError{fmt.Errorf("%s cannot be written to, so nothing can be marked as done there", d.sink.name)}
	}
	d.marker, err = opening(d.verbSession, d.p, sink.OpenSink)
	return err
}

// end closes everything.
func (d *deadLetters) end(err *error) {
	if d.marker != nil {
		closing(d.marker, err)
	}
	closing(d.look, err)
	d.close()
}

// finish marks letters as done, or deletes them where that can be.
func (d *deadLetters) finish(verb string, letters []letter) error {
	if len(letters) == 0 {
		return nil
	}
	// What was sent back has to be marked, also when a signal has come meanwhile.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(d.ctx), verbTimeout)
	defer cancel()
	if d.remover != nil {
		offsets := map[primitives.Partition][]int64{}
		for _, l := range letters {
			offsets[*l.record.Partition] = append(offsets[*l.record.Partition], l.record.Offset)
		}
		for p, list := range offsets {
			if err := d.remover.Remove(ctx, p, list); err != nil {
				return err
			}
		}
		return nil
	}
	marked := done{}
	for _, l := range letters {
		p := *l.record.Partition
		marked[p] = marked[p].add(l.record.Offset, l.record.Offset)
	}
	var marks []Raw
	for _, text := range marked.text() {
		marks = append(marks, Raw{Value: []byte(text), Headers: []primitives.Header{
			{Name: headerDone, Value: []byte(verb)},
			{Name: runtime.HeaderDeadFlow, Value: []byte(d.flow.name)},
			{Name: runtime.HeaderDeadProcessor, Value: []byte(d.p.name())},
		}})
	}
	_, err := d.write(ctx, d.marker, marks)
	return err
}
