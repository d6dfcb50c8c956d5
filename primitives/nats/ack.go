package nats

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	natsgo "github.com/nats-io/nats.go"

	"github.com/flowkit-go/flow/primitives"
)

// ackTimeout is how long the server may take to confirm acknowledgements, in
// each of two attempts.
const ackTimeout = 5 * time.Second

// acker acknowledges leases so that the server confirms it. Its methods are
// called by one goroutine at a time.
//
// A single server handles the acknowledgements of one connection to one
// consumer in the order in which they were sent: the embedded one is asked for
// one confirmation, that of the last. A cluster may lose some of them on their
// way from server to server, so each is confirmed, many at a time.
type acker struct {
	link    *link
	inbox   string
	replies *natsgo.Subscription
	arrived chan *natsgo.Msg
	round   uint64 // a part of the reply subject: earlier ones are late
}

func newAcker(l *link) (*acker, error) {
	a := &acker{link: l, inbox: l.nc.NewInbox() + ".", arrived: make(chan *natsgo.Msg, 2*ackWindow)}
	var err error
	a.replies, err = l.nc.ChanSubscribe(a.inbox+">", a.arrived)
	return a, err
}

// ackWindow is the number of acknowledgements that wait for their confirmation.
const ackWindow = 1024

// ack returns nil when the server has taken all of them. stale are leases that
// the server has not confirmed in two attempts while it confirmed others: it
// no longer knows them, and will deliver the records again.
func (a *acker) ack(ctx context.Context, leases []any) (stale []*natsgo.Msg, err error) {
	msgs := make([]*natsgo.Msg, len(leases))
	for i, lease := range leases {
		m, ok := lease.(*natsgo.Msg)
		if !ok {
			return nil, fmt.Errorf("a lease of type %T is not of this source", lease)
		}
		msgs[i] = m
	}
	if a.link.local {
		return nil, a.ackInOrder(ctx, msgs)
	}
	missing, err := a.ackEach(ctx, msgs)
	if err == nil && len(missing) > 0 {
		var again []*natsgo.Msg
		if again, err = a.ackEach(ctx, missing); err == nil && len(again) == len(msgs) {
			err = errUnconfirmed
		}
		missing = again
	}
	if err != nil {
		return nil, err
	}
	return missing, nil
}

func (a *acker) ackInOrder(ctx context.Context, msgs []*natsgo.Msg) error {
	reply := a.nextRound()
	last := len(msgs) - 1
	for _, m := range msgs[:last] {
		if err := a.link.nc.Publish(m.Reply, nil); err != nil {
			return err
		}
	}
	if err := a.link.nc.PublishRequest(msgs[last].Reply, reply+"0", nil); err != nil {
		return err
	}
	timeout := time.NewTimer(ackTimeout)
	defer timeout.Stop()
	for {
		m, err := a.next(ctx, timeout)
		if err != nil {
			return err
		}
		if strings.HasPrefix(m.Subject, reply) {
			return answerError(m)
		}
	}
}

// ackEach returns those that the server has not confirmed in time.
func (a *acker) ackEach(ctx context.Context, msgs []*natsgo.Msg) (missing []*natsgo.Msg, err error) {
	reply := a.nextRound()
	confirmed := make([]bool, len(msgs))
	sent, open := 0, 0
	timeout := time.NewTimer(ackTimeout)
	defer timeout.Stop()
	for sent < len(msgs) || open > 0 {
		for sent < len(msgs) && open < ackWindow {
			if err := a.link.nc.PublishRequest(msgs[sent].Reply, reply+strconv.Itoa(sent), nil); err != nil {
				return nil, err
			}
			sent++
			open++
		}
		m, err := a.next(ctx, timeout)
		if errors.Is(err, errUnconfirmed) {
			if sent < len(msgs) { // a whole window is stuck: the server is, not the leases
				return nil, err
			}
			break
		}
		if err != nil {
			return nil, err
		}
		i, err := strconv.Atoi(strings.TrimPrefix(m.Subject, reply))
		if err != nil || i < 0 || i >= sent || confirmed[i] {
			continue
		}
		if err := answerError(m); err != nil {
			return nil, err
		}
		confirmed[i] = true
		open--
		if open == 0 {
			timeout.Reset(ackTimeout)
		}
	}
	for i, ok := range confirmed {
		if !ok {
			missing = append(missing, msgs[i])
		}
	}
	return missing, nil
}

func (a *acker) next(ctx context.Context, timeout *time.Timer) (*natsgo.Msg, error) {
	select {
	case m := <-a.arrived:
		return m, nil
	default:
	}
	select {
	case m := <-a.arrived:
		return m, nil
	case <-a.link.disconnected():
		return nil, errDisconnected
	case <-timeout.C:
		return nil, errUnconfirmed
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (a *acker) nextRound() string {
	a.round++
	return a.inbox + strconv.FormatUint(a.round, 36) + "."
}

// answerError is nil for a confirmation, which is empty.
func answerError(m *natsgo.Msg) error {
	if status := m.Header.Get("Status"); status != "" {
		if status == "503" {
			return fmt.Errorf("nobody takes the acknowledgement, the consumer was deleted or has no leader: %w", natsgo.ErrNoResponders)
		}
		return &statusError{status, m.Header.Get("Description")}
	}
	return nil
}

// Commit acknowledges the records and returns nil when the server has confirmed.
func (r *reader) Commit(ctx context.Context, commits []primitives.Commit) error {
	if r.isClosed() {
		return primitives.ErrClosed
	}
	errs := make([]error, len(commits))
	failed := false
	for i, c := range commits {
		switch {
		case c.Partition != r.partition:
			errs[i] = fmt.Errorf("nats: commit %s: %w", c.Partition, primitives.ErrNotAssigned)
		case len(c.Leases) > 0:
			stale, err := r.acks.ack(ctx, c.Leases)
			if err != nil {
				errs[i] = fmt.Errorf("nats: acknowledge %d records of %s: %w", len(c.Leases), r.cfg.name, err)
			} else if len(stale) > 0 {
				r.log.Warn("the server does not know the leases of some records any longer and will deliver them again", "stream", r.cfg.name, "records", len(stale))
			}
		}
		failed = failed || errs[i] != nil
	}
	if failed {
		return &primitives.CommitError{Errs: errs}
	}
	return nil
}

// LeaseTime is the consumer's ack wait.
func (r *reader) LeaseTime() time.Duration { return r.leaseTime }

// Extend tells the server that the records are still worked on.
func (r *reader) Extend(ctx context.Context, leases []any) error {
	return r.tell(ctx, leases, "extend", ackProgress)
}

// Release gives records back to the server, to be delivered after delay.
func (r *reader) Release(ctx context.Context, leases []any, delay time.Duration) error {
	return r.tell(ctx, leases, "release", nak(delay))
}

var (
	ackProgress = []byte("+WPI")
	nakNow      = []byte("-NAK")
)

func nak(delay time.Duration) []byte {
	if delay <= 0 {
		return nakNow
	}
	return fmt.Appendf(nil, `-NAK {"delay": %d}`, delay.Nanoseconds())
}

// tell sends the same for each lease, and returns when the server has got it.
func (r *reader) tell(ctx context.Context, leases []any, verb string, what []byte) error {
	if r.isClosed() {
		return primitives.ErrClosed
	}
	if len(leases) == 0 {
		return nil
	}
	for _, lease := range leases {
		m, ok := lease.(*natsgo.Msg)
		if !ok {
			return fmt.Errorf("nats: %s records of %s: a lease of type %T is not of this source", verb, r.cfg.name, lease)
		}
		if err := r.link.nc.Publish(m.Reply, what); err != nil {
			return fmt.Errorf("nats: %s records of %s: %w", verb, r.cfg.name, err)
		}
	}
	if err := r.flush(ctx); err != nil {
		return fmt.Errorf("nats: %s records of %s: %w", verb, r.cfg.name, err)
	}
	return nil
}

// flush returns when the server has got what was sent.
func (r *reader) flush(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, ackTimeout)
	defer cancel()
	return r.link.nc.FlushWithContext(ctx)
}
