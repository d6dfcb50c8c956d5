package producer

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/IBM/sarama"
)

const (
	// refreshEvery is how often the metadata is refreshed without a reason, so
	// that new partitions are noticed.
	refreshEvery = 5 * time.Minute

	// refreshPause is the least time between two refreshes.
	refreshPause = 20 * time.Millisecond

	// anyTimeout is how long one broker is given to answer what another could
	// answer as well.
	anyTimeout = 2 * time.Second
)

var errNoLeader = errors.New("the partition has no leader")

// topic is what is known of one topic. All but count is guarded by the engine's lock.
type topic struct {
	name    string
	format  *Config      // how its records are written
	count   atomic.Int32 // of partitions
	leaders []int32      // broker ids by partition, -1 for none
	epochs  []int32      // of the leaders
	id      sarama.Uuid
	sticky  uint32
}

// keep refreshes the metadata when someone asks and every five minutes, and lets
// held queues go. It runs until the engine stops.
func (e *engine) keep() {
	defer e.wg.Done()
	every := time.NewTicker(refreshEvery)
	defer every.Stop()
	due := time.NewTimer(time.Hour)
	defer due.Stop()
	var last time.Time
	for {
		e.mu.Lock()
		wanted := e.asked > e.begun
		pause := refreshPause - time.Since(last)
		var next time.Time
		if !wanted || pause > 0 {
			next = e.release(time.Now())
		}
		strangers := e.strangers()
		e.unlock()

		if strangers > 0 {
			e.nameStrangers()
		}
		if wanted && pause <= 0 {
			if err := e.refresh(); err != nil && e.ctx.Err() == nil {
				e.cfg.Logger.Debug("metadata is not refreshed", "err", err)
			}
			last = time.Now()
			continue
		}
		if wanted && (next.IsZero() || pause < time.Until(next)) {
			next = time.Now().Add(pause)
		}
		if next.IsZero() {
			next = time.Now().Add(time.Hour)
		}
		due.Reset(time.Until(next))
		select {
		case <-e.kick:
		case <-due.C:
		case <-every.C:
			e.mu.Lock()
			e.asked = e.begun + 1
			e.mu.Unlock()
		case <-e.ctx.Done():
			return
		}
	}
}

// strangers is the number of queues that wait for a producer id.
func (e *engine) strangers() int {
	n := 0
	for q := range e.held {
		if q.id.id < 0 {
			n++
		}
	}
	return n
}

// nameStrangers gets a new producer id for queues that have used up theirs.
func (e *engine) nameStrangers() {
	id, err := e.newIdentity(e.ctx)
	e.mu.Lock()
	defer e.unlock()
	for q := range e.held {
		if q.id.id >= 0 {
			continue
		}
		if err != nil {
			q.lastErr = err
			continue
		}
		q.id, q.s.id = id, id
	}
	e.kicking = true
}

// refresh asks a broker for the metadata of all topics in use.
func (e *engine) refresh() error {
	e.mu.Lock()
	e.begun++
	now := e.begun
	names := make([]string, 0, len(e.topics))
	for name := range e.topics {
		names = append(names, name)
	}
	e.unlock()
	res, err := e.fetchMetadata(names)
	e.mu.Lock()
	defer e.unlock()
	e.ended = max(e.ended, now)
	e.kicking = true
	if err != nil {
		return fmt.Errorf("kafka: metadata: %w", err)
	}
	return e.learn(res)
}

// fetchMetadata asks without the client's own retries, which would let all
// partitions wait for one that has no leader.
func (e *engine) fetchMetadata(names []string) (res *sarama.MetadataResponse, err error) {
	err = e.askAny(e.ctx, func(b *sarama.Broker) error {
		req := sarama.NewMetadataRequest(e.conf.Version, names)
		req.AllowAutoTopicCreation = e.conf.Metadata.AllowAutoTopicCreation
		var err error
		if res, err = b.GetMetadata(req); err == nil && len(res.Brokers) == 0 {
			err = errors.New("the broker knows no brokers yet")
		}
		return err
	})
	return res, err
}

// askAny lets f ask one broker after the other until one answers. One that hangs
// costs anyTimeout. Only when no known broker answers does it leave it to the
// client, which has the addresses that it was given, to find one.
func (e *engine) askAny(ctx context.Context, f func(b *sarama.Broker) error) error {
	e.mu.Lock()
	addrs := make([]string, 0, len(e.nodes))
	for _, n := range e.nodes { // in random order
		addrs = append(addrs, n.addr)
	}
	e.mu.Unlock()
	for _, addr := range addrs {
		if e.askOne(ctx, addr, f) == nil {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	b := e.client.LeastLoadedBroker()
	if b != nil {
		if err := f(b); err == nil {
			return nil
		}
	}
	if err := e.client.RefreshMetadata(); err != nil {
		return err
	}
	if b = e.client.LeastLoadedBroker(); b == nil {
		return sarama.ErrOutOfBrokers
	}
	return f(b)
}

func (e *engine) askOne(ctx context.Context, addr string, f func(b *sarama.Broker) error) error {
	ctx, cancel := context.WithTimeout(ctx, anyTimeout)
	defer cancel()
	l, err := e.links.acquire(ctx, addr)
	if err != nil {
		return err
	}
	_, err = exchange(ctx, l, addr, func(b *sarama.Broker) (sarama.KError, error) { return 0, f(b) })
	e.links.release(addr, l, err == nil)
	return err
}

// learn takes over metadata. It returns the first topic's error, if one has any.
func (e *engine) learn(res *sarama.MetadataResponse) error {
	for _, b := range res.Brokers {
		n := e.nodes[b.ID()]
		switch {
		case n == nil:
			e.nodes[b.ID()] = e.newNode(b.ID(), b.Addr())
		case n.addr != b.Addr():
			n.addr = b.Addr()
			n.broken = true
		}
	}
	var first error
	for _, m := range res.Topics {
		t := e.topics[m.Name]
		if t == nil {
			continue
		}
		if m.Err != sarama.ErrNoError && m.Err != sarama.ErrLeaderNotAvailable {
			if first == nil {
				first = fmt.Errorf("kafka: topic %s: %w", m.Name, m.Err)
			}
			continue
		}
		t.learn(m)
	}
	for s := range e.sessions {
		for t := range s.queues {
			s.queuesOf(t)
		}
	}
	e.leave(time.Now())
	return first
}

// leave gives up brokers that have not answered for a while where a partition has
// another leader by now: it need not wait for the end of the connection.
func (e *engine) leave(now time.Time) {
	for _, n := range e.nodes {
		if !n.hangs(now) {
			continue
		}
		for s := range e.sessions {
			for _, qs := range s.queues {
				for _, q := range qs {
					if leader := q.t.leaders[q.part]; q.inFlight > 0 && q.node == n && leader >= 0 && leader != n.id {
						n.broken = true
						n.link.cut()
					}
				}
			}
		}
	}
}

func (t *topic) learn(m *sarama.TopicMetadata) {
	same := m.Uuid == t.id // all zero where brokers do not tell
	t.id = m.Uuid
	n := 0
	for _, p := range m.Partitions {
		n = max(n, int(p.ID)+1)
	}
	for len(t.leaders) < n {
		t.leaders = append(t.leaders, -1)
		t.epochs = append(t.epochs, -1)
	}
	for i := n; i < len(t.leaders); i++ {
		t.leaders[i] = -1 // created anew, with fewer partitions
	}
	for _, p := range m.Partitions {
		if same && p.LeaderEpoch >= 0 && p.LeaderEpoch < t.epochs[p.ID] {
			continue // from a broker that is behind
		}
		t.epochs[p.ID] = p.LeaderEpoch
		t.leaders[p.ID] = p.Leader
		if p.Err == sarama.ErrLeaderNotAvailable {
			t.leaders[p.ID] = -1
		}
	}
	t.count.Store(int32(n))
}

// newIdentity asks for a producer id.
func (e *engine) newIdentity(ctx context.Context) (identity, error) {
	req := &sarama.InitProducerIDRequest{Version: initVersion(e.conf.Version), ProducerID: -1, ProducerEpoch: -1}
	var last error
	for try := 0; ; try++ {
		res, err := e.askIdentity(ctx, req)
		if err == nil && res.Err == sarama.ErrNoError {
			return identity{res.ProducerID, res.ProducerEpoch}, nil
		}
		if err == nil {
			err = res.Err
			if v, _ := judge(res.Err, false); v != again {
				return identity{-1, -1}, fmt.Errorf("kafka: get a producer id: %w", err)
			}
		}
		last = err
		if err := pause(ctx, try); err != nil || try >= 20 {
			return identity{-1, -1}, fmt.Errorf("kafka: get a producer id: %w", last)
		}
	}
}

func (e *engine) askIdentity(ctx context.Context, req *sarama.InitProducerIDRequest) (res *sarama.InitProducerIDResponse, err error) {
	err = e.askAny(ctx, func(b *sarama.Broker) error {
		var err error
		res, err = b.InitProducerID(req)
		return err
	})
	return res, err
}

func initVersion(v sarama.KafkaVersion) int16 {
	switch {
	case v.IsAtLeast(sarama.V2_7_0_0):
		return 4
	case v.IsAtLeast(sarama.V2_5_0_0):
		return 3
	case v.IsAtLeast(sarama.V2_4_0_0):
		return 2
	case v.IsAtLeast(sarama.V2_0_0_0):
		return 1
	}
	return 0
}

// pause waits before another try: 10 ms at first, then twice as long, up to 300 ms.
func pause(ctx context.Context, try int) error {
	t := time.NewTimer(min(firstBackoff<<min(try, 10), maxBackoff))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
