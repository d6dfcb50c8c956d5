package cloudevents

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"
)

// An Event is a value with the context attributes of CloudEvents 1.0. ID, Source
// and Type are required; the codec's fields Source and Type stand in for empty ones.
type Event[T any] struct {
	// ID, together with Source, is the event's identity: readers take two events
	// with the same as one. A handler that may run again must choose it the same.
	ID string

	// Source is the context in which the event happened, a URI reference as "/shop/eu".
	Source string

	// Type is the kind of event, as "com.example.order.placed".
	Type string

	// Subject is what the event is about, within Source. Optional.
	Subject string

	// Time is when it happened. The zero time is none.
	Time time.Time

	// DataContentType is the media type of the data. When it is empty, the codec
	// writes its own.
	DataContentType string

	// DataSchema is the URI of a schema that the data adheres to. Optional.
	DataSchema string

	// Extensions are further attributes. Their names are lower-case letters and
	// digits. Values are strings; besides, bool, int, int32, int64 (within 32 bits),
	// []byte and time.Time can be written, and JSON gives back bool and int32 for
	// booleans and numbers.
	Extensions map[string]any

	// Data is the value. An event without data has the zero value.
	Data T
}

// Extension returns the text of an extension attribute, empty when there is none.
func (e *Event[T]) Extension(name string) string {
	v, ok := e.Extensions[name]
	if !ok {
		return ""
	}
	text, err := appendValue(nil, v)
	if err != nil {
		return ""
	}
	return string(text)
}

// PartitionKey returns the extension attribute partitionkey: the Key of a topic
// whose records should be placed as the Partitioning extension has it.
func PartitionKey[T any](e Event[T]) string { return e.Extension("partitionkey") }

// specVersion is the version of the specification that is read and written.
const specVersion = "1.0"

// Names of the context attributes.
const (
	attrSpecVersion     = "specversion"
	attrID              = "id"
	attrSource          = "source"
	attrType            = "type"
	attrSubject         = "subject"
	attrTime            = "time"
	attrDataContentType = "datacontenttype"
	attrDataSchema      = "dataschema"
)

// attributeError is a mistake in one attribute.
type attributeError struct {
	name string
	err  error
}

func (e *attributeError) Error() string { return fmt.Sprintf("attribute %s: %v", e.name, e.err) }
func (e *attributeError) Unwrap() error { return e.err }

var errMissing = errors.New("it is required and missing")

func wrong(name, format string, args ...any) error {
	return &attributeError{name, fmt.Errorf(format, args...)}
}

// attributes are those of an Event[T] without its T.
type attributes struct {
	id, source, typ, subject    string
	time                        time.Time
	dataContentType, dataSchema string
	extensions                  map[string]any
}

// checkWritten reports the first attribute that an event must not be written with.
func (a *attributes) checkWritten() error {
	for _, required := range [...]struct{ name, value, hint string }{
		{attrID, a.id, "set Event.ID, to the same for each attempt"},
		{attrSource, a.source, "set Event.Source or Codec.Source"},
		{attrType, a.typ, "set Event.Type or Codec.Type"},
	} {
		if required.value == "" {
			return wrong(required.name, "%w: %s", errMissing, required.hint)
		}
	}
	for _, text := range [...]struct{ name, value string }{
		{attrID, a.id}, {attrType, a.typ}, {attrSubject, a.subject}, {attrDataContentType, a.dataContentType},
	} {
		if err := checkText(text.value); err != nil {
			return &attributeError{text.name, err}
		}
	}
	if _, err := url.Parse(a.source); err != nil {
		return wrong(attrSource, "want a URI reference: %w", err)
	}
	if a.dataSchema != "" {
		if u, err := url.Parse(a.dataSchema); err != nil || !u.IsAbs() {
			return wrong(attrDataSchema, "%q is not a URI with a scheme", a.dataSchema)
		}
	}
	if y := a.time.Year(); !a.time.IsZero() && (y < 0 || y > 9999) {
		return wrong(attrTime, "year %d is not within 0 and 9999", y)
	}
	for name, v := range a.extensions {
		if err := checkName(name); err != nil {
			return &attributeError{name, err}
		}
		if s, ok := v.(string); ok {
			if err := checkText(s); err != nil {
				return &attributeError{name, err}
			}
		}
	}
	return nil
}

// checkRead reports a required attribute that an event was read without.
func (a *attributes) checkRead(version string) error {
	switch {
	case version == "":
		return wrong(attrSpecVersion, "%w: is this a CloudEvent?", errMissing)
	case version != specVersion:
		return wrong(attrSpecVersion, "%q is not supported, want %q", version, specVersion)
	case a.id == "":
		return &attributeError{attrID, errMissing}
	case a.source == "":
		return &attributeError{attrSource, errMissing}
	case a.typ == "":
		return &attributeError{attrType, errMissing}
	}
	return nil
}

// set gives the attribute name, other than specversion, a value that was read as text.
func (a *attributes) set(name, value string) error {
	switch name {
	case attrID:
		a.id = value
	case attrSource:
		a.source = value
	case attrType:
		a.typ = value
	case attrSubject:
		a.subject = value
	case attrTime:
		t, err := time.Parse(time.RFC3339Nano, strings.ToUpper(value)) // RFC 3339 has t and z as well
		if err != nil {
			return wrong(attrTime, "%q is not a time as 2006-01-02T15:04:05Z", value)
		}
		a.time = t
	case attrDataContentType:
		a.dataContentType = value
	case attrDataSchema:
		a.dataSchema = value
	default:
		a.extend(name, value)
	}
	return nil
}

func (a *attributes) extend(name string, v any) {
	if a.extensions == nil {
		a.extensions = map[string]any{}
	}
	a.extensions[name] = v
}

// checkName reports why name cannot be that of an extension attribute.
func checkName(name string) error {
	switch name {
	case "":
		return errors.New("the name is empty")
	case attrSpecVersion, attrID, attrSource, attrType, attrSubject, attrTime, attrDataContentType, attrDataSchema:
		return errors.New("it has a field of its own in Event and cannot be an extension")
	case "data", "data_base64":
		return errors.New("the name is reserved")
	}
	for i := range len(name) {
		if c := name[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return errors.New("want a name of lower-case letters and digits")
		}
	}
	return nil
}

// checkText reports why s cannot be the value of an attribute of type String.
func checkText(s string) error {
	for i, c := range s {
		switch {
		case c < 0x20, c >= 0x7f && c <= 0x9f:
			return fmt.Errorf("control character %U at byte %d", c, i)
		case c == utf8.RuneError:
			if _, n := utf8.DecodeRuneInString(s[i:]); n == 1 {
				return fmt.Errorf("not UTF-8 at byte %d", i)
			}
		}
	}
	return nil
}
