package memory

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/flowkit-go/flow/primitives"
)

// A topicStore writes to the partitions of a topic.
type topicStore struct {
	broker *Broker
	name   string
	retain int
	turn   int // of records without a key; guarded by broker.mu
}

func (s *topicStore) String() string { return "topic " + s.name }

// write copies the batch and appends each part to its log.
func (s *topicStore) write(ctx context.Context, batch []primitives.Record) error {
	parts, err := s.accept(ctx, batch)
	s.broker.mu.Lock()
	s.append(parts)
	s.broker.mu.Unlock()
	return err
}

// accept copies the batch, sorted by partition, and asks the control functions. It
// returns what is to be stored and the error about the rest. The copying is done
// without the lock.
func (s *topicStore) accept(ctx context.Context, batch []primitives.Record) ([]part, error) {
	if len(batch) == 0 {
		return nil, nil
	}
	s.broker.mu.Lock()
	n := len(s.broker.topics[s.name].parts)
	s.broker.mu.Unlock()

	var a arena
	a.grow(batch)
	now := time.Now()
	stored := make([]primitives.Record, len(batch))
	if n == 1 {
		for i := range batch {
			a.copy(&stored[i], &batch[i])
			stamp(&stored[i], now)
		}
		return s.filter(ctx, []part{{id: 0, records: stored}}, len(batch))
	}

	ids := make([]int32, len(batch))
	counts := make([]int, n+1)
	s.broker.mu.Lock()
	for i := range batch {
		if key := batch[i].Key; len(key) > 0 {
			ids[i] = int32(hash(key) % uint64(n))
		} else {
			ids[i] = int32(s.turn % n)
			s.turn++
		}
		counts[ids[i]+1]++
	}
	s.broker.mu.Unlock()
	for p := range n {
		counts[p+1] += counts[p]
	}
	indexes := make([]int, len(batch))
	next := append([]int(nil), counts...)
	for i := range batch {
		at := next[ids[i]]
		next[ids[i]]++
		indexes[at] = i
		a.copy(&stored[at], &batch[i])
		stamp(&stored[at], now)
	}
	var parts []part
	for p := range n {
		if from, to := counts[p], counts[p+1]; from < to {
			parts = append(parts, part{id: int32(p), records: stored[from:to:to], indexes: indexes[from:to]})
		}
	}
	return s.filter(ctx, parts, len(batch))
}

// A part is what a batch has for one partition.
type part struct {
	id      int32
	records []primitives.Record
	indexes []int // of the records in the batch; nil when they are the batch
}

// filter asks the control functions and returns what they let pass.
func (s *topicStore) filter(ctx context.Context, parts []part, size int) ([]part, error) {
	var failed []primitives.RecordError
	var whole error
	for i := range parts {
		p := &parts[i]
		err := s.broker.control(ctx, Op{Kind: OpWrite, Name: s.name, Partition: p.id, Records: p.records})
		if err == nil {
			continue
		}
		err = fmt.Errorf("memory: write %s/%d: %w", s.name, p.id, err)
		whole = errors.Join(whole, err)
		var refused []primitives.RecordError
		p.records, refused = p.refuse(err)
		failed = append(failed, refused...)
	}

	switch {
	case len(failed) == 0:
		return parts, nil
	case len(failed) == size:
		var some *primitives.BatchError
		if !errors.As(whole, &some) {
			return parts, whole
		}
	}
	return parts, &primitives.BatchError{Failed: failed}
}

// append adds what was accepted to the logs. The caller holds the broker's mu.
func (s *topicStore) append(parts []part) {
	t := s.broker.topics[s.name]
	for _, p := range parts {
		if len(p.records) == 0 {
			continue
		}
		t.parts[p.id].append(p.records)
		if s.retain > 0 {
			t.parts[p.id].trim(s.retain)
		}
	}
	s.broker.changed.broadcast()
}

// refuse splits a part into the records that are stored all the same and those
// that err refuses.
func (p *part) refuse(err error) (rest []primitives.Record, refused []primitives.RecordError) {
	index := func(i int) int {
		if p.indexes == nil {
			return i
		}
		return p.indexes[i]
	}
	var some *primitives.BatchError
	if !errors.As(err, &some) {
		for i := range p.records {
			refused = append(refused, primitives.RecordError{Index: index(i), Err: err})
		}
		return nil, refused
	}
	out := map[int]bool{}
	for _, f := range some.Failed {
		if f.Index >= 0 && f.Index < len(p.records) && !out[f.Index] {
			out[f.Index] = true
			refused = append(refused, primitives.RecordError{Index: index(f.Index), Err: f.Err})
		}
	}
	for i := range p.records {
		if !out[i] {
			rest = append(rest, p.records[i])
		}
	}
	return rest, refused
}

// stamp gives a record without a time the one at which it is stored.
func stamp(r *primitives.Record, now time.Time) {
	if r.Time.IsZero() {
		r.Time = now
	}
}

// hash is FNV-1a with 64 bits (http://www.isthe.com/chongo/tech/comp/fnv/): the
// partition of a key is the same in every process.
func hash(key []byte) uint64 {
	h := uint64(14695981039346656037)
	for _, c := range key {
		h = (h ^ uint64(c)) * 1099511628211
	}
	return h ^ h>>32
}
