// Command quakes keeps the earthquakes of a week in a table and answers questions
// about them. There is nothing to install: queue and table are files in .flow.
//
//	go run ./examples/quakes
//	curl 'http://127.0.0.1:8080/quakes?min_magnitude=5'
//	curl http://127.0.0.1:8080/days
//	curl http://127.0.0.1:8080/quakes --json '{"id": "mine", "properties": {"mag": 7.5, "time": 1517966773840}}'
package main

import (
	"embed"

	"github.com/flowkit-go/flow"
	"github.com/flowkit-go/flow/primitives/file"
	"github.com/flowkit-go/flow/primitives/nats"
	"github.com/flowkit-go/flow/primitives/sqlite"
)

//go:embed data/earthquakes.jsonl
var data embed.FS

var (
	archive  = file.File[Feature]{FS: data, Path: "data/earthquakes.jsonl", Checkpoint: "archive.checkpoint"}
	features = nats.Stream[Feature]{Name: "features"}
	quakes   = sqlite.Table[Quake]{Name: "quakes", Key: "id"}
)

func main() { flow.Main(newApp(quakes.Reader())) }

func newApp(table *sqlite.Reader[Quake], opts ...flow.Option) *flow.Flow {
	ask := queries{table}
	app := flow.New("quakes", opts...)

	// Two ways lead into the queue: the archive, which is read once, and requests.
	flow.Consumer(app, "replay", archive, features, accept)
	flow.Collector(app, "POST /quakes", features, accept)

	// A feature that is delivered twice becomes the same row: the table has a key.
	flow.Consumer(app, "classify", features, quakes, classify)

	flow.Endpoint(app, "GET /quakes", ask.strongest)
	flow.Endpoint(app, "GET /quakes/{id}", ask.one)
	flow.Endpoint(app, "GET /days", ask.days)
	return app
}
