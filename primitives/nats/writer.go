package nats

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/flowkit-go/flow/primitives"
)

const (
	// maxInFlightBytes is what a writer sends ahead of the confirmations.
	maxInFlightBytes = 16 << 20

	// confirmTimeout is how long the server may take to confirm a record.
	confirmTimeout = 30 * time.Second
)

// writer publishes records and matches the server's confirmations to them. Each
// record in flight has a slot, whose number is in the subject of its reply.
//
// One goroutine, run, takes the confirmations; Close waits for it.
type writer struct {
	link    *link
	stream  string
	subject string
	ids     bool
	confirm string // how a confirmation without remarks begins

	replies *natsgo.Subscription
	inbox   string
	arrived chan *natsgo.Msg
	stop    chan struct{}
	stopped chan struct{}
	once    sync.Once
	closing error

	mu     sync.Mutex
	closed bool
	epoch  uint64 // a part of reply subjects: confirmations of an earlier one are late
	slots  []slot
	free   []int32
	bytes  int
	room   chan struct{} // has an entry when a slot or bytes became free
	idle   chan struct{} // not nil while Close waits; closed when nothing is in flight
}

// slot is one record in flight.
type slot struct {
	batch *batch // nil when free
	index int32
	size  int32
	sent  time.Time
	reply string // built when first used in an epoch
}

// batch is one call of Write. Its fields are guarded by the writer's lock.
type batch struct {
	done   func(error)
	total  int
	left   int // records not answered, and one for Write itself
	over   bool
	failed []primitives.RecordError
	lost   error // why records failed that the server has not answered
	nLost  int
}

var _ primitives.Writer = (*writer)(nil)

func openWriter(ctx context.Context, c *config, env *primitives.Env) (primitives.Writer, error) {
	l, err := openLink(ctx, c, env)
	if err != nil {
		return nil, err
	}
	w, err := newWriter(ctx, l, c, env)
	if err != nil {
		return nil, errors.Join(err, l.close())
	}
	return w, nil
}

func newWriter(ctx context.Context, l *link, c *config, env *primitives.Env) (*writer, error) {
	info, err := l.ensureStream(ctx, c)
	if err != nil {
		return nil, err
	}
	subject, err := publishSubject(c, info)
	if err != nil {
		return nil, err
	}
	if err := l.keepUnread(ctx, c); err != nil {
		return nil, err
	}
	if info.Config.Metadata[untilAckedMark] == "" && info.Config.Retention == jetstream.InterestPolicy && info.State.Consumers == 0 {
		env.Logger.Warn("the stream has the retention Interest and no consumer: what is written now is dropped", "stream", c.name)
	}
	w := &writer{
		link: l, stream: c.name, subject: subject, ids: c.msgIDs,
		confirm: `{"stream":"` + c.name + `","seq":`,
		inbox:   l.nc.NewInbox() + ".",
		arrived: make(chan *natsgo.Msg, 2*c.maxInFlight+256),
		stop:    make(chan struct{}),
		stopped: make(chan struct{}),
		slots:   make([]slot, c.maxInFlight),
		free:    make([]int32, c.maxInFlight),
		room:    make(chan struct{}, 1),
	}
	for i := range w.free {
		w.free[i] = int32(len(w.free) - 1 - i)
	}
	if w.replies, err = l.nc.ChanSubscribe(w.inbox+"*.*", w.arrived); err != nil {
		return nil, fmt.Errorf("nats: stream %s: %w", c.name, err)
	}
	go w.run()
	return w, nil
}

// Write publishes the batch. It blocks while the window of unconfirmed records is full.
func (w *writer) Write(ctx context.Context, records []primitives.Record, done func(error)) {
	b := &batch{done: done, total: len(records), left: len(records) + 1}
	var scratch natsgo.Header
	for i := range records {
		r := &records[i]
		var header natsgo.Header
		if len(r.Headers) > 0 || r.Key != nil || !r.Time.IsZero() {
			if scratch == nil {
				scratch = natsgo.Header{}
			}
			clear(scratch)
			header = scratch
			encodeHeaders(header, r, w.ids)
		}
		size := len(r.Value) + headerSize(header)
		if limit := w.link.nc.MaxPayload(); int64(size) > limit {
			w.refuse(b, i, primitives.Permanent(fmt.Errorf("nats: publish to %s: record of %d bytes with its headers, and the server takes %d at most: raise its max_payload, or store the payload elsewhere", w.subject, size, limit)))
			continue
		}
		n, reply, err := w.acquire(ctx, b, i, size)
		if err != nil {
			w.abandon(b, err)
			return
		}
		if header == nil {
			err = w.link.nc.PublishRequest(w.subject, reply, r.Value)
		} else {
			err = w.link.nc.PublishMsg(&natsgo.Msg{Subject: w.subject, Reply: reply, Header: header, Data: r.Value})
		}
		if err != nil {
			w.unsent(n, b, w.publishError(err))
		}
	}
	w.settle(b)
}

// acquire waits for a slot and gives it to record i of b.
func (w *writer) acquire(ctx context.Context, b *batch, i, size int) (int32, string, error) {
	for {
		w.mu.Lock()
		if w.closed {
			w.mu.Unlock()
			return 0, "", primitives.ErrClosed
		}
		inFlight := len(w.slots) - len(w.free)
		if len(w.free) > 0 && (w.bytes+size <= maxInFlightBytes || inFlight == 0) {
			n := w.free[len(w.free)-1]
			w.free = w.free[:len(w.free)-1]
			w.bytes += size
			s := &w.slots[n]
			s.batch, s.index, s.size, s.sent = b, int32(i), int32(size), time.Now()
			if s.reply == "" {
				s.reply = w.inbox + strconv.FormatUint(w.epoch, 36) + "." + strconv.FormatInt(int64(n), 36)
			}
			reply, more := s.reply, len(w.free) > 0 && w.bytes < maxInFlightBytes
			w.mu.Unlock()
			if more { // another caller may be waiting too
				w.wake()
			}
			return n, reply, nil
		}
		w.mu.Unlock()
		select {
		case <-w.room:
		case <-w.stop:
			return 0, "", primitives.ErrClosed
		case <-ctx.Done():
			return 0, "", context.Cause(ctx)
		}
	}
}

func (w *writer) wake() {
	select {
	case w.room <- struct{}{}:
	default:
	}
}

// release frees a slot. The lock is held.
func (w *writer) release(n int32) {
	s := &w.slots[n]
	w.bytes -= int(s.size)
	s.batch = nil
	w.free = append(w.free, n)
	if w.idle != nil && len(w.free) == len(w.slots) {
		close(w.idle)
		w.idle = nil
	}
}

// answer takes one record of b off. It returns true with the last. The lock is held.
func (b *batch) answer(index int32, err error, lost bool) bool {
	if err != nil {
		b.failed = append(b.failed, primitives.RecordError{Index: int(index), Err: err})
		if lost {
			b.lost = err
			b.nLost++
		}
	}
	b.left--
	return b.left == 0 && !b.over
}

// finish calls done with what is known of the batch, which nobody else has any longer.
func (b *batch) finish() {
	switch {
	case len(b.failed) == 0:
		b.done(nil)
	case b.nLost == b.total:
		b.done(b.lost)
	default:
		slices.SortFunc(b.failed, func(x, y primitives.RecordError) int { return cmp.Compare(x.Index, y.Index) })
		b.done(&primitives.BatchError{Failed: b.failed})
	}
}

// refuse marks a record as failed that has no slot. Write itself still counts.
func (w *writer) refuse(b *batch, i int, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	b.answer(int32(i), err, false)
}

// unsent marks a record as failed that could not be handed to the connection.
func (w *writer) unsent(n int32, b *batch, err error) {
	w.mu.Lock()
	if s := &w.slots[n]; s.batch == b { // else the loss of the connection was faster
		b.answer(s.index, err, true)
		w.release(n)
	}
	w.mu.Unlock()
	w.wake()
}

// settle is Write's own share of the batch.
func (w *writer) settle(b *batch) {
	w.mu.Lock()
	last := b.answer(0, nil, false)
	w.mu.Unlock()
	if last {
		b.finish()
	}
}

// abandon ends a batch of which a part was not sent.
func (w *writer) abandon(b *batch, err error) {
	w.mu.Lock()
	b.over = true
	w.mu.Unlock()
	b.done(err)
}

// run takes confirmations until the writer is closed.
func (w *writer) run() {
	defer close(w.stopped)
	patrol := time.NewTicker(confirmTimeout / 4)
	defer patrol.Stop()
	down := w.link.disconnected()
	var finished []*batch
	for {
		select {
		case m := <-w.arrived:
			w.mu.Lock()
			finished = w.confirmed(m, finished[:0])
			for range len(w.arrived) {
				finished = w.confirmed(<-w.arrived, finished)
			}
			w.mu.Unlock()
			w.wake()
			for i, b := range finished {
				b.finish()
				finished[i] = nil
			}
		case <-down:
			w.failAll(errDisconnected)
			select {
			case <-w.link.connected():
				// What was sent between the two was sent after the failure above, or
				// failed at once.
			case <-w.stop:
				return
			}
			down = w.link.disconnected()
		case now := <-patrol.C:
			if w.overdue(now) {
				w.failAll(errUnconfirmed)
			}
		case <-w.stop:
			return
		}
	}
}

// confirmed handles one reply of the server. The lock is held.
func (w *writer) confirmed(m *natsgo.Msg, finished []*batch) []*batch {
	epoch, number, ok := strings.Cut(m.Subject[min(len(w.inbox), len(m.Subject)):], ".")
	n, err := strconv.ParseInt(number, 36, 32)
	if !ok || err != nil || n < 0 || int(n) >= len(w.slots) || epoch != strconv.FormatUint(w.epoch, 36) {
		return finished
	}
	s := &w.slots[n]
	b := s.batch
	if b == nil {
		return finished
	}
	refusal := w.refusal(m)
	if b.answer(s.index, refusal, false) {
		finished = append(finished, b)
	}
	w.release(int32(n))
	return finished
}

// refusal reads a reply: nil when it confirms.
func (w *writer) refusal(m *natsgo.Msg) error {
	if bytes.HasPrefix(m.Data, []byte(w.confirm)) {
		return nil
	}
	if len(m.Data) == 0 && m.Header.Get("Status") == "503" {
		return w.publishError(fmt.Errorf("no stream takes this subject now: it was deleted, or has no leader: %w", natsgo.ErrNoResponders))
	}
	var ack struct {
		Stream string              `json:"stream"`
		Seq    uint64              `json:"seq"`
		Error  *jetstream.APIError `json:"error"`
	}
	switch err := json.Unmarshal(m.Data, &ack); {
	case err != nil:
		return w.publishError(fmt.Errorf("answer %.80q is not a confirmation: %w", m.Data, err))
	case ack.Error != nil:
		return w.publishError(ack.Error)
	case ack.Stream != w.stream:
		return w.publishError(fmt.Errorf("stored in the stream %q, not in %q", ack.Stream, w.stream))
	}
	return nil
}

func (w *writer) publishError(err error) error {
	if errors.Is(err, natsgo.ErrConnectionClosed) {
		err = primitives.ErrClosed
	}
	wrapped := fmt.Errorf("nats: publish to %s: %w", w.subject, err)
	if !retryable(err) {
		return primitives.Permanent(wrapped)
	}
	return wrapped
}

// failAll ends everything in flight with a reason that may pass. Whether the
// server has stored the records is not known.
func (w *writer) failAll(reason error) {
	err := w.publishError(reason)
	var finished []*batch
	w.mu.Lock()
	w.epoch++
	for n := range w.slots {
		s := &w.slots[n]
		if b := s.batch; b != nil {
			if b.answer(s.index, err, true) {
				finished = append(finished, b)
			}
			w.release(int32(n))
		}
		s.reply = ""
	}
	w.mu.Unlock()
	w.wake()
	for _, b := range finished {
		b.finish()
	}
}

func (w *writer) overdue(now time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for n := range w.slots {
		if s := &w.slots[n]; s.batch != nil && now.Sub(s.sent) > confirmTimeout {
			return true
		}
	}
	return false
}

// Close waits until everything is confirmed or refused, bounded by ctx, and
// closes the connection.
func (w *writer) Close(ctx context.Context) error {
	w.once.Do(func() {
		w.mu.Lock()
		w.closed = true
		var idle chan struct{}
		if len(w.free) < len(w.slots) {
			idle = make(chan struct{})
			w.idle = idle
		}
		w.mu.Unlock()
		var late error
		if idle != nil {
			select {
			case <-idle:
			case <-ctx.Done():
				late = fmt.Errorf("nats: close the writer of %s: %w", w.stream, context.Cause(ctx))
			}
		}
		close(w.stop)
		<-w.stopped
		if late != nil {
			w.failAll(late)
		}
		w.closing = errors.Join(late, w.link.close())
	})
	return w.closing
}

// headerSize is the length of the header block of a message, in bytes.
func headerSize(h natsgo.Header) int {
	if len(h) == 0 {
		return 0
	}
	n := len("NATS/1.0\r\n\r\n")
	for name, values := range h {
		for _, v := range values {
			n += len(name) + len(": \r\n") + len(v)
		}
	}
	return n
}
