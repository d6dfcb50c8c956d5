package producer

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/flowkit-go/flow/primitives"
)

// plan is what is found out about a batch before the lock is taken.
type plan struct {
	parts []int32 // by record: its partition, or one of the two below
	sizes []int32
	need  int
}

const (
	anyPartition = -1
	noPartition  = -2 // the record is refused
)

// latestTime is the latest that the client library can write, in milliseconds.
const latestTime = math.MaxInt64 / int64(time.Millisecond)

// write takes a batch for a topic, inside tx unless that is nil: it sorts the records into the session's queues.
func (e *engine) write(ctx context.Context, s *session, t *topic, tx *Txn, batch []primitives.Record, done func(error)) {
	c := &call{done: done, total: len(batch), left: 1}
	p := e.plans.Get().(*plan)
	defer e.plans.Put(p)
	e.plan(p, t, batch, c)

	e.mu.Lock()
	err := e.admit(ctx, p.need)
	if err == nil && tx != nil {
		if err = tx.mayWrite(); err != nil {
			e.used -= p.need
			e.calls--
			e.grant()
			e.checkIdle()
		}
	}
	if err != nil {
		e.unlock()
		done(err)
		return
	}
	now := time.Now()
	e.sort(s, t, p, batch, c, now.UnixMilli(), now.Add(e.cfg.Timeout))
	if c.release() {
		e.finished = append(e.finished, c)
	}
	e.unlock()
}

// plan chooses the partitions of records that have a key or name one, and
// refuses those that can't be written.
func (e *engine) plan(p *plan, t *topic, batch []primitives.Record, c *call) {
	count := t.count.Load()
	p.parts = slices.Grow(p.parts[:0], len(batch))[:len(batch)]
	p.sizes = slices.Grow(p.sizes[:0], len(batch))[:len(batch)]
	p.need = 0
	limit := t.format.MaxMessageBytes - batchHeader
	for i := range batch {
		r := &batch[i]
		size := sizeOf(r)
		part := int32(anyPartition)
		switch {
		case size > limit:
			c.fail(i, primitives.Permanent(fmt.Errorf("kafka: write to %s: record of %d bytes with its headers is larger than MaxMessageBytes, %d: raise it and the topic's max.message.bytes, or store the payload elsewhere", t.name, size, t.format.MaxMessageBytes)))
			part = noPartition
		case r.Partition != nil && (r.Partition.Topic == "" || r.Partition.Topic == t.name):
			part = r.Partition.ID
			if part < 0 || part >= count {
				c.fail(i, primitives.Permanent(fmt.Errorf("kafka: write to %s: there is no partition %d: the topic has 0 to %d", t.name, part, count-1)))
				part = noPartition
			}
		case r.Key != nil:
			part = t.format.Partitioner(r.Key, count)
			if part < 0 || part >= count {
				c.fail(i, primitives.Permanent(fmt.Errorf("kafka: write to %s: the partitioner chose %d of %d partitions", t.name, part, count)))
				part = noPartition
			}
		}
		if !r.Time.IsZero() {
			if ms := r.Time.UnixMilli(); (ms < 0 || ms > latestTime) && part != noPartition {
				c.fail(i, primitives.Permanent(fmt.Errorf("kafka: write to %s: the time %s can't be stored: it must be from 1970 to 2262", t.name, r.Time)))
				part = noPartition
			}
		}
		p.parts[i], p.sizes[i] = part, int32(size)
		if part != noPartition {
			p.need += size
		}
	}
}

// sort appends the records to the last batches of their partitions.
func (e *engine) sort(s *session, t *topic, p *plan, batch []primitives.Record, c *call, now int64, deadline time.Time) {
	queues := s.queuesOf(t)
	limit := t.format.MaxMessageBytes - batchHeader
	sticky := int32(anyPartition)
	for i := range batch {
		part, size := p.parts[i], int(p.sizes[i])
		if part < 0 {
			if part == noPartition {
				continue
			}
			if sticky < 0 {
				sticky = t.next(queues)
			}
			part = sticky
		}
		q := queues[part]
		b := q.open
		if b == nil || b.bytes+size > limit {
			b = e.room(q, deadline)
			if s.txn != nil {
				s.txn.touch(q)
			}
		}
		ms := now
		if !batch[i].Time.IsZero() {
			ms = batch[i].Time.UnixMilli()
		}
		b.add(c, i, &batch[i], size, ms)
	}
}

// next chooses the partition of the records of one batch that have no key: the
// next one in turn that has a leader and is not held.
func (t *topic) next(queues []*queue) int32 {
	count := uint32(t.count.Load())
	for range count {
		t.sticky++
		if part := t.sticky % count; t.leaders[part] >= 0 && !queues[part].held {
			return int32(part)
		}
	}
	t.sticky++
	return int32(t.sticky % count)
}
