package web

import (
	"fmt"
	"net/http"
	"reflect"
	"strconv"

	"github.com/flowkit-go/flow/primitives"
)

// A Responder is an output that writes its own answer, as a redirect or a
// stream. An error that it returns before it has written anything is answered
// like a handler's.
type Responder interface {
	Respond(w http.ResponseWriter, r *http.Request) error
}

// A Response is an output with a status and headers of its own. Its Body is
// written as an output of type T is.
type Response[T any] struct {
	Status int         // 0 means 200, or 204 without a body
	Header http.Header // set before what Body's type asks for, which it overrides
	Body   T
}

// A Reply writes outputs of one type:
//
//   - a Responder: whatever it writes
//   - a Response: its status and headers, and its Body
//   - struct{}: 204, without a body
//   - string: text/plain in UTF-8
//   - []byte: application/octet-stream, or 204 when nil
//   - anything else: JSON; a nil slice is [], a nil map {}, anything else that is null 204
//
// A value is encoded in full before the first byte is sent.
type Reply[Out any] struct {
	encode func(dst []byte, out Out) ([]byte, error)
	head   func(Out) (status int, header http.Header) // nil: 200 and none
	kind   replyKind
	null   string // what is sent for the JSON null, empty for 204
}

type replyKind uint8

const (
	replyNone replyKind = iota
	replyText
	replyBytes
	replyJSON
	replyResponder
)

var responderType = reflect.TypeFor[Responder]()

// NewReply returns the Reply for outputs of type Out. It errs when JSON cannot
// carry an Out.
func NewReply[Out any]() (*Reply[Out], error) {
	var zero Out
	if wrapped, ok := any(zero).(interface{ newReply() (any, error) }); ok {
		reply, err := wrapped.newReply()
		if err != nil {
			return nil, err
		}
		return reply.(*Reply[Out]), nil
	}
	t := reflect.TypeFor[Out]()
	if t.Implements(responderType) {
		return &Reply[Out]{kind: replyResponder}, nil
	}
	if t == reflect.TypeFor[struct{}]() {
		return &Reply[Out]{kind: replyNone}, nil
	}
	if f, ok := any(func(dst []byte, s string) ([]byte, error) { return append(dst, s...), nil }).(func([]byte, Out) ([]byte, error)); ok {
		return &Reply[Out]{kind: replyText, encode: f}, nil
	}
	if f, ok := any(sameBytes).(func([]byte, Out) ([]byte, error)); ok {
		return &Reply[Out]{kind: replyBytes, encode: f}, nil
	}
	codec := primitives.JSON[Out]()
	if _, err := primitives.EncoderOf(codec, nil); err != nil {
		return nil, fmt.Errorf("web: output %s: %w", t, err)
	}
	reply := &Reply[Out]{kind: replyJSON, encode: codec.Append}
	switch t.Kind() {
	case reflect.Slice:
		reply.null = "[]"
	case reflect.Map:
		reply.null = "{}"
	}
	return reply, nil
}

// sameBytes needs no copy. Nil is no body at all.
func sameBytes(_, b []byte) ([]byte, error) { return b, nil }

// newReply makes the Reply of a Response from that of its body.
func (Response[T]) newReply() (any, error) {
	body, err := NewReply[T]()
	if err != nil {
		return nil, err
	}
	if body.kind == replyResponder || body.head != nil {
		return nil, fmt.Errorf("web: output %s: a Response around what sets its own status", reflect.TypeFor[Response[T]]())
	}
	reply := &Reply[Response[T]]{kind: body.kind, null: body.null}
	reply.head = func(r Response[T]) (int, http.Header) { return r.Status, r.Header }
	if body.encode != nil {
		reply.encode = func(dst []byte, r Response[T]) ([]byte, error) { return body.encode(dst, r.Body) }
	}
	return reply, nil
}

// Values of headers that are never changed, so that an answer needs no slice of its own.
var (
	typeJSON  = []string{"application/json"}
	typeText  = []string{"text/plain; charset=utf-8"}
	typeBytes = []string{"application/octet-stream"}
	nosniff   = []string{"nosniff"}
)

// Write answers r with out and returns the status. When it returns an error, it
// has written nothing.
func (p *Reply[Out]) Write(w http.ResponseWriter, r *http.Request, out Out) (status int, err error) {
	if p.kind == replyResponder {
		return respond(w, r, any(out))
	}
	var header http.Header
	if p.head != nil {
		status, header = p.head(out)
		if status != 0 && (status < 200 || status > 599) {
			return 0, fmt.Errorf("web: a handler answered with status %d", status)
		}
	}
	if p.kind == replyNone {
		return writeBody(w, r, status, header, p.kind, nil)
	}
	buf := getBuffer()
	defer putBuffer(buf)
	body, err := p.encode(buf.b, out)
	if err != nil {
		return 0, err
	}
	switch {
	case body == nil:
		return writeBody(w, r, status, header, replyNone, nil)
	case p.kind == replyJSON && string(body) == "null":
		if p.null == "" {
			return writeBody(w, r, status, header, replyNone, nil)
		}
		body = append(body[:0], p.null...)
	}
	if p.kind != replyBytes { // those are the handler's
		buf.b = body
	}
	return writeBody(w, r, status, header, p.kind, body)
}

// sniffed is the size up to which net/http finds the Content-Length itself.
const sniffed = 2048

func writeBody(w http.ResponseWriter, r *http.Request, status int, header http.Header, kind replyKind, body []byte) (int, error) {
	h := w.Header()
	switch kind {
	case replyJSON:
		h["Content-Type"] = typeJSON
	case replyText:
		h["Content-Type"], h["X-Content-Type-Options"] = typeText, nosniff
	case replyBytes:
		h["Content-Type"], h["X-Content-Type-Options"] = typeBytes, nosniff
	}
	for name, values := range header {
		h[http.CanonicalHeaderKey(name)] = values
	}
	switch {
	case status == 0 && kind == replyNone:
		status = http.StatusNoContent
	case status == 0:
		status = http.StatusOK
	}
	if status == http.StatusNoContent || status == http.StatusNotModified {
		w.WriteHeader(status)
		return status, nil
	}
	if len(body) > sniffed || r.Method == http.MethodHead || kind == replyNone {
		h["Content-Length"] = []string{strconv.Itoa(len(body))}
	}
	if status != http.StatusOK || len(body) == 0 {
		w.WriteHeader(status)
	}
	if len(body) > 0 {
		w.Write(body) // an error means that the client is gone
	}
	return status, nil
}

func respond(w http.ResponseWriter, r *http.Request, out any) (int, error) {
	responder, ok := out.(Responder)
	if !ok { // a nil interface
		return writeBody(w, r, 0, nil, replyNone, nil)
	}
	t := &tracker{ResponseWriter: w}
	err := responder.Respond(t, r)
	if err != nil && t.status != 0 {
		return t.status, &writtenError{t.status, err}
	}
	return t.done(), err
}
