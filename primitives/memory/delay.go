package memory

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/flowkit-go/flow/primitives"
)

var _ primitives.Delayer = (*delayingReader)(nil)

// A delayingReader reads a topic, and beside it one topic per delay, from which
// records come again when their delay is over. It is a member of the group in each.
type delayingReader struct {
	*reader
	delays []time.Duration
	tiers  []*reader
}

const headerDue = "flow-memory-due" // when a delayed record is due, in Unix nanoseconds
const headerAttempt = "flow-memory-attempt"

// delayTopic names the topic of a group for one delay.
func delayTopic(topic, group string, d time.Duration) string {
	return fmt.Sprintf("%s.%s.retry-%s", topic, group, d)
}

func newDelayingReader(r *reader, env *primitives.Env, delays []time.Duration) primitives.Reader {
	if len(delays) == 0 {
		return r
	}
	d := &delayingReader{reader: r, delays: slices.Clone(delays)}
	slices.Sort(d.delays)
	for _, each := range d.delays {
		cfg := r.readerConfig
		cfg.topic, cfg.partitions, cfg.delayed = delayTopic(r.topic, r.groupName, each), 1, true
		d.tiers = append(d.tiers, newReader(r.broker, func() error { return nil }, env, cfg))
	}
	return d
}

// Delays returns the delays that the topic was given.
func (r *delayingReader) Delays() []time.Duration { return slices.Clone(r.delays) }

// Delay stores a record in the topic of its delay.
func (r *delayingReader) Delay(ctx context.Context, rec primitives.Record, d time.Duration) error {
	i := slices.IndexFunc(r.delays, func(each time.Duration) bool { return each >= d })
	if i < 0 {
		i = len(r.delays) - 1
	}
	name := r.tiers[i].topic
	due := strconv.FormatInt(time.Now().Add(r.delays[i]).UnixNano(), 10)
	rec.Headers = append(slices.Clip(rec.Headers),
		primitives.Header{Name: headerDue, Value: []byte(due)},
		primitives.Header{Name: headerAttempt, Value: strconv.AppendInt(nil, int64(rec.Attempt), 10)})
	store := &topicStore{broker: r.broker, name: name}
	return store.write(ctx, []primitives.Record{rec})
}

// Run reads all of the topics.
func (r *delayingReader) Run(ctx context.Context, intake primitives.Intake) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error)
	all := append([]*reader{r.reader}, r.tiers...)
	for _, each := range all {
		go func() { ended <- each.Run(ctx, intake) }()
	}
	var errs []error
	for range all {
		err := <-ended
		if err != nil {
			cancel()
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// Commit gives each topic its commits.
func (r *delayingReader) Commit(ctx context.Context, commits []primitives.Commit) error {
	errs := make([]error, len(commits))
	failed := false
	for i, c := range commits {
		errs[i] = r.of(c.Partition.Topic).Commit(ctx, commits[i:i+1])
		failed = failed || errs[i] != nil
	}
	if failed {
		return &primitives.CommitError{Errs: errs}
	}
	return nil
}

func (r *delayingReader) of(topic string) *reader {
	for _, tier := range r.tiers {
		if tier.topic == topic {
			return tier
		}
	}
	return r.reader
}

// Backlog counts what waits in all of the topics.
func (r *delayingReader) Backlog(ctx context.Context) ([]primitives.Backlog, error) {
	all, err := r.reader.Backlog(ctx)
	for _, tier := range r.tiers {
		more, tierErr := tier.Backlog(ctx)
		all, err = append(all, more...), errors.Join(err, tierErr)
	}
	return all, err
}

// Reclaim begins a partition of any of the topics anew.
func (r *delayingReader) Reclaim(p primitives.Partition, epoch int64) {
	r.of(p.Topic).Reclaim(p, epoch)
}

// Seek goes on with a partition of any of the topics at another position.
func (r *delayingReader) Seek(ctx context.Context, p primitives.Partition, next int64) error {
	return r.of(p.Topic).Seek(ctx, p, next)
}

// Pause stops pushing records of partitions of any of the topics.
func (r *delayingReader) Pause(partitions []primitives.Partition) { r.setAll(partitions, true) }

// Resume goes on with them.
func (r *delayingReader) Resume(partitions []primitives.Partition) { r.setAll(partitions, false) }

func (r *delayingReader) setAll(partitions []primitives.Partition, paused bool) {
	for _, each := range append([]*reader{r.reader}, r.tiers...) {
		each.setPaused(partitions, paused)
	}
}

// Close leaves the group in all of the topics.
func (r *delayingReader) Close(ctx context.Context) error {
	err := r.reader.Close(ctx)
	for _, tier := range r.tiers {
		err = errors.Join(err, tier.Close(ctx))
	}
	return err
}

// awaitDue waits until the first of some delayed records is due, takes off what Delay put
// on it, and returns it alone: others of the topic are due later.
func awaitDue(ctx context.Context, recs []primitives.Record) (primitives.Record, error) {
	rec := recs[0]
	due, _ := rec.Header(headerDue)
	attempt, _ := rec.Header(headerAttempt)
	at, _ := strconv.ParseInt(string(due), 10, 64)
	n, _ := strconv.ParseInt(string(attempt), 10, 32)
	rec.Attempt = int32(n)
	rec.Headers = rec.Headers[:len(rec.Headers)-2]
	timer := time.NewTimer(time.Until(time.Unix(0, at)))
	defer timer.Stop()
	select {
	case <-timer.C:
		return rec, nil
	case <-ctx.Done():
		return rec, ctx.Err()
	}
}
