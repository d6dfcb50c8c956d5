// Command service is what the tests of flow run run: numbers come in over HTTP, wait
// in the embedded queue, and are appended to a file.
package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/flowkit-go/flow"
	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/primitives/nats"
)

type Number struct {
	N int `json:"n"`
}

type Reply struct {
	Version string `json:"version"`
	PID     int    `json:"pid"`
	Word    string `json:"word"`
}

const version = "one"

var numbers = nats.Stream[Number]{Name: "numbers"}

func main() {
	app := flow.New("service")
	flow.Collector(app, "POST /numbers", numbers, accept)
	flow.Consumer(app, "keep", numbers, flow.Discard, flow.Do(keep))
	flow.Endpoint(app, "GET /version", report)
	flow.Handle(app, "GET /events", http.HandlerFunc(events))
	flow.Handle(app, "GET /slow", http.HandlerFunc(slow))
	flow.Main(app)
}

func accept(_ context.Context, n Number) (Number, error) { return n, nil }

func keep(_ context.Context, n Number) error {
	f, err := os.OpenFile(filepath.Join(primitives.DataDir(), "kept"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(f, n.N)
	if closed := f.Close(); err == nil {
		err = closed
	}
	return err
}

func report(context.Context, flow.None) (Reply, error) {
	return Reply{version, os.Getpid(), os.Getenv("SERVICE_WORD")}, nil
}

// events is a stream without an end.
func events(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	_, _ = fmt.Fprintf(w, "data: %s\n\n", version)
	_ = http.NewResponseController(w).Flush()
	<-r.Context().Done()
}

// slow answers after the time that its query names.
func slow(w http.ResponseWriter, r *http.Request) {
	d, _ := time.ParseDuration(r.URL.Query().Get("for"))
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		_, _ = fmt.Fprintln(w, version)
	case <-r.Context().Done():
	}
}
