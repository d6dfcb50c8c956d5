// Package sqlite keeps a table in a file: a [Table] is a sink whose rows are
// structs, and a [Reader] queries what was written. SQLite is compiled into the
// binary, in pure Go; there is nothing to install or to start.
//
//	type Quake struct {
//		ID   string    `json:"id"`
//		Mag  float64   `json:"mag"`
//		Time time.Time `json:"time"`
//	}
//
//	var quakes = sqlite.Table[Quake]{Name: "quakes", Key: "id"}
//
//	reader := quakes.Reader()
//	strong, err := reader.Select(ctx, "where mag >= ? order by mag desc limit 100", 6)
//
// The table is made from the struct when the flow starts, and columns that the
// struct has gained are added. With a Key rows are upserted, so that a record
// that is delivered twice is one row; without one they are appended.
//
// All tables of one file share one connection for writing, and one goroutine
// that owns it. It takes what callers have queued by then, of whatever table,
// writes it as one transaction, and reports each batch when the commit is on
// the disk. It never waits for more to come. A row that the table refuses is
// reported alone: the others of its batch are written. Several processes may
// use one file; their transactions wait for each other.
//
// Package runtime calls the sink, handlers call the Reader. This package never
// changes or drops a column that exists, and never deletes a row.
package sqlite
