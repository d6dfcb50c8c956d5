package cloudevents

import (
	"bytes"
	stdjson "encoding/json"
	"iter"
	"strings"
)

// members gives the names and the values, as they stand, of the object that doc
// is. doc must be valid JSON and an object: nothing is checked here.
func members(doc []byte) iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		i := space(doc, 0) + 1 // after the brace
		for i = space(doc, i); doc[i] == '"'; i = space(doc, i) {
			end := stringEnd(doc, i)
			name := memberName(doc[i:end])
			i = space(doc, space(doc, end)+1) // after the colon
			end = valueEnd(doc, i)
			if !yield(name, doc[i:end]) {
				return
			}
			if i = space(doc, end); doc[i] == ',' {
				i++
			}
		}
	}
}

// memberName is unquote for a member's name, without an allocation for those that
// are known.
func memberName(quoted []byte) string {
	switch string(quoted[1 : len(quoted)-1]) {
	case attrSpecVersion:
		return attrSpecVersion
	case attrID:
		return attrID
	case attrSource:
		return attrSource
	case attrType:
		return attrType
	case attrSubject:
		return attrSubject
	case attrTime:
		return attrTime
	case attrDataContentType:
		return attrDataContentType
	case attrDataSchema:
		return attrDataSchema
	case "data":
		return "data"
	}
	return unquote(quoted)
}

func startsObject(doc []byte) bool {
	i := space(doc, 0)
	return i < len(doc) && doc[i] == '{'
}

// space returns the position of the first byte from i on that is not white space.
func space(doc []byte, i int) int {
	for i < len(doc) && (doc[i] == ' ' || doc[i] == '\t' || doc[i] == '\n' || doc[i] == '\r') {
		i++
	}
	return i
}

// stringEnd returns the position after the string that starts at i.
func stringEnd(doc []byte, i int) int {
	for i++; doc[i] != '"'; i++ {
		if doc[i] == '\\' {
			i++
		}
	}
	return i + 1
}

// valueEnd returns the position after the value that starts at i.
func valueEnd(doc []byte, i int) int {
	switch doc[i] {
	case '"':
		return stringEnd(doc, i)
	case '{', '[':
		for depth := 0; ; i++ {
			switch doc[i] {
			case '"':
				i = stringEnd(doc, i) - 1
			case '{', '[':
				depth++
			case '}', ']':
				if depth--; depth == 0 {
					return i + 1
				}
			}
		}
	}
	for i < len(doc) && !strings.ContainsRune(",]} \t\r\n", rune(doc[i])) {
		i++
	}
	return i
}

// unquote returns the text of a JSON string.
func unquote(quoted []byte) string {
	if bytes.IndexByte(quoted, '\\') < 0 {
		return strings.ToValidUTF8(string(quoted[1:len(quoted)-1]), "\uFFFD")
	}
	var s string
	if stdjson.Unmarshal(quoted, &s) != nil { // it is valid
		return ""
	}
	return s
}
