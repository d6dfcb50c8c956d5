package flow_test

import (
	"bytes"
	"context"
	"flag"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flowkit-go/flow"
	"github.com/flowkit-go/flow/primitives/memory"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestGraphFormats compares every format of a flow's graph with its golden file.
func TestGraphFormats(t *testing.T) {
	app := flow.New("shop", flow.HTTPAddr("127.0.0.1:7070"), flow.AdminAddr("off"))
	flow.Collector(app, "POST /invoices", invoices, flow.Pass[invoice], flow.Name("accept"))
	flow.Consumer(app, "archive", invoices, archive, flow.Pass[invoice], flow.Replicas(1, 4),
		flow.DeadLetter(memory.Topic[flow.Raw]{Name: `the "dead"`}))
	flow.Consumer(app, "count", flow.Messages(invoices), flow.Discard, flow.Do(func(context.Context, flow.Msg[invoice]) error { return nil }))
	flow.Endpoint(app, "GET /invoices/{id}", flow.Pass[invoiceQuery])
	flow.Handle(app, "GET /files/*", http.NotFoundHandler())
	line := regexp.MustCompile(`[\w.-]+/graph_test\.go:\d+`)
	for _, format := range flow.GraphFormats() {
		t.Run(format, func(t *testing.T) {
			var b bytes.Buffer
			if err := app.Graph().Write(&b, format); err != nil {
				t.Fatal(err)
			}
			got := line.ReplaceAllString(b.String(), "graph_test.go:N")
			path := filepath.Join("testdata", "graph", format)
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Error(diff)
			}
		})
	}
	if err := app.Graph().Write(&bytes.Buffer{}, "png"); err == nil || !strings.Contains(err.Error(), "use one of text, json, mermaid, dot") {
		t.Errorf("error %v", err)
	}
}
