// Command alone runs its flow without flow.Main: it knows no commands, and takes its
// arguments for the lines of its input.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/flowkit-go/flow"
	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/primitives/file"
)

func main() {
	path := primitives.DataPath("lines.txt")
	err := os.MkdirAll(filepath.Dir(path), 0o755)
	if err == nil {
		err = os.WriteFile(path, []byte(strings.Join(os.Args[1:], "\n")+"\n"), 0o644)
	}
	if err == nil {
		app := flow.New("alone", flow.AdminAddr("off"))
		flow.Consumer(app, "print", file.File[string]{Path: path}, flow.Discard, flow.Do(show))
		err = app.Run(context.Background())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(flow.ExitFailed)
	}
}

func show(_ context.Context, line string) error {
	fmt.Println("line", line)
	return nil
}
