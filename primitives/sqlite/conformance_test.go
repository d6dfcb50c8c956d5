package sqlite

import (
	"context"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/primitives/primitivetest"
)

// item is a row that can hold what the suite writes.
type item struct {
	N    int
	Text string
	Data []byte
}

func TestConformance(t *testing.T) {
	t.Run("appended", func(t *testing.T) { conformance(t, "") })
	t.Run("by key", func(t *testing.T) { conformance(t, "n") })
}

func conformance(t *testing.T, key string) {
	encode, err := Table[item]{Name: "items"}.Encoder()
	if err != nil {
		t.Fatal(err)
	}
	bytesOf := func(row item) []byte {
		var out primitives.Outputs
		if err := encode(row, &out); err != nil {
			t.Error(err)
			return nil
		}
		return out.Records[0].Value
	}
	primitivetest.RunSink(t, primitivetest.Config{
		New: func(t testing.TB) primitivetest.Ends {
			table := Table[item]{Path: filepath.Join(t.TempDir(), "flow.db"), Name: "items", Key: key}
			readBack := func(ctx context.Context) ([]primitives.Record, error) {
				r := table.Reader()
				defer r.Close()
				rows, err := r.Select(ctx, "order by rowid")
				var out []primitives.Record
				for _, row := range rows {
					out = append(out, primitives.Record{Value: bytesOf(row)})
				}
				return out, err
			}
			return primitivetest.Ends{Sink: table, ReadBack: readBack, Restart: func(testing.TB) {}}
		},
		Value: func(i int) []byte {
			rng := rand.New(rand.NewPCG(uint64(i), 1))
			row := item{N: i, Data: make([]byte, rng.IntN(100))}
			for at := range row.Data {
				row.Data[at] = byte(rng.Uint32())
			}
			row.Text = string(row.Data)
			return bytesOf(row)
		},
		Unreachable: func(t testing.TB) primitivetest.Ends {
			file := filepath.Join(t.TempDir(), "file")
			writeFile(t, file, "in the way of a folder")
			return primitivetest.Ends{
				Sink:     Table[item]{Path: filepath.Join(file, "flow.db"), Name: "items"},
				ReadBack: func(context.Context) ([]primitives.Record, error) { return nil, nil },
			}
		},
		Features: primitivetest.Features{Ordered: true, Durable: true},
	})
}
