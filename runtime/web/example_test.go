package web_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"

	"github.com/flowkit-go/flow/runtime/web"
)

type FindOrder struct {
	ID    string `path:"id"`
	Lines bool   `query:"lines" default:"true"`
}

type Order struct {
	ID    string `json:"id"`
	Lines []string
}

// An endpoint and a collector from ordinary functions, on a server.
func Example() {
	find, err := web.Endpoint("GET /orders/{id}", func(_ context.Context, in FindOrder) (Order, error) {
		if in.ID != "o-1" {
			return Order{}, web.NewError(http.StatusNotFound, "no such order")
		}
		return Order{ID: in.ID, Lines: []string{"A-100"}}, nil
	})
	if err != nil {
		log.Fatal(err)
	}
	accept, err := web.Collector("POST /orders", func(_ context.Context, o Order) error { return nil })
	if err != nil {
		log.Fatal(err)
	}
	accept.Limiter = web.NewLimiter(100, 100)

	s := web.NewServer(web.Config{Addr: "127.0.0.1:0"})
	for _, rt := range []*web.Route{find, accept} {
		if err := s.Add(rt); err != nil {
			log.Fatal(err)
		}
	}
	ctx := context.Background()
	if err := s.Listen(ctx); err != nil {
		log.Fatal(err)
	}
	served := make(chan error)
	go func() { served <- s.Serve() }()

	for _, path := range []string{"/orders/o-1", "/orders/o-2", "/orders/o-1?lines=maybe"} {
		res, err := http.Get("http://" + s.Addr().String() + path)
		if err != nil {
			log.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(res.StatusCode, string(body))
	}
	http.DefaultClient.CloseIdleConnections()
	if err := s.Shutdown(ctx); err != nil {
		log.Fatal(err)
	}
	if err := <-served; err != nil {
		log.Fatal(err)
	}
	// Output:
	// 200 {"id":"o-1","Lines":["A-100"]}
	// 404 {"type":"about:blank","title":"Not Found","status":404,"detail":"no such order"}
	// 422 {"type":"about:blank","title":"Unprocessable Entity","status":422,"detail":"query lines: want true or false, got \"maybe\"","errors":[{"in":"query","field":"lines","detail":"want true or false, got \"maybe\""}]}
}
