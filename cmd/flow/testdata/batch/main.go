// Command batch is a flow whose input ends: it prints the lines of a file, and fails
// at the line "fail".
package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/flowkit-go/flow"
	"github.com/flowkit-go/flow/primitives/file"
)

func main() {
	lines := file.File[string]{Path: os.Getenv("BATCH_FILE")}
	app := flow.New("batch")
	flow.Consumer(app, "print", lines, flow.Discard, flow.Do(show))
	flow.Main(app)
}

func show(_ context.Context, line string) error {
	if line == "fail" {
		return errors.New("the input says so")
	}
	fmt.Println("line", line)
	return nil
}
