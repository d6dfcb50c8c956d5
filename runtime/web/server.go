package web

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/go-chi/chi/v5"
)

// Config says how a Server listens and what it allows. The zero value is good.
type Config struct {
	// Addr is the TCP address to listen on, as "127.0.0.1:8080" or ":8080". Empty
	// means DefaultAddr, port 0 any free port.
	Addr string

	// AddrHint tells how a user changes the address, as "--http or FLOW_HTTP". It
	// becomes part of the error when the address is in use.
	AddrHint string

	// Listener is used in place of Addr when it is not nil. The server closes it.
	Listener net.Listener

	// Logger gets failed requests and panics; nil means slog.Default.
	Logger *slog.Logger

	// Middleware wraps everything, the first outermost, also answers with 404.
	Middleware []func(http.Handler) http.Handler

	ReadHeaderTimeout time.Duration // of the headers; 0 means 5 s
	ReadTimeout       time.Duration // of headers and body; 0 means 30 s
	IdleTimeout       time.Duration // between requests of a connection; 0 means 120 s
	MaxHeaderBytes    int           // 0 means 64 KiB

	// LameDuck is how long Shutdown goes on answering connections that are idle,
	// with "Connection: close", before it closes them; it ends when there are none.
	// 0 means not at all: a request that crosses the end of its connection is lost.
	LameDuck time.Duration
}

// DefaultAddr is where a server listens when nothing else is said.
const DefaultAddr = ":8080"

func (c Config) withDefaults() Config {
	if c.Addr == "" {
		c.Addr = DefaultAddr
	}
	if c.AddrHint == "" {
		c.AddrHint = "Addr"
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	setDefault(&c.ReadHeaderTimeout, 5*time.Second)
	setDefault(&c.ReadTimeout, 30*time.Second)
	setDefault(&c.IdleTimeout, 120*time.Second)
	setDefault(&c.MaxHeaderBytes, 64<<10)
	return c
}

func setDefault[T comparable](v *T, to T) {
	var zero T
	if *v == zero {
		*v = to
	}
}

// A Server answers the requests of its routes. Its life: NewServer, Add and
// Handle for each route, Listen, Serve in a goroutine of the caller's, Shutdown,
// and Serve returns. HTTP/1.1 only.
type Server struct {
	config  Config
	log     *slog.Logger
	mux     *chi.Mux
	direct  directRoutes
	handler http.Handler
	http    *http.Server
	cancel  context.CancelCauseFunc // of the requests' base context

	visits    sync.Pool // of *visit
	lastShard atomic.Uint32
	inFlight  [Shards]count
	draining  atomic.Bool
	serving   atomic.Bool

	mu       sync.Mutex // guards what follows; never held while something waits
	routes   []*Route
	listener net.Listener
	conns    int
	silent   map[*conn]struct{} // that no request has come on so far
	empty    chan struct{}      // closed when draining and conns is 0
}

// NewServer returns a Server without routes. It does no I/O.
func NewServer(config Config) *Server {
	config = config.withDefaults()
	s := &Server{config: config, log: config.Logger, mux: chi.NewMux(), direct: directRoutes{}, empty: make(chan struct{}), silent: map[*conn]struct{}{}}
	base, cancel := context.WithCancelCause(context.Background())
	s.cancel = cancel
	s.mux.NotFound(s.notFound)
	s.mux.MethodNotAllowed(s.methodNotAllowed)
	s.handler = s.wrap(config.Middleware, s.routeMounted)
	own := s.handler
	if len(config.Middleware) == 0 {
		own = s.wrap(nil, s.route) // nothing can be around it
	}

	var protocols http.Protocols
	protocols.SetHTTP1(true)
	s.http = &http.Server{
		Handler:           own,
		ReadHeaderTimeout: config.ReadHeaderTimeout,
		ReadTimeout:       config.ReadTimeout,
		IdleTimeout:       config.IdleTimeout,
		MaxHeaderBytes:    config.MaxHeaderBytes,
		Protocols:         &protocols,
		BaseContext:       func(net.Listener) context.Context { return base },
		ConnContext:       func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, connKey{}, c) },
		ConnState:         s.connState,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	return s
}

// Handler returns what answers requests, for tests without a network.
func (s *Server) Handler() http.Handler { return s.handler }

// Listen takes the address, so that an error comes before anything is served.
func (s *Server) Listen(ctx context.Context) error {
	l := s.config.Listener
	if l == nil {
		var err error
		if l, err = new(net.ListenConfig).Listen(ctx, "tcp", s.config.Addr); err != nil {
			return s.listenError(err)
		}
	}
	s.mu.Lock()
	s.listener = l
	s.mu.Unlock()
	return nil
}

func (s *Server) listenError(err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("web: address %s is in use: stop the program that listens there, or choose another address with %s: %w",
			s.config.Addr, s.config.AddrHint, err)
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("web: address %s is not permitted: choose a port above 1023 with %s: %w", s.config.Addr, s.config.AddrHint, err)
	default:
		return fmt.Errorf("web: address %s cannot be listened on: correct it with %s: %w", s.config.Addr, s.config.AddrHint, err)
	}
}

// Addr returns the address that Listen took, nil before.
func (s *Server) Addr() net.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listener == nil {
		return nil
	}
	return s.listener.Addr()
}

// InFlight is the number of requests that are being answered, also those that
// wait for a Limiter.
func (s *Server) InFlight() int {
	n := int64(0)
	for i := range s.inFlight {
		n += s.inFlight[i].Load()
	}
	return int(n)
}

// Serve answers requests until Shutdown, and then returns nil while the last of
// them are still being answered: Shutdown waits for those. It needs Listen.
func (s *Server) Serve() error {
	s.serving.Store(true)
	s.mu.Lock()
	l := s.listener
	// WriteTimeout counts from the end of the headers, so it has to cover the body's
	// way in and the slowest route.
	s.http.WriteTimeout = s.slowest() + s.config.ReadTimeout
	s.mu.Unlock()
	if l == nil {
		return errors.New("web: Serve before Listen")
	}
	err := s.http.Serve(listener{l, min(s.config.ReadHeaderTimeout, s.config.ReadTimeout, s.config.IdleTimeout)})
	if s.draining.Load() || errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("web: serve %s: %w", l.Addr(), err)
}

func (s *Server) slowest() (d time.Duration) {
	for _, rt := range s.routes {
		timeout := rt.Timeout // a negative one takes the connection's deadlines off
		setDefault(&timeout, DefaultTimeout)
		d = max(d, timeout)
	}
	return d
}

// Shutdown stops accepting, answers the requests that are there, each with
// "Connection: close", and returns when all connections are closed. When ctx
// ends first, the contexts of the remaining handlers are cancelled with cause
// ErrStopping, their connections are closed, and it returns an error that says
// how many there were. It may be called without Listen or Serve.
func (s *Server) Shutdown(ctx context.Context) error {
	l := s.drain()
	var closing error
	if l != nil {
		closing = l.Close()
	}
	if errors.Is(closing, net.ErrClosed) {
		closing = nil
	}
	if s.config.LameDuck > 0 {
		timer := time.NewTimer(s.config.LameDuck)
		defer timer.Stop()
		select {
		case <-s.empty:
		case <-timer.C:
		case <-ctx.Done():
		}
	}
	hush := s.closeSilentAfter(silentPatience)
	defer hush()
	if err := s.http.Shutdown(ctx); ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		n := s.InFlight()
		s.Cancel()
		err = s.http.Close()
		return errors.Join(fmt.Errorf("web: stopped with %d requests under way: %w", n, ctx.Err()), ignoreClosed(err))
	}
	s.Cancel()
	return ignoreClosed(closing)
}

// Cancel ends the contexts of all requests under way, now and later, with cause
// ErrStopping. Handlers that return because of it are answered with 503. It may
// be called during Shutdown, to leave them time for that.
func (s *Server) Cancel() { s.cancel(ErrStopping) }

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

func (s *Server) drain() net.Listener {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.draining.Swap(true) && s.conns == 0 {
		close(s.empty)
	}
	return s.listener
}

// silentPatience is how long Shutdown waits for the first request of a connection.
// Clients open some in advance and leave them unused; net/http gives them 5 s.
const silentPatience = time.Second

// closeSilentAfter closes the connections that no request has come on, after d.
// The function returned calls that off, or waits until it is done.
func (s *Server) closeSilentAfter(d time.Duration) (stop func()) {
	done := make(chan struct{})
	timer := time.AfterFunc(d, func() {
		defer close(done)
		s.mu.Lock()
		silent := slices.Collect(maps.Keys(s.silent))
		s.mu.Unlock()
		for _, conn := range silent {
			_ = conn.Close() // its own goroutine notices and reports it closed
		}
	})
	return func() {
		if !timer.Stop() {
			<-done
		}
	}
}

// connState is called by net/http, for one connection at a time.
func (s *Server) connState(nc net.Conn, state http.ConnState) {
	c := nc.(*conn) // of Serve's listener
	first := false
	switch state {
	case http.StateActive:
		c.begin()
		first = !c.heard
		c.heard = true
	case http.StateIdle, http.StateHijacked:
		c.end()
	}
	if first || state != http.StateActive && state != http.StateIdle {
		s.count(c, state)
	}
}

// count keeps the number of connections and those that no request has come on.
func (s *Server) count(c *conn, state http.ConnState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch state {
	case http.StateNew:
		s.conns++
		s.silent[c] = struct{}{}
		return
	case http.StateActive:
		delete(s.silent, c)
		return
	}
	delete(s.silent, c)
	if s.conns--; s.conns == 0 && s.draining.Load() {
		select {
		case <-s.empty:
		default:
			close(s.empty)
		}
	}
}
