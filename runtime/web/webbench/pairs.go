package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/flowkit-go/flow/runtime/web"
)

// A pair is the same handler twice. To add one, write a flow and a chi side.
type pair struct {
	name      string
	request   string // as it goes over the wire
	flow, chi func(net.Listener) (stop func() error, err error)
}

var pairs = []pair{
	{
		name:    "post",
		request: post("/orders", orderJSON),
		flow:    flowServer(web.Endpoint("POST /orders", price)),
		chi:     chiServer(http.MethodPost, "/orders", pricePlain),
	},
	{
		name:    "get",
		request: "GET /orders/o-1042?limit=20 HTTP/1.1\r\nHost: localhost\r\n\r\n",
		flow:    flowServer(web.Endpoint("GET /orders/{id}", find)),
		chi:     chiServer(http.MethodGet, "/orders/{id}", findPlain),
	},
	{
		name:    "collect",
		request: post("/orders", orderJSON),
		flow: flowServer(web.Collector("POST /orders", func(ctx context.Context, o order) error {
			_, err := price(ctx, o)
			return err
		})),
		chi: chiServer(http.MethodPost, "/orders", collectPlain),
	},
}

func post(path, body string) string {
	return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
		path, len(body), body)
}

const orderJSON = `{"id":"o-1042","customer":"c-17","cents":129900,"note":"leave at the door","lines":[` +
	`{"sku":"A-100","quantity":2,"cents":49900},{"sku":"B-200","quantity":1,"cents":30100}]}`

type order struct {
	ID       string `json:"id"`
	Customer string `json:"customer"`
	Cents    int64  `json:"cents"`
	Note     string `json:"note"`
	Lines    []line `json:"lines"`
}

type line struct {
	SKU      string `json:"sku"`
	Quantity int    `json:"quantity"`
	Cents    int64  `json:"cents"`
}

type total struct {
	ID    string `json:"id"`
	Cents int64  `json:"cents"`
	Items int    `json:"items"`
}

func price(_ context.Context, o order) (total, error) {
	t := total{ID: o.ID}
	for _, l := range o.Lines {
		t.Cents += l.Cents * int64(l.Quantity)
		t.Items += l.Quantity
	}
	return t, nil
}

type query struct {
	ID    string `path:"id"`
	Limit int    `query:"limit" default:"10"`
}

func find(_ context.Context, q query) (total, error) {
	return total{ID: q.ID, Cents: 129900, Items: q.Limit}, nil
}

// What follows is what one writes by hand.

func pricePlain(w http.ResponseWriter, r *http.Request) {
	var o order
	if err := json.NewDecoder(r.Body).Decode(&o); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	t, err := price(r.Context(), o)
	if err != nil {
		http.Error(w, "internal error", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(t)
}

func findPlain(w http.ResponseWriter, r *http.Request) {
	q := query{ID: chi.URLParam(r, "id"), Limit: 10}
	if text := r.URL.Query().Get("limit"); text != "" {
		var err error
		if q.Limit, err = strconv.Atoi(text); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
	}
	t, err := find(r.Context(), q)
	if err != nil {
		http.Error(w, "internal error", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(t)
}

func collectPlain(w http.ResponseWriter, r *http.Request) {
	var o order
	if err := json.NewDecoder(r.Body).Decode(&o); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if _, err := price(r.Context(), o); err != nil {
		http.Error(w, "internal error", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Write([]byte(`{"success": true}`))
}

// flowServer serves one route with everything that a server of package web does
// by default, and a limiter.
func flowServer(rt *web.Route, err error) func(net.Listener) (func() error, error) {
	return func(l net.Listener) (func() error, error) {
		if err != nil {
			return nil, err
		}
		rt.Limiter = web.NewLimiter(100, 100)
		s := web.NewServer(web.Config{Listener: l})
		if err := errors.Join(s.Add(rt), s.Listen(context.Background())); err != nil {
			return nil, err
		}
		return background(s.Serve, func() error { return s.Shutdown(context.Background()) }), nil
	}
}

// chiServer serves one handler on an http.Server with the timeouts that one sets
// by hand, or none when -bare is given.
func chiServer(method, path string, h http.HandlerFunc) func(net.Listener) (func() error, error) {
	return func(l net.Listener) (func() error, error) {
		mux := chi.NewRouter()
		mux.Method(method, path, h)
		s := &http.Server{Handler: mux}
		if !bare {
			s.ReadHeaderTimeout, s.ReadTimeout = 5*time.Second, 30*time.Second
			s.WriteTimeout, s.IdleTimeout = time.Minute, 2*time.Minute
		}
		serve := func() error {
			if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				return err
			}
			return nil
		}
		return background(serve, func() error { return s.Shutdown(context.Background()) }), nil
	}
}

// background runs serve until the function that it returns is called.
func background(serve, shutdown func() error) (stop func() error) {
	var wg sync.WaitGroup
	var err error
	wg.Go(func() { err = serve() })
	return func() error {
		stopped := shutdown()
		wg.Wait()
		return errors.Join(stopped, err)
	}
}
