package runtime

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

// pool is the replicas of one processor: each has its own Setup and Teardown and
// a number of tasks. It can be resized while it runs: a retired replica's tasks
// finish the record that they are at and give the rest of their turn back.
type pool struct {
	spec Processor
	work func(*replica) // what each task does until the replica is retired
	wake func()         // makes idle tasks look whether they are

	resizing chan struct{} // holds one token: one Resize at a time

	setup context.Context // of Setup; it ends when the pool does
	end   context.CancelFunc

	mu      sync.Mutex // guards what follows
	live    []*replica
	want    int
	sized   time.Time      // when want last changed; zero before the first Resize
	there   time.Duration  // of all replicas up to then
	errs    []error        // of Teardown
	gone    sync.WaitGroup // replicas that are not torn down yet, and a Resize
	stopped bool
}

var errPoolStopped = errors.New("the processor has ended")

func newPool(spec Processor, work func(*replica), wake func()) *pool {
	p := &pool{spec: spec, work: work, wake: wake, resizing: make(chan struct{}, 1)}
	p.setup, p.end = context.WithCancel(context.Background())
	return p
}

type replica struct {
	id      int
	ctx     context.Context // with what Setup put there
	retired atomic.Bool
	stop    chan struct{} // closed when it is retired
	tasks   sync.WaitGroup
}

// Replicas implements autoscale.Pool.
func (p *pool) Replicas() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.want
}

// Resize implements autoscale.Pool.
func (p *pool) Resize(n int) error {
	if n < 0 {
		return fmt.Errorf("resize to %d replicas: want at least 0", n)
	}
	select {
	case p.resizing <- struct{}{}:
	case <-p.setup.Done():
		return errPoolStopped
	}
	defer func() { <-p.resizing }()
	p.mu.Lock()
	if p.stopped {
		p.mu.Unlock()
		return errPoolStopped
	}
	p.gone.Add(1)
	defer p.gone.Done()
	p.resized(n)
	p.retire(n)
	have := len(p.live)
	p.mu.Unlock()
	p.wake()
	for id := have; id < n; id++ {
		if err := p.start(id); err != nil {
			p.mu.Lock()
			p.resized(len(p.live))
			p.mu.Unlock()
			return err
		}
	}
	return nil
}

// resized notes the number wanted from now on. mu is held.
func (p *pool) resized(n int) {
	now := time.Now()
	p.there = p.replicaTime(now)
	p.want, p.sized = n, now
}

// timeOfReplicas is how long there were replicas so far, added up over all of them.
func (p *pool) timeOfReplicas(now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.replicaTime(now)
}

// replicaTime is timeOfReplicas with mu held.
func (p *pool) replicaTime(now time.Time) time.Duration {
	if p.sized.IsZero() {
		return 0
	}
	return p.there + time.Duration(p.want)*max(0, now.Sub(p.sized))
}

// begin is the first Resize. It ends with ctx.
func (p *pool) begin(ctx context.Context, n int) error {
	defer context.AfterFunc(ctx, p.end)()
	return p.Resize(n)
}

// retire takes all replicas but the first n out of service. mu is held.
func (p *pool) retire(n int) {
	for _, r := range p.live[min(n, len(p.live)):] {
		r.retired.Store(true)
		close(r.stop)
	}
	p.live = p.live[:min(n, len(p.live))]
}

// start runs Setup and then the tasks of a new replica.
func (p *pool) start(id int) error {
	r := &replica{id: id, ctx: p.setup, stop: make(chan struct{})}
	for i, setup := range p.spec.Setup {
		err := guard(func() error {
			ctx, err := setup(r.ctx)
			if ctx != nil {
				r.ctx = ctx
			}
			return err
		})
		if err != nil {
			err = fmt.Errorf("setup of replica %d: %w", id, err)
			// those that ran before it have something to give back
			return errors.Join(err, p.teardown(r, min(i, len(p.spec.Teardown))))
		}
	}
	p.mu.Lock()
	if p.stopped {
		p.mu.Unlock()
		return errors.Join(errPoolStopped, p.teardown(r, len(p.spec.Teardown)))
	}
	p.gone.Add(1)
	for range p.spec.ConcurrentTasks {
		r.tasks.Go(func() { p.work(r) })
	}
	p.live = append(p.live, r)
	p.mu.Unlock()
	go func() {
		defer p.gone.Done()
		r.tasks.Wait()
		if err := p.teardown(r, len(p.spec.Teardown)); err != nil {
			p.mu.Lock()
			p.errs = append(p.errs, err)
			p.mu.Unlock()
		}
	}()
	return nil
}

// teardown runs the first n Teardown functions in reverse order, with a context that
// has not ended.
func (p *pool) teardown(r *replica, n int) error {
	ctx := context.WithoutCancel(r.ctx)
	var errs []error
	for i := n - 1; i >= 0; i-- {
		if err := guard(func() error { return p.spec.Teardown[i](ctx) }); err != nil {
			errs = append(errs, fmt.Errorf("teardown of replica %d: %w", r.id, err))
		}
	}
	return errors.Join(errs...)
}

// stop retires all replicas for good and waits, bounded by ctx, until they are torn
// down. A Setup that is under way is cancelled.
func (p *pool) stop(ctx context.Context) error {
	p.mu.Lock()
	p.stopped = true
	p.resized(0)
	p.retire(0)
	p.mu.Unlock()
	p.end()
	p.wake()
	down := make(chan struct{})
	go func() {
		p.gone.Wait()
		close(down)
	}()
	select {
	case <-down:
	case <-ctx.Done():
		return errors.New("a replica did not end: its handler, Setup or Teardown takes no notice of its cancelled context")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return errors.Join(p.errs...)
}

// guard calls user code and turns a panic into an error.
func guard(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &PanicError{Value: p, Stack: debug.Stack()}
		}
	}()
	return f()
}

// borrow returns the context that Setup made in the i-th replica, counted round
// the live ones. The replica is not torn down before giveBack is called.
func (p *pool) borrow(i int) (values context.Context, giveBack func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.live) == 0 {
		return context.Background(), func() {}
	}
	r := p.live[i%len(p.live)]
	r.tasks.Add(1) // its own task has not ended, as it is live
	return r.ctx, r.tasks.Done
}
