package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"reflect"
	"strings"
	"sync"

	"github.com/flowkit-go/flow/primitives"
)

// readers is the number of queries of one Reader that may run at a time.
const readers = 8

// A Reader queries a table, also while a flow writes to it: it sees what was
// committed, and neither waits for the other. It opens the file at its first
// use. A file or table that does not exist yet reads as empty. Its methods may
// be called from many goroutines.
type Reader[T any] struct {
	table Table[T]

	mu     sync.Mutex
	db     *sql.DB
	schema *schema
	closed bool
}

// Reader returns a handle to read the table. Nothing is opened before its first
// use. A relative Path lies in primitives.DataDir.
func (t Table[T]) Reader() *Reader[T] { return &Reader[T]{table: t} }

// Select returns the rows that a clause chooses: what follows FROM in a query,
// as "where mag >= ? order by mag desc limit 100". An empty clause chooses all.
// Values must be given as args, never be written into the clause; times and
// types with a MarshalText are converted as those of the rows are.
func (r *Reader[T]) Select(ctx context.Context, clause string, args ...any) ([]T, error) {
	var out []T
	for v, err := range r.All(ctx, clause, args...) {
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

// All yields the rows that Select would return, one at a time. After an error,
// which is yielded last, there are no more. A loop holds one of the Reader's
// connections, and with it an old state of the file: it should not take long.
func (r *Reader[T]) All(ctx context.Context, clause string, args ...any) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var zero T
		db, s, err := r.open()
		if err != nil || db == nil {
			if err != nil {
				yield(zero, err)
			}
			return
		}
		for v, err := range scanAll[T](ctx, db, s.name, s, s.selectFrom()+" "+clause, args) {
			if !yield(v, err) {
				return
			}
		}
	}
}

// Get returns the row with this key, and whether there is one. It takes one
// value for each column of the table's Key.
func (r *Reader[T]) Get(ctx context.Context, key ...any) (row T, found bool, err error) {
	columns := strings.Split(r.table.Key, ",")
	if r.table.Key == "" || len(key) != len(columns) {
		return row, false, fmt.Errorf("sqlite: get from %s: %d key values given, Table.Key is %q", r.table.Name, len(key), r.table.Key)
	}
	for i, name := range columns {
		columns[i] = quote(strings.TrimSpace(name)) + " = ?"
	}
	for v, err := range r.All(ctx, "WHERE "+strings.Join(columns, " AND "), key...) {
		return v, err == nil, err
	}
	return row, false, nil
}

// Close closes the file. Queries after it return an error that wraps
// primitives.ErrClosed. It may be called again.
func (r *Reader[T]) Close() error {
	r.mu.Lock()
	db := r.db
	r.db, r.closed = nil, true
	r.mu.Unlock()
	if db == nil {
		return nil
	}
	return db.Close()
}

// open returns the file, or nil when it does not exist yet.
func (r *Reader[T]) open() (*sql.DB, *schema, error) {
	r.mu.Lock()
	db, s, closed := r.db, r.schema, r.closed
	r.mu.Unlock()
	if closed || db != nil {
		return db, s, r.ifClosed(closed)
	}
	if err := r.table.Validate(); err != nil {
		return nil, nil, err
	}
	s, err := r.table.schema()
	if err != nil {
		return nil, nil, err
	}
	path, err := resolve(r.table.Path, "")
	if err != nil {
		return nil, nil, err
	}
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil, s, nil
	} else if err != nil {
		return nil, nil, fmt.Errorf("sqlite: read %s: %w", r.table.Name, err)
	}
	db, err = sql.Open("sqlite", dsn(path, fmt.Sprintf("busy_timeout(%d)", lockWait.Milliseconds()))+"&mode=ro")
	if err != nil {
		return nil, nil, fmt.Errorf("sqlite: read %s: %w", r.table.Name, err)
	}
	db.SetMaxOpenConns(readers)
	db.SetMaxIdleConns(readers)

	r.mu.Lock()
	closed = r.closed
	surplus := db
	if r.db == nil && !closed {
		r.db, r.schema, surplus = db, s, nil
	}
	db, s = r.db, r.schema
	r.mu.Unlock()
	if surplus != nil { // another caller was first
		err = surplus.Close()
	}
	return db, s, errors.Join(r.ifClosed(closed), err)
}

func (r *Reader[T]) ifClosed(closed bool) error {
	if !closed {
		return nil
	}
	return fmt.Errorf("sqlite: read %s: %w", r.table.Name, primitives.ErrClosed)
}

// Query returns the rows of any query of the table's file, such as a count per
// day. R is a struct, whose fields are matched with the result's columns by the
// names that they would have in a table, or a type that can be a column, for a
// result with one. A column of the result that R lacks is an error, a field
// that the result lacks stays zero. Values must be given as args. While the
// table does not exist there are no rows, also where the query would count them.
//
//	type perDay struct { Day string; Quakes int }
//	days, err := sqlite.Query[perDay](ctx, reader, "select date(time) as day, count(*) as quakes from quakes group by day")
func Query[R, T any](ctx context.Context, r *Reader[T], query string, args ...any) ([]R, error) {
	db, _, err := r.open()
	if err != nil || db == nil {
		return nil, err
	}
	s, err := resultSchema(reflect.TypeFor[R]())
	if err != nil {
		return nil, fmt.Errorf("sqlite: query into %s: %w", reflect.TypeFor[R](), err)
	}
	var out []R
	for v, err := range scanAll[R](ctx, db, r.table.Name, s, query, args) {
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}
