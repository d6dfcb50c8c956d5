package runtime

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/flowkit-go/flow/primitives"
)

var (
	// ErrHandlerTimeout is the cause with which a handler's context is cancelled
	// when it takes longer than the processor's Timeout. It counts as a failure of
	// the record, also when the handler goes on and returns nil.
	ErrHandlerTimeout = errors.New("handler timeout")

	// ErrDraining is the cause with which handlers are cancelled when a shutdown
	// has used up most of its time. Their records are not resolved.
	ErrDraining = primitives.ErrDraining

	// ErrDrainTimeout is joined to what Run returns when work had to be abandoned
	// at the end of the drain's time.
	//
	// ErrStopped takes its place when a second signal has cut the drain short.
	ErrDrainTimeout = errors.New("drain deadline exceeded, unfinished work was abandoned")
	ErrStopped      = errors.New("stopped at once, unfinished work was abandoned")
)

// A PanicError is a panic of user code, turned into an error of its record.
type PanicError struct {
	Value any
	Stack []byte
}

func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v", e.Value) }

// Unwrap returns the panic's value if it was an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// A RecordError says at which record a processor stopped.
type RecordError struct {
	Processor string
	Partition primitives.Partition
	Offset    int64
	Attempt   int
	Err       error
}

func (e *RecordError) Error() string {
	return fmt.Sprintf("%s: %s@%d, attempt %d: %v", e.Processor, e.Partition, e.Offset, e.Attempt, e.Err)
}

// Unwrap returns the reason.
func (e *RecordError) Unwrap() error { return e.Err }

// failed decides what happens to a record whose handler returned an error. It
// reports whether the lane may go on with the next record.
func (t *task) failed(r ref, v view, err error) (goOn bool) {
	c, l := t.c, r.lane
	at := r.seq & v.mask
	rec, attempt := v.recs[at], int(v.slots[at].attempt)
	if l.ctx.Err() != nil { // cancelled by a drain or a loss: not the record's fault
		return false
	}
	log := c.log.With("partition", l.part.String(), "offset", rec.Offset, "attempt", attempt)
	var p *PanicError
	if errors.As(err, &p) {
		log.Error("handler panicked", "panic", p.Value, "stack", string(p.Stack))
		if c.spec.Decode != nil {
			if invalid := c.spec.Decode(rec); invalid != nil { // it was the decoder
				err = invalid
			}
		}
	}
	if c.retries(attempt, err) && !primitives.IsPermanent(err) {
		c.stats.retried.Add(1)
		d := c.retryDelay(attempt, err)
		log.Warn("trying again", "in", d, "error", err)
		if c.delayer != nil {
			return c.later(r, rec, attempt, d)
		}
		l.postpone(d, c.spec.Retry.Park, r.seq)
		return c.spec.Order != ByPartition || c.spec.Retry.Park
	}
	return c.giveUp(r, rec, attempt, err)
}

// retries reports whether another attempt follows the given one. RetryAfter asks
// for one itself; without a Retry option as often as it is returned.
func (c *consumer) retries(attempt int, err error) bool {
	if _, asked := primitives.RetryDelay(err); asked && c.spec.Retry.Attempts == 0 {
		return true
	}
	return attempt < c.spec.Retry.Attempts
}

func (c *consumer) retryDelay(attempt int, err error) time.Duration {
	if d, asked := primitives.RetryDelay(err); asked {
		return max(d, shortestRetry)
	}
	return c.spec.Retry.Backoff.Delay(attempt)
}

// shortestRetry is the least that RetryAfter can ask for: nothing is tried again
// without a pause.
const shortestRetry = 10 * time.Millisecond

// giveUp is the end of a record that cannot be handled: the dead letters, an
// explicit skip, or the stop of the flow. It reports whether the record is resolved.
func (c *consumer) giveUp(r ref, rec primitives.Record, attempt int, err error) bool {
	var invalid *primitives.DecodeError
	undecodable := errors.As(err, &invalid)
	if undecodable {
		c.stats.invalid.Add(1)
	}
	log := c.log.With("partition", r.lane.part.String(), "offset", rec.Offset, "attempt", attempt)
	switch {
	case c.dead != nil:
		if over := r.lane.countDead(r.seq); over != nil {
			c.stats.failed.Add(1)
			c.stop(&RecordError{c.spec.Name, r.lane.part, rec.Offset, attempt, errors.Join(over, err)})
			return false
		}
		if c.exactly() {
			r.lane.beginLetter()
			defer r.lane.endLetter()
		}
		if !c.bury(r.lane, rec, attempt, err) {
			return false
		}
		r.lane.posted(r.seq)
		c.stats.dead.Add(1)
		log.Warn("sent to the dead letters", "error", err)
	case c.spec.SkipFailed, undecodable && c.spec.SkipInvalid:
		c.stats.failed.Add(1)
		log.Warn("skipped", "error", err)
	default:
		c.stats.failed.Add(1)
		c.stop(&RecordError{c.spec.Name, r.lane.part, rec.Offset, attempt, err})
		return false
	}
	r.lane.resolveNow(r)
	return true
}

// Names of the headers of a dead letter. Its key, value and other headers are
// those of the record as it was read.
const (
	HeaderDeadFlow      = "flow-dead-flow"
	HeaderDeadProcessor = "flow-dead-processor"
	HeaderDeadSource    = "flow-dead-source"
	HeaderDeadTopic     = "flow-dead-topic"
	HeaderDeadPartition = "flow-dead-partition"
	HeaderDeadOffset    = "flow-dead-offset"
	HeaderDeadTime      = "flow-dead-time"
	HeaderDeadAttempt   = "flow-dead-attempt"
	HeaderDeadError     = "flow-dead-error"
)

// bury writes a record to the dead letters and waits until it is durable there,
// trying again for as long as the flow runs: nothing is dropped because the dead
// letters cannot be reached. The task waits with it, so no more dead letters are
// under way than there are tasks.
func (c *consumer) bury(l *lane, rec primitives.Record, attempt int, cause error) bool {
	header := func(name, value string) primitives.Header {
		return primitives.Header{Name: name, Value: []byte(value)}
	}
	letter, topic, partition, offset := origin(rec, l.part)
	letter.Lease, letter.Offset, letter.Attempt = nil, 0, 0
	letter.Time = time.Time{} // now: a sink that drops what is old would drop the letter of an old record at once
	letter.Headers = append(append([]primitives.Header(nil), letter.Headers...),
		header(HeaderDeadFlow, c.flow),
		header(HeaderDeadProcessor, c.spec.Name),
		header(HeaderDeadSource, c.spec.Source.Name),
		header(HeaderDeadTopic, topic),
		header(HeaderDeadPartition, partition),
		header(HeaderDeadOffset, offset),
		header(HeaderDeadTime, rec.Time.UTC().Format(time.RFC3339Nano)),
		header(HeaderDeadAttempt, strconv.Itoa(attempt)),
		header(HeaderDeadError, cause.Error()),
	)
	var out primitives.Outputs
	if err := guard(func() error { return c.spec.DeadLetter.Encode(letter, &out) }); err != nil {
		c.stop(&RecordError{c.spec.Name, l.part, rec.Offset, attempt, errors.Join(fmt.Errorf("encode for the dead letters: %w", err), cause)})
		return false
	}
	backoff := Backoff{First: 100 * time.Millisecond, Max: 10 * time.Second}
	for try := 1; ; try++ {
		err := c.writeLetter(l, out.Records)
		if err == nil {
			return true
		}
		c.log.Error("dead letters cannot be written, trying again", "sink", c.spec.DeadLetter.Name,
			"partition", l.part.String(), "offset", rec.Offset, "error", err)
		c.stats.deadFailed.Add(1)
		switch {
		case c.exactly() && primitives.IsPermanent(err):
			c.stop(&RecordError{c.spec.Name, l.part, rec.Offset, attempt, errors.Join(fmt.Errorf("write to the dead letters %s: %w", c.spec.DeadLetter.Name, err), cause)})
			return false
		case c.exactly():
			c.void(l, err)
			return false
		}
		select {
		case <-time.After(backoff.Delay(try)):
		case <-l.ctx.Done():
			return false
		}
	}
}

// writeAndWait writes records and returns when they are durable.
func (c *consumer) writeAndWait(w primitives.Writer, recs []primitives.Record) error {
	return waitFor(func(done func(error)) { w.Write(c.sinkCtx, recs, done) })
}

// waitFor calls write and waits for its done.
func waitFor(write func(done func(error))) error {
	result := make(chan error, 1)
	done := func(err error) {
		select {
		case result <- err:
		default:
		}
	}
	if err := guard(func() error { write(done); return nil }); err != nil {
		return err
	}
	return <-result
}
