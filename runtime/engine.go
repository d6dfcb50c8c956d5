package runtime

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/flowkit-go/flow/autoscale"
	"github.com/flowkit-go/flow/autoscale/cpu"
	"github.com/flowkit-go/flow/primitives"
)

// Config is one flow, checked and without types.
type Config struct {
	Name      string
	Consumers []*Consumer
	Routes    []*Route
	HTTP      HTTPConfig

	// AdminAddr is where /livez, /readyz, /metrics, /state and pprof are served;
	// AddrOff: nowhere.
	AdminAddr string

	// DrainTimeout is the time that a shutdown may take in all. Default 25 s.
	DrainTimeout time.Duration

	// Logger is used for everything. Default slog.Default(). LogLevel is the level
	// of the flow's own lines; processors have theirs.
	Logger   *slog.Logger
	LogLevel slog.Level

	// DataDir is where embedded primitives keep their state.
	DataDir string

	// CPUs is what the replicas of all processors share, for autoscaling. Default what
	// the process may use, within a container's limit: cpu.Count.
	CPUs float64

	// HealthCheck, when set, decides about /livez.
	HealthCheck func(context.Context) error

	// Heartbeat is a file that is touched every second while the flow is ready; "" is none.
	Heartbeat string

	// Ready is called once, when everything has started.
	Ready func(Addresses)

	// OnEnd are called when the input of all consumers has ended and is committed.
	OnEnd []func(context.Context) error

	// OnStop are called when the flow has ended, whatever the reason.
	OnStop []func(context.Context) error
}

// Addresses are where a running flow listens; empty where it does not.
type Addresses struct {
	HTTP  string `json:"http"`
	Admin string `json:"admin"`
}

// DefaultDrainTimeout leaves five of the 30 s that Kubernetes gives by default
// between the signal and the kill.
const DefaultDrainTimeout = 25 * time.Second

// ErrStarted is returned by a second Run: an Engine runs once.
var ErrStarted = errors.New("the flow is running or has run already: make a new one to run it again")

// Engine runs one flow, once.
type Engine struct {
	cfg       Config
	log       *slog.Logger
	consumers []*consumer
	web       *frontend // nil without routes
	admin     *admin    // nil without an address
	loop      *autoscale.Loop
	meter     *cpu.Meter
	wanted    atomic.Int64 // unix nanoseconds of the last request for the CPU use
	state     atomic.Int32
	began     time.Time
	env       primitives.Env
}

// States of an Engine.
const (
	stateNew = iota
	stateStarting
	stateRunning
	stateDraining
	stateStopped
)

var stateNames = [...]string{"new", "starting", "running", "draining", "stopped"}

// New makes an engine for a configuration that has been validated.
func New(cfg Config) *Engine {
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.DrainTimeout <= 0 {
		cfg.DrainTimeout = DefaultDrainTimeout
	}
	log := cfg.Logger.With("flow", cfg.Name)
	e := &Engine{cfg: cfg, log: levelled(log, cfg.LogLevel)}
	e.env = primitives.Env{Flow: cfg.Name, DataDir: cfg.DataDir, Shared: &primitives.Shared{}}
	for _, spec := range cfg.Consumers {
		e.consumers = append(e.consumers, newConsumer(cfg.Name, spec, levelled(log, spec.LogLevel), cfg.DrainTimeout))
	}
	if len(cfg.Routes) > 0 {
		e.web = newFrontend(cfg, log)
	}
	e.loop = e.newLoop(log)
	e.meter = e.newMeter()
	return e
}

// service is a part of the engine that is opened, started and drained: a
// consumer, or all that answers HTTP requests.
type service interface {
	open(ctx context.Context, env *primitives.Env) error
	start(ctx context.Context) error // ctx is of the start only
	drain(hard context.Context, p patience) error
	close(ctx context.Context) error
	failed() <-chan error
	done() <-chan struct{} // closed when its input has ended; nil if it never does
}

func (c *consumer) failed() <-chan error  { return c.failure }
func (c *consumer) done() <-chan struct{} { return c.complete }

func (e *Engine) services() []service {
	var all []service
	for _, c := range e.consumers {
		all = append(all, c)
	}
	if e.web != nil {
		all = append(all, e.web)
	}
	return all
}

// Run opens and starts everything, and returns when it has ended: ctx was
// cancelled, the input of every consumer has ended and nothing answers HTTP, or
// something failed, which is then the error. Before it returns it drains, within
// DrainTimeout; hard, when it ends, cuts that short.
//
// Order of a start: sinks and sources are opened, then replicas set up, then
// reading and listening begin. Order of the end: the drain's phases, the last
// commits, readers leave and close, Teardown, writers close.
func (e *Engine) Run(ctx, hard context.Context) (err error) {
	if !e.state.CompareAndSwap(stateNew, stateStarting) {
		return ErrStarted
	}
	defer e.state.Store(stateStopped)
	defer func() { err = errors.Join(err, e.stopped()) }()
	if ctx.Err() != nil {
		return nil
	}
	e.began = time.Now()
	if e.cfg.AdminAddr != AddrOff {
		if e.admin, err = startAdmin(e, e.cfg.AdminAddr); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, e.admin.close()) }()
	}
	services := e.services()
	if started, err := e.up(ctx, services); err != nil {
		last, cancel := context.WithTimeout(hard, e.cfg.DrainTimeout)
		defer cancel()
		_ = e.down(hard, services[:started])
		for _, s := range services[started:] {
			_ = s.close(last)
		}
		if ctx.Err() != nil {
			return nil // stopped while it started
		}
		return err
	}
	e.state.Store(stateRunning)
	stopScaling, awaitScaling := e.scale()
	defer e.heartbeat()()
	complete, cause := false, e.tellReady()
	if cause == nil {
		complete, cause = e.wait(ctx, services)
	}
	e.state.Store(stateDraining)
	stopScaling()
	began := time.Now()
	err = e.down(hard, services)
	awaitScaling()
	if hard.Err() != nil {
		err = ErrStopped // whatever else went wrong is its doing
	} else {
		e.log.Info("drained", "took", time.Since(began))
	}
	if err = errors.Join(cause, err); err != nil || !complete {
		return err
	}
	for _, fn := range e.cfg.OnEnd {
		if err := guard(func() error { return fn(ctx) }); err != nil {
			return err
		}
	}
	return nil
}

// stopTime bounds the functions of OnStop.
const stopTime = 5 * time.Second

// stopped calls the functions of OnStop.
func (e *Engine) stopped() error {
	ctx, cancel := context.WithTimeout(context.Background(), stopTime)
	defer cancel()
	var errs []error
	for _, fn := range e.cfg.OnStop {
		errs = append(errs, guard(func() error { return fn(ctx) }))
	}
	return errors.Join(errs...)
}

func (e *Engine) tellReady() error {
	if e.cfg.Ready == nil {
		return nil
	}
	return guard(func() error { e.cfg.Ready(e.addresses()); return nil })
}

// up opens all services, then starts them. It returns how many have started.
func (e *Engine) up(ctx context.Context, services []service) (started int, err error) {
	for _, s := range services {
		env := e.env
		env.Logger = e.log
		if c, ok := s.(*consumer); ok {
			env.Processor, env.Logger = c.spec.Name, c.log
		}
		if err := guard(func() error { return s.open(ctx, &env) }); err != nil {
			return 0, err
		}
	}
	for i, s := range services {
		if err := s.start(ctx); err != nil {
			return i, err
		}
	}
	return len(services), nil
}

// wait returns when the flow should end: because all input has, or with the error
// that ends it, if any.
func (e *Engine) wait(ctx context.Context, services []service) (complete bool, err error) {
	over := make(chan struct{})
	failed := make(chan error, len(services))
	ended := make(chan struct{}, len(services))
	var watchers sync.WaitGroup
	for _, s := range services {
		watchers.Go(func() {
			select {
			case err := <-s.failed():
				failed <- err
			case <-s.done():
				// what failed at the very end counts too
				select {
				case err := <-s.failed():
					failed <- err
				default:
					ended <- struct{}{}
				}
			case <-over:
			}
		})
	}
	complete, err = func() (bool, error) {
		for left := len(services); left > 0; {
			select {
			case <-ctx.Done():
				return false, nil
			case err := <-failed:
				return false, err
			case <-ended:
				left--
			}
		}
		return true, nil
	}()
	close(over)
	watchers.Wait()
	close(failed)
	for other := range failed { // what failed at the same time
		err = errors.Join(err, other)
	}
	return complete, err
}

// down drains all services at the same time.
func (e *Engine) down(hard context.Context, services []service) error {
	p := drainPlan{e.cfg.DrainTimeout}.start(time.Now())
	errs := make([]error, len(services))
	var all sync.WaitGroup
	for i, s := range services {
		all.Go(func() { errs[i] = s.drain(hard, p) })
	}
	all.Wait()
	for _, s := range services {
		select {
		case err := <-s.failed(): // while it drained
			errs = append(errs, err)
		default:
		}
	}
	return errors.Join(errs...)
}

// Handler returns what answers requests, or nil without routes or before the flow
// runs.
func (e *Engine) Handler() http.Handler {
	if e.web == nil || e.state.Load() < stateRunning {
		return nil
	}
	return e.web.server.Handler()
}

func (e *Engine) addresses() Addresses {
	var a Addresses
	if e.web != nil {
		a.HTTP = e.web.address()
	}
	if e.admin != nil {
		a.Admin = e.admin.address()
	}
	return a
}

// listen opens a TCP port, with an error that says what to do when it is taken.
func listen(what, addr, option string) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("%s address %s cannot be used: %w: end the program that uses it, or choose another with %s", what, addr, err, option)
	}
	return l, nil
}

// levelled returns a logger that drops lines below level.
func levelled(log *slog.Logger, level slog.Level) *slog.Logger {
	return slog.New(&levelHandler{log.Handler(), level})
}

type levelHandler struct {
	slog.Handler
	level slog.Level
}

func (h *levelHandler) Enabled(ctx context.Context, l slog.Level) bool {
	return l >= h.level && h.Handler.Enabled(ctx, l)
}

func (h *levelHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &levelHandler{h.Handler.WithAttrs(attrs), h.level}
}

func (h *levelHandler) WithGroup(name string) slog.Handler {
	return &levelHandler{h.Handler.WithGroup(name), h.level}
}
