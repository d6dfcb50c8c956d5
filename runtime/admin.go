package runtime

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// admin serves what operators look at, and what changes a running flow, on an address of
// its own.
type admin struct {
	listener net.Listener
	server   *http.Server
	done     chan struct{}
}

// startAdmin listens and serves until close.
func startAdmin(e *Engine, addr string) (*admin, error) {
	l, err := listen("admin", addr, "FLOW_ADMIN or flow.AdminAddr")
	if err != nil {
		return nil, err
	}
	a := &admin{listener: l, done: make(chan struct{}), server: &http.Server{
		Handler: adminHandler(e), ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute,
	}}
	go func() {
		defer close(a.done)
		if err := a.server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			e.log.Error("admin server ended", "error", err)
		}
	}()
	return a, nil
}

func (a *admin) address() string { return a.listener.Addr().String() }

func (a *admin) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := a.server.Shutdown(ctx); err != nil {
		_ = a.server.Close()
	}
	<-a.done
	return nil
}

// adminHandler routes the admin address.
func adminHandler(e *Engine) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(&metrics{e}, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, r *http.Request) { answerHealth(w, e.live(r.Context())) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) { answerHealth(w, e.ready(r.Context())) })
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /state", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Has("cpu") { // of a scaler that looks at all processes
			e.wanted.Store(time.Now().UnixNano())
		}
		w.Header().Set("Content-Type", "application/json")
		out := json.NewEncoder(w)
		out.SetIndent("", "  ")
		_ = out.Encode(e.Snapshot())
	})
	e.controls(mux)
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", e.profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = w.Write([]byte("flow " + e.cfg.Name + "\n\n/livez\n/readyz\n/metrics\n/state\n/decisions?processor=NAME\n/debug/pprof/\n" +
			"\nPOST /scale?processor=NAME&replicas=N|auto\nPOST /pause?processor=NAME\nPOST /resume?processor=NAME\n"))
	})
	return mux
}

func answerHealth(w http.ResponseWriter, err error) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if err != nil {
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = w.Write([]byte(err.Error() + "\n"))
		return
	}
	_, _ = w.Write([]byte("ok\n"))
}

// live reports whether the process should be left running.
func (e *Engine) live(ctx context.Context) error {
	if e.cfg.HealthCheck == nil {
		return nil
	}
	return guard(func() error { return e.cfg.HealthCheck(ctx) })
}

// ready reports whether the flow does its work: it has started, is not draining,
// no partition is stuck and the health check agrees.
func (e *Engine) ready(ctx context.Context) error {
	if state := e.state.Load(); state != stateRunning {
		return errors.New(stateNames[state])
	}
	for _, c := range e.consumers {
		if n := c.stalled.Load(); n > 0 {
			return errors.New(c.spec.Name + ": a partition does not advance, see /state")
		}
	}
	return e.live(ctx)
}
