package web

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
)

// An Error is an answer other than success that a handler, or this package,
// chooses. It is written as an RFC 9457 problem document.
type Error struct {
	Status int          // 400 to 599; any other value means 500
	Type   string       // URI of the kind of problem; empty means about:blank
	Title  string       // empty means the status in words
	Detail string       // for the client
	Fields []FieldError // which parts of the request are wrong
	Header http.Header  // sent along, as Retry-After
	Err    error        // why: for the log, never sent
}

// A FieldError says what is wrong with one part of a request.
type FieldError struct {
	In     string `json:"in,omitempty"` // path, query, header or body
	Field  string `json:"field"`        // name, or path in the body as "lines.0.cents"; empty for the whole body
	Detail string `json:"detail"`
}

// NewError returns an Error with a status and a text for the client.
func NewError(status int, detail string) *Error { return &Error{Status: status, Detail: detail} }

func (e *Error) Error() string {
	msg := strconv.Itoa(e.status()) + " " + http.StatusText(e.status())
	if e.Detail != "" {
		msg += ": " + e.Detail
	}
	if e.Err != nil {
		msg += ": " + e.Err.Error()
	}
	return msg
}

// Unwrap returns the reason.
func (e *Error) Unwrap() error { return e.Err }

func (e *Error) status() int {
	if e.Status < 400 || e.Status > 599 {
		return http.StatusInternalServerError
	}
	return e.Status
}

// invalid is the answer to a request that is well formed and wrong.
func invalid(fields ...FieldError) *Error {
	where := strings.TrimSpace(fields[0].In + " " + fields[0].Field)
	e := &Error{Status: http.StatusUnprocessableEntity, Fields: fields, Detail: where + ": " + fields[0].Detail}
	if n := len(fields) - 1; n > 0 {
		e.Detail += fmt.Sprintf(" (and %d more)", n)
	}
	return e
}

// StatusClientGone is what a request counts as when its client left before the
// answer. It is never sent.
const StatusClientGone = 499

var (
	// ErrBusy is returned by Limiter.Acquire when its queue is full. It becomes a 503.
	ErrBusy = errors.New("web: too many requests in flight")

	// ErrStopping is the cause with which handlers are cancelled when the server
	// stops before they are done. It becomes a 503.
	ErrStopping = errors.New("web: server is stopping")
)

// answer decides what an error of a handler means to the client. It is the only
// place that does. The result has status StatusClientGone when there is nobody to answer.
func answer(r *http.Request, err error) *Error {
	var own *Error
	switch {
	case errors.As(err, &own):
		return own
	case errors.Is(err, ErrBusy):
		return unavailable("too many requests at this time: try again", err)
	case errors.Is(err, ErrStopping), r.Context().Err() != nil && errors.Is(context.Cause(r.Context()), ErrStopping):
		return unavailable("the server is stopping: try again", err)
	case r.Context().Err() != nil && errors.Is(err, context.Canceled):
		return &Error{Status: StatusClientGone, Err: err}
	case errors.Is(err, context.DeadlineExceeded):
		return &Error{Status: http.StatusGatewayTimeout, Detail: "the request took too long", Err: err}
	default:
		return &Error{Status: http.StatusInternalServerError, Detail: "something went wrong here: the log has it under this instance", Err: err}
	}
}

func unavailable(detail string, err error) *Error {
	return &Error{Status: http.StatusServiceUnavailable, Detail: detail, Header: http.Header{"Retry-After": {"1"}}, Err: err}
}

// problem is the document of RFC 9457 section 3, and one extension.
type problem struct {
	Type     string       `json:"type"`
	Title    string       `json:"title"`
	Status   int          `json:"status"`
	Detail   string       `json:"detail,omitempty"`
	Instance string       `json:"instance,omitempty"`
	Errors   []FieldError `json:"errors,omitempty"`
}

// writeProblem answers with e. Nothing must have been written before.
func writeProblem(w http.ResponseWriter, e *Error, instance string) {
	p := problem{Type: e.Type, Title: e.Title, Status: e.status(), Detail: e.Detail, Instance: instance, Errors: e.Fields}
	if p.Type == "" {
		p.Type = "about:blank"
	}
	if p.Title == "" {
		p.Title = http.StatusText(p.Status)
	}
	body, err := json.Marshal(p)
	if err != nil { // no member of p can fail
		body = []byte(`{"type":"about:blank","status":500}`)
	}
	h := w.Header()
	// What a handler prepared for a success does not describe this document.
	for _, name := range []string{"Content-Encoding", "Etag", "Last-Modified", "Cache-Control"} {
		delete(h, name)
	}
	for name, values := range e.Header {
		h[name] = values
	}
	h.Set("Content-Type", "application/problem+json")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(p.Status)
	w.Write(body) // an error means that the client is gone
}

// WriteError answers r with the problem document that err asks for, logs what
// the log should have, and returns the status. Nothing must have been written
// to w. For handlers that are plain http.Handlers.
func WriteError(w http.ResponseWriter, r *http.Request, err error, log *slog.Logger) int {
	e := answer(r, err)
	switch {
	case e.Status == StatusClientGone:
		log.DebugContext(r.Context(), "client left before the answer", "method", r.Method, "pattern", r.Pattern, "error", err)
		return StatusClientGone
	case e.status() < 500 || errors.Is(err, ErrBusy):
		writeProblem(w, e, "")
	default:
		instance := newInstance()
		logFailure(log, r, e.status(), instance, err)
		writeProblem(w, e, instance)
	}
	return e.status()
}

func logFailure(log *slog.Logger, r *http.Request, status int, instance string, err error) {
	args := []any{"status", status, "method", r.Method, "pattern", r.Pattern, "instance", instance, "error", err}
	var panicked *PanicError
	if errors.As(err, &panicked) {
		args = append(args, "stack", string(panicked.Stack))
	}
	log.ErrorContext(r.Context(), "request failed", args...)
}

// newInstance returns the URI of one occurrence of a problem: a random UUID.
func newInstance() string {
	var b [16]byte
	rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("urn:uuid:%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
