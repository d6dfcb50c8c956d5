// Command wordcount counts the words of a text file into a CSV file, prints the
// most frequent ones, and ends.
//
//	go run ./examples/wordcount examples/wordcount/data/opticks.txt words.csv
//
// It may be killed at any moment. The next run goes on where it was, and what it
// counts is exact, though a line may be delivered twice: no total is ever added
// to. What is stored is how often a word stands in a line, with line and word as
// the key, so that a line that comes again stores the same rows again.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/flowkit-go/flow"
	"github.com/flowkit-go/flow/primitives/file"
	"github.com/flowkit-go/flow/primitives/sqlite"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: wordcount TEXT CSV")
		os.Exit(flow.ExitUsage)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	totals, err := wordcount(ctx, os.Args[1], os.Args[2])
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(flow.ExitFailed)
	}
	for _, t := range totals[:min(10, len(totals))] {
		fmt.Printf("%6d %s\n", t.Count, t.Word)
	}
}

// wordcount counts the words of the file text, writes them to the file csv, and
// returns them, the most frequent first.
func wordcount(ctx context.Context, text, csv string, opts ...flow.ConsumerOption) ([]Total, error) {
	state, err := stateOf(text)
	if err != nil {
		return nil, err
	}
	lines := file.File[string]{Path: text, Format: file.Text, Checkpoint: state + ".checkpoint"}
	counts := sqlite.Table[Count]{Path: state + ".db", Name: "counts", Key: "line, word"}

	app := flow.New("wordcount", flow.AdminAddr("off"))
	flow.Consumer(app, "count", flow.Messages(lines), flow.Each(counts), count, opts...)
	if err := app.Run(ctx); err != nil {
		return nil, err
	}
	if ctx.Err() != nil { // Run has stopped in good order, but before the end of the text
		return nil, context.Cause(ctx)
	}
	table := counts.Reader()
	defer table.Close()
	totals, err := sqlite.Query[Total](ctx, table,
		"select word, sum(count) as count from counts group by word order by count desc, word")
	if err != nil {
		return nil, err
	}
	return totals, write(csv, totals)
}
