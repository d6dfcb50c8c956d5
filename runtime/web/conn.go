package web

import (
	"context"
	"errors"
	"io"
	"math"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// A listener gives out its connections as conns.
type listener struct {
	net.Listener
	coarse time.Duration
}

func (l listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return newConn(c, l.coarse), nil
}

// A conn is a connection that net/http's use of costs less:
//
// Deadlines. net/http sets seven per request, and nearly all are replaced before
// anything waits for them. A conn writes them down, and sets one of its
// connection only when that has none, or a later one; when it ends early, the
// operation goes on with the one that is written down.
//
// Noticing that a client has gone. net/http reads from the connection while a
// handler runs, to cancel its context when that fails. A conn holds this read
// back until somebody waits for that context and calls watch.
type conn struct {
	net.Conn
	reads, writes side

	answering atomic.Bool // a request has come and its answer is not complete
	watched   atomic.Bool // the background read goes to the connection
	held      atomic.Bool // the background read waits for wake
	closed    atomic.Bool
	wake      chan struct{}

	heard bool // a request has come on it: for Server.connState
}

func newConn(c net.Conn, coarse time.Duration) *conn {
	out := &conn{Conn: c, wake: make(chan struct{}, 1)}
	epoch := time.Now()
	out.reads.init(epoch, coarse, c.SetReadDeadline)
	out.writes.init(epoch, coarse, c.SetWriteDeadline)
	return out
}

// Read is Read of the connection, until the deadline that is written down.
func (c *conn) Read(p []byte) (n int, err error) {
	// net/http reads through a buffer, except in the background, for one byte.
	if len(p) == 1 && c.answering.Load() {
		if err := c.hold(); err != nil {
			return 0, err
		}
	}
	c.reads.begin()
	for {
		armed := c.reads.armed.Load()
		n, err = c.Conn.Read(p)
		if err == nil || n > 0 || !c.reads.early(err, armed) {
			break
		}
	}
	c.reads.end()
	return n, err
}

// Write is Write of the connection, until the deadline that is written down.
func (c *conn) Write(p []byte) (n int, err error) {
	c.writes.begin()
	for {
		armed := c.writes.armed.Load()
		var more int
		more, err = c.Conn.Write(p[n:])
		n += more
		if err == nil || !c.writes.early(err, armed) {
			break
		}
	}
	c.writes.end()
	return n, err
}

// ReadFrom is here for net/http to send files without copying them.
func (c *conn) ReadFrom(r io.Reader) (int64, error) {
	c.writes.begin()
	defer c.writes.end()
	c.writes.arm(false) // after an early end, what was read from r would be lost
	return io.Copy(c.Conn, r)
}

// CloseWrite is here for net/http to end a connection so that its client still
// gets the last answer.
func (c *conn) CloseWrite() error {
	if w, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return errors.ErrUnsupported
}

func (c *conn) Close() error {
	c.closed.Store(true)
	err := c.Conn.Close()
	c.release()
	return err
}

func (c *conn) SetReadDeadline(t time.Time) error {
	err := c.reads.setDeadline(t)
	c.release()
	return err
}

func (c *conn) SetWriteDeadline(t time.Time) error { return c.writes.setDeadline(t) }

func (c *conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// hold waits until the background read is wanted or over. It returns the error
// of a read that is over.
func (c *conn) hold() error {
	c.held.Store(true)
	defer c.held.Store(false)
	for {
		switch {
		case c.closed.Load():
			return net.ErrClosed
		case c.reads.past():
			return os.ErrDeadlineExceeded
		case c.watched.Load():
			return nil
		}
		<-c.wake
	}
}

// release has hold look again.
func (c *conn) release() {
	if c.held.Load() {
		select {
		case c.wake <- struct{}{}:
		default: // it will look
		}
	}
}

// begin and end are around each request, from its head to the end of its answer.
func (c *conn) begin() {
	c.watched.Store(false)
	c.answering.Store(true)
}

func (c *conn) end() { c.answering.Store(false) }

// watch lets net/http notice that the client of the current request has gone.
func (c *conn) watch() {
	if !c.watched.Swap(true) {
		c.release()
	}
}

type connKey struct{}

// watch has ctx, a request's, end when its client has gone.
func watch(ctx context.Context) {
	if c, ok := ctx.Value(connKey{}).(*conn); ok {
		c.watch()
	}
}

// A side is one direction of a conn, with the deadline that is written down and
// the one that is set. Both are in nanoseconds since the epoch.
type side struct {
	epoch  time.Time
	coarse time.Duration
	set    func(time.Time) error

	want atomic.Int64
	busy atomic.Bool // an operation is under way

	mu    sync.Mutex // guards set, with what it leads to
	armed atomic.Int64
}

const noDeadline = math.MaxInt64

func (s *side) init(epoch time.Time, coarse time.Duration, set func(time.Time) error) {
	s.epoch, s.coarse, s.set = epoch, coarse, set
	s.want.Store(noDeadline)
	s.armed.Store(noDeadline)
}

func (s *side) setDeadline(t time.Time) error {
	want := int64(noDeadline)
	if !t.IsZero() {
		want = int64(t.Sub(s.epoch))
	}
	s.want.Store(want)
	// An operation that begins now sees want; one that began before is seen here.
	if s.busy.Load() {
		return s.arm(false)
	}
	return nil
}

func (s *side) begin() {
	s.busy.Store(true)
	if s.armed.Load() > s.want.Load() {
		s.arm(true)
	}
}

func (s *side) end() { s.busy.Store(false) }

func (s *side) past() bool {
	want := s.want.Load()
	return want != noDeadline && want <= int64(time.Since(s.epoch))
}

// early reports whether err is of a deadline that nobody wants, after setting the
// one that is wanted. armed is the one that was set when the operation began: had
// that not passed, the deadline is of somebody who uses the connection below.
func (s *side) early(err error, armed int64) bool {
	return errors.Is(err, os.ErrDeadlineExceeded) && !s.past() && armed <= int64(time.Since(s.epoch)) && s.arm(false) == nil
}

// arm sets the deadline that is wanted. A rough one may be earlier, so that it
// serves many operations, which each want it to be a little later.
func (s *side) arm(rough bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	to := s.want.Load()
	if rough {
		to = min(to, int64(time.Since(s.epoch)+s.coarse))
	}
	if to == s.armed.Load() {
		return nil
	}
	var t time.Time
	if to != noDeadline {
		t = s.epoch.Add(time.Duration(to))
	}
	if err := s.set(t); err != nil {
		return err
	}
	s.armed.Store(to)
	return nil
}

var (
	_ net.Conn      = (*conn)(nil)
	_ io.ReaderFrom = (*conn)(nil)
)
