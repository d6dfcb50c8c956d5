package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/primitives/kafka/driver"
)

// Delay topics: a record that is to be tried again later is written to a topic of the
// group for that delay, and read from there by the same member of the group. All
// records of one such topic wait equally long, so the first of a partition is the
// first that is due: the lane gets it then, and not before.

// Headers of a record in a delay topic. They are taken off again.
const (
	headerDue     = "flow-due"     // when it is due, in Unix milliseconds
	headerAttempt = "flow-attempt" // Record.Attempt
	headerTime    = "flow-time"    // Record.Time in Unix milliseconds; the topic's retention goes by the time of writing
	delayHeaders  = 3
)

// retryTopic names the topic of a group for one delay: "shop.billing.retry-30s".
func retryTopic(group string, d time.Duration) string {
	name := d.String()
	if strings.HasSuffix(name, "m0s") {
		name = strings.TrimSuffix(name, "0s")
	}
	if strings.HasSuffix(name, "h0m") {
		name = strings.TrimSuffix(name, "0m")
	}
	return group + ".retry-" + name
}

// RetryTopics are the names of the topics that RetryDelays need, in the order of the
// delays. They must exist, and keep records for longer than the delay. Empty when
// Group is.
func (t Topic[T]) RetryTopics() []string { return t.consuming().retryTopics() }

// RetryTopics does what Topic.RetryTopics does.
func (t Topics[T]) RetryTopics() []string { return t.consuming().retryTopics() }

func (c *consuming) retryTopics() []string {
	if c.group == "" {
		return nil
	}
	var out []string
	for _, d := range c.sortedDelays() {
		out = append(out, retryTopic(c.group, d))
	}
	return out
}

func (c *consuming) sortedDelays() []time.Duration {
	out := slices.Clone(c.delays)
	slices.Sort(out)
	return out
}

// tier is the topic of one delay.
type tier struct {
	delay    time.Duration
	topic    string
	producer driver.Producer
}

var _ primitives.Delayer = (*reader)(nil)

// Delays returns RetryDelays, ascending.
func (r *reader) Delays() []time.Duration {
	var out []time.Duration
	for _, t := range r.tiers {
		out = append(out, t.delay)
	}
	return out
}

// Delay writes a record to the topic of its delay.
func (r *reader) Delay(ctx context.Context, rec primitives.Record, d time.Duration) error {
	if r.isClosed() {
		return primitives.ErrClosed
	}
	if len(r.tiers) == 0 {
		return errors.New("kafka: a record cannot be delayed: RetryDelays is empty")
	}
	i := slices.IndexFunc(r.tiers, func(t *tier) bool { return t.delay >= d })
	if i < 0 {
		i = len(r.tiers) - 1
	}
	t := r.tiers[i]
	number := func(n int64) []byte { return strconv.AppendInt(nil, n, 10) }
	at := int64(0)
	if !rec.Time.IsZero() {
		at = rec.Time.UnixMilli()
	}
	out := primitives.Record{Key: rec.Key, Value: rec.Value, Headers: append(slices.Clip(rec.Headers),
		primitives.Header{Name: headerDue, Value: number(time.Now().Add(t.delay).UnixMilli())},
		primitives.Header{Name: headerAttempt, Value: number(int64(rec.Attempt))},
		primitives.Header{Name: headerTime, Value: number(at)},
	)}
	done := make(chan error, 1)
	t.producer.Write(ctx, []primitives.Record{out}, func(err error) { done <- err })
	if err := <-done; err != nil {
		return fmt.Errorf("kafka: delay a record in %s: %w", t.topic, err)
	}
	return nil
}

// openTiers opens a writer for each delay.
func (r *reader) openTiers(ctx context.Context, cluster driver.Cluster) error {
	for _, d := range r.cfg.sortedDelays() {
		t := &tier{delay: d, topic: retryTopic(r.with.Group, d)}
		var err error
		t.producer, err = r.cfg.cluster.driver().OpenProducer(ctx, cluster, driver.Producing{Topic: t.topic, Logger: r.log})
		if err != nil {
			return fmt.Errorf("kafka: delay topic %s: %w", t.topic, err)
		}
		r.tiers = append(r.tiers, t)
	}
	return nil
}

func (r *reader) closeTiers(ctx context.Context) error {
	var errs []error
	for _, t := range r.tiers {
		errs = append(errs, t.producer.Close(ctx))
	}
	return errors.Join(errs...)
}

// delayed pushes the records of a delay topic, each when it is due.
func (a *assignment) delayed(ctx context.Context, lane primitives.Lane, burst []primitives.Record) error {
	for len(burst) > 0 {
		now := time.Now()
		ready := 0
		wait := time.Duration(0)
		for ready < len(burst) {
			due, ok := undelay(&burst[ready])
			if ok && due.After(now) {
				wait = due.Sub(now)
				break
			}
			if ok {
				takeOff(&burst[ready])
			}
			ready++
		}
		if ready > 0 {
			if _, err := lane.Push(ctx, burst[:ready]); err != nil {
				return err
			}
			burst = burst[ready:]
			continue
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
	}
	return nil
}

// undelay returns when a record is due, and whether Delay has written it.
func undelay(r *primitives.Record) (due time.Time, ok bool) {
	n := len(r.Headers) - delayHeaders
	if n < 0 || r.Headers[n].Name != headerDue || r.Headers[n+1].Name != headerAttempt || r.Headers[n+2].Name != headerTime {
		return time.Time{}, false
	}
	ms, err := strconv.ParseInt(string(r.Headers[n].Value), 10, 64)
	return time.UnixMilli(ms), err == nil
}

// takeOff gives a record back what Delay has put into headers.
func takeOff(r *primitives.Record) {
	n := len(r.Headers) - delayHeaders
	attempt, _ := strconv.ParseInt(string(r.Headers[n+1].Value), 10, 32)
	at, _ := strconv.ParseInt(string(r.Headers[n+2].Value), 10, 64)
	r.Attempt, r.Time = int32(attempt), time.Time{}
	if at != 0 {
		r.Time = time.UnixMilli(at)
	}
	if r.Headers = r.Headers[:n:n]; n == 0 {
		r.Headers = nil
	}
}
