package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/flowkit-go/flow"
	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/primitives/memory"
)

// A pair is the same handler twice. To add one, write a flow and a chi side.
type pair struct {
	name      string
	request   string // as it goes over the wire
	flow, chi func() (addr string, stop func() error, err error)
}

var pairs = []pair{
	{
		name:    "post",
		request: post("/orders", orderJSON),
		flow:    flowServer(func(app *flow.Flow) { flow.Endpoint(app, "POST /orders", price) }),
		chi:     chiServer(http.MethodPost, "/orders", ready(pricePlain)),
	},
	{
		name:    "get",
		request: "GET /orders/o-1042?limit=20 HTTP/1.1\r\nHost: localhost\r\n\r\n",
		flow:    flowServer(func(app *flow.Flow) { flow.Endpoint(app, "GET /orders/{id}", find) }),
		chi:     chiServer(http.MethodGet, "/orders/{id}", ready(findPlain)),
	},
	{
		name:    "collect",
		request: post("/orders", orderJSON),
		flow:    flowServer(func(app *flow.Flow) { flow.Collector(app, "POST /orders", totals(), price) }),
		chi:     chiServer(http.MethodPost, "/orders", collectPlain),
	},
}

// totals is where both collectors write to. It keeps the last records.
func totals() memory.Topic[total] {
	return memory.Topic[total]{Broker: memory.NewBroker(), Name: "totals", Retain: 10_000}
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

// collectPlain answers when the writer has confirmed.
func collectPlain() (http.HandlerFunc, error) {
	writer, err := totals().OpenSink(context.Background(), &primitives.Env{Logger: slog.Default(), Shared: &primitives.Shared{}})
	if err != nil {
		return nil, err
	}
	return func(w http.ResponseWriter, r *http.Request) {
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
		value, err := json.Marshal(t)
		if err != nil {
			http.Error(w, "internal error", http.StatusInternalServerError)
			return
		}
		stored := make(chan error, 1)
		writer.Write(r.Context(), []primitives.Record{{Value: value}}, func(err error) { stored <- err })
		if err := <-stored; err != nil {
			http.Error(w, "not stored", http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Write([]byte(`{"success": true}`))
	}, nil
}

// flowServer runs a flow with its default options.
func flowServer(register func(*flow.Flow)) func() (string, func() error, error) {
	return func() (string, func() error, error) {
		ready, ended := make(chan flow.Addresses, 1), make(chan error, 1)
		app := flow.New("bench", flow.HTTPAddr("127.0.0.1:0"), flow.AdminAddr("off"),
			flow.OnReady(func(a flow.Addresses) { ready <- a }), flow.Logger(slog.New(slog.DiscardHandler)))
		register(app)
		ctx, cancel := context.WithCancel(context.Background())
		go func() { ended <- app.Run(ctx) }()
		stop := func() error {
			cancel()
			return <-ended
		}
		select {
		case a := <-ready:
			return a.HTTP, stop, nil
		case err := <-ended:
			cancel()
			return "", nil, err
		}
	}
}

// ready is a handler that has nothing to open.
func ready(h http.HandlerFunc) func() (http.HandlerFunc, error) {
	return func() (http.HandlerFunc, error) { return h, nil }
}

// chiServer serves one handler on an http.Server with the timeouts that one sets
// by hand, or none when -bare is given.
func chiServer(method, path string, open func() (http.HandlerFunc, error)) func() (string, func() error, error) {
	return func() (string, func() error, error) {
		h, err := open()
		if err != nil {
			return "", nil, err
		}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return "", nil, err
		}
		mux := chi.NewRouter()
		mux.Method(method, path, h)
		s := &http.Server{Handler: mux}
		if !bare {
			s.ReadHeaderTimeout, s.ReadTimeout = 5*time.Second, 30*time.Second
			s.WriteTimeout, s.IdleTimeout = time.Minute, 2*time.Minute
		}
		ended := make(chan error, 1)
		go func() { ended <- s.Serve(l) }()
		stop := func() error {
			err := s.Shutdown(context.Background())
			if served := <-ended; !errors.Is(served, http.ErrServerClosed) {
				err = errors.Join(err, served)
			}
			return err
		}
		return l.Addr().String(), stop, nil
	}
}
