// Command kafka is what the tests of the local broker run: numbers come in over
// HTTP, go through two topics, and are appended to a file. Negative ones are dead
// letters.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/flowkit-go/flow"
	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/primitives/kafka"
)

type Number struct {
	N int `json:"n"`
}

const version = "one"

var (
	numbers = kafka.Topic[Number]{Name: "numbers", Start: kafka.Earliest, Key: func(n Number) string { return fmt.Sprint(n.N) }}
	doubled = kafka.Topic[Number]{Name: "doubled", Start: kafka.Earliest}
	dead    = kafka.Topic[flow.Raw]{Name: "numbers.dead"}
)

func main() {
	app := flow.New("kafka")
	flow.Collector(app, "POST /numbers", numbers, flow.Pass[Number])
	flow.Consumer(app, "double", numbers, doubled, double, flow.DeadLetter(dead))
	flow.Consumer(app, "keep", doubled, flow.Discard, flow.Do(keep))
	flow.Endpoint(app, "GET /version", func(context.Context, flow.None) (string, error) { return version, nil })
	flow.Main(app)
}

func double(_ context.Context, n Number) (Number, error) {
	if n.N < 0 && version != "lenient" {
		return n, errors.New("a negative number")
	}
	return Number{2 * n.N}, nil
}

func keep(_ context.Context, n Number) error {
	f, err := os.OpenFile(filepath.Join(primitives.DataDir(), "kept"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(f, n.N)
	return errors.Join(err, f.Close())
}
