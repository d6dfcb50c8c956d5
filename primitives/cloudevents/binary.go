package cloudevents

import (
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/flowkit-go/flow/primitives"
)

const (
	headerContentType = "content-type"
	prefixKafka       = "ce_"
	prefixNATS        = "ce-"
)

// headers is what the first look at a record's headers tells.
type headers struct {
	contentType []byte
	count       int // of attributes among them
	size        int // of the text to keep
}

func scan(all []primitives.Header) (h headers) {
	for i := range all {
		name := all[i].Name
		if _, _, ok := attribute(name); ok {
			h.count++
			h.size += len(name) + len(all[i].Value)
		} else if h.contentType == nil && strings.EqualFold(name, headerContentType) {
			h.contentType = all[i].Value
			h.size += len(h.contentType)
		}
	}
	return h
}

// attribute returns the attribute's name in a header's, and whether its value is
// escaped.
func attribute(header string) (name string, escaped, ok bool) {
	if len(header) < 4 || header[0]|0x20 != 'c' || header[1]|0x20 != 'e' {
		return "", false, false
	}
	switch header[2] {
	case '_':
		return header[3:], false, true
	case '-':
		return header[3:], true, true
	}
	return "", false, false
}

// decodeBinary reads an event whose attributes are headers.
func (c *Codec[T]) decodeBinary(r *primitives.Record, h headers) (e Event[T], err error) {
	var a attributes
	var version string
	// One string holds all of the text: the record's memory is given back, the event
	// may be kept.
	var text strings.Builder
	text.Grow(h.size)
	keep := func(s string) string {
		from := text.Len()
		text.WriteString(s)
		return text.String()[from:]
	}
	if h.contentType != nil {
		a.dataContentType = keep(string(h.contentType))
	}
	for i := range r.Headers {
		name, escaped, ok := attribute(r.Headers[i].Name)
		if !ok {
			continue
		}
		value := keep(string(r.Headers[i].Value))
		if escaped {
			if value, err = unescape(value); err != nil {
				return e, c.invalid(strings.ToLower(name), err)
			}
		}
		switch known := canonical(name); known {
		case attrSpecVersion:
			version = value
		case "":
			a.extend(strings.ToLower(keep(name)), value)
		default:
			if err := a.set(known, value); err != nil {
				return e, c.invalid("", err)
			}
		}
	}
	if err := a.checkRead(version); err != nil {
		return e, c.invalid("", err)
	}
	var data T
	if len(r.Value) > 0 || !c.json && r.Value != nil {
		if data, err = c.data.Decode(r.Value); err != nil {
			return e, c.invalidData(err)
		}
	}
	return c.event(&a, data), nil
}

// canonical returns the constant for the name of a context attribute, whose case
// does not count, and an empty string for that of an extension.
func canonical(name string) string {
	for _, known := range [...]string{
		attrSpecVersion, attrID, attrSource, attrType, attrSubject, attrTime, attrDataContentType, attrDataSchema,
	} {
		if len(name) == len(known) && strings.EqualFold(name, known) {
			return known
		}
	}
	return ""
}

// appendBinary writes an event with its attributes as headers.
func (c *Codec[T]) appendBinary(out *primitives.Outputs, a *attributes, e *Event[T]) (primitives.Record, error) {
	var none primitives.Record
	r := primitives.Record{Time: a.time}
	if !c.bytes || !isNilBytes(&e.Data) {
		value, err := c.data.Append(out.Buffer(), e.Data)
		if err != nil {
			return none, err
		}
		r.Value = out.Take(value)
	}
	prefix, escaped := prefixKafka, false
	if c.Mode == BinaryNATS {
		prefix, escaped = prefixNATS, true
	}
	take := func(value string) []byte {
		if escaped {
			return out.Take(appendEscaped(out.Buffer(), value))
		}
		return out.Take(append(out.Buffer(), value...))
	}
	r.Headers = make([]primitives.Header, 0, 8+len(a.extensions))
	put := func(kafka, nats, value string) {
		if value == "" {
			return
		}
		name := kafka
		if escaped {
			name = nats
		}
		r.Headers = append(r.Headers, primitives.Header{Name: name, Value: take(value)})
	}
	put(prefixKafka+attrSpecVersion, prefixNATS+attrSpecVersion, specVersion)
	put(prefixKafka+attrID, prefixNATS+attrID, a.id)
	put(prefixKafka+attrSource, prefixNATS+attrSource, a.source)
	put(prefixKafka+attrType, prefixNATS+attrType, a.typ)
	put(prefixKafka+attrSubject, prefixNATS+attrSubject, a.subject)
	if !a.time.IsZero() {
		name := prefixKafka + attrTime
		if escaped {
			name = prefixNATS + attrTime
		}
		value := out.Take(a.time.AppendFormat(out.Buffer(), time.RFC3339Nano))
		r.Headers = append(r.Headers, primitives.Header{Name: name, Value: value})
	}
	put(prefixKafka+attrDataSchema, prefixNATS+attrDataSchema, a.dataSchema)
	put(headerContentType, prefixNATS+attrDataContentType, a.dataContentType)
	for _, name := range sorted(a.extensions) {
		text, err := appendValue(nil, a.extensions[name])
		if err != nil {
			return none, c.unwritable(&attributeError{name, err})
		}
		r.Headers = append(r.Headers, primitives.Header{Name: prefix + name, Value: take(string(text))})
	}
	return r, nil
}

func isNilBytes(v any) bool {
	b, ok := v.(*[]byte)
	return ok && *b == nil
}

// sorted returns the names of extensions in order, so that an event that is
// written again is the same.
func sorted(extensions map[string]any) []string {
	if len(extensions) == 0 {
		return nil
	}
	names := make([]string, 0, len(extensions))
	for name := range extensions {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// appendEscaped appends value with everything but printable ASCII, and also space,
// quote and percent, as %XY of its UTF-8 bytes (NATS binding 3.1.3.2).
func appendEscaped(dst []byte, value string) []byte {
	const digits = "0123456789ABCDEF"
	for i := range len(value) {
		if c := value[i]; c > ' ' && c < 0x7f && c != '"' && c != '%' {
			dst = append(dst, c)
		} else {
			dst = append(dst, '%', digits[c>>4], digits[c&15])
		}
	}
	return dst
}

// unescape undoes appendEscaped, and the quotes of earlier versions.
func unescape(value string) (string, error) {
	if len(value) >= 2 && value[0] == '"' && value[len(value)-1] == '"' {
		var b strings.Builder
		for i := 1; i < len(value)-1; i++ {
			if value[i] == '\\' && i+1 < len(value)-1 {
				i++
			}
			b.WriteByte(value[i])
		}
		value = b.String()
	}
	if !strings.Contains(value, "%") {
		return value, nil
	}
	b := make([]byte, 0, len(value))
	for i := 0; i < len(value); i++ {
		if value[i] != '%' {
			b = append(b, value[i])
			continue
		}
		if i+2 >= len(value) {
			return "", fmt.Errorf("%q ends within a percent-encoded byte", value)
		}
		var err error
		if b, err = hex.AppendDecode(b, []byte(value[i+1:i+3])); err != nil {
			return "", fmt.Errorf("%q is not a percent-encoded byte", value[i:i+3])
		}
		i += 2
	}
	if !utf8.Valid(b) {
		return "", errors.New("the percent-encoded bytes are not UTF-8")
	}
	return string(b), nil
}
