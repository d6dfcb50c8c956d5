package sqlite_test

import (
	"context"
	"fmt"
	"log"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/primitives/sqlite"
)

type Quake struct {
	ID   string    `json:"id"`
	Mag  float64   `json:"mag"`
	Time time.Time `json:"time"`
}

// A table is written by a flow and read by an endpoint. Here the example does
// what the flow's runtime does.
func Example() {
	dir, err := os.MkdirTemp("", "quakes")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	quakes := sqlite.Table[Quake]{Path: filepath.Join(dir, "flow.db"), Name: "quakes", Key: "id"}
	ctx := context.Background()
	if err := write(ctx, quakes, Quake{"a", 6.1, time.Unix(0, 0)}, Quake{"b", 4.5, time.Unix(60, 0)}, Quake{"a", 6.3, time.Unix(0, 0)}); err != nil {
		log.Fatal(err)
	}

	reader := quakes.Reader()
	defer reader.Close()
	strong, err := reader.Select(ctx, "where mag >= ? order by mag desc limit 100", 5)
	fmt.Println(len(strong), strong[0].Mag, err)

	type perDay struct {
		Day    string
		Quakes int
	}
	days, err := sqlite.Query[perDay](ctx, reader, "select date(time) as day, count(*) as quakes from quakes group by day")
	fmt.Println(days, err)
	// Output:
	// 1 6.3 <nil>
	// [{1970-01-01 2}] <nil>
}

func write(ctx context.Context, table sqlite.Table[Quake], rows ...Quake) error {
	encode, err := table.Encoder()
	if err != nil {
		return err
	}
	w, err := table.OpenSink(ctx, &primitives.Env{Logger: slog.Default(), Shared: new(primitives.Shared)})
	if err != nil {
		return err
	}
	defer w.Close(ctx)
	var out primitives.Outputs
	for _, row := range rows {
		if err := encode(row, &out); err != nil {
			return err
		}
	}
	written := make(chan error, 1)
	w.Write(ctx, out.Records, func(err error) { written <- err })
	return <-written
}
