package nats

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/flowkit-go/flow/primitives"
)

// reader reads with a durable pull consumer. It has one lane; every record has
// a lease.
//
// Run has two goroutines of its own, which it waits for: the subscription's,
// which fills the inbox of the current pull, and keepHeld.
type reader struct {
	link      *link
	cfg       *config
	durable   string
	partition primitives.Partition
	leaseTime time.Duration
	limits    pullLimits
	acks      *acker
	log       *slog.Logger

	lastOffset int64 // of Run

	held   held
	closed atomic.Bool
	once   sync.Once
	ending error
}

var (
	_ primitives.Reader     = (*reader)(nil)
	_ primitives.Leaser     = (*reader)(nil)
	_ primitives.Backlogger = (*reader)(nil)
)

func openReader(ctx context.Context, c *config, env *primitives.Env) (primitives.Reader, error) {
	l, err := openLink(ctx, c, env)
	if err != nil {
		return nil, err
	}
	r, err := newReader(ctx, l, c, env)
	if err != nil {
		return nil, errors.Join(err, l.close())
	}
	return r, nil
}

func newReader(ctx context.Context, l *link, c *config, env *primitives.Env) (*reader, error) {
	info, err := l.ensureStream(ctx, c)
	if err != nil {
		return nil, err
	}
	durable := durableName(c, env.Processor)
	if durable == "" {
		return nil, fmt.Errorf("nats: stream %s: the processor has no name: set Durable", c.name)
	}
	consumer, err := l.ensureConsumer(ctx, c, info, durable)
	if err != nil {
		return nil, err
	}
	if err := l.beginRemoval(ctx, c, consumer); err != nil {
		return nil, err
	}
	if err := l.reclaim(ctx, consumer); err != nil {
		return nil, fmt.Errorf("nats: stream %s: give back the records of a killed process: %w", c.name, err)
	}
	acks, err := newAcker(l)
	if err != nil {
		return nil, fmt.Errorf("nats: stream %s: %w", c.name, err)
	}
	return &reader{
		link: l, cfg: c, durable: durable,
		partition: primitives.Partition{Topic: c.name},
		leaseTime: leaseTime(consumer.Config),
		limits:    newPullLimits(consumer.Config, l.nc.MaxPayload()),
		acks:      acks,
		log:       env.Logger,
	}, nil
}

// leaseTime is the shortest time after which the server delivers a record again.
func leaseTime(c jetstream.ConsumerConfig) time.Duration {
	t := c.AckWait
	if t == 0 {
		t = defaultAckWait
	}
	for _, b := range c.BackOff { // the server uses it in place of the ack wait
		t = min(t, b)
	}
	return t
}

// Run pulls records into its lane until ctx ends or the stream is gone.
func (r *reader) Run(ctx context.Context, intake primitives.Intake) error {
	if r.isClosed() {
		return primitives.ErrClosed
	}
	lane := intake.Assign(r.partition, 0)

	var keeper sync.WaitGroup
	keeping, stopKeeper := context.WithCancel(context.WithoutCancel(ctx))
	keeper.Go(func() { r.keepHeld(keeping) })
	defer keeper.Wait()
	defer stopKeeper()

	for {
		err := r.pullUntilError(ctx, lane)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, primitives.ErrDraining), errors.Is(err, primitives.ErrReleased):
			<-ctx.Done() // the leases of running records are kept until then
			return nil
		}
		err = r.diagnose(ctx, err)
		if ctx.Err() != nil {
			return nil
		}
		err = fmt.Errorf("nats: read %s with consumer %s: %w", r.cfg.name, r.durable, err)
		if !retryable(err) {
			return err
		}
		if err := r.retry(ctx, intake, err); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
	}
}

// diagnose finds out whether the consumer still exists, and returns that as the
// better reason when it does not.
func (r *reader) diagnose(ctx context.Context, reason error) error {
	if errors.Is(reason, errDisconnected) {
		return reason
	}
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	_, err := r.link.js.Consumer(ctx, r.cfg.name, r.durable)
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		// A server says this of a stream that is gone, too.
		if _, err := r.link.js.Stream(ctx, r.cfg.name); errors.Is(err, jetstream.ErrStreamNotFound) {
			return fmt.Errorf("the stream was deleted while it was read: %w", err)
		}
		return fmt.Errorf("the consumer was deleted while it was read, and with it what had been acknowledged: start again to create it: %w", err)
	}
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return fmt.Errorf("the stream was deleted while it was read: %w", err)
	}
	return reason
}

// retry waits as the intake says, but no longer than until a lost connection is back.
func (r *reader) retry(ctx context.Context, intake primitives.Intake, reason error) error {
	if !errors.Is(reason, errDisconnected) {
		return intake.Retry(ctx, reason)
	}
	waiting, cancel := context.WithCancel(ctx)
	defer cancel()
	back := r.link.connected()
	done := make(chan struct{})
	go func() {
		defer close(done)
		select {
		case <-back:
			cancel()
		case <-waiting.Done():
		}
	}()
	err := intake.Retry(waiting, reason)
	cancel()
	<-done
	select {
	case <-back:
		return nil
	default:
		return err
	}
}

// Backlog returns what the consumer has not delivered or not been acknowledged.
func (r *reader) Backlog(ctx context.Context) ([]primitives.Backlog, error) {
	if r.isClosed() {
		return nil, primitives.ErrClosed
	}
	c, err := r.link.js.Consumer(ctx, r.cfg.name, r.durable)
	if err != nil {
		return nil, fmt.Errorf("nats: backlog of %s: %w", r.cfg.name, err)
	}
	info := c.CachedInfo()
	return []primitives.Backlog{{Partition: r.partition, Records: int64(info.NumPending) + int64(info.NumAckPending)}}, nil
}

// Close closes the connection.
func (r *reader) Close(context.Context) error {
	r.once.Do(func() {
		r.closed.Store(true)
		r.ending = r.link.close()
	})
	return r.ending
}

func (r *reader) isClosed() bool { return r.closed.Load() }

// held are messages that were received and not yet taken by the lane. The
// runtime does not know them, so the reader extends their leases itself: a push
// can take long when the lane is full.
type held struct {
	mu    sync.Mutex
	msgs  []*natsgo.Msg // in the hands of Run
	inbox *inbox        // of the current pull
}

func (h *held) set(msgs []*natsgo.Msg) {
	h.mu.Lock()
	h.msgs = msgs
	h.mu.Unlock()
}

func (h *held) setInbox(in *inbox) {
	h.mu.Lock()
	h.inbox = in
	h.mu.Unlock()
}

// appendReplies appends the ack subjects of the messages that are held.
func (h *held) appendReplies(dst []string) []string {
	h.mu.Lock()
	in := h.inbox
	for _, m := range h.msgs {
		dst = append(dst, m.Reply)
	}
	h.mu.Unlock()
	if in == nil {
		return dst
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	for _, m := range in.msgs {
		if m.Reply != "" {
			dst = append(dst, m.Reply)
		}
	}
	return dst
}

// keepHeld extends the leases of what is held every third of their time.
func (r *reader) keepHeld(ctx context.Context) {
	tick := time.NewTicker(max(r.leaseTime/3, time.Millisecond))
	defer tick.Stop()
	var replies []string
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		replies = r.held.appendReplies(replies[:0])
		for _, reply := range replies {
			if err := r.link.nc.Publish(reply, ackProgress); err != nil {
				break // without a connection the leases end; the server delivers again
			}
		}
		clear(replies)
	}
}
