package memory

import (
	"context"
	"fmt"

	"github.com/flowkit-go/flow/primitives"
)

// A State is what a broker holds at one moment. It is valid only during the
// call of the function that it was given to.
type State struct{ b *Broker }

// Records returns a copy of what a partition holds, in order.
func (s *State) Records(topic string, partition int32) []primitives.Record {
	if p := s.partition(topic, partition); p != nil {
		return p.all()
	}
	return nil
}

// Len is the number of records that a topic holds in all its partitions.
func (s *State) Len(topic string) int {
	t := s.b.topics[topic]
	if t == nil {
		return 0
	}
	n := 0
	for _, p := range t.parts {
		n += p.stored
	}
	return n
}

// Next is the offset that the next record of a partition gets.
func (s *State) Next(topic string, partition int32) int64 {
	if p := s.partition(topic, partition); p != nil {
		return p.next
	}
	return 0
}

// Committed is the position that a group has committed, -1 when it has none.
func (s *State) Committed(group, topic string, partition int32) int64 {
	if sh := s.share(group, topic, partition); sh != nil {
		return sh.committed
	}
	return -1
}

// Holder names the reader that has a lane for a partition: its processor and
// the number of its opening, as "bill-1", or "reader-1" without a processor. It
// is empty when no reader has.
func (s *State) Holder(group, topic string, partition int32) string {
	if sh := s.share(group, topic, partition); sh != nil && sh.owner != nil {
		return sh.owner.name
	}
	return ""
}

// Members is the number of readers that are in a group.
func (s *State) Members(group, topic string) int {
	if t := s.b.topics[topic]; t != nil && t.groups[group] != nil {
		return len(t.groups[group].members)
	}
	return 0
}

func (s *State) partition(topic string, id int32) *partition {
	if t := s.b.topics[topic]; t != nil && id >= 0 && int(id) < len(t.parts) {
		return t.parts[id]
	}
	return nil
}

func (s *State) share(group, topic string, id int32) *share {
	if t := s.b.topics[topic]; t != nil && t.groups[group] != nil && id >= 0 && int(id) < len(t.groups[group].shares) {
		return t.groups[group].shares[id]
	}
	return nil
}

// Look calls f with the broker's state. Nothing changes while f runs; f must not
// call the broker.
func (b *Broker) Look(f func(*State)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f(&State{b})
}

// Wait calls f with the broker's state, now and after each change, until it
// returns true; f must not call the broker. When ctx ends first it returns an
// error that wraps the context's.
func (b *Broker) Wait(ctx context.Context, f func(*State) bool) error {
	for {
		b.mu.Lock()
		ok := f(&State{b})
		wake := b.changed.wait()
		b.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-wake:
		case <-ctx.Done():
			return fmt.Errorf("memory: wait: %w", context.Cause(ctx))
		}
	}
}

// Records returns a copy of what a partition holds, in order.
func (b *Broker) Records(topic string, partition int32) (records []primitives.Record) {
	b.Look(func(s *State) { records = s.Records(topic, partition) })
	return records
}

// Committed is the position that a group has committed, -1 when it has none.
func (b *Broker) Committed(group, topic string, partition int32) (next int64) {
	b.Look(func(s *State) { next = s.Committed(group, topic, partition) })
	return next
}
