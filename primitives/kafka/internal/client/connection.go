package client

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/IBM/sarama"
)

// dialer opens connections that can be cut. sarama's own calls know no context:
// cutting the connection is how they are ended.
type dialer struct {
	timeout time.Duration

	// patience, when it is set, is how long a new connection of Dial may be silent:
	// a broker that takes connections and says nothing must not use up the time in
	// which another one would have answered.
	patience time.Duration

	mu    sync.Mutex
	conns map[*cuttable]struct{}
	cut   bool
	done  context.Context
	end   context.CancelFunc
}

func newDialer(timeout time.Duration) *dialer {
	done, end := context.WithCancel(context.Background())
	return &dialer{timeout: timeout, conns: map[*cuttable]struct{}{}, done: done, end: end}
}

// Dial implements the dialer interface that sarama asks for.
func (d *dialer) Dial(network, address string) (net.Conn, error) {
	return d.dial(d.done, network, address, d.patience)
}

// DialContext is Dial for who brings a context, and no limit of patience.
func (d *dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(d.done, cancel)()
	return d.dial(ctx, network, address, 0)
}

func (d *dialer) dial(ctx context.Context, network, address string, patience time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	c := &cuttable{Conn: conn, dialer: d}
	if patience > 0 {
		c.silentUntil.Store(time.Now().Add(patience).UnixNano())
	}
	d.mu.Lock()
	cut := d.cut
	d.conns[c] = struct{}{}
	d.mu.Unlock()
	if cut {
		return nil, errors.Join(net.ErrClosed, c.Close())
	}
	return c, nil
}

// cutAll ends all connections, with whatever waits on them, and allows no more.
func (d *dialer) cutAll() {
	d.end()
	d.mu.Lock()
	d.cut = true
	conns := make([]*cuttable, 0, len(d.conns))
	for c := range d.conns {
		conns = append(conns, c)
	}
	d.mu.Unlock()
	for _, c := range conns {
		_ = c.Close() // who uses it gets the error
	}
}

type cuttable struct {
	net.Conn
	dialer      *dialer
	silentUntil atomic.Int64 // in Unix nanoseconds; 0: no limit, or something was heard
}

// SetReadDeadline keeps to the limit of patience.
func (c *cuttable) SetReadDeadline(t time.Time) error {
	if until := c.silentUntil.Load(); until != 0 {
		if limit := time.Unix(0, until); t.IsZero() || limit.Before(t) {
			t = limit
		}
	}
	return c.Conn.SetReadDeadline(t)
}

func (c *cuttable) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 {
		c.silentUntil.Store(0)
	}
	return n, err
}

func (c *cuttable) Close() error {
	c.dialer.mu.Lock()
	delete(c.dialer.conns, c)
	c.dialer.mu.Unlock()
	return c.Conn.Close()
}

// A link is a connection to one broker, for one request at a time. It opens
// itself, again when it has failed.
type link struct {
	addr string
	base *sarama.Config
	turn chan struct{} // holds one token, which a request takes

	// Of who has the token.
	broker *sarama.Broker
	dialer *dialer
}

func newLink(base *sarama.Config, addr string) *link {
	l := &link{addr: addr, base: base, turn: make(chan struct{}, 1)}
	l.turn <- struct{}{}
	return l
}

// open returns a broker that is connected or about to be.
func (l *link) open() (*sarama.Broker, error) {
	if l.broker != nil {
		return l.broker, nil
	}
	config := *l.base
	l.dialer = newDialer(config.Net.DialTimeout)
	config.Net.Proxy.Enable, config.Net.Proxy.Dialer = true, l.dialer
	b := sarama.NewBroker(l.addr)
	if err := b.Open(&config); err != nil {
		return nil, err
	}
	l.broker = b
	return b, nil
}

func (l *link) reset() {
	if l.broker != nil {
		l.dialer.cutAll()
		_ = l.broker.Close() // waits for its goroutine; it was cut, so it errs
		l.broker = nil
	}
}

// close closes the connection when the request under way is done.
func (l *link) close() {
	<-l.turn
	l.reset()
	l.turn <- struct{}{}
}

// call does one request. When ctx ends, the connection is cut and the context's
// cause returned. After an error of the connection the next call opens it again.
func call[R any](ctx context.Context, l *link, request func(*sarama.Broker) (R, error)) (R, error) {
	var none R
	select {
	case <-l.turn:
	case <-ctx.Done():
		return none, context.Cause(ctx)
	}
	defer func() { l.turn <- struct{}{} }()
	if ctx.Err() != nil {
		return none, context.Cause(ctx)
	}
	b, err := l.open()
	if err != nil {
		return none, err
	}
	stop := context.AfterFunc(ctx, l.dialer.cutAll)
	r, err := request(b)
	if !stop() || err != nil {
		l.reset()
	}
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return none, err
	}
	return r, nil
}
