package runtime

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flowkit-go/flow/autoscale"
	"github.com/flowkit-go/flow/primitives"
)

// world is the model that a consumer is driven against: a log with partitions, a
// sink, dead letters, and what is known of every record.
type world struct {
	mu        sync.Mutex
	rnd       *rand.Rand
	order     Order
	parts     []*worldPart
	steps     int
	violation error
	fast      bool // handlers take no time, so that turns grow
}

type worldPart struct {
	id        int32
	log       []worldRecord
	committed int // index of the first record that is not committed
	position  int64
	running   map[string]int
	lastDone  map[string]int  // by key, or "" by partition: index of the last that reached the sink in this assignment
	epoch     int             // counts assignments
	lane      primitives.Lane // of the present assignment
}

type worldRecord struct {
	offset   int64
	key      string
	fate     int // what the handler does with it
	attempts int // since it was last pushed
	resolved bool
	sunk     int  // bits of the outputs that are stored
	refused  bool // by the sink while others of its batch were taken
	dead     int
}

// fates of a record
const (
	fateOK = iota
	fateFailTwice
	fatePermanent
	fateSkip
	fatePanic
	fateMany // several outputs
	fates
)

func newWorld(seed uint64, order Order) *world {
	w := &world{rnd: rand.New(rand.NewPCG(seed, 7)), order: order, fast: seed%2 == 0}
	for p := range 1 + w.rnd.IntN(4) {
		part := &worldPart{id: int32(p)}
		next := int64(w.rnd.IntN(100))
		for range 40 + w.rnd.IntN(160) {
			if w.rnd.IntN(10) == 0 {
				next += w.rnd.Int64N(1 << 20)
			}
			r := worldRecord{offset: next, fate: fateOK}
			if k := w.rnd.IntN(8); k > 0 {
				r.key = "k" + strconv.Itoa(k)
			}
			if w.rnd.IntN(6) == 0 {
				r.fate = w.rnd.IntN(fates)
			}
			part.log = append(part.log, r)
			next++
		}
		w.parts = append(w.parts, part)
	}
	return w
}

func (w *world) step() {
	w.steps++
}

func (w *world) fail(format string, args ...any) {
	if w.violation == nil {
		w.violation = fmt.Errorf(format, args...)
	}
}

func (w *world) find(p int32, offset int64) (int, *worldRecord) {
	part := w.parts[p]
	for i := range part.log {
		if part.log[i].offset == offset {
			return i, &part.log[i]
		}
	}
	w.fail("record %d/%d does not exist", p, offset)
	return 0, &worldRecord{}
}

// reset forgets what belongs to one assignment of a partition.
func (p *worldPart) reset() {
	p.epoch++
	p.lane = nil
	p.running, p.lastDone = map[string]int{}, map[string]int{}
	for i := range p.log {
		p.log[i].attempts = 0
	}
}

// handle is the consumer's handler.
func (w *world) handle(ctx context.Context, recs []primitives.Record, out *primitives.Outputs) error {
	r := &recs[0]
	w.mu.Lock()
	w.step()
	part := w.parts[r.Partition.ID]
	i, rec := w.find(r.Partition.ID, r.Offset)
	rec.attempts++
	attempt, fate := rec.attempts, rec.fate
	epoch, _ := strconv.Atoi(string(r.Value))
	scope, running := w.scope(rec), part.running
	if epoch != part.epoch {
		scope = "none" // a lane that was lost has not noticed yet
	}
	if scope != "none" {
		if n := part.running[scope]; n > 0 {
			w.fail("%s: record %d is handled beside another of %q", r.Partition, r.Offset, scope)
		}
		part.running[scope]++
		if last, ok := part.lastDone[scope]; ok && i < last {
			w.fail("%s: record %d is handled after record %d of %q has reached the sink", r.Partition, r.Offset, part.log[last].offset, scope)
		}
	}
	delay := time.Duration(w.rnd.IntN(5)) * time.Millisecond
	if w.fast {
		delay = 0
		if w.rnd.IntN(50) == 0 { // long enough to be relieved of the rest of its turn
			delay = time.Duration(5+w.rnd.IntN(40)) * time.Millisecond
		}
	}
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		if scope != "none" {
			running[scope]--
		}
		w.mu.Unlock()
	}()
	if delay > 0 {
		select {
		case <-time.After(delay):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	switch {
	case fate == fateFailTwice && attempt <= 2:
		return errors.New("not yet")
	case fate == fatePermanent:
		return primitives.Permanent(errors.New("never"))
	case fate == fatePanic && attempt == 1:
		panic("first time")
	case fate == fateSkip:
		w.mu.Lock()
		rec.resolved = true
		w.mu.Unlock()
		return primitives.ErrSkip
	}
	n := 1
	if fate == fateMany {
		n = 3
	}
	for k := range n {
		out.Add(primitives.Record{Key: []byte(strconv.Itoa(int(r.Partition.ID))), Value: fmt.Appendf(nil, "%d %d %d %d", r.Offset, k, n, epoch)})
	}
	return nil
}

// scope names what a record must not be handled beside.
func (w *world) scope(r *worldRecord) string {
	switch {
	case w.order == ByPartition:
		return "partition"
	case w.order == ByKey && r.key != "":
		return r.key
	}
	return "none"
}

// worldWriter is the sink: it answers later, out of order, and fails at times.
type worldWriter struct {
	w      *world
	dead   bool
	closed bool
	wg     sync.WaitGroup
}

func (s *worldWriter) Write(_ context.Context, batch []primitives.Record, done func(error)) {
	s.w.mu.Lock()
	delay := time.Duration(s.w.rnd.IntN(4)) * time.Millisecond
	mood := s.w.rnd.IntN(12)
	closed := s.closed
	if !closed {
		s.wg.Add(1)
	}
	s.w.mu.Unlock()
	if closed {
		done(primitives.ErrClosed)
		return
	}
	go func() {
		defer s.wg.Done()
		time.Sleep(delay)
		w := s.w
		w.mu.Lock()
		w.step()
		var failed []primitives.RecordError
		for i, r := range batch {
			if mood < 2 && w.rnd.IntN(3) == 0 {
				failed = append(failed, primitives.RecordError{Index: i, Err: errors.New("refused")})
				s.refuse(r)
				continue
			}
			if mood == 2 {
				continue
			}
			s.store(r)
		}
		w.mu.Unlock()
		switch {
		case mood == 2:
			done(errors.New("sink is away"))
		case len(failed) > 0:
			done(&primitives.BatchError{Failed: failed})
		default:
			done(nil)
		}
	}()
}

// store is called with w.mu held.
func (s *worldWriter) store(r primitives.Record) {
	w := s.w
	if s.dead {
		raw, _ := r.Header(HeaderDeadOffset)
		id, _ := r.Header(HeaderDeadPartition)
		offset, _ := strconv.ParseInt(string(raw), 10, 64)
		p, _ := strconv.Atoi(string(id))
		_, rec := w.find(int32(p), offset)
		rec.dead++
		rec.resolved = true
		return
	}
	p, offset, k, n, epoch := w.parse(r)
	i, rec := w.find(p, offset)
	first := rec.sunk != 1<<n-1
	rec.sunk |= 1 << k
	if rec.sunk == 1<<n-1 {
		rec.resolved = true
	}
	if scope := w.scope(rec); scope != "none" && k == n-1 {
		// late results of an earlier assignment say nothing about this one
		if part := w.parts[p]; part.epoch == epoch {
			if last, ok := part.lastDone[scope]; ok && last > i && first && !rec.refused {
				w.fail("partition %d: record %d of %q reached the sink after record %d", p, offset, scope, part.log[last].offset)
			}
			part.lastDone[scope] = max(part.lastDone[scope], i)
		}
	}
}

// parse reads what handle wrote. w.mu is held.
func (w *world) parse(r primitives.Record) (p int32, offset int64, k, n, epoch int) {
	if _, err := fmt.Sscanf(string(r.Key)+" "+string(r.Value), "%d %d %d %d %d", &p, &offset, &k, &n, &epoch); err != nil {
		w.fail("the sink got %q", r.Value)
	}
	return p, offset, k, n, epoch
}

// refuse remembers that the sink has refused a record of a batch that it took
// otherwise: its order among those is then the sink's doing. w.mu is held.
func (s *worldWriter) refuse(r primitives.Record) {
	if s.dead {
		return
	}
	p, offset, _, _, _ := s.w.parse(r)
	_, rec := s.w.find(p, offset)
	rec.refused = true
}

func (s *worldWriter) Close(context.Context) error {
	s.w.mu.Lock()
	s.closed = true
	s.w.mu.Unlock()
	s.wg.Wait()
	return nil
}

// worldReader reads the log of a world.
type worldReader struct{ w *world }

func (r *worldReader) Run(ctx context.Context, in primitives.Intake) error {
	var readers sync.WaitGroup
	defer readers.Wait()
	for _, part := range r.w.parts {
		readers.Go(func() {
			for r.assignment(ctx, in, part) {
			}
		})
	}
	return nil
}

// assignment holds a partition until its end, or until it is revoked or lost, and
// reports whether to take it again.
func (r *worldReader) assignment(ctx context.Context, in primitives.Intake, part *worldPart) bool {
	w := r.w
	w.mu.Lock()
	next := part.committed
	part.reset()
	epoch := part.epoch
	start := int64(0)
	if next < len(part.log) {
		start = part.log[next].offset
	} else if len(part.log) > 0 {
		start = part.log[len(part.log)-1].offset + 1
	}
	w.mu.Unlock()
	lane := in.Assign(primitives.Partition{Topic: "world", ID: part.id}, start)
	w.mu.Lock()
	part.lane = lane
	w.mu.Unlock()
	for next < len(part.log) {
		w.mu.Lock()
		n := min(1+w.rnd.IntN(20), len(part.log)-next)
		mood := w.rnd.IntN(40)
		pause := time.Duration(w.rnd.IntN(4)) * time.Millisecond
		var burst []primitives.Record
		for _, rec := range part.log[next : next+n] {
			var key []byte
			if rec.key != "" {
				key = []byte(rec.key)
			}
			burst = append(burst, primitives.Record{Offset: rec.offset, Key: key, Value: []byte(strconv.Itoa(epoch))})
		}
		w.step()
		w.mu.Unlock()
		time.Sleep(pause)
		taken, err := lane.Push(ctx, burst)
		next += taken
		if err != nil {
			return false
		}
		if mood < 2 {
			if mood == 0 {
				if err := in.Revoke(ctx, lane); err != nil {
					return false
				}
			} else {
				in.Lose(lane)
			}
			return true
		}
	}
	return false
}

func (r *worldReader) Commit(_ context.Context, commits []primitives.Commit) error {
	w := r.w
	w.mu.Lock()
	defer w.mu.Unlock()
	w.step()
	if w.rnd.IntN(10) == 0 {
		return errors.New("coordinator is away")
	}
	late := &primitives.CommitError{Errs: make([]error, len(commits))}
	var err error
	for k, c := range commits {
		part := w.parts[c.Partition.ID]
		if part.lane == nil || c.Epoch != part.lane.Epoch() {
			late.Errs[k] = primitives.ErrNotAssigned
			err = late
			continue
		}
		i := part.committed
		for ; i < len(part.log) && part.log[i].offset < c.Next; i++ {
			if !part.log[i].resolved {
				w.fail("%s: commit %d passes record %d, which is not resolved", c.Partition, c.Next, part.log[i].offset)
			}
		}
		if c.Next < part.position {
			w.fail("%s: commit went back from %d to %d", c.Partition, part.position, c.Next)
		}
		part.position = c.Next
		part.committed = max(part.committed, i)
	}
	return err
}

func (r *worldReader) Close(context.Context) error { return nil }

// run runs one consumer in the world until the input has ended, a crash or a stop.
// The fourth run is left alone and has to finish.
func (w *world) run(t *testing.T, n int) (ended bool) {
	limits := autoscale.Defaults()
	limits.Max = 8
	sink, dead := &worldWriter{w: w}, &worldWriter{w: w, dead: true}
	reader := &worldReader{w}
	open := func(writer primitives.Writer) func(context.Context, *primitives.Env) (primitives.Writer, error) {
		return func(context.Context, *primitives.Env) (primitives.Writer, error) { return writer, nil }
	}
	w.mu.Lock()
	spec := &Consumer{
		Name: "world", Handle: w.handle, Order: w.order,
		Source: Source{Name: "world", Bounded: true, Open: func(context.Context, *primitives.Env) (primitives.Reader, error) { return reader, nil }},
		Sink:   Sink{Name: "sink", Open: open(sink)},
		DeadLetter: DeadLetter{Sink{Name: "dead", Open: open(dead)}, func(r primitives.Record, out *primitives.Outputs) error {
			out.Add(r)
			return nil
		}},
		Retry:      Retry{Attempts: 100, Backoff: Backoff{First: time.Millisecond, Max: 10 * time.Millisecond}},
		Commit:     CommitPolicy{Every: time.Duration(1+w.rnd.IntN(20)) * time.Millisecond, Records: 1 + w.rnd.IntN(20)},
		Buffer:     Buffer{Records: 8 + w.rnd.IntN(100), Bytes: 1000 + w.rnd.IntN(20000)},
		StallAfter: time.Hour,
		Processor:  Processor{Replicas: limits, ConcurrentTasks: 1 + w.rnd.IntN(3)},
	}
	w.mu.Unlock()
	c := newConsumer("world", spec, slog.New(slog.DiscardHandler), 2*time.Second)
	if err := c.open(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if err := c.start(context.Background()); err != nil {
		t.Fatal(err)
	}
	w.mu.Lock()
	crashAt := time.After(time.Duration(1+w.rnd.IntN(400)) * time.Millisecond)
	if n >= 4 {
		crashAt = time.After(time.Hour)
	}
	soft := w.rnd.IntN(2) == 0
	w.mu.Unlock()
	hard, cut := context.WithCancel(context.Background())
	defer cut()
	for running := true; running; {
		select {
		case <-c.complete:
			running, ended = false, true
		case err := <-c.failure:
			w.fail("the consumer stopped: %v", err)
			running, ended = false, true
		case <-crashAt:
			running = false
			if n >= 4 {
				w.fail("the consumer does not finish")
			}
			if !soft {
				cut() // as hard as it gets without ending the process
			}
		case <-time.After(7 * time.Millisecond):
			w.mu.Lock()
			n := 1 + w.rnd.IntN(8)
			w.step()
			w.mu.Unlock()
			if err := c.pool.Resize(n); err != nil {
				t.Error(err)
			}
		}
	}
	_ = c.drain(hard, c.plan.start(time.Now()))
	_ = sink.Close(t.Context())
	_ = dead.Close(t.Context())
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.parts { // the last commit may have failed
		ended = ended && (p.committed == len(p.log) || w.violation != nil)
	}
	return ended
}

// TestLanesProperty drives a consumer with random finish order, failures of
// handlers, sink and commits, resizes, revokes, losses and stops, each followed by
// a new start at what was committed. No record may be lost, no order broken, no
// commit pass an unresolved record. All runs together make a million steps.
func TestLanesProperty(t *testing.T) {
	want := 1_000_000
	if testing.Short() {
		want = 30_000
	}
	for _, order := range []Order{ByPartition, ByKey, Unordered} {
		t.Run(order.String(), func(t *testing.T) {
			t.Parallel()
			steps := 0
			for seed := uint64(1); steps < want/3; seed++ {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(seed, order)
					runs := 1
					for !w.run(t, runs) {
						runs++
					}
					w.mu.Lock()
					defer w.mu.Unlock()
					for _, p := range w.parts {
						if p.committed != len(p.log) {
							w.fail("partition %d: committed %d of %d records", p.id, p.committed, len(p.log))
						}
						for _, r := range p.log {
							if !r.resolved {
								w.fail("partition %d: record %d is lost", p.id, r.offset)
							}
						}
					}
					if w.violation != nil {
						t.Fatalf("seed %d, after %d runs: %v", seed, runs, w.violation)
					}
					steps += w.steps
				})
				if t.Failed() {
					return
				}
			}
		})
	}
}
