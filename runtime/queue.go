package runtime

import (
	"sync"
	"sync/atomic"
)

// workQueue holds what the tasks of one processor should do next: lanes with
// records to handle, in turns by topic and then by partition, and batches of
// outputs that need attention, which come first.
type workQueue struct {
	mu      sync.Mutex
	cond    sync.Cond
	topics  []*topicTurn // topics with lanes waiting
	byName  map[string]*topicTurn
	batches []*batch
	lanes   int // waiting, over all topics
	idle    atomic.Int32
	kicks   atomic.Int64 // calls of wake
	paused  atomic.Bool  // lanes start no record
	pauses  atomic.Int64 // times that it was paused
	closed  bool
	pulls   int64 // lanes taken
	idled   int64 // times that a task had to wait
}

// topicTurn is one topic's lanes in the order of their turns.
type topicTurn struct {
	lanes  []*lane
	active bool // in topics
}

func newWorkQueue() *workQueue {
	q := &workQueue{byName: map[string]*topicTurn{}}
	q.cond.L = &q.mu
	return q
}

// add puts a lane at the end of its topic's turn.
func (q *workQueue) add(l *lane) {
	q.mu.Lock()
	t := q.byName[l.part.Topic]
	if t == nil {
		t = &topicTurn{}
		q.byName[l.part.Topic] = t
	}
	t.lanes = append(t.lanes, l)
	if !t.active {
		t.active = true
		q.topics = append(q.topics, t)
	}
	q.lanes++
	wake := q.idle.Load() > 0
	q.mu.Unlock()
	if wake {
		q.cond.Signal()
	}
}

// addBatch asks for a task's attention to a batch.
func (q *workQueue) addBatch(b *batch) {
	q.mu.Lock()
	q.batches = append(q.batches, b)
	q.mu.Unlock()
	q.cond.Signal()
}

// next waits for work. It returns a lane or a batch, or neither when the task
// should end: it was retired, or the queue was closed and is empty.
func (q *workQueue) next(retired *atomic.Bool) (*lane, *batch) {
	l, b, _ := q.wait(retired, func() bool { return false })
	return l, b
}

// nextOrKick is next for tasks that also wait for something else: it returns as
// well when wake was called since kicks was read. more is false when the task
// should end.
func (q *workQueue) nextOrKick(retired *atomic.Bool, kicks int64) (l *lane, b *batch, more bool) {
	return q.wait(retired, func() bool { return q.kicks.Load() != kicks })
}

func (q *workQueue) wait(retired *atomic.Bool, kicked func() bool) (l *lane, b *batch, more bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for {
		if retired.Load() {
			if len(q.batches) > 0 || q.lanes > 0 {
				q.cond.Signal() // the wake-up was meant for another task
			}
			return nil, nil, false
		}
		if l, b := q.pop(); l != nil || b != nil {
			if l != nil {
				q.pulls++
			}
			return l, b, true
		}
		if kicked() {
			return nil, nil, true
		}
		if q.closed {
			return nil, nil, false
		}
		q.idled++
		q.idle.Add(1)
		q.cond.Wait()
		q.idle.Add(-1)
	}
}

// pop takes the next piece of work, if there is any. mu is held.
func (q *workQueue) pop() (*lane, *batch) {
	if len(q.batches) > 0 {
		b := q.batches[0]
		q.batches = append(q.batches[:0], q.batches[1:]...)
		return nil, b
	}
	if q.lanes == 0 {
		return nil, nil
	}
	t := q.topics[0]
	l := t.lanes[0]
	t.lanes = append(t.lanes[:0], t.lanes[1:]...)
	q.topics = append(q.topics[:0], q.topics[1:]...)
	if len(t.lanes) > 0 {
		q.topics = append(q.topics, t)
	} else {
		t.active = false
	}
	q.lanes--
	return l, nil
}

func (q *workQueue) idleTasks() int { return int(q.idle.Load()) }

// counts returns how many lanes were taken, how often a task had to wait for one, and
// whether one does now.
func (q *workQueue) counts() (pulls, idled int64, idle bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.pulls, q.idled, q.idle.Load() > 0
}

// wake makes all idle tasks look again, for instance whether they are retired.
func (q *workQueue) wake() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.kicks.Add(1)
	q.cond.Broadcast()
}

// close lets tasks end when there is no more work.
func (q *workQueue) close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.cond.Broadcast()
}
