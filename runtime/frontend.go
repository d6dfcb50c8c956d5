package runtime

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/flowkit-go/flow/autoscale/cpu"
	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/runtime/web"
)

// A Route is a collector, an endpoint, or a plain http.Handler.
type Route struct {
	Name string
	Kind string // collector, endpoint, handler
	At   string
	Web  *web.Route

	// Sink and Outlet belong to a collector: its function writes to the outlet,
	// which is connected to the sink while the flow runs.
	Sink   Sink
	Outlet *Outlet

	// Plain is set, in place of Web, for a handler of net/http at Pattern.
	Plain   http.Handler
	Pattern string

	Timeout time.Duration
	MaxBody int
	Processor
}

// HTTPConfig is what all routes of a flow share.
type HTTPConfig struct {
	Addr       string
	Middleware []func(http.Handler) http.Handler
}

// AddrOff, as the address of HTTPConfig, means that nothing is listened on: requests
// come by Engine.Handler.
const AddrOff = "off"

// An Outlet is where the function of a collector writes its outputs to.
type Outlet struct {
	writer atomic.Pointer[primitives.Writer]
	ctx    context.Context // of writes: it outlives the request
	stats  *stats
	pool   sync.Pool
	hooked bool // middleware may have put RequestHooks into the contexts of requests
}

// Outputs returns empty outputs to fill and give to Write, once.
func (o *Outlet) Outputs() *primitives.Outputs {
	if out, ok := o.pool.Get().(*primitives.Outputs); ok {
		return out
	}
	return &primitives.Outputs{}
}

// Write makes the outputs durable. It returns nil only when all of them are. When
// ctx ends before, it returns its error, and nobody knows whether they are.
func (o *Outlet) Write(ctx context.Context, out *primitives.Outputs) error {
	writer := o.writer.Load()
	if len(out.Records) == 0 || writer == nil {
		o.recycle(out)
		return nil
	}
	if o.hooked {
		hooksOf(ctx).outputs(out.Records)
	}
	began := time.Now()
	result := make(chan error, 1)
	err := guard(func() error {
		(*writer).Write(o.ctx, out.Records, func(err error) {
			select {
			case result <- err:
			default:
			}
		})
		return nil
	})
	if err == nil {
		select {
		case err = <-result:
		default: // only now: waiting for a context has its price
			select {
			case err = <-result:
			case <-ctx.Done():
				return ctx.Err() // the writer still has the outputs
			}
		}
	}
	o.stats.sinkWrite.observe(time.Since(began), 1)
	if err != nil {
		return &web.Error{Status: http.StatusServiceUnavailable, Detail: "what was sent could not be stored, try again later", Err: err}
	}
	o.stats.outputs.Add(int64(len(out.Records)))
	o.recycle(out)
	return nil
}

func (o *Outlet) recycle(out *primitives.Outputs) {
	out.Reset()
	o.pool.Put(out)
}

// frontend runs the routes of a flow: one server, a pool of replicas and a limit
// of requests in progress for each route.
type frontend struct {
	cfg      HTTPConfig
	base     *slog.Logger // before levels
	log      *slog.Logger
	routes   []*routeState
	server   *web.Server
	failure  chan error
	served   chan struct{}
	sampled  chan struct{}           // closed when sample has ended; nil before it began
	cancel   context.CancelCauseFunc // of writes
	writeCtx context.Context
}

type routeState struct {
	*Route
	pool    *pool
	limiter *web.Limiter
	stats   stats
	writer  primitives.Writer
	next    atomic.Uint32 // the replica whose turn it is
	counts  routeCounts
	classes [6]atomic.Int64
	born    time.Time
	labels  context.Context // of goroutines that handle a request
	usage   usage           // of CPU; nil not known
	looked  lastLook        // of signals
	ongoing ongoing
}

func newFrontend(cfg Config, log *slog.Logger) *frontend {
	f := &frontend{cfg: cfg.HTTP, base: log, log: levelled(log, cfg.LogLevel), failure: make(chan error, 1), served: make(chan struct{})}
	f.writeCtx, f.cancel = context.WithCancelCause(context.Background())
	for _, r := range cfg.Routes {
		s := &routeState{Route: r, born: time.Now(), labels: cpu.With(context.Background(), r.Name)}
		if r.Web != nil {
			limit := r.Replicas.MaxConcurrency
			s.limiter = web.NewLimiter(limit*r.Replicas.Start, limit*r.Replicas.Start)
			s.pool = newPool(r.Processor, func(r *replica) { <-r.stop }, func() {})
			s.pool.spec.ConcurrentTasks = 1
		}
		f.routes = append(f.routes, s)
	}
	return f
}

// open connects the sinks of collectors and listens, so that a port in use is
// seen before anything starts.
func (f *frontend) open(ctx context.Context, env *primitives.Env) (err error) {
	f.server = web.NewServer(web.Config{
		Addr: f.cfg.Addr, AddrHint: "FLOW_HTTP or flow.HTTPAddr", Logger: f.log, Middleware: f.cfg.Middleware,
	})
	for _, r := range f.routes {
		if r.Plain != nil {
			route, err := f.server.Handle(r.Pattern, r.Plain)
			if err != nil {
				return err
			}
			route.Timeout, route.BodyLimit = -1, -1
			route.Begin = f.begin(r.Name, route)
			continue
		}
		env := *env
		env.Processor, env.Logger = r.Name, levelled(f.base, r.LogLevel).With("processor", r.Name)
		if r.Sink.Open != nil {
			if r.writer, err = r.Sink.Open(ctx, &env); err != nil {
				return fmt.Errorf("%s: %s %q: open sink %s: %w", r.At, r.Kind, r.Name, r.Sink.Name, err)
			}
			r.Outlet.ctx, r.Outlet.stats, r.Outlet.hooked = f.writeCtx, &r.stats, len(f.cfg.Middleware) > 0
			if r.writer != nil {
				r.Outlet.writer.Store(&r.writer)
			}
		}
		r.Web.Name, r.Web.Timeout, r.Web.BodyLimit = r.Name, r.Timeout, int64(r.MaxBody)
		r.Web.Limiter, r.Web.Observe, r.Web.Begin = r.limiter, r.counts.observe, f.begin(r.Name, r.Web)
		r.Web.Handler = r.wrap(r.Web.Handler)
		if err := f.server.Add(r.Web); err != nil {
			return err
		}
	}
	if f.cfg.Addr == AddrOff {
		return nil
	}
	return f.server.Listen(ctx)
}

// wrap gives requests the values of a replica, in turn, and has their CPU time counted
// as the route's.
func (r *routeState) wrap(next web.Handler) web.Handler {
	if len(r.Setup) == 0 {
		return func(ctx context.Context, w http.ResponseWriter, req *http.Request) (int, error) {
			cpu.Mark(r.labels)
			defer cpu.Mark(ctx)
			return next(ctx, w, req)
		}
	}
	return func(ctx context.Context, w http.ResponseWriter, req *http.Request) (int, error) {
		cpu.Mark(r.labels)
		defer cpu.Mark(ctx)
		values, giveBack := r.pool.borrow(int(r.next.Add(1)))
		defer giveBack()
		return next(&replicaContext{ctx, values}, w, req)
	}
}

// start sets up the replicas and serves.
func (f *frontend) start(ctx context.Context) error {
	for _, r := range f.routes {
		if r.pool == nil {
			continue
		}
		if err := r.pool.begin(ctx, r.Replicas.Start); err != nil {
			return fmt.Errorf("%s: %w", r.Name, err)
		}
	}
	f.sampled = make(chan struct{})
	go func() {
		defer close(f.sampled)
		f.sample(f.writeCtx)
	}()
	if f.cfg.Addr == AddrOff {
		close(f.served)
		return nil
	}
	go func() {
		defer close(f.served)
		if err := f.server.Serve(); err != nil {
			f.failure <- err
		}
	}()
	return nil
}

func (f *frontend) address() string {
	if addr := f.server.Addr(); addr != nil {
		return addr.String()
	}
	return ""
}

func (f *frontend) failed() <-chan error  { return f.failure }
func (f *frontend) done() <-chan struct{} { return nil }

// drain answers what has arrived, within the drain's time, and closes.
func (f *frontend) drain(hard context.Context, p patience) error {
	ctx, cancel := context.WithDeadline(hard, p.hard)
	defer cancel()
	impatient := time.AfterFunc(time.Until(p.soft), f.server.Cancel)
	defer impatient.Stop()
	var errs []error
	if err := f.server.Shutdown(ctx); err != nil {
		errs = append(errs, errors.Join(ErrDrainTimeout, err))
	}
	<-f.served
	last, cancelLast := context.WithDeadline(hard, p.end)
	defer cancelLast()
	return errors.Join(append(errs, f.close(last))...)
}

func (f *frontend) close(ctx context.Context) error {
	var errs []error
	if f.server != nil {
		errs = append(errs, f.server.Shutdown(ctx)) // nothing to do unless the start failed
	}
	for _, r := range f.routes {
		if r.pool != nil {
			errs = append(errs, r.pool.stop(ctx))
		}
		if r.writer != nil {
			errs = append(errs, guard(func() error { return r.writer.Close(ctx) }))
		}
	}
	f.cancel(ErrDraining)
	if f.sampled != nil {
		<-f.sampled
	}
	return errors.Join(errs...)
}

func (f *frontend) snapshots(now time.Time) []ProcessorSnapshot {
	var out []ProcessorSnapshot
	for _, r := range f.routes {
		if r.Web == nil {
			continue
		}
		r.fold()
		inFlight, waiting, _ := r.limiter.Stats()
		backlog := int64(waiting)
		out = append(out, ProcessorSnapshot{
			Name: r.Name, Kind: r.Kind, At: r.At, Replicas: r.pool.Replicas(), Tasks: r.pool.Replicas() * r.Replicas.MaxConcurrency,
			InFlight: int64(inFlight), Throughput: r.stats.rate.perSecond(now), Backlog: &backlog,
			Messages: r.stats.counts(), Errors: Errors{Invalid: r.stats.invalid.Load()},
			Handler: r.stats.handler.latency(), Sink: r.stats.sinkWrite.latency(),
		})
	}
	return out
}

var statusClasses = [...]string{"", "1xx", "2xx", "3xx", "4xx", "5xx"}
