package nats

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/flowkit-go/flow/primitives"
)

const (
	// maxBatch is the most records that are asked for at a time.
	maxBatch = 4096

	// maxPullBytes is the most bytes that the server sends for one request; two
	// are open at a time. It is more where a single message may be larger.
	maxPullBytes = 8 << 20

	// pullExpires is how long a request waits at the server, and pullHeartbeat how
	// often the server says meanwhile that it still has it.
	pullExpires   = time.Minute
	pullHeartbeat = 10 * time.Second
)

// pullLimits bound a request, also by what the consumer is set up to allow.
type pullLimits struct {
	batch     int
	bytes     int
	expires   time.Duration
	heartbeat time.Duration
}

func newPullLimits(c jetstream.ConsumerConfig, maxPayload int64) pullLimits {
	const subjects = 8 << 10 // counted against the bytes too: two lines of the protocol
	p := pullLimits{batch: maxBatch, bytes: int(max(maxPullBytes, maxPayload+subjects)), expires: pullExpires, heartbeat: pullHeartbeat}
	if c.MaxRequestBatch > 0 {
		p.batch = min(p.batch, c.MaxRequestBatch)
	}
	if c.MaxRequestMaxBytes > 0 {
		p.bytes = min(p.bytes, c.MaxRequestMaxBytes)
	}
	if c.MaxRequestExpires > 0 {
		p.expires = min(p.expires, c.MaxRequestExpires)
	}
	p.heartbeat = min(p.heartbeat, p.expires/3) // the server wants less than half
	return p
}

// pullRequest is the body of a request for messages (ADR-13).
type pullRequest struct {
	Batch     int           `json:"batch"`
	MaxBytes  int           `json:"max_bytes"`
	Expires   time.Duration `json:"expires"`
	Heartbeat time.Duration `json:"idle_heartbeat"`
}

// inbox collects what a subscription gets until Run takes all of it at once.
type inbox struct {
	mu   sync.Mutex
	msgs []*natsgo.Msg
	wake chan struct{} // has an entry while msgs may not be empty
}

func (in *inbox) add(m *natsgo.Msg) {
	in.mu.Lock()
	in.msgs = append(in.msgs, m)
	first := len(in.msgs) == 1
	in.mu.Unlock()
	if first {
		select {
		case in.wake <- struct{}{}:
		default:
		}
	}
}

// take returns what was collected, and collects into spare from now on.
func (in *inbox) take(spare []*natsgo.Msg) []*natsgo.Msg {
	in.mu.Lock()
	defer in.mu.Unlock()
	msgs := in.msgs
	in.msgs = spare[:0]
	return msgs
}

// pull is one subscription with its open requests. It asks for as many records
// as the lane has room for, and asks again before it has got the last of them,
// so that the server never waits for a request while records and room are there.
type pull struct {
	r       *reader
	lane    primitives.Lane
	subject string // of requests
	reply   string
	sub     *natsgo.Subscription
	ended   chan struct{} // closed when the subscription has delivered its last
	in      *inbox

	owed  int       // records asked for and neither received nor declined
	heard time.Time // when something came last
	down  <-chan struct{}

	spare  []*natsgo.Msg // swapped with the inbox
	leased []*natsgo.Msg // of burst
	burst  []primitives.Record
}

// pullUntilError reads into the lane until something ends it, and gives back to
// the server what the lane has not taken.
func (r *reader) pullUntilError(ctx context.Context, lane primitives.Lane) error {
	api := "$JS.API."
	if r.cfg.domain != "" {
		api = "$JS." + r.cfg.domain + ".API."
	}
	p := &pull{
		r: r, lane: lane,
		subject: api + "CONSUMER.MSG.NEXT." + r.cfg.name + "." + r.durable,
		reply:   r.link.nc.NewInbox(),
		ended:   make(chan struct{}),
		in:      &inbox{wake: make(chan struct{}, 1)},
		down:    r.link.disconnected(),
	}
	select {
	case <-p.down:
		return errDisconnected
	default:
	}
	var err error
	if p.sub, err = r.link.nc.Subscribe(p.reply, p.in.add); err != nil {
		return err
	}
	p.sub.SetClosedHandler(func(string) { close(p.ended) })
	if err := p.sub.SetPendingLimits(-1, -1); err != nil { // requests are the limit
		return errors.Join(err, p.sub.Unsubscribe())
	}
	r.held.setInbox(p.in)
	rest, err := p.run(ctx)
	p.giveBack(rest)
	r.held.setInbox(nil)
	return err
}

// run returns the messages in its hands that the lane has not taken, and why.
func (p *pull) run(ctx context.Context) ([]*natsgo.Msg, error) {
	patrol := time.NewTicker(p.r.limits.heartbeat)
	defer patrol.Stop()
	p.heard = time.Now()
	for {
		if err := p.request(ctx); err != nil {
			return nil, err
		}
		select {
		case <-p.in.wake:
			rest, err := p.push(ctx)
			if err != nil {
				return rest, err
			}
		case <-patrol.C:
			if time.Since(p.heard) > 3*p.r.limits.heartbeat {
				return nil, errSilent
			}
		case <-p.down:
			if rest, err := p.push(ctx); err != nil { // the leases outlive the connection
				return rest, err
			}
			return nil, errDisconnected
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// request asks for what the lane has room for, once that is worth a request.
// It waits for room only when nothing is on its way.
func (p *pull) request(ctx context.Context) error {
	free := p.lane.Free()
	if free <= 0 && p.owed == 0 {
		var err error
		if free, err = p.lane.WaitFree(ctx); err != nil {
			return err
		}
		p.heard = time.Now()
	}
	want := min(free, p.r.limits.batch) - p.owed
	if want <= 0 || want < p.owed {
		return nil
	}
	body, err := json.Marshal(pullRequest{Batch: want, MaxBytes: p.r.limits.bytes, Expires: p.r.limits.expires, Heartbeat: p.r.limits.heartbeat})
	if err != nil {
		return err
	}
	if err := p.r.link.nc.PublishRequest(p.subject, p.reply, body); err != nil {
		return err
	}
	p.owed += want
	return nil
}

// push hands everything that has come to the lane.
func (p *pull) push(ctx context.Context) ([]*natsgo.Msg, error) {
	p.spare = p.in.take(p.spare)
	p.leased, p.burst = p.leased[:0], p.burst[:0]
	var failure error
	for _, m := range p.spare {
		if rec, ok := toRecord(m); ok {
			// A consumer that has moved to another server may count some numbers again.
			rec.Offset = max(rec.Offset, p.r.lastOffset+1)
			p.r.lastOffset = rec.Offset
			p.burst = append(p.burst, rec)
			p.leased = append(p.leased, m)
		} else {
			failure = errors.Join(failure, p.status(m))
		}
	}
	clear(p.spare)
	p.owed = max(p.owed-len(p.burst), 0)
	if len(p.burst) > 0 {
		p.r.held.set(p.leased)
		taken, err := p.lane.Push(ctx, p.burst)
		p.r.held.set(nil)
		clear(p.burst)
		if err != nil {
			return p.leased[min(taken, len(p.leased)):], err
		}
		clear(p.leased)
	}
	p.heard = time.Now() // after the push, which may have taken long
	return nil, failure
}

// status handles a message of the server about a request.
func (p *pull) status(m *natsgo.Msg) error {
	code, text := m.Header.Get("Status"), m.Header.Get("Description")
	if code == "" {
		return fmt.Errorf("message without a position: ack subject %q", m.Reply)
	}
	if code == "100" {
		return nil
	}
	if code == "503" {
		return fmt.Errorf("the consumer is gone or has no leader: %w", natsgo.ErrNoResponders)
	}
	declined, err := strconv.Atoi(m.Header.Get("Nats-Pending-Messages"))
	if err != nil { // it is not about the end of one request, but of all
		return &statusError{code, text}
	}
	p.owed = max(p.owed-declined, 0)
	if text == tooLargeStatus && m.Header.Get("Nats-Pending-Bytes") == strconv.Itoa(p.r.limits.bytes) {
		return fmt.Errorf("the next message is larger than the %d bytes that one request may have: %w", p.r.limits.bytes, &statusError{code, text})
	}
	return nil
}

const tooLargeStatus = "Message Size Exceeds MaxBytes"

// giveBack ends the subscription and returns to the server, for delivery at
// once, what has come and was not taken. Without a connection the leases end by
// themselves.
func (p *pull) giveBack(rest []*natsgo.Msg) {
	for _, m := range rest {
		_ = p.r.link.nc.Publish(m.Reply, nakNow)
	}
	end := p.sub.Drain // unsubscribes at the server and takes what is on its way
	select {
	case <-p.down:
		end = p.sub.Unsubscribe
	default:
	}
	if err := end(); err != nil {
		return // the connection is closed
	}
	<-p.ended
	for _, m := range p.in.take(nil) {
		if _, ok := parseDelivery(m.Reply); ok {
			_ = p.r.link.nc.Publish(m.Reply, nakNow)
		}
	}
	_ = p.r.flush(context.Background())
}
