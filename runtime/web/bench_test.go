package web

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"testing"

	"github.com/go-chi/chi/v5"
)

type benchOrder struct {
	ID    string `json:"id"`
	Cents int64  `json:"cents"`
	Lines []struct {
		SKU   string `json:"sku"`
		Cents int64  `json:"cents"`
	} `json:"lines"`
}

type benchTotal struct {
	ID    string `json:"id"`
	Cents int64  `json:"cents"`
}

type benchQuery struct {
	ID    string `path:"id"`
	Limit int    `query:"limit" default:"10"`
}

const benchBody = `{"id":"o-1","cents":100,"lines":[{"sku":"A","cents":40},{"sku":"B","cents":60}]}`

func benchSum(_ context.Context, o benchOrder) (benchTotal, error) {
	return benchTotal{o.ID, o.Cents}, nil
}

func benchFind(_ context.Context, q benchQuery) (benchTotal, error) {
	return benchTotal{q.ID, int64(q.Limit)}, nil
}

// BenchmarkHandler compares a route with the same handler written by hand on
// chi, without a network.
func BenchmarkHandler(b *testing.B) {
	byHand := chi.NewRouter()
	byHand.Post("/orders", func(w http.ResponseWriter, r *http.Request) {
		var o benchOrder
		if err := json.NewDecoder(r.Body).Decode(&o); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		res, err := benchSum(r.Context(), o)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(res)
	})
	byHand.Get("/orders/{id}", func(w http.ResponseWriter, r *http.Request) {
		q := benchQuery{ID: chi.URLParam(r, "id"), Limit: 10}
		if text := r.URL.Query().Get("limit"); text != "" {
			var err error
			if q.Limit, err = strconv.Atoi(text); err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
		}
		res, err := benchFind(r.Context(), q)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(res)
	})
	s := NewServer(Config{Logger: slog.New(slog.DiscardHandler)})
	for _, rt := range []*Route{
		must(Endpoint("POST /orders", benchSum)),
		must(Endpoint("GET /orders/{id}", benchFind)),
	} {
		rt.Limiter = NewLimiter(100, 100)
		if err := s.Add(rt); err != nil {
			b.Fatal(err)
		}
	}
	for _, side := range []struct {
		name string
		h    http.Handler
	}{{"flow", s.Handler()}, {"chi", byHand}} {
		b.Run("post/"+side.name, func(b *testing.B) {
			r, err := http.NewRequest("POST", "/orders", nil)
			if err != nil {
				b.Fatal(err)
			}
			r.Header.Set("Content-Type", "application/json")
			r.ContentLength = int64(len(benchBody))
			body := bytes.NewReader([]byte(benchBody))
			benchServe(b, side.h, r, func() { body.Reset([]byte(benchBody)); r.Body = io.NopCloser(body) })
		})
		b.Run("get/"+side.name, func(b *testing.B) {
			r, err := http.NewRequest("GET", "/orders/o-1?limit=20", nil)
			if err != nil {
				b.Fatal(err)
			}
			benchServe(b, side.h, r, func() {})
		})
	}
}

func benchServe(b *testing.B, h http.Handler, r *http.Request, reset func()) {
	b.ReportAllocs()
	w := &benchWriter{header: http.Header{}}
	for b.Loop() {
		reset()
		clear(w.header)
		h.ServeHTTP(w, r)
	}
	if w.status != 0 || w.n == 0 {
		b.Fatalf("status %d, %d bytes", w.status, w.n)
	}
}

type benchWriter struct {
	header http.Header
	status int
	n      int
}

func (w *benchWriter) Header() http.Header         { return w.header }
func (w *benchWriter) WriteHeader(status int)      { w.status = status }
func (w *benchWriter) Write(p []byte) (int, error) { w.n = len(p); return len(p), nil }

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
