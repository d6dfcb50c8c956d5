package producer

import (
	"time"

	"github.com/IBM/sarama"
)

const (
	// maxRequests is the number of requests in flight to a broker. A broker works
	// on one request of a connection at a time: the others save it the wait for
	// the next one to be encoded and sent.
	maxRequests = 5

	// pipelineBytes is what must be waiting before a request is sent behind
	// another: smaller ones grow while the other one is under way.
	pipelineBytes = 64 << 10

	// patience is how long a broker may take to answer before the metadata is looked
	// at: it may be gone without having closed its connections.
	patience = 2 * time.Second

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
	requests int       // in flight
	since    time.Time // of the last answer, or of the first request after it
	broken   bool      // the connection is to be closed

	link *link // used by the sender alone, but for cut
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
	n := &node{e: e, id: id, addr: addr, wake: make(chan struct{}, 1), link: e.newLink()}
	e.wg.Add(1)
	go n.run()
	return n
}

// run sends what is ready until the engine stops.
func (n *node) run() {
	defer n.e.wg.Done()
	defer n.link.close()
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
		n.link.close()
		e.mu.Lock()
		n.broken = false
	}
	r, addr := n.collect(), n.addr
	e.unlock()
	if r == nil {
		return false
	}
	b, err := n.link.open(addr)
	if err == nil {
		for _, i := range r.items {
			r.wire.AddBatch(i.q.t.name, i.q.part, i.b.prepare(i.q.t.format, i.id, r.s.txn != nil))
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
	if n.requests++; n.requests == 1 {
		n.since = time.Now()
	}
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
	n.since = time.Now()
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

// hangs reports whether the broker has not answered for longer than it should take.
func (n *node) hangs(now time.Time) bool {
	return n.requests > 0 && now.Sub(n.since) > patience
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
