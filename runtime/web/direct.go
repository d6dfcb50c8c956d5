package web

import (
	"context"
	"net/http"
	"slices"
	"sync/atomic"

	"github.com/go-chi/chi/v5"
)

// directRoutes are those whose requests are spared what chi does for handlers of
// net/http: a copy of the request with a context of chi's, and a map of path
// values. chi finds them all the same.
type directRoutes map[directKey]*Route

// A directKey is a method and a pattern as chi has it.
type directKey struct{ method, route string }

func (s *Server) addDirect(rt *Route) {
	s.direct[directKey{rt.Pattern.Method, rt.Pattern.route}] = rt
	if rt.Pattern.Method == http.MethodGet {
		s.direct[directKey{http.MethodHead, rt.Pattern.route}] = rt
	}
}

// A visit is what is used again from request to request.
type visit struct {
	found chi.Context
	shard int
}

// Shards is how many sets of counters there should be of what is counted per
// request, so that processors don't have to pass them to and fro.
const Shards = 8

// A count is alone in its part of the processors' caches.
type count struct {
	atomic.Int64
	_ [120]byte
}

func (s *Server) newVisit() *visit {
	if v, ok := s.visits.Get().(*visit); ok { // most likely the last one of this processor
		return v
	}
	return &visit{shard: int(s.lastShard.Add(1) % Shards)}
}

// route answers a request: directly, or by chi.
func (s *Server) route(v *visit, w http.ResponseWriter, r *http.Request) {
	if !s.serveDirect(v, w, r) {
		s.mux.ServeHTTP(w, r)
	}
}

// routeMounted is route where a chi of the user's may be around this one. Then
// r's path begins with what that one has matched, which only chi knows.
func (s *Server) routeMounted(v *visit, w http.ResponseWriter, r *http.Request) {
	if chi.RouteContext(r.Context()) != nil {
		s.mux.ServeHTTP(w, r)
		return
	}
	s.route(v, w, r)
}

// serveDirect reports whether r was for a direct route. If so, it is answered.
func (s *Server) serveDirect(v *visit, w http.ResponseWriter, r *http.Request) bool {
	v.found.Reset()
	path := r.URL.RawPath
	if path == "" {
		path = r.URL.Path
	}
	rt := s.direct[directKey{r.Method, s.mux.Find(&v.found, r.Method, path)}]
	if rt == nil || rt.Timeout < 0 {
		return false
	}
	s.serve(rt, v, w, r)
	return true
}

type paramsKey struct{}

// paramsOf returns what wildcards of a direct route stand for, nil for others.
func paramsOf(ctx context.Context) *chi.RouteParams {
	params, _ := ctx.Value(paramsKey{}).(*chi.RouteParams)
	return params
}

// pathValue is r.PathValue, also for direct routes.
func pathValue(r *http.Request, params *chi.RouteParams, name string) string {
	if params == nil {
		return r.PathValue(name)
	}
	if i := slices.Index(params.Keys, name); i >= 0 {
		return params.Values[i]
	}
	return ""
}
