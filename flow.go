package flow

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/flowkit-go/flow/autoscale"
	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/runtime"
)

// A Flow is a set of processors that run in one process. Build it in one
// goroutine: New, then Consumer, Collector, Endpoint, Handle and Add.
type Flow struct {
	name       string
	at         string
	processors []*Processor
	handlers   []plainHandler
	opts       flowOptions
	errs       []error
	ends       Ends
	engine     atomic.Pointer[runtime.Engine]
	checking   sync.Mutex // config fills in the processors' effective settings
}

// An Option configures a Flow.
type Option func(*flowOptions)

type flowOptions struct {
	httpAddr   string
	adminAddr  string
	drain      time.Duration
	logger     *slog.Logger
	health     func(context.Context) error
	heartbeat  string
	cpus       float64
	middleware []Middleware
	http       []func(http.Handler) http.Handler
	ready      func(Addresses)
	onEnd      []func(context.Context) error
	onStop     []func(context.Context) error
}

// Addresses are where a running flow listens.
type Addresses = runtime.Addresses

// Snapshot is the state of a running flow, as /state shows it.
type Snapshot = runtime.Snapshot

// Defaults of a flow's addresses.
const (
	DefaultHTTPAddr  = "127.0.0.1:8080"
	DefaultAdminAddr = "127.0.0.1:9650"
)

// New makes an empty flow. The name is used in logs and metrics.
func New(name string, opts ...Option) *Flow {
	f := &Flow{name: name, at: callSite(1)}
	f.opts = flowOptions{httpAddr: DefaultHTTPAddr, adminAddr: DefaultAdminAddr, drain: runtime.DefaultDrainTimeout}
	for i, o := range opts {
		if o == nil {
			f.errs = append(f.errs, fmt.Errorf("option %d is nil", i+1))
			continue
		}
		o(&f.opts)
	}
	return f
}

// HTTPAddr is where collectors and endpoints listen, host:port; port 0 chooses a
// free one, and "off" does not listen: see Flow.Handler. Default 127.0.0.1:8080. The
// environment variable FLOW_HTTP overrides it.
func HTTPAddr(addr string) Option { return func(o *flowOptions) { o.httpAddr = addr } }

// AdminAddr is where /livez, /readyz, /metrics, /state and /debug/pprof are
// served, and where the flow is scaled and paused: who reaches it can do so. "off" is
// nowhere. Default 127.0.0.1:9650. The environment variable
// FLOW_ADMIN overrides it.
func AdminAddr(addr string) Option { return func(o *flowOptions) { o.adminAddr = addr } }

// DrainTimeout is the time that a shutdown may take in all; what is unfinished
// then is abandoned and delivered again. Default 25 s. The environment variable
// FLOW_DRAIN_TIMEOUT overrides it.
func DrainTimeout(d time.Duration) Option { return func(o *flowOptions) { o.drain = d } }

// Logger is used for all log lines. Default slog.Default(). Lines have the keys
// flow, processor, source, partition, offset and attempt where they apply.
func Logger(l *slog.Logger) Option { return func(o *flowOptions) { o.logger = l } }

// HealthCheck decides about /livez, and /readyz while the flow runs: nil is
// healthy. Default: always healthy.
func HealthCheck(fn func(context.Context) error) Option {
	return func(o *flowOptions) { o.health = fn }
}

// HeartbeatFile is touched every second while the flow is ready, or drains: what looks
// at the file's time, as a liveness probe without HTTP, sees a flow that is stuck.
// Default: none. The environment variable FLOW_HEARTBEAT_FILE overrides it.
func HeartbeatFile(path string) Option { return func(o *flowOptions) { o.heartbeat = path } }

// CPUs is how many CPUs the replicas of all processors share: the autoscaler adds a
// replica only if its NumCPUs fits beside those of all others. The start and the minimum
// of each processor run in any case. Default 0: as many as the process may use, within
// the limit of its container. The environment variable FLOW_CPUS overrides it.
func CPUs(n float64) Option { return func(o *flowOptions) { o.cpus = n } }

// UseAll adds middleware to all Consumers of the flow, outside of their own.
func UseAll(mw ...Middleware) Option {
	return func(o *flowOptions) { o.middleware = append(o.middleware, mw...) }
}

// UseHTTP adds middleware to everything that answers HTTP requests. The first
// given is the outermost.
func UseHTTP(mw ...func(http.Handler) http.Handler) Option {
	return func(o *flowOptions) { o.http = append(o.http, mw...) }
}

// OnReady is called once when the flow has started, with the addresses that it
// listens on.
func OnReady(fn func(Addresses)) Option { return func(o *flowOptions) { o.ready = fn } }

// AddReady is OnReady for a flow that exists already; both are called.
func (f *Flow) AddReady(fn func(Addresses)) {
	first := f.opts.ready
	f.opts.ready = func(a Addresses) {
		if first != nil {
			first(a)
		}
		fn(a)
	}
}

// OnEnd adds a function that runs when the input of every consumer has ended and
// all of it is committed: what a batch pipeline does with its result. It does not
// run when the flow is stopped or fails before. Its error becomes that of Run.
func OnEnd(fn func(context.Context) error) Option {
	return func(o *flowOptions) { o.onEnd = append(o.onEnd, fn) }
}

// OnStop adds a function that runs when the flow has ended, whatever the reason, after
// everything is closed: to flush what the program reports to, as a tracer. Its context
// ends after 5 s. Its error is joined to that of Run.
func OnStop(fn func(context.Context) error) Option {
	return func(o *flowOptions) { o.onStop = append(o.onStop, fn) }
}

// Add attaches processors made by NewConsumer, NewCollector or NewEndpoint. A
// processor belongs to one flow.
func (f *Flow) Add(processors ...*Processor) {
	for _, p := range processors {
		if p == nil {
			f.errs = append(f.errs, &RegistrationError{At: callSite(1), Name: f.name, Err: errors.New("Add is given a nil processor")})
			continue
		}
		f.add(p)
	}
}

func (f *Flow) add(p *Processor) {
	if p.owner != nil {
		p.fail(fmt.Errorf("it was added twice, to flow %q before", p.owner.name))
		if p.owner == f {
			return
		}
	}
	p.owner = f
	f.processors = append(f.processors, p)
}

// Name returns the name given to New.
func (f *Flow) Name() string { return f.name }

// Validate reports all mistakes in the flow at once, as joined
// *RegistrationErrors with the place of each, or nil. It does no I/O besides
// reading environment variables. Run calls it too.
func (f *Flow) Validate() error {
	_, err := f.config()
	return err
}

// config checks everything and makes what the runtime needs.
func (f *Flow) config() (runtime.Config, error) {
	f.checking.Lock()
	defer f.checking.Unlock()
	var errs []error
	report := func(at string, kind Kind, name string, found ...error) {
		for _, err := range found {
			if err == nil {
				continue
			}
			var known *RegistrationError
			if errors.As(err, &known) {
				errs = append(errs, err)
				continue
			}
			errs = append(errs, &RegistrationError{At: at, Kind: kind, Name: name, Err: err})
		}
	}
	opts, optErrs := f.opts.settled()
	report(f.at, "", f.name, f.errs...)
	report(f.at, "", f.name, optErrs...)
	if f.name == "" {
		report(f.at, "", f.name, errors.New("the name is empty: give flow.New one"))
	}
	if len(f.processors) == 0 && len(f.handlers) == 0 {
		report(f.at, "", f.name, errors.New("the flow has no processors: add a Consumer, Collector or Endpoint"))
	}
	logLevel, _, err := defaultLogLevel()
	if err != nil {
		report(f.at, "", f.name, err)
	}
	only, err := f.only()
	if err != nil {
		report(f.at, "", f.name, err)
	}
	seen := map[string]*Processor{}
	cfg := runtime.Config{
		Name: f.name, AdminAddr: opts.adminAddr, DrainTimeout: opts.drain, Logger: opts.logger,
		DataDir: primitives.DataDir(), HealthCheck: opts.health, Heartbeat: opts.heartbeat, Ready: opts.ready, OnEnd: opts.onEnd, OnStop: opts.onStop,
		LogLevel: logLevel, CPUs: opts.cpus,
		HTTP: runtime.HTTPConfig{Addr: opts.httpAddr, Middleware: opts.http},
	}
	for _, p := range f.processors {
		s := *p.settings // the environment's values belong to this run only
		s.from = map[string]string{}
		for k, v := range p.settings.from {
			s.from[k] = v
		}
		found := append([]error(nil), p.errs...)
		if strings.TrimSpace(p.name()) == "" {
			found = append(found, errors.New("the name is empty"))
		} else if own := flowVariable(p.name()); own != "" {
			found = append(found, fmt.Errorf("the name is taken: the flow's own variable %s begins like those of this processor", own))
		} else if other := seen[envPrefix(p.name())]; other != nil {
			if other.name() == p.name() {
				found = append(found, fmt.Errorf("the name is already used by the %s at %s", other.kind, other.at))
			} else {
				found = append(found, fmt.Errorf("the name is too much like %q at %s: both are %s in environment variables", other.name(), other.at, envPrefix(p.name())))
			}
		} else {
			seen[envPrefix(p.name())] = p
		}
		found = append(found, s.override()...)
		s.settle()
		found = append(found, s.validate()...)
		report(p.at, p.kind, p.name(), found...)
		p.effective = &s
	}
	report(f.at, "", f.name, f.routeConflicts()...)
	if len(errs) > 0 {
		return cfg, errors.Join(errs...)
	}
	for _, p := range f.processors {
		if !chosen(only, p.name()) {
			continue // checked like the others, so that a mistake is seen wherever the flow runs
		}
		if p.consumer != nil {
			c := p.consumer(&p.effective.spec)
			c.Middleware = append(append([]Middleware(nil), opts.middleware...), c.Middleware...)
			cfg.Consumers = append(cfg.Consumers, c)
		}
		if p.route != nil {
			cfg.Routes = append(cfg.Routes, p.route(&p.effective.spec))
		}
	}
	for _, h := range f.handlers {
		if chosen(only, h.pattern) {
			cfg.Routes = append(cfg.Routes, h.route())
		}
	}
	f.substitute(&cfg)
	return cfg, nil
}

// settled applies the environment to the flow's own options.
func (o flowOptions) settled() (flowOptions, []error) {
	var errs []error
	if v := os.Getenv("FLOW_HTTP"); v != "" {
		o.httpAddr = v
	}
	if v := os.Getenv("FLOW_ADMIN"); v != "" {
		o.adminAddr = v
	}
	if o.httpAddr == "" || o.adminAddr == "" {
		errs = append(errs, fmt.Errorf("HTTPAddr is %q and AdminAddr %q: want host:port, or off", o.httpAddr, o.adminAddr))
	}
	if v := os.Getenv("FLOW_DRAIN_TIMEOUT"); v != "" {
		d, err := time.ParseDuration(v)
		if err != nil {
			errs = append(errs, fmt.Errorf(`environment variable FLOW_DRAIN_TIMEOUT=%q: want a duration with its unit, as "25s"`, v))
		} else {
			o.drain = d
		}
	}
	if v := os.Getenv("FLOW_HEARTBEAT_FILE"); v != "" {
		o.heartbeat = v
	}
	if v := os.Getenv("FLOW_CPUS"); v != "" {
		n, err := strconv.ParseFloat(v, 64)
		if err != nil {
			errs = append(errs, fmt.Errorf(`environment variable FLOW_CPUS=%q: want a number, as "2" or "0.5"`, v))
		} else {
			o.cpus = n
		}
	}
	if !(o.cpus >= 0) {
		errs = append(errs, fmt.Errorf("CPUs is %v, want more than 0, or 0 for as many as the process may use", o.cpus))
	}
	if o.drain <= 0 {
		errs = append(errs, fmt.Errorf("the drain timeout is %v, want more than 0", o.drain))
	}
	for i, mw := range o.middleware {
		if mw == nil {
			errs = append(errs, fmt.Errorf("UseAll: middleware %d is nil", i+1))
		}
	}
	for i, mw := range o.http {
		if mw == nil {
			errs = append(errs, fmt.Errorf("UseHTTP: middleware %d is nil", i+1))
		}
	}
	return o, errs
}

// Run runs the flow until ctx is cancelled, the input of every consumer has ended
// and nothing answers HTTP, or something fails. It then drains, within
// DrainTimeout, and returns the failure, if any: nil when ctx was cancelled as well
// as when the input has ended, which OnEnd tells apart. A flow that has mistakes
// does not start. A flow runs once.
func (f *Flow) Run(ctx context.Context) error {
	return f.RunHard(ctx, context.Background())
}

// RunHard is Run with a second context that, when it ends, cuts the drain short.
func (f *Flow) RunHard(ctx, hard context.Context) error {
	cfg, err := f.config()
	if err != nil {
		return err
	}
	engine := runtime.New(cfg)
	if !f.engine.CompareAndSwap(nil, engine) {
		return runtime.ErrStarted
	}
	return engine.Run(ctx, hard)
}

// Snapshot returns the state of the flow, as /state shows it. Before Run it has
// the name only.
func (f *Flow) Snapshot() Snapshot {
	if e := f.engine.Load(); e != nil {
		return e.Snapshot()
	}
	return Snapshot{Flow: f.name, State: "new"}
}

// Handler returns what answers the requests of a running flow, for a server of
// your own or a test. It is nil before the flow is ready, and when it has nothing
// that answers HTTP.
func (f *Flow) Handler() http.Handler {
	if e := f.engine.Load(); e != nil {
		return e.Handler()
	}
	return nil
}

// Resize sets the number of replicas of a processor while the flow runs, also
// beyond the bounds of its options. A retired replica finishes the record that it
// is at; none is lost or repeated. Where the autoscaler decides it goes on from there:
// the scale command fixes a number.
func (f *Flow) Resize(processor string, replicas int) error {
	e := f.engine.Load()
	if e == nil {
		return errNotRunning
	}
	pool, err := e.Pool(processor)
	if err != nil {
		return err
	}
	return pool.Resize(replicas)
}

// Decision is what one look at a processor came to, by the autoscaler or by hand.
type Decision = autoscale.Decision

// Decisions returns the last 1,000 decisions about the number of replicas of a processor,
// the newest last.
func (f *Flow) Decisions(processor string) ([]Decision, error) {
	e := f.engine.Load()
	if e == nil {
		return nil, errNotRunning
	}
	return e.Decisions(processor)
}

// Partition names one ordered part of a source, as Msg has it.
type Partition = primitives.Partition

// Pause makes a Consumer start no further record until Resume: of these partitions, or
// of all when none is named. What runs finishes, and its partitions stay with this
// process. A partition that was named stays paused when it is assigned again. It
// errs, and pauses nothing, when one is named that this process does not hold.
func (f *Flow) Pause(consumer string, partitions ...Partition) error {
	return f.pause(consumer, true, partitions)
}

// Resume makes a paused Consumer go on, or partitions that were paused by name.
func (f *Flow) Resume(consumer string, partitions ...Partition) error {
	return f.pause(consumer, false, partitions)
}

func (f *Flow) pause(consumer string, on bool, partitions []Partition) error {
	e := f.engine.Load()
	if e == nil {
		return errNotRunning
	}
	return e.Pause(consumer, on, partitions...)
}

// Seek makes a Consumer go on at another position of a partition that this process
// holds, and commits that position. What is in flight of the partition is given up:
// it may be handled again. It errs, and changes nothing, when the partition is not
// held, the position is negative, or the source cannot do that while it runs. One
// beyond the end counts as out of range when it is read.
func (f *Flow) Seek(ctx context.Context, consumer string, p Partition, position int64) error {
	e := f.engine.Load()
	if e == nil {
		return errNotRunning
	}
	return e.Seek(ctx, consumer, primitives.Commit{Partition: p, Next: position})
}

var errNotRunning = errors.New("the flow is not running")

// Ends opens something else in place of a flow's primitives: see Flow.Substitute.
type Ends interface {
	// Source and Sink return how to open the source or sink with that name, which
	// is what the primitive's String returns, or nil for the primitive itself.
	Source(name string) func(context.Context, *primitives.Env) (primitives.Reader, error)
	Sink(name string) func(context.Context, *primitives.Env) (primitives.Writer, error)
}

// Substitute makes the flow open ends in place of its primitives. Types, codecs
// and everything between the ends stay. Package flowtest uses it; a program
// seldom has a reason to.
func (f *Flow) Substitute(ends Ends) { f.ends = ends }

// substitute replaces how the consumers and collectors of cfg are opened.
func (f *Flow) substitute(cfg *runtime.Config) {
	if f.ends == nil {
		return
	}
	sink := func(s *runtime.Sink) {
		if open := f.ends.Sink(s.Name); open != nil && s.Name != "" {
			s.Open = open
		}
	}
	for _, c := range cfg.Consumers {
		if open := f.ends.Source(c.Source.Name); open != nil {
			c.Source.Open, c.Source.Bounded = open, false
		}
		sink(&c.Sink)
		sink(&c.DeadLetter.Sink)
	}
	for _, r := range cfg.Routes {
		sink(&r.Sink)
	}
}
