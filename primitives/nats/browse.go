package nats

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/flowkit-go/flow/primitives"
)

var (
	_ primitives.Browser  = Stream[string]{}
	_ primitives.Returner = Stream[string]{}
	_ primitives.Browsing = (*browsing)(nil)
	_ primitives.Remover  = (*browsing)(nil)
)

// Browse looks at what the stream stores, without a consumer. It errs when the
// stream does not exist. Positions are the sequence numbers of the stream; those
// of records that a Reader gives are numbers of deliveries.
func (s Stream[T]) Browse(ctx context.Context, env *primitives.Env) (primitives.Browsing, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	c := s.config()
	l, err := openLink(ctx, c, env)
	if err != nil {
		return nil, err
	}
	stream, err := l.js.Stream(ctx, c.name)
	if err != nil {
		return nil, errors.Join(l.setupError(c, "look at", err), l.close())
	}
	b := &browsing{link: l, stream: stream, partition: primitives.Partition{Topic: c.name}, subject: c.subject}
	if b.subject == "" {
		b.subject = ">"
	}
	return b, nil
}

// OpenReturn opens a writer for records that were read from the stream. It does
// not give the server the id of a record that has one: the server would drop it as
// a duplicate of itself.
func (s Stream[T]) OpenReturn(ctx context.Context, env *primitives.Env, topic string) (primitives.Writer, error) {
	c := s.config()
	if topic != c.name {
		return nil, fmt.Errorf("nats: %s is not the stream %s", topic, c.name)
	}
	c.msgIDs = false
	return openWriter(ctx, c, env)
}

// followPause is how often a look that has reached the end asks again.
const followPause = 100 * time.Millisecond

// browsing is a look at a stream. It asks for one message after the other, which
// works whatever the retention and the consumers of the stream are.
type browsing struct {
	link      *link
	stream    jetstream.Stream
	partition primitives.Partition
	subject   string // of the messages that are looked at
	closed    bool
}

// next returns the first message at seq or above, nil when there is none.
func (b *browsing) next(ctx context.Context, seq int64) (*jetstream.RawStreamMsg, error) {
	m, err := b.stream.GetMsg(ctx, uint64(max(seq, 1)), jetstream.WithGetMsgSubject(b.subject))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("nats: read %s at %d: %w", b.partition.Topic, seq, err)
	}
	return m, nil
}

// Spans returns one span. Time is when the server stored a record.
func (b *browsing) Spans(ctx context.Context, since time.Time) ([]primitives.Span, error) {
	info, err := b.stream.Info(ctx)
	if err != nil {
		return nil, fmt.Errorf("nats: look at %s: %w", b.partition.Topic, err)
	}
	s := primitives.Span{Partition: b.partition, From: int64(info.State.FirstSeq), To: int64(info.State.LastSeq) + 1}
	s.From = min(s.From, s.To)
	if since.IsZero() {
		return []primitives.Span{s}, nil
	}
	var failure error
	first := s.From
	s.From += int64(sort.Search(int(s.To-s.From), func(i int) bool {
		if failure != nil {
			return true
		}
		m, err := b.next(ctx, first+int64(i))
		failure = err
		return m == nil || !m.Time.Before(since)
	}))
	return []primitives.Span{s}, failure
}

// Read asks for the messages of the spans.
func (b *browsing) Read(ctx context.Context, spans []primitives.Span, each func(primitives.Record) error) error {
	for _, s := range spans {
		if s.Partition != b.partition {
			return fmt.Errorf("nats: stream %s has no partition %s", b.partition.Topic, s.Partition)
		}
		for at := s.From; at < s.To; {
			m, err := b.next(ctx, at)
			if err != nil {
				if ctx.Err() != nil {
					return ctx.Err()
				}
				return err
			}
			if m == nil && s.To != primitives.Endless || m != nil && int64(m.Sequence) >= s.To {
				break
			}
			if m == nil {
				if err := b.pause(ctx); err != nil {
					return err
				}
				continue
			}
			r := primitives.Record{Value: m.Data, Time: m.Time, Offset: int64(m.Sequence), Partition: &s.Partition}
			decodeHeaders(m.Header, &r)
			if err := each(r); err != nil {
				return err
			}
			at = int64(m.Sequence) + 1
		}
	}
	return ctx.Err()
}

func (b *browsing) pause(ctx context.Context) error {
	timer := time.NewTimer(followPause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Remove deletes messages from the stream.
func (b *browsing) Remove(ctx context.Context, p primitives.Partition, offsets []int64) error {
	if p != b.partition {
		return fmt.Errorf("nats: stream %s has no partition %s", b.partition.Topic, p)
	}
	for _, seq := range offsets {
		err := b.stream.DeleteMsg(ctx, uint64(seq))
		if err == nil || apiCode(err) == codeSequenceNotFound || errors.Is(err, jetstream.ErrMsgNotFound) {
			continue
		}
		if m, gone := b.stream.GetMsg(ctx, uint64(seq)); m == nil && errors.Is(gone, jetstream.ErrMsgNotFound) {
			continue
		}
		return fmt.Errorf("nats: delete %s@%d: %w", p.Topic, seq, err)
	}
	return nil
}

// Close closes the connection.
func (b *browsing) Close(context.Context) error {
	if b.closed {
		return nil
	}
	b.closed = true
	return b.link.close()
}
