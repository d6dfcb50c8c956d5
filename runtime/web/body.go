package web

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"reflect"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/flowkit-go/flow/primitives"
)

// DefaultBodyLimit is the largest body in bytes that is read when nothing else is said.
const DefaultBodyLimit = 1 << 20

// bodyKind is what a body may be.
type bodyKind uint8

const (
	bodyJSON  bodyKind = iota
	bodyText           // text, or a JSON string
	bodyBytes          // anything
)

// A buffer is memory for one body or reply, used again.
type buffer struct{ b []byte }

var buffers = sync.Pool{New: func() any { return &buffer{b: make([]byte, 0, 4<<10)} }}

func getBuffer() *buffer { return buffers.Get().(*buffer) }

// maxPooled keeps a single large body from being held on to.
const maxPooled = 64 << 10

func putBuffer(buf *buffer) {
	if cap(buf.b) <= maxPooled {
		buf.b = buf.b[:0]
		buffers.Put(buf)
	}
}

// readBody fills buf with the body of r, which must be there and of that kind.
// It returns the media type, empty when the client did not say.
func (buf *buffer) readBody(r *http.Request, kind bodyKind, limit int64) (mediaType string, err error) {
	if limit == 0 {
		limit = DefaultBodyLimit
	}
	if r.ContentLength == 0 && kind == bodyBytes {
		return "", nil
	}
	if r.ContentLength == 0 && kind == bodyJSON {
		return "", emptyBody()
	}
	mediaType, err = checkType(r.Header, kind)
	if err != nil {
		return "", err
	}
	if limit > 0 && r.ContentLength > limit {
		return "", tooLarge(limit)
	}
	// What a client announces is no reason to take much memory before it comes.
	if n := int(min(r.ContentLength, maxPooled-1)); n >= cap(buf.b) {
		buf.b = make([]byte, 0, n+1)
	}
	for {
		if len(buf.b) == cap(buf.b) {
			buf.b = append(buf.b, 0)[:len(buf.b)]
		}
		n, err := r.Body.Read(buf.b[len(buf.b):cap(buf.b)])
		buf.b = buf.b[:len(buf.b)+n]
		if limit > 0 && int64(len(buf.b)) > limit {
			return "", tooLarge(limit)
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return "", readProblem(err)
		}
	}
	if len(buf.b) == 0 && kind == bodyJSON {
		return "", emptyBody()
	}
	return mediaType, nil
}

// checkType refuses what the body is said to be when that is not the kind wanted.
func checkType(h http.Header, kind bodyKind) (string, error) {
	if e := h["Content-Encoding"]; len(e) > 0 && !strings.EqualFold(e[0], "identity") {
		return "", &Error{Status: http.StatusUnsupportedMediaType,
			Detail: fmt.Sprintf("Content-Encoding %s is not supported: send the body as it is", quote(e[0]))}
	}
	values := h["Content-Type"]
	if len(values) == 0 || kind == bodyBytes {
		return "", nil
	}
	given := values[0]
	if given == "application/json" {
		return given, nil
	}
	mediaType, params, err := mime.ParseMediaType(given)
	isJSON := mediaType == "application/json" || strings.HasSuffix(mediaType, "+json")
	charset, named := params["charset"]
	isUTF8 := !named || strings.EqualFold(charset, "utf-8") || strings.EqualFold(charset, "us-ascii")
	if err == nil && isUTF8 && (isJSON || kind == bodyText && mediaType == "text/plain") {
		return mediaType, nil
	}
	want := "application/json"
	if kind == bodyText {
		want = "text/plain or application/json"
	}
	return "", &Error{Status: http.StatusUnsupportedMediaType,
		Detail: fmt.Sprintf("the body must be %s in UTF-8, and Content-Type says %s", want, quote(given))}
}

// decodeString makes the input of type string.
func decodeString(mediaType string, body []byte) (string, error) {
	if mediaType == "" || mediaType == "text/plain" {
		if !utf8.Valid(body) {
			return "", &Error{Status: http.StatusBadRequest, Detail: "the body is not valid UTF-8"}
		}
		return string(body), nil
	}
	return primitives.JSON[string]().Decode(body)
}

func emptyBody() error {
	return &Error{Status: http.StatusBadRequest, Detail: "the request has no body, and needs one in JSON"}
}

// tooLarge closes the connection, or net/http would first wait for more of the body.
func tooLarge(limit int64) error {
	return &Error{Status: http.StatusRequestEntityTooLarge, Header: http.Header{"Connection": {"close"}},
		Detail: fmt.Sprintf("the body is larger than %d bytes", limit)}
}

// readProblem says what a body that could not be read to its end means.
func readProblem(err error) error {
	var timeout net.Error
	var tooBig *http.MaxBytesError
	switch {
	case errors.As(err, &tooBig): // a middleware's
		return tooLarge(tooBig.Limit)
	case errors.As(err, &timeout) && timeout.Timeout():
		return &Error{Status: http.StatusRequestTimeout, Detail: "the body did not come in time",
			Header: http.Header{"Connection": {"close"}}, Err: err}
	default:
		return &Error{Status: http.StatusBadRequest, Detail: "the body ended early or is badly framed", Err: err}
	}
}

// decodeProblem says what a body that is no In means: 400 when it is not JSON,
// 422 when it is JSON for something else.
func decodeProblem(body []byte, err error) error {
	var own *Error
	if errors.As(err, &own) {
		return own
	}
	var decode *primitives.DecodeError
	if !errors.As(err, &decode) {
		decode = &primitives.DecodeError{Offset: -1, Err: err}
	}
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) && !json.Valid(body) {
		e := &Error{Status: http.StatusBadRequest, Detail: "the body is not valid JSON: " + syntax.Error(), Err: err}
		if decode.Offset >= 0 {
			e.Detail = fmt.Sprintf("the body is not valid JSON at byte %d: %s", decode.Offset, syntax.Error())
		}
		return e
	}
	f := FieldError{In: "body", Field: decode.Field, Detail: decode.Err.Error()}
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) {
		f.Detail = fmt.Sprintf("want %s, got %s", describe(wrong.Type), wrong.Value)
	}
	if decode.Offset >= 0 {
		f.Detail += fmt.Sprintf(" at byte %d", decode.Offset)
	}
	e := invalid(f)
	e.Err = err
	return e
}

// describe says in the words of JSON what a t is written as.
func describe(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Pointer:
		return describe(t.Elem())
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return fmt.Sprintf("an integer from 0 to %d", ^uint64(0)>>(64-t.Bits()))
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		top := uint64(1)<<(t.Bits()-1) - 1
		return fmt.Sprintf("an integer from -%d to %d", top+1, top)
	case reflect.Float32, reflect.Float64:
		return "a number"
	case reflect.Slice, reflect.Array:
		if t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Uint8 {
			return "a string in base64"
		}
		return "an array"
	case reflect.Map, reflect.Struct:
		return "an object"
	default:
		return "another type"
	}
}
