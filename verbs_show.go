package flow

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/flowkit-go/flow/primitives"
)

// showFormats are the ways in which tail prints a record.
var showFormats = []string{"text", "json", "value"}

// A shown record is what the format json prints, one per line. Bytes that are no
// text are given as base64, in the field of that name.
type shown struct {
	Topic       string        `json:"topic"`
	Partition   int32         `json:"partition"`
	Offset      int64         `json:"offset"`
	Time        *time.Time    `json:"time,omitempty"`
	Key         *string       `json:"key,omitempty"`
	KeyBase64   []byte        `json:"key_base64,omitempty"`
	Value       *string       `json:"value,omitempty"`
	ValueBase64 []byte        `json:"value_base64,omitempty"`
	Headers     []shownHeader `json:"headers,omitempty"`
}

type shownHeader struct {
	Name        string  `json:"name"`
	Value       *string `json:"value,omitempty"`
	ValueBase64 []byte  `json:"value_base64,omitempty"`
}

// textOrBytes returns b as text if it is that, and as bytes otherwise.
func textOrBytes(b []byte) (*string, []byte) {
	if b == nil || !utf8.Valid(b) {
		return nil, b
	}
	s := string(b)
	return &s, nil
}

func shownOf(r *Raw) shown {
	s := shown{Offset: r.Offset}
	if r.Partition != nil {
		s.Topic, s.Partition = r.Partition.Topic, r.Partition.ID
	}
	if !r.Time.IsZero() {
		t := r.Time.UTC()
		s.Time = &t
	}
	s.Key, s.KeyBase64 = textOrBytes(r.Key)
	s.Value, s.ValueBase64 = textOrBytes(r.Value)
	for _, h := range r.Headers {
		out := shownHeader{Name: h.Name}
		out.Value, out.ValueBase64 = textOrBytes(h.Value)
		s.Headers = append(s.Headers, out)
	}
	return s
}

// show prints a record on one line.
func show(w io.Writer, format string, r *Raw) error {
	var err error
	switch format {
	case "json":
		err = json.NewEncoder(w).Encode(shownOf(r))
	case "value":
		_, err = fmt.Fprintf(w, "%s\n", r.Value)
	default:
		_, err = fmt.Fprintf(w, "%s  %s  %s  %s\n", at(r), moment(r.Time), readable(r.Key), readable(r.Value))
	}
	return err
}

// at is where a record lies, as "orders/3@812".
func at(r *Raw) string { return whereIs(*r.Partition, r.Offset) }

func whereIs(p primitives.Partition, offset int64) string { return fmt.Sprintf("%s@%d", p, offset) }

// moment is a time to the millisecond, or "-".
func moment(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format("2006-01-02T15:04:05.000Z")
}

// readable is text as it is, "-" for nothing, and anything else quoted.
func readable(b []byte) string {
	s := string(b)
	if s == "" {
		return "-"
	}
	if !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return strconv.Quote(s)
	}
	return s
}
