package producer

import (
	"math"
	"testing"
	"time"

	"github.com/IBM/sarama"

	"github.com/flowkit-go/flow/primitives"
)

// idleQueue is a queue of an engine whose goroutines are not running: partition 0
// is led by node 1, and each record of the batches is a batch of its own.
func idleQueue(t *testing.T, batches int) (*engine, *queue) {
	cfg, err := Config{Topic: "orders"}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	e := &engine{cfg: cfg, nodes: map[int32]*node{}, sessions: map[*session]struct{}{}, held: map[*queue]struct{}{}, topics: map[string]*topic{}}
	e.batches.New = func() any { return new(batch) }
	for id := range int32(3) {
		e.nodes[id] = &node{e: e, id: id}
	}
	tp := &topic{name: "orders", format: &e.cfg, leaders: []int32{1}, epochs: []int32{0}}
	s := &session{e: e, id: identity{7, 0}, queues: map[*topic][]*queue{}}
	q := s.queuesOf(tp)[0]
	for range batches {
		c := &call{done: func(error) {}, total: 1, left: 1}
		b := e.room(q, time.Now().Add(time.Hour))
		b.add(c, 0, &primitives.Record{Value: []byte("x")}, 40, 1)
		c.release()
	}
	return e, q
}

// taken is the number of batches that may be sent to a node now.
func taken(e *engine, q *queue, node int32) (bs []*batch) {
	for b := e.take(q, e.nodes[node]); b != nil; b = e.take(q, e.nodes[node]) {
		bs = append(bs, b)
	}
	return bs
}

func answered(err sarama.KError) *sarama.ProduceResponseBlock {
	return &sarama.ProduceResponseBlock{Err: err}
}

func TestQueueInFlight(t *testing.T) {
	e, q := idleQueue(t, 12)
	expect := func(bs []*batch, n int, seq int32) {
		t.Helper()
		if len(bs) != n {
			t.Fatalf("%d batches may be sent, want %d", len(bs), n)
		}
		for i, b := range bs {
			if b.seq != seq+int32(i) {
				t.Fatalf("batch %d has sequence %d, want %d", i, b.seq, seq+int32(i))
			}
		}
	}
	bs := taken(e, q, 1)
	expect(bs, 1, 0) // the first of an epoch goes alone
	e.answer(q, bs[0], answered(sarama.ErrNoError), nil)
	bs = taken(e, q, 1)
	expect(bs, 5, 1) // as many as brokers remember

	// The leader has moved: the other one gets nothing before all five are answered.
	q.t.leaders[0] = 2
	expect(taken(e, q, 2), 0, 0)
	expect(taken(e, q, 1), 0, 0)
	e.answer(q, bs[0], answered(sarama.ErrNoError), nil)
	expect(taken(e, q, 2), 0, 0)
	e.answer(q, bs[1], answered(sarama.ErrNotLeaderForPartition), nil)
	for _, b := range bs[2:] {
		expect(taken(e, q, 2), 0, 0)
		e.answer(q, b, answered(sarama.ErrOutOfOrderSequenceNumber), nil)
	}
	expect(taken(e, q, 2), 0, 0) // held
	e.release(time.Now().Add(time.Hour))
	e.begun, e.ended = e.asked, e.asked
	e.release(time.Now().Add(time.Hour))
	bs = taken(e, q, 2)
	expect(bs, 1, 2) // the same sequence again, alone
	e.answer(q, bs[0], answered(sarama.ErrDuplicateSequenceNumber), nil)
	expect(taken(e, q, 2), 5, 3)
}

func TestSequencesWrapAround(t *testing.T) {
	for _, tc := range []struct {
		seq  int32
		n    int
		want int32
	}{{0, 10, 10}, {math.MaxInt32 - 10, 10, math.MaxInt32}, {math.MaxInt32 - 10, 11, 0}, {math.MaxInt32, 3, 2}} {
		if got := sequenceAfter(tc.seq, tc.n); got != tc.want {
			t.Errorf("after %d records from %d comes %d, want %d", tc.n, tc.seq, got, tc.want)
		}
	}
}
