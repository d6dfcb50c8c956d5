package producer

import (
	"context"
	"fmt"
	"net"
	"sync"

	"github.com/IBM/sarama"
)

// link is a connection of our own to a broker. The client's connections would do,
// but a request that is waited for locks them, also against those that are not.
type link struct {
	e    *engine
	conf sarama.Config
	base plainDialer

	broker *sarama.Broker // of the one goroutine that uses the link
	addr   string

	mu      sync.Mutex // guards what follows
	socket  net.Conn
	dialing context.CancelFunc
}

type plainDialer interface {
	Dial(network, addr string) (net.Conn, error)
}

type contextDialer interface {
	DialContext(ctx context.Context, network, addr string) (net.Conn, error)
}

func (e *engine) newLink() *link {
	l := &link{e: e, conf: *e.conf, base: e.conf.Net.Proxy.Dialer}
	if !e.conf.Net.Proxy.Enable || l.base == nil {
		l.base = &net.Dialer{Timeout: e.conf.Net.DialTimeout, KeepAlive: e.conf.Net.KeepAlive, LocalAddr: e.conf.Net.LocalAddr}
	}
	l.conf.Net.Proxy.Enable = true
	l.conf.Net.Proxy.Dialer = l
	return l
}

// Dial is called by the library. It keeps hold of the socket, so that a request
// to a broker that hangs can be ended: the library's own Close waits behind it.
func (l *link) Dial(network, addr string) (net.Conn, error) {
	ctx, cancel := context.WithCancel(l.e.ctx)
	defer cancel()
	l.mu.Lock()
	l.dialing = cancel
	l.mu.Unlock()
	var c net.Conn
	var err error
	if d, ok := l.base.(contextDialer); ok {
		c, err = d.DialContext(ctx, network, addr)
	} else {
		c, err = l.base.Dial(network, addr)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dialing = nil
	if err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		c.Close()
		return nil, context.Cause(ctx)
	}
	l.socket = c
	return c, nil
}

// open returns the connection to addr, and makes it if it is not open.
func (l *link) open(addr string) (*sarama.Broker, error) {
	if l.broker != nil {
		return l.broker, nil
	}
	if l.e.ctx.Err() != nil {
		return nil, fmt.Errorf("%w: %w", errDial, context.Cause(l.e.ctx))
	}
	b := sarama.NewBroker(addr)
	if err := b.Open(&l.conf); err != nil {
		return nil, fmt.Errorf("%w to %s: %w", errDial, addr, err)
	}
	if ok, err := b.Connected(); !ok {
		_ = b.Close()
		if err == nil {
			err = sarama.ErrNotConnected
		}
		return nil, fmt.Errorf("%w to %s: %w", errDial, addr, err)
	}
	l.broker, l.addr = b, addr
	return b, nil
}

// cut ends the connection, and with it what is in flight, or the wait for one.
// It may be called from any goroutine.
func (l *link) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dialing != nil {
		l.dialing()
	}
	if l.socket != nil {
		l.socket.Close()
		l.socket = nil
	}
}

// close ends the connection. All that was in flight is answered when it returns.
func (l *link) close() {
	l.cut()
	if l.broker != nil {
		_ = l.broker.Close() // it has failed, or is not needed any longer
		l.broker = nil
	}
}

// maxLinks is the number of connections to one broker for what is not a produce
// request. Each serves one request at a time, and a coordinator may wait for its
// followers.
const maxLinks = 8

// links are connections for requests that are waited for.
type links struct {
	e     *engine
	mu    sync.Mutex
	addrs map[string]*brokerLinks
	done  bool
}

type brokerLinks struct {
	slots chan struct{}
	idle  []*link // guarded by links.mu
}

// acquire returns an idle connection to addr, or a new one that is not open yet.
func (ls *links) acquire(ctx context.Context, addr string) (*link, error) {
	ls.mu.Lock()
	c := ls.addrs[addr]
	if c == nil {
		c = &brokerLinks{slots: make(chan struct{}, maxLinks)}
		ls.addrs[addr] = c
	}
	ls.mu.Unlock()
	select {
	case c.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if n := len(c.idle); n > 0 {
		l := c.idle[n-1]
		c.idle = c.idle[:n-1]
		return l, nil
	}
	return ls.e.newLink(), nil
}

// release gives a connection back. One that is not good any longer is closed.
func (ls *links) release(addr string, l *link, good bool) {
	ls.mu.Lock()
	c := ls.addrs[addr]
	good = good && !ls.done
	if good {
		c.idle = append(c.idle, l)
	}
	ls.mu.Unlock()
	if !good {
		l.close()
	}
	<-c.slots
}

// close closes the idle connections; no others are in use when the engine stops.
func (ls *links) close() {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	ls.done = true
	for _, c := range ls.addrs {
		for _, l := range c.idle {
			l.close()
		}
		c.idle = nil
	}
}
