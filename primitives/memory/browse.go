package memory

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/flowkit-go/flow/primitives"
)

var (
	_ primitives.Browser  = Topic[string]{}
	_ primitives.Browser  = Queue[string]{}
	_ primitives.Browsing = (*topicBrowsing)(nil)
	_ primitives.Browsing = (*queueBrowsing)(nil)
	_ primitives.Remover  = (*queueBrowsing)(nil)
)

// Browse looks at what the topic holds. It errs without a Broker: the records are
// then inside of a run of a flow.
func (t Topic[T]) Browse(context.Context, *primitives.Env) (primitives.Browsing, error) {
	if err := t.Validate(); err != nil {
		return nil, err
	}
	if t.Broker == nil {
		return nil, errNoBroker("topic", t.Name)
	}
	t.Broker.mu.Lock()
	defer t.Broker.mu.Unlock()
	if t.Broker.topics[t.Name] == nil {
		return nil, fmt.Errorf("memory: there is no topic %s", t.Name)
	}
	return &topicBrowsing{broker: t.Broker, name: t.Name}, nil
}

// Browse looks at what the queue holds, lent or not. It errs without a Broker.
func (q Queue[T]) Browse(context.Context, *primitives.Env) (primitives.Browsing, error) {
	if err := q.Validate(); err != nil {
		return nil, err
	}
	if q.Broker == nil {
		return nil, errNoBroker("queue", q.Name)
	}
	q.Broker.mu.Lock()
	defer q.Broker.mu.Unlock()
	if q.Broker.queues[q.Name] == nil {
		return nil, fmt.Errorf("memory: there is no queue %s", q.Name)
	}
	return &queueBrowsing{broker: q.Broker, queue: q.Broker.queues[q.Name]}, nil
}

func errNoBroker(what, name string) error {
	return fmt.Errorf("memory: %s %s has no Broker: its records are inside of the flow that runs, and cannot be seen from elsewhere", what, name)
}

// readAtOnce is the number of records that are taken with the lock held.
const readAtOnce = 1024

type topicBrowsing struct {
	broker *Broker
	name   string
}

// Spans returns one span per partition.
func (b *topicBrowsing) Spans(_ context.Context, since time.Time) ([]primitives.Span, error) {
	b.broker.mu.Lock()
	defer b.broker.mu.Unlock()
	var spans []primitives.Span
	for i, p := range b.broker.topics[b.name].parts {
		s := primitives.Span{Partition: primitives.Partition{Topic: b.name, ID: int32(i)}, From: p.first(), To: p.next}
		if !since.IsZero() {
			s.From = p.firstSince(since)
		}
		spans = append(spans, s)
	}
	return spans, nil
}

// firstSince is the offset of the first record whose time is not before t, or next
// when there is none.
func (p *partition) firstSince(t time.Time) int64 {
	for s := p.head; s != nil; s = s.next {
		for i := range s.records {
			if !s.records[i].Time.Before(t) {
				return s.records[i].Offset
			}
		}
	}
	return p.next
}

// Read takes the records of the spans in turn.
func (b *topicBrowsing) Read(ctx context.Context, spans []primitives.Span, each func(primitives.Record) error) error {
	cursors := make([]cursor, len(spans))
	b.broker.mu.Lock()
	parts := b.broker.topics[b.name].parts
	for i, s := range spans {
		if s.Partition.Topic != b.name || s.Partition.ID < 0 || int(s.Partition.ID) >= len(parts) {
			b.broker.mu.Unlock()
			return fmt.Errorf("memory: topic %s has no partition %s", b.name, s.Partition)
		}
		cursors[i] = parts[s.Partition.ID].seek(s.From)
	}
	b.broker.mu.Unlock()
	for {
		done, progress := true, false
		b.broker.mu.Lock()
		wake := b.broker.changed.wait()
		b.broker.mu.Unlock()
		for i, s := range spans {
			if cursors[i].pos >= s.To {
				continue
			}
			b.broker.mu.Lock()
			part := b.broker.topics[b.name].parts[s.Partition.ID]
			records := part.read(&cursors[i], readAtOnce, s.To)
			if len(records) == 0 && part.next >= s.To {
				cursors[i].pos = s.To // the rest is a hole
			}
			b.broker.mu.Unlock()
			progress = progress || len(records) > 0
			done = done && cursors[i].pos >= s.To
			for _, r := range records {
				r.Partition = &s.Partition
				if err := each(r); err != nil {
					return err
				}
			}
		}
		if done {
			return nil
		}
		if err := ctx.Err(); err != nil || progress {
			if err != nil {
				return err
			}
			continue
		}
		select {
		case <-wake:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Close does nothing.
func (b *topicBrowsing) Close(context.Context) error { return nil }

type queueBrowsing struct {
	broker *Broker
	queue  *queue
}

func (b *queueBrowsing) partition() primitives.Partition {
	return primitives.Partition{Topic: b.queue.name}
}

// messages returns what is stored from position from on, in order. The caller
// holds the lock.
func (q *queue) messages(from int64) []*message {
	var all []*message
	for _, list := range [][]*message{q.ready.list, q.later.list} {
		for _, m := range list {
			if m.number >= from {
				all = append(all, m)
			}
		}
	}
	slices.SortFunc(all, func(a, b *message) int { return cmp.Compare(a.number, b.number) })
	return all
}

// Spans returns one span, with the records' numbers in the order of writing.
func (b *queueBrowsing) Spans(_ context.Context, since time.Time) ([]primitives.Span, error) {
	b.broker.mu.Lock()
	defer b.broker.mu.Unlock()
	s := primitives.Span{Partition: b.partition(), From: b.queue.written, To: b.queue.written}
	for _, m := range b.queue.messages(0) {
		if !m.record.Time.Before(since) {
			s.From = m.number
			break
		}
	}
	return []primitives.Span{s}, nil
}

// Read gives the records that are in the queue, and with an endless span those
// that come.
func (b *queueBrowsing) Read(ctx context.Context, spans []primitives.Span, each func(primitives.Record) error) error {
	for _, s := range spans {
		if s.Partition != b.partition() {
			return fmt.Errorf("memory: queue %s has no partition %s", b.queue.name, s.Partition)
		}
		for from := s.From; from < s.To; {
			b.broker.mu.Lock()
			wake := b.broker.changed.wait()
			written := b.queue.written
			var records []primitives.Record
			for _, m := range b.queue.messages(from) {
				if m.number < s.To {
					r := m.record
					r.Partition, r.Offset, r.Attempt = &s.Partition, m.number, m.deliveries
					records = append(records, r)
				}
			}
			b.broker.mu.Unlock()
			for _, r := range records {
				if err := each(r); err != nil {
					return err
				}
			}
			from = written
			if from >= s.To {
				break
			}
			select {
			case <-wake:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	return nil
}

// Remove deletes records, also those that are lent.
func (b *queueBrowsing) Remove(_ context.Context, p primitives.Partition, offsets []int64) error {
	if p != b.partition() {
		return fmt.Errorf("memory: queue %s has no partition %s", b.queue.name, p)
	}
	b.broker.mu.Lock()
	defer b.broker.mu.Unlock()
	for _, m := range b.queue.messages(0) {
		if slices.Contains(offsets, m.number) {
			b.queue.move(m, nil)
		}
	}
	b.queue.changed.broadcast()
	b.broker.changed.broadcast()
	return nil
}

// Close does nothing.
func (b *queueBrowsing) Close(context.Context) error { return nil }
