package producer

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/IBM/sarama"
)

const (
	// maxRequests is the number of requests in flight to a broker. A broker works
	// on one request of a connection at a time: the others save it the wait for
	// the next one to be encoded and sent.
	maxRequests = 3

	// pipelineBytes is what must be waiting before a request is sent behind
	// another: smaller ones grow while the other one is under way.
	pipelineBytes = 32 << 10

	// maxRequestBytes bounds one request that has more than one partition.
	maxRequestBytes = 4 << 20
)

// node is a broker: a connection, and the goroutine that writes requests to it.
type node struct {
	e    *engine
	id   int32
	wake chan struct{}

	// guarded by the engine's lock
	addr     string
	ready    []*queue
	waking   bool
	requests int  // in flight
	broken   bool // the connection is to be closed

	// of the sender alone
	broker *sarama.Broker
	conf   sarama.Config

	conn    sync.Mutex // guards what follows
	link    net.Conn
	dialing context.CancelFunc
}

// request is one produce request.
type request struct {
	s     *session
	items []item
	bytes int
	wire  sarama.ProduceRequest
}

type item struct {
	q  *queue
	b  *batch
	id identity
}

func (e *engine) newNode(id int32, addr string) *node {
	n := &node{e: e, id: id, addr: addr, wake: make(chan struct{}, 1), conf: *e.conf}
	var base plainDialer = e.conf.Net.Proxy.Dialer
	if !e.conf.Net.Proxy.Enable || base == nil {
		base = &net.Dialer{Timeout: e.conf.Net.DialTimeout, KeepAlive: e.conf.Net.KeepAlive, LocalAddr: e.conf.Net.LocalAddr}
	}
	n.conf.Net.Proxy.Enable = true
	n.conf.Net.Proxy.Dialer = &dialer{n, base}
	e.wg.Add(1)
	go n.run()
	return n
}

// dialer keeps hold of the socket, so that a request to a broker that hangs can
// be ended: the library's own Close waits behind it.
type dialer struct {
	n    *node
	base plainDialer
}

type plainDialer interface {
	Dial(network, addr string) (net.Conn, error)
}

type contextDialer interface {
	DialContext(ctx context.Context, network, addr string) (net.Conn, error)
}

func (d *dialer) Dial(network, addr string) (net.Conn, error) {
	n := d.n
	ctx, cancel := context.WithCancel(n.e.ctx)
	defer cancel()
	n.conn.Lock()
	n.dialing = cancel
	n.conn.Unlock()
	var c net.Conn
	var err error
	if cd, ok := d.base.(contextDialer); ok {
		c, err = cd.DialContext(ctx, network, addr)
	} else {
		c, err = d.base.Dial(network, addr)
	}
	n.conn.Lock()
	defer n.conn.Unlock()
	n.dialing = nil
	if err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		c.Close()
		return nil, context.Cause(ctx)
	}
	n.link = c
	return c, nil
}

// cut ends the connection, and with it what is in flight, or the wait for one.
func (n *node) cut() {
	n.conn.Lock()
	defer n.conn.Unlock()
	if n.dialing != nil {
		n.dialing()
	}
	if n.link != nil {
		n.link.Close()
		n.link = nil
	}
}

// run sends what is ready until the engine stops.
func (n *node) run() {
	defer n.e.wg.Done()
	defer n.disconnect()
	for {
		select {
		case <-n.wake:
		case <-n.e.ctx.Done():
			return
		}
		for n.send() {
		}
	}
}

// send writes one request, if there is something to write, and reports whether
// to try once more.
func (n *node) send() bool {
	e := n.e
	e.mu.Lock()
	if n.broken {
		e.unlock()
		n.disconnect()
		e.mu.Lock()
		n.broken = false
	}
	r := n.collect()
	e.unlock()
	if r == nil {
		return false
	}
	b, err := n.connect()
	if err == nil {
		for _, i := range r.items {
			r.wire.AddBatch(i.q.t.name, i.q.part, i.b.prepare(&e.cfg, i.id, r.s.txn != nil))
		}
		err = b.AsyncProduce(&r.wire, func(res *sarama.ProduceResponse, err error) { n.answered(r, res, err) })
	}
	if err != nil {
		n.answered(r, nil, err)
	}
	return true
}

// collect makes a request of ready queues of one session, or returns nil when
// there are none, or it is better to wait for the answer to an earlier one.
func (n *node) collect() *request {
	if len(n.ready) == 0 || n.requests >= maxRequests || n.requests > 0 && n.waiting() < pipelineBytes {
		return nil
	}
	var r *request
	rest := n.ready[:0]
	for i, q := range n.ready {
		if r != nil && (q.s != r.s || r.bytes+q.batches[min(q.inFlight, len(q.batches)-1)].bytes > maxRequestBytes) {
			rest = append(rest, n.ready[i])
			continue
		}
		q.listed = false
		b := n.e.take(q, n)
		if b == nil {
			continue
		}
		if r == nil {
			r = &request{s: q.s, wire: n.e.produceRequest(q.s)}
		}
		r.items = append(r.items, item{q, b, q.id})
		r.bytes += b.bytes
	}
	clear(n.ready[len(rest):])
	n.ready = rest
	if r == nil {
		return nil
	}
	n.requests++
	for _, i := range r.items {
		n.e.schedule(i.q) // there may be a next batch
	}
	return r
}

// waiting is the number of bytes that a next request could have.
func (n *node) waiting() int {
	sum := 0
	for _, q := range n.ready {
		if q.inFlight < len(q.batches) {
			sum += q.batches[q.inFlight].bytes
		}
	}
	return sum
}

// answered takes the answer to r, or the error in its place. It runs on the
// library's reading goroutine, or on the sender when nothing was sent.
func (n *node) answered(r *request, res *sarama.ProduceResponse, err error) {
	e := n.e
	e.mu.Lock()
	n.requests--
	if err != nil {
		n.broken = true
	}
	for _, i := range r.items {
		var block *sarama.ProduceResponseBlock
		if res != nil {
			block = res.GetBlock(i.q.t.name, i.q.part)
		}
		e.answer(i.q, i.b, block, err)
	}
	if (len(n.ready) > 0 || n.broken) && !n.waking {
		n.waking = true
		e.waking = append(e.waking, n)
	}
	e.unlock()
}

// connect returns the open connection, or opens one.
func (n *node) connect() (*sarama.Broker, error) {
	if n.broker != nil {
		return n.broker, nil
	}
	if err := n.e.ctx.Err(); err != nil {
		return nil, fmt.Errorf("%w: %w", errDial, context.Cause(n.e.ctx))
	}
	n.e.mu.Lock()
	addr := n.addr
	n.e.mu.Unlock()
	b := sarama.NewBroker(addr)
	if err := b.Open(&n.conf); err != nil {
		return nil, fmt.Errorf("%w to %s: %w", errDial, addr, err)
	}
	if ok, err := b.Connected(); !ok {
		b.Close()
		if err == nil {
			err = sarama.ErrNotConnected
		}
		return nil, fmt.Errorf("%w to %s: %w", errDial, addr, err)
	}
	n.broker = b
	return b, nil
}

// disconnect closes the connection. All that was in flight is answered when it returns.
func (n *node) disconnect() {
	n.cut()
	if n.broker != nil {
		_ = n.broker.Close() // it has failed or is not needed any longer
		n.broker = nil
	}
}

// produceRequest is an empty request of the newest version that the client knows.
func (e *engine) produceRequest(s *session) sarama.ProduceRequest {
	r := sarama.ProduceRequest{RequiredAcks: sarama.WaitForAll, Timeout: int32(e.conf.Producer.Timeout / time.Millisecond), Version: 3}
	for _, v := range produceVersions {
		if e.conf.Version.IsAtLeast(v.since) {
			r.Version = v.version
		}
	}
	if s.txn != nil {
		r.TransactionalID = &s.txn.name
	}
	return r
}

var produceVersions = []struct {
	since   sarama.KafkaVersion
	version int16
}{
	{sarama.V1_0_0_0, 5}, {sarama.V2_0_0_0, 6}, {sarama.V2_1_0_0, 7}, {sarama.V2_4_0_0, 8},
	{sarama.V2_8_0_0, 9}, {sarama.V3_7_0_0, 10},
}
