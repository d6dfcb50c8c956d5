// Command wordcount counts the words of a text into a CSV file, prints the most
// frequent ones, and ends when the text does.
//
//	go run ./examples/wordcount
//	TEXT=mine.txt WORDS=mine.csv go run ./examples/wordcount
//
// It may be killed at any moment. The next run goes on where it was, and what it
// counts is exact, though a line may be delivered twice: no total is ever added
// to. What is stored is how often a word stands in a line, with line and word as
// the key, so that a line that comes again stores the same rows again.
package main

import (
	"cmp"
	"context"
	"embed"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/flowkit-go/flow"
	"github.com/flowkit-go/flow/primitives/file"
	"github.com/flowkit-go/flow/primitives/sqlite"
)

//go:embed data/opticks.txt
var opticks embed.FS

func main() {
	var text fs.FS = opticks
	name := "data/opticks.txt"
	if path := os.Getenv("TEXT"); path != "" {
		text, name = os.DirFS(filepath.Dir(path)), filepath.Base(path)
	}
	flow.Main(newApp(text, name, cmp.Or(os.Getenv("WORDS"), "words.csv")))
}

// newApp counts the words of the file name in text, and writes them to the file
// out, the most frequent first.
func newApp(text fs.FS, name, out string, opts ...flow.ConsumerOption) *flow.Flow {
	state := stateOf(text, name)
	lines := file.File[string]{FS: text, Path: name, Format: file.Text, Checkpoint: state + ".checkpoint"}
	counts := sqlite.Table[Count]{Path: state + ".db", Name: "counts", Key: "line, word"}

	app := flow.New("wordcount", flow.AdminAddr("off"), flow.OnEnd(func(ctx context.Context) error {
		table := counts.Reader()
		defer table.Close()
		totals, err := sqlite.Query[Total](ctx, table,
			"select word, sum(count) as count from counts group by word order by count desc, word")
		if err != nil {
			return err
		}
		for _, t := range totals[:min(10, len(totals))] {
			fmt.Printf("%6d %s\n", t.Count, t.Word)
		}
		return write(out, totals)
	}))
	flow.Consumer(app, "count", flow.Messages(lines), flow.Each(counts), count, opts...)
	return app
}
