package web

import (
	"context"
	"net/http"
	"slices"
	"sync"

	"github.com/go-chi/chi/v5"
)

// directRoutes are those whose requests are spared what chi does for handlers of
// net/http: a copy of the request with a context of chi's, and a map of path
// values. chi finds them all the same.
type directRoutes struct {
	routes map[directKey]*Route
	finds  sync.Pool // of *chi.Context
}

// A directKey is a method and a pattern as chi has it.
type directKey struct{ method, route string }

func (s *Server) addDirect(rt *Route) {
	if s.direct.routes == nil {
		s.direct.routes = map[directKey]*Route{}
	}
	s.direct.routes[directKey{rt.Pattern.Method, rt.Pattern.route}] = rt
	if rt.Pattern.Method == http.MethodGet {
		s.direct.routes[directKey{http.MethodHead, rt.Pattern.route}] = rt
	}
}

// route answers a request: directly, or by chi.
func (s *Server) route(w http.ResponseWriter, r *http.Request) {
	if !s.serveDirect(w, r) {
		s.mux.ServeHTTP(w, r)
	}
}

// routeMounted is route where a chi of the user's may be around this one. Then
// r's path begins with what that one has matched, which only chi knows.
func (s *Server) routeMounted(w http.ResponseWriter, r *http.Request) {
	if chi.RouteContext(r.Context()) != nil {
		s.mux.ServeHTTP(w, r)
		return
	}
	s.route(w, r)
}

// serveDirect reports whether r was for a direct route. If so, it is answered.
func (s *Server) serveDirect(w http.ResponseWriter, r *http.Request) bool {
	found, ok := s.direct.finds.Get().(*chi.Context)
	if !ok {
		found = chi.NewRouteContext()
	}
	found.Reset()
	defer s.direct.finds.Put(found)
	path := r.URL.RawPath
	if path == "" {
		path = r.URL.Path
	}
	rt := s.direct.routes[directKey{r.Method, s.mux.Find(found, r.Method, path)}]
	if rt == nil || rt.Timeout < 0 {
		return false
	}
	s.serve(rt, &found.URLParams, w, r)
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
