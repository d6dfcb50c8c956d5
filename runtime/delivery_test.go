package runtime

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flowkit-go/flow/autoscale"
	"github.com/flowkit-go/flow/primitives"
)

// Delivery cases that the public interface does not reach: those of a tracker,
// the committer and the queue of turns. The others are tests of package flow.

// window is a tracker with these offsets pushed and started, by their offsets.
type window struct {
	tracker
	seqs map[int64][]uint64
}

func newWindow(start int64) *window {
	part := &primitives.Partition{Topic: "in"}
	return &window{newTracker(part, Unordered, 1000, start), map[int64][]uint64{}}
}

func (w *window) deliver(offsets ...int64) {
	for _, o := range offsets {
		w.push([]primitives.Record{{Offset: o}}, 0)
		seq := w.take(nil, 1)[0]
		w.seqs[o] = append(w.seqs[o], seq)
	}
}

func (w *window) ack(offsets ...int64) {
	for _, o := range offsets {
		for _, seq := range w.seqs[o] {
			w.resolve(seq)
		}
	}
}

func span(from, to int64) (all []int64) {
	for o := from; o <= to; o++ {
		all = append(all, o)
	}
	return all
}

func TestDelivery_026_ranges(t *testing.T) {
	for _, tt := range []struct {
		acks []int64
		want int64
	}{
		{span(1, 10), 11},
		{append(span(1, 8), 10), 9},
		{slices.Concat(span(1, 4), span(6, 8), span(10, 10)), 5},
		{slices.Concat(span(1, 1), span(3, 4), span(6, 8), span(10, 10)), 2},
		{nil, 1}, // where it began: nothing to commit
	} {
		for _, backwards := range []bool{false, true} {
			w := newWindow(1)
			w.deliver(span(1, 10)...)
			acks := slices.Clone(tt.acks)
			if backwards {
				slices.Reverse(acks)
			}
			w.ack(acks...)
			if got := w.committable(); got != tt.want {
				t.Errorf("acks %v: committable %d, want %d", acks, got, tt.want)
			}
		}
	}
}

// Absent records are not declared: the next record that is read tells of a hole
// before it, and Advance of one at the end.
func TestDelivery_029_holes(t *testing.T) {
	w := newWindow(1)
	w.deliver(1)
	w.ack(1)
	if got := w.committable(); got != 2 {
		t.Errorf("committable %d before anything is read behind the hole, want 2", got)
	}
	w.deliver(3, 4)
	if got := w.committable(); got != 3 {
		t.Errorf("committable %d when 2 is known to be absent, want 3", got)
	}
	w.ack(4)
	if got := w.committable(); got != 3 {
		t.Errorf("committable %d while 3 is not resolved, want 3", got)
	}
	w.ack(3)
	if got := w.committable(); got != 5 {
		t.Errorf("committable %d, want 5", got)
	}

	w = newWindow(1)
	w.deliver(1, 3, 4, 6, 7, 8, 10)
	w.ack(1, 3, 4, 6, 7, 8, 10)
	if got := w.committable(); got != 11 {
		t.Errorf("committable %d with the holes 2, 5 and 9, want 11", got)
	}
	w.deliver(11)
	w.advance(20)
	if got := w.committable(); got != 11 {
		t.Errorf("committable %d with 11 not resolved and a hole behind it, want 11", got)
	}
	w.ack(11)
	if got := w.committable(); got != 20 {
		t.Errorf("committable %d, want the end of the hole, 20", got)
	}
}

// counting is a reader that notes commits, each of which waits for the gate.
type counting struct {
	mu      sync.Mutex
	commits [][]primitives.Commit
	gate    chan struct{} // nil: open
}

func (r *counting) Run(ctx context.Context, _ primitives.Intake) error { <-ctx.Done(); return nil }
func (r *counting) Close(context.Context) error                        { return nil }

func (r *counting) Commit(_ context.Context, commits []primitives.Commit) error {
	r.mu.Lock()
	r.commits = append(r.commits, slices.Clone(commits))
	gate := r.gate
	r.mu.Unlock()
	if gate != nil {
		<-gate
	}
	return nil
}

func (r *counting) next() (all []int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, cs := range r.commits {
		for _, c := range cs {
			all = append(all, c.Next)
		}
	}
	return all
}

// idleConsumer is a consumer of which nothing runs.
func idleConsumer(t *testing.T, order Order, reader primitives.Reader) *consumer {
	t.Helper()
	c := newConsumer("test", &Consumer{
		Name: "p", Source: Source{Name: "in"}, Order: order,
		Handle:     func(context.Context, []primitives.Record, *primitives.Outputs) error { return nil },
		Commit:     CommitPolicy{Every: time.Hour},
		Buffer:     Buffer{Records: 1000, Bytes: 1 << 20},
		StallAfter: time.Minute,
		Processor:  Processor{Replicas: autoscale.Defaults(), ConcurrentTasks: 1},
	}, slog.New(slog.DiscardHandler), time.Minute)
	c.reader = reader
	return c
}

// done pushes a record to a lane and resolves it.
func done(t *testing.T, l *lane, offset int64) {
	t.Helper()
	if _, err := l.Push(context.Background(), []primitives.Record{{Offset: offset}}); err != nil {
		t.Fatal(err)
	}
	l.mu.Lock()
	seqs := l.t.take(nil, 1)
	l.mu.Unlock()
	l.resolveNow(ref{l, seqs[0]})
}

func TestDelivery_032_commit_only_forward(t *testing.T) {
	for _, tt := range []struct {
		position, committed int64
		want                bool
	}{{0, 0, false}, {1, 0, true}, {6, 8, false}, {100, 8, true}} {
		c := idleConsumer(t, Unordered, &counting{})
		l := intake{c}.Assign(primitives.Partition{Topic: "in"}, tt.position).(*lane)
		l.committed = tt.committed
		_, commits := c.committer.gather()
		if got := len(commits) == 1; got != tt.want {
			t.Errorf("position %d, committed %d: commit is %t, want %t", tt.position, tt.committed, got, tt.want)
		}
	}
}

func TestDelivery_033_delivered_twice(t *testing.T) {
	w := newWindow(5)
	w.deliver(5, 5, 6)
	w.ack(5, 5, 6, 5)
	if got := w.committable(); got != 7 {
		t.Errorf("committable %d, want 7", got)
	}
	if w.undone != 0 || w.head != w.tail {
		t.Errorf("%d records are left, from %d to %d", w.undone, w.head, w.tail)
	}

	// once more after 7 was committed: it does not take the commit back
	r := &counting{}
	c := idleConsumer(t, Unordered, r)
	l := intake{c}.Assign(primitives.Partition{Topic: "in"}, 5).(*lane)
	for _, o := range []int64{5, 6, 5, 7} {
		done(t, l, o)
		if err := c.committer.round(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]int64{6, 7, 8}, r.next()); diff != "" {
		t.Errorf("commits (-want +got):\n%s", diff)
	}
}

func TestDelivery_037_concurrent_commits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &counting{gate: make(chan struct{})}
		c := idleConsumer(t, Unordered, r)
		ctx, cancel := context.WithCancel(t.Context())
		go c.committer.run(ctx)
		l := intake{c}.Assign(primitives.Partition{Topic: "in"}, 0).(*lane)
		var all sync.WaitGroup
		ask := func() {
			all.Go(func() {
				if err := c.committer.now(ctx, nil); err != nil {
					t.Error(err)
				}
			})
		}
		done(t, l, 0)
		ask()
		synctest.Wait() // it is on the wire
		done(t, l, 1)
		for range 10 {
			ask()
		}
		synctest.Wait()
		if diff := cmp.Diff([]int64{1}, r.next()); diff != "" {
			t.Errorf("commits while the first is on the wire (-want +got):\n%s", diff)
		}
		close(r.gate)
		all.Wait()
		if diff := cmp.Diff([]int64{1, 2}, r.next()); diff != "" {
			t.Errorf("commits of all (-want +got):\n%s", diff)
		}
		for range 10 {
			ask()
		}
		all.Wait()
		if n := len(r.next()); n != 2 {
			t.Errorf("%d commits after ten calls with nothing to commit, want 2", n)
		}
		cancel()
		<-c.committer.done
	})
}

// A topic with many partitions does not take the turns of one with few.
func TestDelivery_075_turns_of_topics(t *testing.T) {
	c := idleConsumer(t, ByPartition, &counting{})
	q := newWorkQueue()
	add := func(topic string, id int32) {
		q.add(newLane(c, primitives.Partition{Topic: topic, ID: id}, 0))
	}
	for id := range int32(1000) {
		add("large", id)
	}
	add("small", 0)
	turns := map[string]int{}
	for range 100 {
		q.mu.Lock()
		l, _ := q.pop()
		q.mu.Unlock()
		turns[l.part.Topic]++
		q.add(l)
	}
	if diff := cmp.Diff(map[string]int{"large": 50, "small": 50}, turns); diff != "" {
		t.Errorf("turns (-want +got):\n%s", diff)
	}
}
