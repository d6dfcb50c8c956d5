package main

import (
	"context"
	"fmt"
	"time"

	"github.com/goccy/go-json"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/flowkit-go/flow/bench/kafka/programs"
)

// outputs is what a round has left in its output topic.
type outputs struct {
	first, last time.Time // appended
	repeated    int
}

// A checker takes the outputs of a round one by one.
type checker struct {
	seen []bool
	keys map[string]int64 // the highest number of each key
	outputs
	count int
}

func newChecker(n int) *checker { return &checker{seen: make([]bool, n), keys: map[string]int64{}} }

// take looks at one output. The records of a key are numbered in the order in which they
// were sent, and are in one partition.
func (c *checker) take(r *kgo.Record) error {
	seq, err := seqOf(r.Value)
	if err != nil {
		return err
	}
	if seq < 0 || seq >= int64(len(c.seen)) {
		return fmt.Errorf("output %d was never sent", seq)
	}
	if c.seen[seq] {
		c.repeated++
	} else if last, ok := c.keys[string(r.Key)]; ok && seq < last {
		return fmt.Errorf("key %s: output %d comes after %d", r.Key, seq, last)
	} else {
		c.seen[seq] = true
		c.keys[string(r.Key)] = seq
	}
	if c.count%100 == 0 { // all of them would take longer than the round
		var o programs.Order
		if err := json.Unmarshal(r.Value, &o); err != nil {
			return fmt.Errorf("output %q: %w", r.Value, err)
		}
		if o.Customer != string(r.Key) {
			return fmt.Errorf("output %d has the key %q", seq, r.Key)
		}
		if err := o.Check(); err != nil {
			return err
		}
	}
	c.count++
	if c.first.IsZero() || r.Timestamp.Before(c.first) {
		c.first = r.Timestamp
	}
	if r.Timestamp.After(c.last) {
		c.last = r.Timestamp
	}
	return nil
}

// missing counts the records without an output.
func (c *checker) missing() error {
	n, example := 0, 0
	for seq, seen := range c.seen {
		if !seen {
			n, example = n+1, seq
		}
	}
	if n > 0 {
		return fmt.Errorf("%d of %d records have no output, as %d", n, len(c.seen), example)
	}
	return nil
}

// verify reads a topic from its start to its end and checks it against records 0 to n-1.
func (b *bench) verify(ctx context.Context, topic string, n int) (outputs, error) {
	check := newChecker(n)
	if err := b.c.Read(ctx, topic, check.take); err != nil {
		return check.outputs, err
	}
	return check.outputs, check.missing()
}
