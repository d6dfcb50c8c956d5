package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding"
	"fmt"
	"iter"
	"reflect"
	"time"
)

// resultSchema describes type t as the target of a query: the fields of a
// struct, or the value itself, as the only column, without a name.
func resultSchema(t reflect.Type) (*schema, error) {
	if t.Kind() == reflect.Struct && !isScalar(t) {
		return inferSchema("", t, "")
	}
	st, _, err := storageOf(t)
	if err != nil {
		return nil, err
	}
	return &schema{columns: []column{{storage: st}}}, nil
}

// scanAll yields the rows of a query as values of R, which s describes. When
// the table does not exist it yields nothing.
func scanAll[R any](ctx context.Context, db *sql.DB, table string, s *schema, query string, args []any) iter.Seq2[R, error] {
	return func(yield func(R, error) bool) {
		var zero R
		fail := func(err error) { yield(zero, fmt.Errorf("sqlite: read %s: %w", table, err)) }
		bound, err := bindable(args)
		if err != nil {
			fail(err)
			return
		}
		rows, err := db.QueryContext(ctx, query, bound...)
		if err != nil {
			if !isNoTable(err, table) {
				fail(err)
			}
			return
		}
		defer rows.Close()
		targets, err := s.match(rows)
		if err != nil {
			fail(err)
			return
		}
		values, pointers := make([]any, len(targets)), make([]any, len(targets))
		for i := range values {
			pointers[i] = &values[i]
		}
		for rows.Next() {
			var v R
			err := rows.Scan(pointers...)
			if err == nil {
				err = set(reflect.ValueOf(&v).Elem(), targets, values)
			}
			if err != nil {
				fail(err)
				return
			}
			if !yield(v, nil) {
				return
			}
		}
		if err := rows.Err(); err != nil {
			fail(err)
		}
	}
}

// match finds the column of s for each column of the result.
func (s *schema) match(rows *sql.Rows) ([]*column, error) {
	names, err := rows.Columns()
	if err != nil {
		return nil, err
	}
	if c := &s.columns[0]; c.index == nil { // R is one value
		if len(names) != 1 {
			return nil, fmt.Errorf("the query returns %d columns where one is wanted: use a struct", len(names))
		}
		c.name = names[0]
		return []*column{c}, nil
	}
	targets := make([]*column, len(names))
	for i, name := range names {
		if targets[i] = s.find(name); targets[i] == nil {
			return nil, fmt.Errorf("the query returns a column %q for which there is no field: name it with \"as\" or add a field", name)
		}
	}
	return targets, nil
}

// set assigns a row to v.
func set(v reflect.Value, targets []*column, values []any) error {
	for i, c := range targets {
		field := v
		for _, at := range c.index {
			field = field.Field(at)
		}
		if err := c.set(field, values[i]); err != nil {
			return fmt.Errorf("column %q: %w", c.name, err)
		}
	}
	return nil
}

// bindable converts arguments to what columns hold of their types.
func bindable(args []any) ([]any, error) {
	out := make([]any, len(args))
	for i, arg := range args {
		named, isNamed := arg.(sql.NamedArg)
		if isNamed {
			arg = named.Value
		}
		v, err := bindableOne(arg)
		if err != nil {
			return nil, fmt.Errorf("argument %d: %w", i+1, err)
		}
		if out[i] = v; isNamed {
			out[i] = sql.Named(named.Name, v)
		}
	}
	return out, nil
}

func bindableOne(arg any) (any, error) {
	if v := reflect.ValueOf(arg); v.Kind() == reflect.Pointer && v.IsNil() {
		return nil, nil
	}
	if valuer, ok := arg.(driver.Valuer); ok { // sql.Null*, among others
		v, err := valuer.Value()
		if err != nil {
			return nil, err
		}
		arg = v
	}
	switch x := arg.(type) {
	case time.Time:
		return x.UTC().Format(timeLayout), nil
	case *time.Time:
		return x.UTC().Format(timeLayout), nil
	case encoding.TextMarshaler:
		b, err := x.MarshalText()
		return string(b), err
	}
	return arg, nil
}
