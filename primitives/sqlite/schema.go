package sqlite

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"unicode"
)

// A schema is the table that a struct describes. It knows no dialect.
type schema struct {
	name    string
	columns []column
	key     []string // names of columns, in the order in which the user gave them
}

// A column is one field of the struct, or of a struct embedded in it.
type column struct {
	name     string
	field    string // the path of the field as in Go, for messages
	index    []int
	nullable bool
	storage
}

// storage says how values of one Go type are kept in a column.
type storage struct {
	kind kind

	// append appends the value to an encoded row. The value is addressable.
	append func(row []byte, v reflect.Value) ([]byte, error)

	// set assigns what was read: nil, int64, float64, string, []byte, bool or time.Time.
	set func(v reflect.Value, src any) error

	// zero is what a column that is added later holds in the rows that exist; nil
	// when there is no such value, and the column must be nullable.
	zero any
}

// kind is the class of what a column holds.
type kind uint8

const (
	kindInteger kind = iota
	kindReal
	kindText
	kindBlob
)

// inferSchema returns the columns of struct type t. key is a list of column
// names with commas. Its errors name the field.
func inferSchema(name string, t reflect.Type, key string) (*schema, error) {
	if t.Kind() != reflect.Struct {
		return nil, fmt.Errorf("rows must be structs, not %s", t)
	}
	s := &schema{name: name}
	if err := s.addFields(t, nil, ""); err != nil {
		return nil, err
	}
	if len(s.columns) == 0 {
		return nil, fmt.Errorf("type %s has no exported fields to make columns of", t)
	}
	if key == "" {
		return s, nil
	}
	for part := range strings.SplitSeq(key, ",") {
		c := s.find(strings.TrimSpace(part))
		switch {
		case c == nil:
			return nil, fmt.Errorf("field Key names column %q, which %s does not have: its columns are %s",
				strings.TrimSpace(part), t, strings.Join(s.names(), ", "))
		case c.nullable:
			return nil, fmt.Errorf("field Key: column %q cannot be of type %s, which may be NULL",
				c.name, t.FieldByIndex(c.index).Type)
		case slices.Contains(s.key, c.name):
			return nil, fmt.Errorf("field Key names column %q twice", c.name)
		}
		s.key = append(s.key, c.name)
	}
	return s, nil
}

// addFields appends the columns of t, found at index in the row's struct.
func (s *schema) addFields(t reflect.Type, index []int, path string) error {
	for i := range t.NumField() {
		f := t.Field(i)
		at := append(slices.Clone(index), i)
		field := strings.TrimPrefix(path+"."+f.Name, ".")
		name, tagged := columnName(f)
		if name == "" {
			continue
		}
		if f.Anonymous && !tagged {
			flat, err := flattened(f.Type)
			if err != nil {
				return fmt.Errorf("field %s: %w", field, err)
			}
			if flat {
				if err := s.addFields(f.Type, at, field); err != nil {
					return err
				}
				continue
			}
		}
		if !f.IsExported() {
			continue
		}
		if strings.ContainsRune(name, 0) {
			return fmt.Errorf("field %s: column name %q has a zero byte", field, name)
		}
		if c := s.find(name); c != nil {
			return fmt.Errorf("fields %s and %s are both column %q: rename one with a tag `db:\"name\"`", c.field, field, name)
		}
		st, nullable, err := storageOf(f.Type)
		if err != nil {
			return fmt.Errorf("field %s: %w: leave it out with a tag `db:\"-\"` or change its type", field, err)
		}
		s.columns = append(s.columns, column{name: name, field: field, index: at, nullable: nullable, storage: st})
	}
	return nil
}

// flattened reports whether the fields of an embedded type become columns of
// the row. Types that are stored as one value do not.
func flattened(t reflect.Type) (bool, error) {
	if t.Kind() == reflect.Pointer && t.Elem().Kind() == reflect.Struct && !isScalar(t.Elem()) {
		return false, errors.New("an embedded pointer cannot be flattened: embed the struct by value or name the field")
	}
	return t.Kind() == reflect.Struct && !isScalar(t), nil
}

// columnName returns the name of the field's column, "" when it has none, and
// whether a tag gives it.
func columnName(f reflect.StructField) (name string, tagged bool) {
	if tag, ok := f.Tag.Lookup("db"); ok {
		name, _, _ = strings.Cut(tag, ",")
		if name == "-" {
			return "", true
		}
		if name != "" {
			return name, true
		}
	}
	if tag, ok := f.Tag.Lookup("json"); ok {
		if tag == "-" {
			return "", true
		}
		if name, _, _ = strings.Cut(tag, ","); name != "" {
			return name, true
		}
	}
	return snakeCase(f.Name), false
}

// snakeCase turns "HTTPStatus" into "http_status" and "OrderID" into "order_id".
func snakeCase(name string) string {
	var b strings.Builder
	runes := []rune(name)
	for i, r := range runes {
		startsWord := i > 0 && unicode.IsUpper(r) && runes[i-1] != '_' &&
			(!unicode.IsUpper(runes[i-1]) || i+1 < len(runes) && unicode.IsLower(runes[i+1]))
		if startsWord {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

// find returns the column of that name, whatever its case, or nil.
func (s *schema) find(name string) *column {
	for i := range s.columns {
		if strings.EqualFold(s.columns[i].name, name) {
			return &s.columns[i]
		}
	}
	return nil
}

func (s *schema) names() []string {
	names := make([]string, len(s.columns))
	for i, c := range s.columns {
		names[i] = c.name
	}
	return names
}

// isKey reports whether the column is part of the key.
func (s *schema) isKey(name string) bool { return slices.Contains(s.key, name) }
