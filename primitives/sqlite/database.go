package sqlite

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"

	"github.com/flowkit-go/flow/primitives"
)

const (
	// queued is the number of batches that wait for the connection before Write blocks.
	queued = 64

	// maxGroup is the number of rows from which a transaction takes no further
	// batch: enough to make its price per row small, few enough that nobody waits
	// long.
	maxGroup = 4096
)

// A database is a file that this process writes to, with the goroutine that
// owns the connection. Writers share it.
type database struct {
	conn    *connection
	jobs    chan job
	end     chan struct{} // closed by Close
	stopped chan struct{} // closed when the goroutine has ended
	closing sync.Once
}

// A job is either a batch to write or a function to run on the connection.
type job struct {
	w     *writer
	batch []primitives.Record
	done  func(error)

	run func()
}

// openDatabase opens the file and starts its goroutine, which ends with Close.
func openDatabase(ctx context.Context, path string) (*database, error) {
	conn, err := connect(path, ended(ctx))
	if err != nil {
		return nil, err
	}
	db := &database{
		conn: conn, jobs: make(chan job, queued),
		end: make(chan struct{}), stopped: make(chan struct{}),
	}
	go db.serve()
	return db, nil
}

// Close ends the goroutine and closes the connection, which also moves the log
// into the file. All writers must have been closed.
func (db *database) Close() error {
	db.closing.Do(func() { close(db.end) })
	<-db.stopped
	return db.conn.close()
}

// onConnection runs f on the goroutine that owns the connection and waits for
// it; ctx bounds how long it may take until f starts.
func (db *database) onConnection(ctx context.Context, f func() error) error {
	result := make(chan error, 1)
	select {
	case db.jobs <- job{run: func() { result <- f() }}:
		return <-result
	case <-ctx.Done():
		return ctx.Err()
	}
}

// ended returns a function that says whether ctx has ended.
func ended(ctx context.Context) func() bool {
	return func() bool { return ctx.Err() != nil }
}

func (db *database) serve() {
	defer close(db.stopped)
	var group []job
	for {
		select {
		case <-db.end:
			return
		case first := <-db.jobs:
			// Callers whose last batch was just reported are about to write again:
			// they come into this transaction instead of the next.
			runtime.Gosched()
			group = db.collect(group[:0], first)
		}
		if len(group) > 0 {
			db.write(group)
			clear(group)
		}
	}
}

// collect takes the batches that wait by now. It runs functions as they come.
func (db *database) collect(group []job, next job) []job {
	rows := 0
	for {
		switch {
		case next.run != nil:
			next.run()
		case next.w.abandoned.Load():
			next.finish(primitives.ErrClosed)
		default:
			group = append(group, next)
			rows += len(next.batch)
		}
		if rows >= maxGroup {
			return group
		}
		select {
		case next = <-db.jobs:
		default:
			return group
		}
	}
}

// write makes one transaction of the batches and reports each.
func (db *database) write(group []job) {
	results := make([]error, len(group))
	if err := db.transact(group, results); err != nil {
		for i, j := range group {
			results[i] = fmt.Errorf("sqlite: write %s: %w", j.w.inserter.schema.name, err)
		}
	}
	for i, j := range group {
		j.finish(results[i])
	}
}

// transact writes the batches. It returns an error when none of them is
// written; otherwise results says which rows were refused.
func (db *database) transact(group []job, results []error) error {
	sync := false
	for _, j := range group {
		sync = sync || !j.w.noSync
	}
	if err := db.conn.sync(sync); err != nil {
		return err
	}
	abandoned := func() bool {
		for _, j := range group {
			if !j.w.abandoned.Load() {
				return false
			}
		}
		return true
	}
	if err := db.conn.begin(abandoned); err != nil {
		return err
	}
	for i := range group {
		refused, err := group[i].w.inserter.insert(group[i].batch)
		if err != nil {
			return errors.Join(err, db.conn.rollback())
		}
		if len(refused) > 0 {
			results[i] = &primitives.BatchError{Failed: refused}
		}
	}
	return db.conn.commit()
}

// finish reports the batch's result and counts it off its writer.
func (j job) finish(err error) {
	j.done(err)
	j.w.finished()
}
