package sqlite

import (
	"errors"
	"strings"

	sqlitedriver "modernc.org/sqlite"
	codes "modernc.org/sqlite/lib"
)

// blame says who has to bear an error of a statement.
type blame int

const (
	// everyone: the file or the disk has a problem. The transaction is undone and
	// each of its batches fails; writing again later may help.
	everyone blame = iota

	// theRow cannot be stored, now or later.
	theRow

	// theRowNow is an error of this row's statement that something else than the
	// row may have caused, such as a trigger: writing again may help.
	theRowNow
)

// blameFor decides what an error means for the row that was being written, and
// whether it is worth trying again. After errors of a row the transaction is
// still open, without that statement's changes.
func blameFor(err error) blame {
	if errors.Is(err, errRow) {
		return theRow
	}
	switch code(err) {
	case codes.SQLITE_CONSTRAINT, codes.SQLITE_MISMATCH, codes.SQLITE_TOOBIG:
		return theRow
	case codes.SQLITE_ERROR:
		return theRowNow
	default: // full, read-only, locked, an I/O error, a damaged file, no memory
		return everyone
	}
}

// code is SQLite's primary result code, 0 for errors of other origin.
func code(err error) int {
	var e *sqlitedriver.Error
	if errors.As(err, &e) {
		return e.Code() & 0xff
	}
	return 0
}

// isLocked reports that another process, or a reader, holds a lock.
func isLocked(err error) bool {
	c := code(err)
	return c == codes.SQLITE_BUSY || c == codes.SQLITE_LOCKED
}

// isNoTable reports that a query failed because this table does not exist.
func isNoTable(err error, table string) bool {
	return code(err) == codes.SQLITE_ERROR &&
		strings.Contains(strings.ToLower(err.Error())+" ", "no such table: "+strings.ToLower(table)+" ")
}
