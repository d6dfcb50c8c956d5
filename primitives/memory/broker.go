package memory

import (
	"fmt"
	"sync"

	"github.com/flowkit-go/flow/primitives"
)

// A Broker holds topics, queues, and the progress of consumer groups. It is safe
// for concurrent use. Make one with NewBroker.
type Broker struct {
	// mu guards everything below it and everything reachable from there. It is
	// held for the bookkeeping of a burst, never while calling a control function,
	// a lane or an intake.
	mu       sync.Mutex
	topics   map[string]*topic
	queues   map[string]*queue
	controls []*control
	changed  signal // anything that Wait can see
}

// NewBroker returns an empty broker.
func NewBroker() *Broker {
	return &Broker{topics: map[string]*topic{}, queues: map[string]*queue{}}
}

// A topic is a number of logs and the groups that read them.
type topic struct {
	name   string
	parts  []*partition
	groups map[string]*group
}

// topic returns the topic of that name with at least n partitions. The caller
// holds mu.
func (b *Broker) topic(name string, n int) *topic {
	t := b.topics[name]
	if t == nil {
		t = &topic{name: name, groups: map[string]*group{}}
		b.topics[name] = t
	}
	if len(t.parts) >= n {
		return t
	}
	for len(t.parts) < n {
		t.parts = append(t.parts, &partition{})
	}
	for _, g := range t.groups {
		g.balance()
	}
	b.changed.broadcast()
	return t
}

// Append stores records in a partition of a topic, as they are and without
// calling control functions. A record whose Offset lies above the end of the log
// keeps it and so leaves a hole, as compaction does; any other gets the next
// offset. The bytes are copied. The topic and the partition are made if they do
// not exist.
func (b *Broker) Append(topic string, partition int32, records ...primitives.Record) {
	stored := make([]primitives.Record, len(records))
	var a arena
	a.grow(records)
	for i := range records {
		a.copy(&stored[i], &records[i])
		stored[i].Offset, stored[i].Attempt = records[i].Offset, records[i].Attempt
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.topic(topic, int(partition)+1).parts[partition].append(stored)
	b.changed.broadcast()
}

// Advance moves the end of a log up to next without storing anything, as a
// compacted tail or the marker of a transaction does. Readers tell their lane.
func (b *Broker) Advance(topic string, partition int32, next int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	p := b.topic(topic, int(partition)+1).parts[partition]
	p.next = max(p.next, next)
	p.appended.broadcast()
	b.changed.broadcast()
}

// Close does nothing. It lets a flow share a broker among its topics.
func (b *Broker) Close() error { return nil }

// use returns the broker given, or the one that all of a flow's topics and
// queues without a broker share until the last is closed.
func use(b *Broker, env *primitives.Env) (*Broker, func() error, error) {
	if b != nil {
		return b, func() error { return nil }, nil
	}
	if env == nil || env.Shared == nil {
		return nil, nil, fmt.Errorf("set Broker to a memory.NewBroker(): there is no flow to share one with")
	}
	return primitives.Share(env.Shared, "memory", func() (*Broker, error) { return NewBroker(), nil })
}

// A signal wakes everyone who waits for a change. Its methods are called with
// the mutex held that guards what changes.
type signal struct{ ch chan struct{} }

// wait returns a channel that is closed by the next broadcast.
func (s *signal) wait() <-chan struct{} {
	if s.ch == nil {
		s.ch = make(chan struct{})
	}
	return s.ch
}

func (s *signal) broadcast() {
	if s.ch != nil {
		close(s.ch)
		s.ch = nil
	}
}
