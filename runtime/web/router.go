package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"
)

// Add registers a route. It errs when the route conflicts with one that is
// there, naming both, and once the server serves.
func (s *Server) Add(rt *Route) error {
	if rt.Handler == nil && rt.raw == nil {
		return fmt.Errorf("web: %s: the handler is nil", rt.Pattern)
	}
	if rt.Pattern.route == "" {
		return errors.New("web: a route without a pattern: make it with ParsePattern")
	}
	if s.serving.Load() {
		return fmt.Errorf("web: %s: routes cannot be added once the server serves", rt.Pattern)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, other := range s.routes {
		if Conflicts(rt.Pattern, other.Pattern) {
			return fmt.Errorf("web: %s%s takes the same requests as %s%s", rt.Pattern, named(rt), other.Pattern, named(other))
		}
	}
	s.routes = append(s.routes, rt)
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.serve(rt, &visit{}, w, r) })
	if rt.discreet {
		s.addDirect(rt)
	}
	switch rt.Pattern.Method {
	case "":
		for _, method := range append(slices.Clone(methods), http.MethodHead, http.MethodOptions) {
			s.mux.Method(method, rt.Pattern.route, h)
		}
	case http.MethodGet:
		s.mux.Method(http.MethodHead, rt.Pattern.route, h)
		fallthrough
	default:
		s.mux.Method(rt.Pattern.Method, rt.Pattern.route, h)
	}
	return nil
}

func named(rt *Route) string {
	if rt.Name == "" {
		return ""
	}
	return " (" + rt.Name + ")"
}

// Handle registers a plain http.Handler, and returns its route. The pattern may
// be a path without a method, as "/files/*": then h gets every method, OPTIONS
// and HEAD too. The route's limits hold for it as for others; r.Body ends with
// an *http.MaxBytesError at BodyLimit.
func (s *Server) Handle(pattern string, h http.Handler) (*Route, error) {
	var p Pattern
	var err error
	if strings.HasPrefix(pattern, "/") {
		var at int
		if p, at, err = parsePath(pattern); err != nil {
			err = fmt.Errorf("web: pattern %q: position %d: %w", pattern, at+1, err)
		}
	} else {
		p, err = ParsePattern(pattern)
	}
	if err != nil {
		return nil, err
	}
	rt := &Route{Pattern: p, raw: h}
	return rt, s.Add(rt)
}

// Routes returns the routes in the order of their paths, to be printed. They
// must not be changed.
func (s *Server) Routes() []*Route {
	s.mu.Lock()
	routes := slices.Clone(s.routes)
	s.mu.Unlock()
	slices.SortStableFunc(routes, func(a, b *Route) int {
		if c := strings.Compare(a.Pattern.Path, b.Pattern.Path); c != 0 {
			return c
		}
		return slices.Index(methods, a.Pattern.Method) - slices.Index(methods, b.Pattern.Method)
	})
	return routes
}

// wrap puts the user's middleware, and what all requests go through, around
// route, which answers what the middleware lets through.
func (s *Server) wrap(middleware []func(http.Handler) http.Handler, route func(*visit, http.ResponseWriter, *http.Request)) http.Handler {
	var h http.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v := s.newVisit()
		defer s.visits.Put(v)
		route(v, w, r)
	})
	for _, m := range slices.Backward(middleware) {
		h = m(h)
	}
	watched := len(middleware) > 0 // routes look after themselves
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v := s.newVisit()
		s.inFlight[v.shard].Add(1)
		defer func() {
			s.inFlight[v.shard].Add(-1)
			s.visits.Put(v)
		}()
		if s.draining.Load() {
			w.Header().Set("Connection", "close")
		}
		if !watched {
			route(v, w, r)
			return
		}
		watch(r.Context())
		t := &tracker{ResponseWriter: w}
		if err := s.guard(func() { h.ServeHTTP(t, r) }); err != nil {
			if t.status != 0 {
				err = &writtenError{t.status, err}
			}
			s.fail(t, r, err)
		}
	})
}

// serve answers one request of a route.
func (s *Server) serve(rt *Route, v *visit, w http.ResponseWriter, r *http.Request) {
	start, status := time.Now(), 0
	if rt.Observe != nil {
		defer func() { rt.Observe(Observation{status, start, time.Since(start), v.shard}) }()
	}
	if rt.Begin != nil {
		rt.Begin(r)
	}
	var err error
	if status, err = s.attempt(rt, v, start, w, r); err != nil {
		status = s.fail(w, r, err)
	}
}

// attempt runs the route's handler within its limits. A panic is an error.
func (s *Server) attempt(rt *Route, v *visit, start time.Time, w http.ResponseWriter, r *http.Request) (status int, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = panicked(v)
		}
	}()
	ctx := r.Context()
	if !rt.discreet || rt.Timeout < 0 {
		watch(ctx)
	}
	switch {
	case rt.Timeout < 0:
		streaming(w)
	default:
		timeout := rt.Timeout
		if timeout == 0 {
			timeout = DefaultTimeout
		}
		limited := withDeadline(ctx, start.Add(timeout))
		if len(v.found.RoutePatterns) > 0 {
			limited.params = &v.found.URLParams
		}
		defer limited.stop()
		ctx = limited
	}
	if rt.Limiter != nil {
		if err := rt.Limiter.Acquire(ctx); err != nil {
			if errors.Is(err, context.DeadlineExceeded) {
				err = ErrBusy
			}
			return 0, err
		}
		defer rt.Limiter.Release()
	}
	if rt.raw != nil {
		return s.serveRaw(ctx, rt, w, r)
	}
	return rt.Handler(ctx, w, r)
}

// streaming takes the server's deadlines off one connection until its next request.
func streaming(w http.ResponseWriter) {
	rc := http.NewResponseController(w)
	// A writer without deadlines, as in tests, has none to take off.
	_ = rc.SetReadDeadline(time.Time{})
	_ = rc.SetWriteDeadline(time.Time{})
}

func (s *Server) serveRaw(ctx context.Context, rt *Route, w http.ResponseWriter, r *http.Request) (int, error) {
	r = r.WithContext(ctx)
	if rt.BodyLimit >= 0 {
		limit := rt.BodyLimit
		setDefault(&limit, DefaultBodyLimit)
		r.Body = http.MaxBytesReader(w, r.Body, limit)
	}
	t := &tracker{ResponseWriter: w}
	if err := s.guard(func() { rt.raw.ServeHTTP(t, r) }); err != nil {
		if t.status != 0 {
			err = &writtenError{t.status, err}
		}
		return t.status, err
	}
	return t.done(), nil
}

// guard turns a panic of f into an error.
func (s *Server) guard(f func()) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = panicked(v)
		}
	}()
	f()
	return nil
}

// panicked is the error for a panic. http.ErrAbortHandler is how a handler asks
// for its connection to be cut: it goes on.
func panicked(v any) error {
	if v == http.ErrAbortHandler {
		panic(v)
	}
	return &PanicError{Value: v, Stack: debug.Stack()}
}

// A PanicError is the error of a handler that panicked. It is answered with 500.
type PanicError struct {
	Value any
	Stack []byte
}

// Error has no stack. There is no Unwrap either: whatever the value, it is a panic.
func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v", e.Value) }

// fail answers with err. When an answer was begun, it panics to have net/http
// cut the connection.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) int {
	var written *writtenError
	if errors.As(err, &written) {
		logFailure(s.log, r, written.status, "", err)
		panic(http.ErrAbortHandler)
	}
	return WriteError(w, r, err, s.log)
}

func (s *Server) notFound(w http.ResponseWriter, r *http.Request) {
	writeProblem(w, &Error{Status: http.StatusNotFound, Detail: "there is nothing at this path"}, "")
}

// methodNotAllowed answers OPTIONS, and methods that a path does not have.
func (s *Server) methodNotAllowed(w http.ResponseWriter, r *http.Request) {
	path := r.URL.RawPath
	if path == "" {
		path = r.URL.Path
	}
	var allowed []string
	for _, method := range methods {
		if s.mux.Match(chi.NewRouteContext(), method, path) {
			allowed = append(allowed, method)
			if method == http.MethodGet {
				allowed = append(allowed, http.MethodHead)
			}
		}
	}
	if len(allowed) == 0 { // chi comes here with methods that it does not know, too
		s.notFound(w, r)
		return
	}
	allow := strings.Join(append(allowed, http.MethodOptions), ", ")
	if r.Method == http.MethodOptions {
		w.Header().Set("Allow", allow)
		w.WriteHeader(http.StatusNoContent)
		return
	}
	writeProblem(w, &Error{Status: http.StatusMethodNotAllowed, Header: http.Header{"Allow": {allow}},
		Detail: "this path takes " + allow}, "")
}
