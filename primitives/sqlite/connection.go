package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"time"

	sqlitedriver "modernc.org/sqlite"
	codes "modernc.org/sqlite/lib"
)

const (
	// lockWait is how long a transaction waits for another process to end its own.
	lockWait = 5 * time.Second

	// lockSlice is how much of it SQLite waits by itself, so that a Close is
	// noticed in between.
	lockSlice = 100 * time.Millisecond

	// lockPause is the pause between two slices.
	lockPause = time.Millisecond

	// walLimit is the size to which the log file is cut after a checkpoint.
	walLimit = 64 << 20
)

var errMoved = errors.New("the file was removed or replaced while it was open: start the flow again")

// A connection is the one through which a process writes to a file. It is used
// by one goroutine at a time. It talks to the driver without database/sql,
// whose locks and conversions per statement are of no use here.
type connection struct {
	path   string
	conn   rawConn
	file   os.FileInfo
	synced bool // whether commits wait for the disk

	beginning, committing statement
}

// rawConn is what the driver's connections can do.
type rawConn interface {
	driver.Conn
	driver.ExecerContext
	driver.QueryerContext
}

// connect opens the file, and makes it and its folder when they are missing.
func connect(path string, giveUp func() bool) (*connection, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("make the folder of the database: %w", err)
	}
	conn, err := new(sqlitedriver.Driver).Open(dsn(path,
		fmt.Sprintf("busy_timeout(%d)", lockSlice.Milliseconds()),
		"synchronous(full)",
		fmt.Sprintf("journal_size_limit(%d)", walLimit)))
	if err != nil {
		return nil, fmt.Errorf("open: %w", err)
	}
	raw, ok := conn.(rawConn)
	if !ok {
		return nil, errors.Join(errors.New("the driver cannot execute statements"), conn.Close())
	}
	c := &connection{path: path, conn: raw, synced: true}
	// Another process may be about to do the same, or to recover the file.
	err = whileLocked(giveUp, func() error { return c.exec("PRAGMA journal_mode = wal") })
	if err == nil {
		c.file, err = os.Stat(path)
	}
	if err == nil {
		c.beginning, err = c.prepare("BEGIN IMMEDIATE", 0)
	}
	if err == nil {
		c.committing, err = c.prepare("COMMIT", 0)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open: %w", err), c.close())
	}
	return c, nil
}

// dsn is the driver's way to write a path with pragmas.
func dsn(path string, pragmas ...string) string {
	u := url.URL{Path: filepath.ToSlash(path)}
	s := "file:" + u.EscapedPath() + "?_pragma="
	for i, pragma := range pragmas {
		if i > 0 {
			s += "&_pragma="
		}
		s += url.QueryEscape(pragma)
	}
	return s
}

func (c *connection) exec(stmt string) error {
	_, err := c.conn.ExecContext(context.Background(), stmt, nil)
	return err
}

// query returns all rows of a small result.
func (c *connection) query(stmt string, args ...any) (rows [][]driver.Value, err error) {
	named := make([]driver.NamedValue, len(args))
	for i, arg := range args {
		named[i] = driver.NamedValue{Ordinal: i + 1, Value: arg}
	}
	result, err := c.conn.QueryContext(context.Background(), stmt, named)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, result.Close()) }()
	for {
		row := make([]driver.Value, len(result.Columns()))
		switch err := result.Next(row); {
		case err == io.EOF:
			return rows, nil
		case err != nil:
			return nil, err
		}
		rows = append(rows, row)
	}
}

// sync sets whether the commits that follow wait for the disk.
func (c *connection) sync(on bool) error {
	if c.synced == on {
		return nil
	}
	mode := "normal"
	if on {
		mode = "full"
	}
	if err := c.exec("PRAGMA synchronous = " + mode); err != nil {
		return err
	}
	c.synced = on
	return nil
}

// begin starts a transaction that holds the right to write, so that nothing in
// it can wait for a lock.
func (c *connection) begin(giveUp func() bool) error {
	if now, err := os.Stat(c.path); err != nil || !os.SameFile(now, c.file) {
		return errors.Join(errMoved, err)
	}
	err := whileLocked(giveUp, c.beginning.exec)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	return nil
}

// commit ends the transaction; it is undone when it returns an error.
func (c *connection) commit() error {
	if err := c.committing.exec(); err != nil {
		return errors.Join(fmt.Errorf("commit: %w", err), c.rollback())
	}
	return nil
}

// rollback ends the transaction, if SQLite has not done so itself.
func (c *connection) rollback() error {
	err := c.exec("ROLLBACK")
	if code(err) == codes.SQLITE_ERROR { // there is no transaction any more
		return nil
	}
	return err
}

// whileLocked calls try again while another process holds the lock, for as long
// as lockWait and until giveUp says so. The waiting is mostly done by SQLite.
func whileLocked(giveUp func() bool, try func() error) error {
	deadline := time.Now().Add(lockWait)
	for {
		err := try()
		switch {
		case !isLocked(err):
			return err
		case giveUp():
			return err
		case time.Now().After(deadline):
			return fmt.Errorf("another process has kept the file locked for %s: %w", lockWait, err)
		}
		time.Sleep(lockPause) // in some states of the file SQLite does not wait
	}
}

func (c *connection) close() error {
	return errors.Join(c.beginning.close(), c.committing.close(), c.conn.Close())
}
