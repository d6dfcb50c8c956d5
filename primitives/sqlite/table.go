package sqlite

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"strings"
	"sync"

	"github.com/flowkit-go/flow/primitives"
)

// Table is a table of rows of T, which must be a struct. It is a
// [primitives.Sink]; its Reader method gives the way to read it.
//
// Each exported field is a column. Its name is the one in the tag `db:"name"`,
// else that of the json tag, else the field's name in snake case; `db:"-"`
// leaves the field out. The fields of an embedded struct become columns of the
// table. Fields are stored as follows.
//
//	bool, ints, uints, time.Duration   INTEGER (0 and 1; nanoseconds); an
//	                                   unsigned number above 1<<63-1 is refused
//	float32, float64                   REAL; NaN is refused
//	string                             TEXT
//	time.Time                          TEXT, UTC, as 2006-01-02T15:04:05.000000000Z:
//	                                   of one width, so that it sorts and compares
//	encoding.TextMarshaler             TEXT
//	[]byte, [n]byte                    BLOB; nil and empty are not told apart
//	json.Marshaler, other structs,     TEXT with JSON
//	slices, arrays, maps and any
//	*X, sql.Null*                      as X, or NULL
//
// Columns are NOT NULL except those of pointers, sql.Null*, byte slices,
// slices, maps and any. Fields of other types (channels, functions, complex
// numbers, interfaces with methods) are refused when the flow is checked.
type Table[T any] struct {
	// Path is the database file, default "flow.db". A relative path lies in the
	// flow's data folder (see primitives.DataDir). Missing folders are made.
	Path string

	// Name is the table's name. It must be set. Several tables may lie in one file.
	Name string

	// Key names the column that is the primary key, or several with commas, as
	// "station, day". A row whose key is in the table replaces that row. Without
	// a Key each row is appended, also one that is delivered again.
	Key string

	// NoSync leaves it to the operating system when what was committed goes from
	// its memory to the disk. A row that is confirmed then survives the end of
	// the process, however it ends, but maybe not a power failure. By default
	// each transaction waits for the disk.
	NoSync bool
}

var (
	_ primitives.Sink[struct{}] = Table[struct{}]{}
	_ primitives.Validator      = Table[struct{}]{}
)

const defaultPath = "flow.db"

// String names the table as "sqlite:quakes".
func (t Table[T]) String() string { return "sqlite:" + t.Name }

// Validate reports a name, path or key that cannot be used.
func (t Table[T]) Validate() error {
	switch {
	case t.Name == "":
		return errors.New("sqlite: Table.Name is empty: give the table a name")
	case strings.ContainsRune(t.Name, 0) || strings.HasPrefix(strings.ToLower(t.Name), "sqlite_"):
		return fmt.Errorf("sqlite: Table.Name %q cannot be used: names that start with sqlite_ are reserved", t.Name)
	case t.Path == ":memory:" || strings.HasPrefix(t.Path, "file:"):
		return fmt.Errorf("sqlite: Table.Path %q is not the path of a file: "+
			"a table in memory could not be read by others; in tests use a temporary folder", t.Path)
	}
	_, err := t.schema()
	return err
}

// Encoder returns the function that makes a row of a T. It returns an error
// that names the field and its type when T cannot be stored.
//
// The bytes of the records are private to this package and its version.
func (t Table[T]) Encoder() (primitives.Encoder[T], error) {
	s, err := t.schema()
	if err != nil {
		return nil, err
	}
	// The value is copied to one that reflection can take the address of. These
	// are kept, so that encoding does not allocate.
	type cell struct {
		value T
		refl  reflect.Value
	}
	cells := sync.Pool{New: func() any {
		c := new(cell)
		c.refl = reflect.ValueOf(&c.value).Elem()
		return c
	}}
	typeName := reflect.TypeFor[T]().String()
	return func(v T, out *primitives.Outputs) error {
		c := cells.Get().(*cell)
		c.value = v
		row, err := appendRow(out.Buffer(), s.columns, c.refl)
		c.value = *new(T)
		cells.Put(c)
		if err != nil {
			return &primitives.EncodeError{Type: typeName, Err: err}
		}
		out.AddValue(out.Take(row))
		return nil
	}, nil
}

// OpenSink opens the file, makes the table or compares it with T, and adds the
// columns that it lacks. It returns an error that names the column when the
// table that is there has other types or another key.
func (t Table[T]) OpenSink(ctx context.Context, env *primitives.Env) (primitives.Writer, error) {
	if err := t.Validate(); err != nil {
		return nil, err
	}
	s, err := t.schema()
	if err != nil {
		return nil, err
	}
	path, err := resolve(t.Path, env.DataDir)
	if err != nil {
		return nil, err
	}
	w, err := openWriter(ctx, env, path, s, t.NoSync)
	if err != nil {
		return nil, fmt.Errorf("sqlite: open table %s in %s: %w", t.Name, path, err)
	}
	return w, nil
}

// schema infers the columns and finds the key among them.
func (t Table[T]) schema() (*schema, error) {
	s, err := inferSchema(t.Name, reflect.TypeFor[T](), t.Key)
	if err != nil {
		return nil, fmt.Errorf("sqlite: table %s: %w", t.Name, err)
	}
	return s, nil
}

// resolve makes path absolute. An empty dir means the default data folder.
func resolve(path, dir string) (string, error) {
	if path == "" {
		path = defaultPath
	}
	if dir == "" {
		dir = primitives.DataDir()
	}
	if !filepath.IsAbs(path) {
		path = filepath.Join(dir, path)
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("sqlite: path %s: %w", path, err)
	}
	return abs, nil
}
