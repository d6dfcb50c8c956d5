package cloudevents

import (
	"encoding/base64"
	stdjson "encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/flowkit-go/flow/primitives"
)

const (
	mediaEvent     = "application/cloudevents"
	mediaEventJSON = "application/cloudevents+json"
	mediaBatch     = "application/cloudevents-batch"
)

// structuredHeaders are the same for all events; nobody changes them.
var structuredHeaders = []primitives.Header{{Name: headerContentType, Value: []byte(mediaEventJSON + "; charset=UTF-8")}}

// essence is a media type without its parameters, in lower case.
func essence(media string) string {
	media, _, _ = strings.Cut(media, ";")
	return strings.ToLower(strings.TrimSpace(media))
}

// declaresJSON reports whether data of that media type stands in the envelope as
// JSON (JSON format, 3.1.1). No media type counts as application/json.
func declaresJSON(media string) bool {
	if media == "" || media == mediaJSON {
		return true
	}
	media = essence(media)
	return strings.HasSuffix(media, "/json") || strings.HasSuffix(media, "+json")
}

// declaresText reports whether data of that media type is text, which stands in
// the envelope as a string.
func declaresText(media string) bool {
	media = essence(media)
	return strings.HasPrefix(media, "text/") || media == "application/xml" || strings.HasSuffix(media, "+xml")
}

// appendJSON appends the event as a JSON document.
func (c *Codec[T]) appendJSON(dst []byte, a *attributes, data T) (_ []byte, err error) {
	put := func(name, value string) {
		if value != "" {
			dst = append(append(append(dst, `,"`...), name...), `":`...)
			dst = appendString(dst, value)
		}
	}
	dst = append(dst, `{"specversion":"`+specVersion+`"`...)
	put(attrID, a.id)
	put(attrSource, a.source)
	put(attrType, a.typ)
	put(attrSubject, a.subject)
	if !a.time.IsZero() {
		dst = append(a.time.AppendFormat(append(dst, `,"time":"`...), time.RFC3339Nano), '"')
	}
	put(attrDataSchema, a.dataSchema)
	put(attrDataContentType, a.dataContentType)
	for _, name := range sorted(a.extensions) {
		dst = append(append(append(dst, `,"`...), name...), `":`...)
		switch v := a.extensions[name].(type) {
		case string:
			dst = appendString(dst, v)
		case bool, int, int32, int64:
			dst, err = appendValue(dst, v)
		default:
			dst, err = appendValue(append(dst, '"'), v)
			dst = append(dst, '"')
		}
		if err != nil {
			return dst, c.unwritable(&attributeError{name, err})
		}
	}
	if dst, err = c.appendData(dst, a.dataContentType, data); err != nil {
		return dst, err
	}
	return append(dst, '}'), nil
}

// appendData appends the member for the data.
func (c *Codec[T]) appendData(dst []byte, media string, data T) ([]byte, error) {
	if c.bytes && isNilBytes(&data) {
		return dst, nil
	}
	if declaresJSON(media) && !(c.bytes && media == "") {
		dst = append(dst, `,"data":`...)
		mark := len(dst)
		dst, err := c.data.Append(dst, data)
		if err == nil && !c.json && !stdjson.Valid(dst[mark:]) {
			err = c.unwritable(fmt.Errorf("the data is not JSON, but %s is %q", attrDataContentType, media))
		}
		return dst, err
	}
	raw, err := c.data.Append(nil, data)
	if err != nil {
		return dst, err
	}
	if declaresText(media) && utf8.Valid(raw) {
		return appendString(append(dst, `,"data":`...), string(raw)), nil
	}
	return append(base64.StdEncoding.AppendEncode(append(dst, `,"data_base64":"`...), raw), '"'), nil
}

// appendString appends s as a JSON string.
func appendString(dst []byte, s string) []byte {
	const digits = "0123456789abcdef"
	dst = append(dst, '"')
	for i := 0; i < len(s); {
		c := s[i]
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c < 0x20:
			dst = append(dst, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
		case c < utf8.RuneSelf:
			dst = append(dst, c)
		default:
			r, n := utf8.DecodeRuneInString(s[i:])
			dst = utf8.AppendRune(dst, r)
			i += n
			continue
		}
		i++
	}
	return append(dst, '"')
}

// decodeJSON reads an event that is a JSON document.
func (c *Codec[T]) decodeJSON(doc []byte) (e Event[T], err error) {
	if !stdjson.Valid(doc) {
		var any stdjson.RawMessage
		return e, c.invalid("", fmt.Errorf("the value is not a JSON document: %w", stdjson.Unmarshal(doc, &any)))
	}
	if !startsObject(doc) {
		return e, c.invalid("", errors.New("the value is not a JSON object"))
	}
	var a attributes
	var version string
	var raw, raw64 []byte // the members for the data, as they stand
	for name, value := range members(doc) {
		null := value[0] == 'n'
		switch {
		case name == "data":
			raw = value
		case null:
		case name == "data_base64":
			if value[0] != '"' {
				return e, c.invalid(name, errors.New("want a string"))
			}
			raw64 = value
		case value[0] == '"':
			if name == attrSpecVersion {
				version = unquote(value)
			} else if err := a.set(name, unquote(value)); err != nil {
				return e, c.invalid("", err)
			}
		case canonical(name) == name:
			return e, c.invalid(name, errors.New("want a string"))
		case value[0] == 't', value[0] == 'f':
			a.extend(name, value[0] == 't')
		default:
			n, err := strconv.ParseInt(string(value), 10, 32)
			if err != nil {
				return e, c.invalid(name, errors.New("want a string, a boolean or an integer of 32 bits"))
			}
			a.extend(name, int32(n))
		}
	}
	if err := a.checkRead(version); err != nil {
		return e, c.invalid("", err)
	}
	data, err := c.decodeData(raw, raw64, a.dataContentType)
	if err != nil {
		return e, err
	}
	return c.event(&a, data), nil
}

// decodeData makes the data from its member, either of which is nil.
func (c *Codec[T]) decodeData(raw, raw64 []byte, media string) (data T, err error) {
	switch {
	case raw != nil && raw64 != nil:
		return data, c.invalid("data_base64", errors.New("the event has data as well: want one of them"))
	case raw64 != nil:
		text := unquote(raw64)
		if raw, err = base64.StdEncoding.DecodeString(text); err != nil {
			return data, c.invalid("data_base64", err)
		}
	case raw == nil:
		return data, nil
	case declaresJSON(media):
	case raw[0] == '"':
		raw = []byte(unquote(raw))
	case raw[0] == 'n':
		return data, nil
	default:
		return data, c.invalid("data", fmt.Errorf("%s is %q, which is not JSON: want a string or data_base64", attrDataContentType, media))
	}
	if data, err = c.data.Decode(raw); err != nil {
		return data, c.invalidData(err)
	}
	return data, nil
}
