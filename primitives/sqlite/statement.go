package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
)

// A statement is prepared once, and keeps its arguments between executions.
type statement struct {
	stmt rawStmt
	args []driver.NamedValue
}

// rawStmt is what the driver's statements can do.
type rawStmt interface {
	driver.Stmt
	driver.StmtExecContext
}

// prepare makes a statement with that many parameters.
func (c *connection) prepare(query string, params int) (statement, error) {
	stmt, err := c.conn.Prepare(query)
	if err != nil {
		return statement{}, fmt.Errorf("prepare %s: %w", query, err)
	}
	raw, ok := stmt.(rawStmt)
	if !ok {
		return statement{}, errors.Join(errors.New("the driver cannot execute prepared statements"), stmt.Close())
	}
	st := statement{stmt: raw, args: make([]driver.NamedValue, params)}
	for i := range st.args {
		st.args[i].Ordinal = i + 1
	}
	return st, nil
}

// exec runs the statement. Its time is not bounded by a context: for that the
// driver would start a goroutine each time.
func (st *statement) exec() error {
	_, err := st.stmt.ExecContext(context.Background(), st.args)
	return err
}

// close frees the statement, if it was prepared.
func (st *statement) close() error {
	if st.stmt == nil {
		return nil
	}
	return st.stmt.Close()
}
