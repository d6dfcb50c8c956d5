package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/csv"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"
	"strconv"
	"strings"

	"github.com/flowkit-go/flow"
)

// A Count says how often a word stands in a line.
type Count struct {
	Line  int64
	Word  string
	Count int
}

// A Total says how often a word stands in the text.
type Total struct {
	Word  string
	Count int
}

// word is letters, with apostrophes between them as in publish'd.
var word = regexp.MustCompile(`\pL+('\pL+)*`)

// count counts the words of a line, whose number is its offset.
func count(_ context.Context, line flow.Msg[string]) ([]Count, error) {
	times := map[string]int{}
	for _, w := range word.FindAllString(strings.ToLower(line.Value), -1) {
		times[w]++
	}
	var counts []Count
	for w, n := range times {
		counts = append(counts, Count{Line: line.Offset, Word: w, Count: n})
	}
	return counts, nil
}

// stateOf names what is kept about a text by its content, so that one that was
// edited between two runs is counted anew. A text that cannot be read is the
// source's to report.
func stateOf(text fs.FS, name string) string {
	sum := sha256.New()
	if in, err := text.Open(name); err == nil {
		defer in.Close()
		_, _ = io.Copy(sum, in)
	}
	return fmt.Sprintf("wordcount-%x", sum.Sum(nil)[:8])
}

// write writes the totals to a file, in place of what it holds.
func write(path string, totals []Total) error {
	var b bytes.Buffer
	out := csv.NewWriter(&b)
	rows := [][]string{{"word", "count"}}
	for _, t := range totals {
		rows = append(rows, []string{t.Word, strconv.Itoa(t.Count)})
	}
	if err := out.WriteAll(rows); err != nil {
		return err
	}
	return os.WriteFile(path, b.Bytes(), 0o644)
}
