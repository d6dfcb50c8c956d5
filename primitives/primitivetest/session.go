package primitivetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/flowkit-go/flow/primitives"
)

// A session is a reader that runs, from its opening to its closing.
type session struct {
	*harness
	primitives.Reader
	in      *Intake
	running context.Context // of Run
	cancel  context.CancelFunc
	result  chan error
	keeper  sync.WaitGroup
	ended   bool
	closed  bool

	mu        sync.Mutex
	committed map[place]bool
}

// A place tells deliveries of a session apart.
type place struct {
	lane   *Lane
	offset int64
}

// openReader opens the source without running it.
func (h *harness) openReader() primitives.Reader {
	h.Helper()
	r, err := h.ends.Source.OpenSource(h.ctx, h.env)
	if err != nil {
		h.Fatalf("OpenSource: %v", err)
	}
	return r
}

// read opens the source and runs the reader with lanes of that capacity. As the
// runtime does, it extends the leases of what was delivered and not committed.
func (h *harness) read(capacity int) *session {
	h.Helper()
	s := h.readOnly(capacity)
	if l, ok := s.Reader.(primitives.Leaser); ok && h.Features.Leases {
		s.keeper.Go(func() { s.keepLeases(l) })
	}
	return s
}

// readOnly does what read does, but leaves leases alone.
func (h *harness) readOnly(capacity int) *session {
	h.Helper()
	s := &session{
		harness: h, Reader: h.openReader(), in: NewIntake(capacity), result: make(chan error, 1),
		committed: map[place]bool{},
	}
	s.running, s.cancel = context.WithCancel(context.WithoutCancel(h.ctx))
	go func() { s.result <- s.Run(s.running, s.in) }()
	h.Cleanup(s.stop)
	return s
}

// keepLeases extends leases until Run is cancelled. What cannot be extended
// comes again, which the checks see.
func (s *session) keepLeases(l primitives.Leaser) {
	ticker := time.NewTicker(max(l.LeaseTime()/3, time.Millisecond))
	defer ticker.Stop()
	for {
		select {
		case <-s.running.Done():
			return
		case <-ticker.C:
		}
		var leases []any
		s.mu.Lock()
		for _, d := range s.in.deliveries() {
			if d.Record.Lease != nil && !s.committed[place{d.Lane, d.Record.Offset}] {
				leases = append(leases, d.Record.Lease)
			}
		}
		s.mu.Unlock()
		if len(leases) > 0 {
			if err := l.Extend(s.running, leases); err != nil && s.running.Err() == nil {
				s.Logf("Extend of %d leases: %v", len(leases), err)
			}
		}
	}
}

// end cancels Run, if it has not returned, and checks what it returns.
func (s *session) end() {
	s.Helper()
	s.cancel()
	s.keeper.Wait()
	if s.ended {
		return
	}
	s.ended = true
	limit := min(s.Timeout, prompt)
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case err := <-s.result:
		if err != nil {
			s.Errorf("Run returned %v when its context was cancelled, want nil", err)
		}
	case <-timer.C:
		s.Fatalf("Run did not return within %v after its context was cancelled", limit)
	}
}

// prompt is how soon Run returns when it is cancelled.
const prompt = 5 * time.Second

// stop ends Run, closes the reader and looks at how it behaved.
func (s *session) stop() {
	s.Helper()
	if s.closed {
		return
	}
	s.closed = true
	s.end()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.ctx), s.Timeout)
	defer cancel()
	if err := s.Close(ctx); err != nil {
		s.Errorf("Close of the reader: %v", err)
	}
	if err := s.in.Check(); err != nil {
		s.Errorf("the reader: %v", err)
	}
	for _, err := range s.in.Retries() {
		s.Logf("the reader met: %v", err)
	}
}

// take takes n records, or fails.
func (s *session) take(n int) []Delivery {
	s.Helper()
	var out []Delivery
	for len(out) < n {
		d, err := s.in.Take(s.ctx, n-len(out))
		out = append(out, d...)
		if err != nil {
			s.Fatalf("%d of %d records were delivered: %v", len(out), n, s.why(err))
		}
	}
	return out
}

// takeAll takes n records, commits them if wanted, stops the session, and returns
// them with all that were pushed besides.
func (s *session) takeAll(n int, commit bool) []Delivery {
	s.Helper()
	ds := s.take(n)
	if commit {
		s.commit(ds)
	}
	s.stop()
	return s.in.deliveries()
}

// why adds what the reader said, if it has ended.
func (s *session) why(err error) error {
	select {
	case ran := <-s.result:
		s.ended = true
		return fmt.Errorf("%w; Run returned %v", err, ran)
	default:
		return errors.Join(append([]error{err}, s.in.Retries()...)...)
	}
}

// commit commits deliveries: the position after the last of each lane, or all
// their leases.
func (s *session) commit(ds []Delivery) {
	s.Helper()
	s.mu.Lock()
	for _, d := range ds {
		s.committed[place{d.Lane, d.Record.Offset}] = true
	}
	s.mu.Unlock()
	if err := s.Commit(s.ctx, commitsOf(ds)); err != nil {
		s.Fatalf("Commit: %v", err)
	}
}

func commitsOf(ds []Delivery) []primitives.Commit {
	var out []primitives.Commit
	at := map[primitives.Partition]int{}
	for _, d := range ds {
		i, ok := at[d.Lane.Partition]
		if !ok {
			i = len(out)
			at[d.Lane.Partition] = i
			out = append(out, primitives.Commit{Partition: d.Lane.Partition})
		}
		out[i].Next = max(out[i].Next, d.Record.Offset+1)
		if d.Record.Lease != nil {
			out[i].Leases = append(out[i].Leases, d.Record.Lease)
		}
	}
	return out
}
