package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/primitives/kafka/driver"
)

var (
	_ primitives.Browser  = Topic[string]{}
	_ primitives.Browser  = Topics[string]{}
	_ primitives.Browsing = (*browsing)(nil)
	_ primitives.Returner = Topics[string]{}
	_ primitives.Needer   = Topic[string]{}
	_ primitives.Needer   = Topics[string]{}
)

// Browse looks at the topic without a consumer group.
func (t Topic[T]) Browse(ctx context.Context, env *primitives.Env) (primitives.Browsing, error) {
	return browse(ctx, t.consuming(), env)
}

// Browse looks at the topics without a consumer group.
func (t Topics[T]) Browse(ctx context.Context, env *primitives.Env) (primitives.Browsing, error) {
	return browse(ctx, t.consuming(), env)
}

// OpenReturn opens a writer to one of the topics.
func (t Topics[T]) OpenReturn(ctx context.Context, env *primitives.Env, topic string) (primitives.Writer, error) {
	if !slices.Contains(t.Names, topic) {
		return nil, fmt.Errorf("kafka: topic %s is not one of %s", topic, t)
	}
	return openWriter(ctx, &producing{cluster: t.Cluster, with: driver.Producing{Topic: topic}}, env)
}

// Needs names the topic, and for a source its delay topics, where the brokers are
// those of the environment.
func (t Topic[T]) Needs(reader *primitives.Env) []primitives.Need {
	return t.consuming().needs(reader)
}

// Needs names the topics and their delay topics where the brokers are those of the
// environment.
func (t Topics[T]) Needs(reader *primitives.Env) []primitives.Need {
	return t.consuming().needs(reader)
}

func (c *consuming) needs(reader *primitives.Env) []primitives.Need {
	if len(c.cluster.Brokers) > 0 {
		return nil
	}
	topics := slices.Clone(c.topics)
	if reader != nil {
		if with, err := c.of(reader); err == nil { // another mistake is reported by who opens it
			for _, d := range c.sortedDelays() {
				topics = append(topics, retryTopic(with.Group, d))
			}
		}
	}
	return []primitives.Need{{System: "kafka", Variable: brokersVar, Names: topics}}
}

// browsing is a look at topics.
type browsing struct {
	topics    []string
	committed bool // only what transactions have committed
	fetching  driver.Fetching
}

// browsePatience is how long an error that may pass is borne with. Someone waits.
const (
	browsePatience = 10 * time.Second
	browsePause    = 200 * time.Millisecond
)

func browse(ctx context.Context, cfg *consuming, env *primitives.Env) (primitives.Browsing, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	cluster, err := cfg.cluster.resolve()
	if err != nil {
		return nil, err
	}
	operator, ok := cfg.cluster.driver().(driver.Operator)
	if !ok {
		return nil, fmt.Errorf("kafka: the driver %s cannot read without a group", cfg.cluster.driver().Name())
	}
	with := cfg.settings()
	with.Logger = env.Logger
	retry := func(ctx context.Context, err error) error { // of the fetcher; a Read has its own limit
		env.Logger.Debug("kafka: trying again", "error", err)
		timer := time.NewTimer(browsePause)
		defer timer.Stop()
		select {
		case <-timer.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	fetching, err := operator.OpenFetching(ctx, cluster, with, retry)
	if err != nil {
		return nil, openError(err)
	}
	if err := checkTopics(ctx, fetching, cluster, cfg.topics); err != nil {
		return nil, errors.Join(err, fetching.Close(context.WithoutCancel(ctx)))
	}
	return &browsing{topics: cfg.topics, committed: !with.ReadUncommitted, fetching: fetching}, nil
}

// Spans ends each partition where a reader would: before the first record of a
// transaction that is open, unless it reads what is not committed.
func (b *browsing) Spans(ctx context.Context, since time.Time) ([]primitives.Span, error) {
	ps, err := b.fetching.Partitions(ctx, b.topics...)
	if err != nil {
		return nil, fmt.Errorf("kafka: %w", err)
	}
	begin, end := driver.Earliest, driver.Latest
	if !since.IsZero() {
		begin = driver.At(since)
	}
	if b.committed {
		end = driver.Stable
	}
	// The end first: what is written in between belongs to no span.
	to, err := b.fetching.Offsets(ctx, ps, end)
	if err != nil {
		return nil, fmt.Errorf("kafka: %w", err)
	}
	from, err := b.fetching.Offsets(ctx, ps, begin)
	if err != nil {
		return nil, fmt.Errorf("kafka: %w", err)
	}
	spans := make([]primitives.Span, len(ps))
	for i, p := range ps {
		spans[i] = primitives.Span{Partition: p, From: min(from[i], to[i]), To: to[i]}
	}
	return spans, nil
}

// Read fetches the spans' partitions at the same time, and gives the records on in
// this goroutine.
func (b *browsing) Read(ctx context.Context, spans []primitives.Span, each func(primitives.Record) error) error {
	bursts := make(chan *browsed)
	left := 0
	endless := false
	var ps []primitives.Partition
	for _, s := range spans {
		if s.From < s.To {
			left++
			endless = endless || s.To == primitives.Endless
			ps = append(ps, s.Partition)
			b.fetching.Read(s.Partition, s.From, &browseStream{b: b, span: s, bursts: bursts})
		}
	}
	if left == 0 {
		return ctx.Err()
	}
	defer b.fetching.Stop(ps...)
	silent := time.NewTimer(browsePatience)
	defer silent.Stop()
	for left > 0 {
		select {
		case burst := <-bursts:
			if burst.err != nil {
				return burst.err
			}
			for _, r := range burst.records {
				r.Partition = &burst.partition
				if err := each(r); err != nil {
					return err
				}
			}
			if burst.last {
				left--
			}
			silent.Reset(browsePatience)
			close(burst.done)
		case err := <-b.fetching.Failed():
			return fmt.Errorf("kafka: %w", err)
		case <-silent.C:
			if !endless { // what is below the end of a partition is there to be fetched
				return fmt.Errorf("kafka: no broker has sent what is left of %d partitions within %v: look at the brokers' logs", left, browsePatience)
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// Close ends all reading and closes the connections.
func (b *browsing) Close(ctx context.Context) error {
	if err := b.fetching.Close(ctx); err != nil {
		return fmt.Errorf("kafka: close: %w", err)
	}
	return nil
}

// browsed is what a partition's stream hands over, and waits for the end of.
type browsed struct {
	partition primitives.Partition
	records   []primitives.Record
	last      bool // of its span
	err       error
	done      chan struct{}
}

// browseStream hands the records of one span to Read.
type browseStream struct {
	b      *browsing
	span   primitives.Span
	bursts chan<- *browsed
}

var _ driver.Stream = (*browseStream)(nil)

// errSpanRead ends a stream whose span is read.
var errSpanRead = fmt.Errorf("read to the end: %w", primitives.ErrReleased)

// Records implements driver.Stream.
func (s *browseStream) Records(ctx context.Context, burst []primitives.Record, next int64) error {
	out := &browsed{partition: s.span.Partition, records: burst, last: next >= s.span.To, done: make(chan struct{})}
	for i := range burst {
		if burst[i].Offset >= s.span.To {
			out.records = burst[:i]
			break
		}
	}
	if err := s.hand(ctx, out); err != nil {
		return err
	}
	if out.last {
		return errSpanRead
	}
	return nil
}

func (s *browseStream) hand(ctx context.Context, out *browsed) error {
	select {
	case s.bursts <- out:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-out.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// OutOfRange goes on at the oldest record: retention has taken what was asked for.
func (s *browseStream) OutOfRange(ctx context.Context, at int64) (int64, error) {
	first, err := s.b.fetching.Offsets(ctx, []primitives.Partition{s.span.Partition}, driver.Earliest)
	if err == nil && first[0] < at {
		first, err = s.b.fetching.Offsets(ctx, []primitives.Partition{s.span.Partition}, driver.Latest)
	}
	if err != nil {
		return 0, err
	}
	if first[0] >= s.span.To {
		if err := s.hand(ctx, &browsed{partition: s.span.Partition, last: true, done: make(chan struct{})}); err != nil {
			return 0, err
		}
		return 0, errSpanRead
	}
	return first[0], nil
}
