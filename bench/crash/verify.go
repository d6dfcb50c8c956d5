package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/flowkit-go/flow/primitives/sqlite"
)

// verdict is what the table says after a run.
type verdict struct {
	present int64 // records with the content that was sent
	altered int64 // with another content, or never sent
	missing int64
	first   int64 // the number of the first that is missing

	handled     int64 // deliveries that reached the table
	repeated    int64 // of them those of a record that was in the table before
	redelivered int64 // of them those that the queue had delivered before
	integrity   string
}

// lost reports whether anything is not as it was sent.
func (v verdict) lost() bool {
	return v.missing > 0 || v.altered > 0 || v.integrity != "ok"
}

// tableOf opens a table of the service for reading. Its path is where the
// service, whose data folder is dir, has made it.
func tableOf[T any](t sqlite.Table[T], dir string) *sqlite.Reader[T] {
	t.Path = filepath.Join(dir, "flow.db")
	return t.Reader()
}

// verify compares each row of the table with what was sent.
func verify(ctx context.Context, conf config) (v verdict, err error) {
	table := tableOf(records, conf.dir)
	defer func() { err = errors.Join(err, table.Close()) }()
	var want []byte
	next := int64(0) // the number that comes next when none is missing
	skip := func(to int64) {
		if to > next && v.missing == 0 {
			v.first = next
		}
		v.missing += max(0, to-next)
	}
	for row, err := range table.All(ctx, "order by seq") {
		if err != nil {
			return v, err
		}
		want = payload(want[:0], conf.seed, row.Seq, conf.size)
		if row.Seq < 0 || row.Seq >= conf.records || row.Payload != string(want) {
			v.altered++
		} else {
			v.present++
		}
		skip(min(row.Seq, conf.records))
		next = max(next, row.Seq+1)
	}
	skip(conf.records)
	return v, v.ask(ctx, table)
}

// ask has the table count the deliveries and check its file.
func (v *verdict) ask(ctx context.Context, table *sqlite.Reader[Record]) error {
	for _, q := range []struct {
		into  *int64
		query string
	}{
		{&v.handled, "select count(*) from deliveries"},
		{&v.repeated, "select count(*) - count(distinct seq) from deliveries"},
		{&v.redelivered, "select count(*) from deliveries where attempt > 1"},
	} {
		n, err := sqlite.Query[int64](ctx, table, q.query)
		if err != nil {
			return err
		}
		if len(n) == 1 {
			*q.into = n[0]
		}
	}
	found, err := sqlite.Query[string](ctx, table, "select integrity_check from pragma_integrity_check")
	if err != nil {
		return err
	}
	v.integrity = "not checked: there is no table"
	if len(found) > 0 {
		v.integrity = found[0]
	}
	if len(found) > 1 {
		v.integrity += fmt.Sprintf(" (and %d more)", len(found)-1)
	}
	return nil
}

// countRows is the number of records in the table, 0 when it does not exist yet.
func countRows(ctx context.Context, dir string) (rows int64, err error) {
	table := tableOf(records, dir)
	defer func() { err = errors.Join(err, table.Close()) }()
	n, err := sqlite.Query[int64](ctx, table, "select count(*) from records")
	if err != nil || len(n) == 0 {
		return 0, err
	}
	return n[0], nil
}
