package file_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"

	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/primitives/file"
	"github.com/flowkit-go/flow/primitives/primitivetest"
)

// ends of one file that exists and is empty.
func ends[T any](f file.File[T]) func(testing.TB) primitivetest.Ends {
	return func(t testing.TB) primitivetest.Ends {
		f := f
		f.Path = filepath.Join(t.TempDir(), f.Path)
		writeFile(t, f.Path, "")
		return primitivetest.Ends{Source: f, Sink: f, Restart: func(testing.TB) {}}
	}
}

func missing[T any](f file.File[T]) func(testing.TB) primitivetest.Ends {
	return func(t testing.TB) primitivetest.Ends {
		dir := t.TempDir()
		f := f
		f.Path = filepath.Join(writeFile(t, filepath.Join(dir, "plain"), ""), f.Path)
		return primitivetest.Ends{Source: f, Sink: f}
	}
}

func TestConformanceJSONLines(t *testing.T) {
	f := file.File[[]byte]{Path: "x.jsonl", Checkpoint: "at.jsonl"}
	primitivetest.Run(t, primitivetest.Config{
		New:         ends(f),
		Unreachable: missing(f),
		Value: func(i int) []byte {
			return fmt.Appendf(nil, "{\"i\":%d,\"s\":%q}", i, strings.Repeat("x", i%500))
		},
		Features: primitivetest.Features{Ordered: true, Bounded: true, Redelivery: true, Commits: true, Durable: true},
	})
}

func TestConformanceText(t *testing.T) {
	f := file.File[string]{Path: "x.txt", Checkpoint: "at.jsonl", Sync: true}
	primitivetest.Run(t, primitivetest.Config{
		New:         ends(f),
		Unreachable: missing(f),
		Value:       func(i int) []byte { return fmt.Appendf(nil, "%d %s", i, strings.Repeat("\t\xff", i%90)) },
		Records:     300,
		Features:    primitivetest.Features{Ordered: true, Bounded: true, Redelivery: true, Commits: true, Durable: true},
	})
}

// A CSV sink takes rows and a CSV source gives objects: each is checked by itself.
func TestConformanceCSV(t *testing.T) {
	f := file.File[item]{Path: "x.csv", Checkpoint: "at.jsonl"}
	features := primitivetest.Features{Ordered: true, Bounded: true, Redelivery: true, Commits: true, Durable: true}
	t.Run("Sink", func(t *testing.T) {
		primitivetest.RunSink(t, primitivetest.Config{
			New: func(t testing.TB) primitivetest.Ends {
				e := ends(f)(t)
				path := e.Sink.(file.File[item]).Path
				e.Source = nil
				e.ReadBack = func(context.Context) ([]primitives.Record, error) {
					lines := strings.SplitAfter(readFile(t, path), "\n")
					var out []primitives.Record
					for _, l := range lines[1 : len(lines)-1] {
						out = append(out, primitives.Record{Value: []byte(strings.TrimSuffix(l, "\n"))})
					}
					return out, nil
				}
				return e
			},
			Value:    func(i int) []byte { return fmt.Appendf(nil, "%d,\"a,b\",%d.5", i, i) },
			Features: features,
		})
	})
	t.Run("Source", func(t *testing.T) {
		primitivetest.RunSource(t, primitivetest.Config{
			New: func(t testing.TB) primitivetest.Ends {
				e := ends(f)(t)
				e.Feed = feedCSV(e.Sink.(file.File[item]).Path)
				e.Sink = nil
				return e
			},
			Value:    func(i int) []byte { return fmt.Appendf(nil, `{"id":"%d","name":"a,\nb"}`, i) },
			Features: features,
		})
	})
}

func feedCSV(path string) func(context.Context, []primitives.Record) error {
	return func(_ context.Context, records []primitives.Record) error {
		out, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			return err
		}
		defer out.Close()
		if info, err := out.Stat(); err == nil && info.Size() == 0 {
			fmt.Fprintln(out, "id,name")
		}
		for _, r := range records {
			var row map[string]string
			if err := json.Unmarshal(r.Value, &row); err != nil {
				return err
			}
			fmt.Fprintf(out, "%s,\"%s\"\n", row["id"], row["name"])
		}
		return nil
	}
}

// What a Parquet sink has acknowledged is partly in its journal, where a source
// does not look: each is checked by itself.
func TestConformanceParquet(t *testing.T) {
	f := file.File[item]{Path: "x.parquet", Checkpoint: "at.jsonl", PartRows: 100}
	create := func(t testing.TB) file.File[item] {
		f := f
		f.Path = filepath.Join(t.TempDir(), f.Path)
		if err := parquet.WriteFile[item](f.Path, nil); err != nil {
			t.Fatal(err)
		}
		return f
	}
	value := func(i int) []byte { return fmt.Appendf(nil, `{"id":%d,"name":"n","price":%d.5}`, i, i) }
	features := primitivetest.Features{Ordered: true, Bounded: true, Redelivery: true, Commits: true, Durable: true}
	t.Run("Sink", func(t *testing.T) {
		primitivetest.RunSink(t, primitivetest.Config{
			New: func(t testing.TB) primitivetest.Ends {
				f := create(t)
				return primitivetest.Ends{Sink: f, Restart: func(testing.TB) {},
					ReadBack: func(context.Context) ([]primitives.Record, error) { return readParts(t, f.Path) }}
			},
			Unreachable: func(t testing.TB) primitivetest.Ends {
				e := missing(f)(t)
				e.Source, e.ReadBack = nil, func(context.Context) ([]primitives.Record, error) { return nil, nil }
				return e
			},
			Value:    value,
			Features: features,
		})
	})
	t.Run("Source", func(t *testing.T) {
		features.Ordered = false // a part is a partition of its own
		primitivetest.RunSource(t, primitivetest.Config{
			New: func(t testing.TB) primitivetest.Ends {
				f := create(t)
				return primitivetest.Ends{Source: f, Restart: func(testing.TB) {},
					Feed: func(_ context.Context, records []primitives.Record) error {
						items := make([]item, len(records))
						for i, r := range records {
							if err := json.Unmarshal(r.Value, &items[i]); err != nil {
								return err
							}
						}
						store(t, f, items...)
						return nil
					}}
			},
			Value:    value,
			Features: features,
		})
	})
}

// readParts returns the rows of parts and journals, in order. Journals become
// parts meanwhile.
func readParts(t testing.TB, path string) ([]primitives.Record, error) {
	stem := strings.TrimSuffix(path, ".parquet")
	var out []primitives.Record
	for n := 1; ; n++ {
		part := fmt.Sprintf("%s-%05d.parquet", stem, n)
		if b, err := os.ReadFile(part + ".journal"); err == nil {
			for line := range strings.Lines(string(b)) {
				out = append(out, primitives.Record{Value: []byte(strings.TrimSuffix(line, "\n"))})
			}
			continue
		}
		if _, err := os.Stat(part); err != nil {
			return out, nil
		}
		for _, v := range values(t, file.File[item]{Path: part}) {
			b, err := json.Marshal(v)
			if err != nil {
				return nil, err
			}
			out = append(out, primitives.Record{Value: b})
		}
	}
}
