package web

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
)

// A tracker is a ResponseWriter that knows whether an answer has been begun. It
// is put around the writers that code of the user's writes to.
type tracker struct {
	http.ResponseWriter
	status int // 0 while nothing is written
}

func (t *tracker) WriteHeader(status int) {
	// Informational answers come before the real one, except when the protocol changes.
	if t.status == 0 && (status >= 200 || status == http.StatusSwitchingProtocols) {
		t.status = status
	}
	t.ResponseWriter.WriteHeader(status)
}

func (t *tracker) Write(p []byte) (int, error) {
	t.begin()
	return t.ResponseWriter.Write(p)
}

// ReadFrom keeps net/http's way of sending a file without copying it.
func (t *tracker) ReadFrom(r io.Reader) (int64, error) {
	t.begin()
	return io.Copy(t.ResponseWriter, r)
}

// Flush is here for handlers that ask for an http.Flusher.
func (t *tracker) Flush() {
	t.begin()
	http.NewResponseController(t.ResponseWriter).Flush() // not supported: nothing to flush
}

// Hijack is here for handlers that ask for an http.Hijacker.
func (t *tracker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(t.ResponseWriter).Hijack()
	if err == nil && t.status == 0 {
		t.status = http.StatusSwitchingProtocols
	}
	return conn, rw, err
}

// Unwrap is here for http.ResponseController.
func (t *tracker) Unwrap() http.ResponseWriter { return t.ResponseWriter }

func (t *tracker) begin() {
	if t.status == 0 {
		t.status = http.StatusOK
	}
}

// done returns the status of an answer that is complete: net/http sends 200
// when nothing was written.
func (t *tracker) done() int {
	t.begin()
	return t.status
}

// writtenError is an error that came when the answer had been begun: the client
// can only be told by cutting the connection.
type writtenError struct {
	status int
	err    error
}

func (e *writtenError) Error() string {
	return fmt.Sprintf("after status %d was sent: %v", e.status, e.err)
}
func (e *writtenError) Unwrap() error { return e.err }
