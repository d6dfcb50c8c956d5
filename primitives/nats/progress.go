package nats

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/flowkit-go/flow/primitives"
)

var (
	_ primitives.Replayer = Stream[string]{}
	_ primitives.Progress = (*progress)(nil)

	_ primitives.Backlogger = (*progress)(nil)
	_ primitives.Lending    = (*progress)(nil)
)

// OpenProgress opens the progress of the processor's durable consumer. Records that
// the stream has removed because they were acknowledged cannot be read again: what
// is to be replayed needs the retention Limits.
func (s Stream[T]) OpenProgress(ctx context.Context, env *primitives.Env) (primitives.Progress, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	c := s.config()
	durable := durableName(c, env.Processor)
	if durable == "" {
		return nil, fmt.Errorf("nats: stream %s: the processor has no name: set Durable", c.name)
	}
	l, err := openLink(ctx, c, env)
	if err != nil {
		return nil, err
	}
	return &progress{link: l, cfg: c, durable: durable}, nil
}

// progress is the position of a durable consumer.
type progress struct {
	link    *link
	cfg     *config
	durable string
	closed  bool
}

// String returns "consumer" and its name.
func (p *progress) String() string { return "consumer " + p.durable }

// info returns nil when the consumer does not exist.
func (p *progress) info(ctx context.Context) (*jetstream.ConsumerInfo, error) {
	c, err := p.link.js.Consumer(ctx, p.cfg.name, p.durable)
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("nats: look up consumer %s of stream %s: %w", p.durable, p.cfg.name, err)
	}
	return c.CachedInfo(), nil
}

// Committed returns the position behind which everything is acknowledged; some
// records above it may be too.
func (p *progress) Committed(ctx context.Context) ([]primitives.Commit, error) {
	info, err := p.info(ctx)
	if err != nil || info == nil {
		return nil, err
	}
	return []primitives.Commit{{Partition: primitives.Partition{Topic: p.cfg.name}, Next: int64(info.AckFloor.Stream) + 1}}, nil
}

// Backlog counts what the consumer has not delivered or not been acknowledged, whoever
// holds it. Where it does not exist yet that is all that it would begin with.
func (p *progress) Backlog(ctx context.Context) ([]primitives.Backlog, error) {
	info, err := p.info(ctx)
	if err != nil {
		return nil, err
	}
	waiting := int64(0)
	if info != nil {
		waiting = int64(info.NumPending) + int64(info.NumAckPending)
	} else if waiting, err = p.stored(ctx); err != nil {
		return nil, err
	}
	return []primitives.Backlog{{Partition: primitives.Partition{Topic: p.cfg.name}, Records: waiting}}, nil
}

// stored counts the stream's records that a new consumer would read.
func (p *progress) stored(ctx context.Context) (n int64, err error) {
	var opts []jetstream.StreamInfoOpt
	if p.cfg.subject != "" {
		opts = append(opts, jetstream.WithSubjectFilter(p.cfg.subject))
	}
	stream, err := p.link.js.Stream(ctx, p.cfg.name)
	if err != nil {
		return 0, p.link.setupError(p.cfg, "look up", err)
	}
	info, err := stream.Info(ctx, opts...)
	if err != nil {
		return 0, p.link.setupError(p.cfg, "look up", err)
	}
	if p.cfg.subject == "" {
		return int64(info.State.Msgs), nil
	}
	for _, records := range info.State.Subjects {
		n += int64(records)
	}
	return n, nil
}

// Lends implements primitives.Lending.
func (p *progress) Lends() {}

// Members describes the readers as far as the server knows of them: by requests
// that wait, and by records that were lent a moment ago.
func (p *progress) Members(ctx context.Context) ([]string, error) {
	info, err := p.info(ctx)
	if err != nil || info == nil {
		return nil, err
	}
	if n := info.NumWaiting; n > 0 {
		return []string{fmt.Sprintf("%d requests for records wait at the server", n)}, nil
	}
	recent := info.Delivered.Last != nil && info.TimeStamp.Sub(*info.Delivered.Last) < leaseTime(info.Config)
	if !p.link.local && info.NumAckPending > 0 && recent {
		return []string{fmt.Sprintf("%d records are lent, the last less than %v ago", info.NumAckPending, leaseTime(info.Config).Round(time.Second))}, nil
	}
	return nil, nil
}

// Reset makes the consumer begin at a sequence number of the stream. What is lent
// or waits for a delay is not any more. It needs a server of version 2.14 or newer.
func (p *progress) Reset(ctx context.Context, to []primitives.Commit) error {
	for _, c := range to {
		if c.Partition != (primitives.Partition{Topic: p.cfg.name}) || c.Next < 0 {
			return fmt.Errorf("nats: reset consumer %s: there is no position %s@%d", p.durable, c.Partition, c.Next)
		}
		members, err := p.Members(ctx)
		if err != nil {
			return err
		}
		if len(members) > 0 {
			return fmt.Errorf("nats: reset consumer %s of stream %s: %w", p.durable, p.cfg.name, primitives.ErrInUse)
		}
		stream, err := p.link.js.Stream(ctx, p.cfg.name)
		if err != nil {
			return p.link.setupError(p.cfg, "look up", err)
		}
		if _, err := p.link.ensureConsumer(ctx, p.cfg, stream.CachedInfo(), p.durable); err != nil {
			return err
		}
		_, err = p.link.js.ResetConsumerToSequence(ctx, p.cfg.name, p.durable, uint64(max(c.Next, 1)))
		if isNoJetStream(err) {
			err = fmt.Errorf("%w: the server must be of version 2.14 or newer", err)
		}
		if err != nil {
			return fmt.Errorf("nats: reset consumer %s of stream %s to %d: %w", p.durable, p.cfg.name, c.Next, err)
		}
	}
	return nil
}

// Close closes the connection.
func (p *progress) Close(context.Context) error {
	if p.closed {
		return nil
	}
	p.closed = true
	return p.link.close()
}
