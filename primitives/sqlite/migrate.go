package sqlite

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// An existing column, as the file describes it.
type existing struct {
	name, decl string
	notNull    bool
	hasDefault bool
	keyPart    int // position in the primary key from 1, 0 when it is no part of it
	generated  bool
}

// migrate makes the table, or adds the columns that it lacks, in one
// transaction. It returns an error that names the column when the table that is
// there cannot hold the rows.
func (c *connection) migrate(s *schema, giveUp func() bool) error {
	if err := c.begin(giveUp); err != nil {
		return err
	}
	if err := c.migrateWithin(s); err != nil {
		return errors.Join(err, c.rollback())
	}
	return c.commit()
}

func (c *connection) migrateWithin(s *schema) error {
	found, err := c.columnsOf(s.name)
	if err != nil {
		return err
	}
	if len(found) == 0 {
		return c.exec(s.createTable())
	}
	uniques, err := c.uniqueIndexes(s.name)
	if err != nil {
		return err
	}
	missing, err := s.compare(found, uniques)
	if err != nil {
		return err
	}
	for _, col := range missing {
		if err := c.exec(s.addColumn(col)); err != nil {
			return fmt.Errorf("add column %q: %w", col.name, err)
		}
	}
	return nil
}

// compare returns the columns to add, or an error that says what is there and
// what is wanted.
func (s *schema) compare(found []existing, uniques [][]string) (missing []*column, err error) {
	if err := s.compareKey(found, uniques); err != nil {
		return nil, err
	}
	for i := range s.columns {
		want := &s.columns[i]
		at := slices.IndexFunc(found, func(e existing) bool { return strings.EqualFold(e.name, want.name) })
		if at < 0 {
			missing = append(missing, want)
			continue
		}
		have := found[at]
		switch {
		case have.generated:
			return nil, fmt.Errorf("column %q is generated and cannot be written: leave field %s out with a tag `db:\"-\"`",
				want.name, want.field)
		case !want.kind.holds(have.decl):
			return nil, fmt.Errorf("column %q is %s, field %s needs %s: rename the field's column or change the table",
				want.name, have.decl, want.field, want.kind.declared())
		case have.notNull && want.nullable && !have.isRowNumber():
			return nil, fmt.Errorf("column %q is NOT NULL, field %s may be NULL: change one of them", want.name, want.field)
		}
	}
	for _, have := range found {
		if s.find(have.name) == nil && have.notNull && !have.hasDefault && !have.generated && !have.isRowNumber() {
			return nil, fmt.Errorf("column %q is NOT NULL without a default, and no field of the row writes it: "+
				"add the field or drop the column", have.name)
		}
	}
	return missing, nil
}

// compareKey checks that the rows that the key tells apart are those that the
// table tells apart.
func (s *schema) compareKey(found []existing, uniques [][]string) error {
	var primary []string
	for part := 1; part <= len(found); part++ {
		for _, e := range found {
			if e.keyPart == part {
				primary = append(primary, e.name)
			}
		}
	}
	wanted := strings.Join(s.key, ", ")
	if len(s.key) == 0 {
		// A row number that the table gives out itself is no obstacle to appending.
		for _, name := range primary {
			if s.find(name) == nil {
				return nil
			}
		}
		if len(primary) > 0 {
			return fmt.Errorf("the table has the primary key %q, field Key is empty: set Key to it", strings.Join(primary, ", "))
		}
		return nil
	}
	for _, columns := range append(uniques, primary) {
		if sameNames(columns, s.key) {
			return nil
		}
	}
	if len(primary) == 0 {
		return fmt.Errorf("field Key is %q, the table has no primary key: make a unique index of these columns or use another table", wanted)
	}
	return fmt.Errorf("field Key is %q, the table has the primary key %q: change one of them", wanted, strings.Join(primary, ", "))
}

// isRowNumber reports whether the column is one that SQLite numbers by itself.
func (e existing) isRowNumber() bool {
	return e.keyPart == 1 && strings.EqualFold(e.decl, "INTEGER")
}

func sameNames(a, b []string) bool {
	if len(a) != len(b) {
		return false
	}
	for _, name := range a {
		if !slices.ContainsFunc(b, func(other string) bool { return strings.EqualFold(name, other) }) {
			return false
		}
	}
	return true
}

// columnsOf describes the columns of a table, none when it does not exist.
func (c *connection) columnsOf(table string) ([]existing, error) {
	// Of the hidden columns, 1 are those of virtual tables, 2 and 3 generated ones.
	rows, err := c.query(`SELECT name, type, "notnull", dflt_value IS NOT NULL, pk, hidden FROM pragma_table_xinfo(?)`, table)
	if err != nil {
		return nil, err
	}
	found := make([]existing, len(rows))
	for i, row := range rows {
		found[i] = existing{
			name: row[0].(string), decl: row[1].(string), notNull: row[2].(int64) != 0,
			hasDefault: row[3].(int64) != 0, keyPart: int(row[4].(int64)), generated: row[5].(int64) > 1,
		}
	}
	return found, nil
}

// uniqueIndexes returns the columns of each index that lets no two rows have the same.
func (c *connection) uniqueIndexes(table string) ([][]string, error) {
	rows, err := c.query(`SELECT l.name, i.name FROM pragma_index_list(?) AS l, pragma_index_info(l.name) AS i
		WHERE l."unique" = 1 AND l.partial = 0 ORDER BY l.name, i.seqno`, table)
	if err != nil {
		return nil, err
	}
	var uniques [][]string
	last := ""
	for _, row := range rows {
		name, isColumn := row[1].(string) // NULL for an expression
		if !isColumn {
			name = "\x00"
		}
		if index := row[0].(string); index != last || len(uniques) == 0 {
			uniques, last = append(uniques, nil), index
		}
		uniques[len(uniques)-1] = append(uniques[len(uniques)-1], name)
	}
	return uniques, nil
}
