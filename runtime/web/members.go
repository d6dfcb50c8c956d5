package web

import (
	"encoding/json"
	"strings"
)

// membersOf returns which of the fields, one bit each, are members of the JSON
// object in body, which is valid, with a value other than null. Names match as
// they do when the body is decoded: exactly, or else without regard to case.
func membersOf(body []byte, fields []field) (present uint64) {
	i := skipSpace(body, 0)
	if i >= len(body) || body[i] != '{' {
		return 0
	}
	for i++; i < len(body); i++ {
		i = skipSpace(body, i)
		if i >= len(body) || body[i] != '"' {
			break
		}
		end := skipString(body, i)
		name := memberName(body[i:end])
		i = skipSpace(body, end)                 // at the colon
		i = skipSpace(body, min(i+1, len(body))) // at the value
		if i >= len(body) {
			break
		}
		isNull := body[i] == 'n'
		for f := range fields {
			if fields[f].name == name || strings.EqualFold(fields[f].name, name) {
				if present |= 1 << f; isNull {
					present &^= 1 << f
				}
			}
		}
		i = skipSpace(body, skipValue(body, i)) // at the comma or the end
	}
	return present
}

func memberName(quoted []byte) string {
	if !strings.Contains(string(quoted), `\`) {
		return string(quoted[1 : len(quoted)-1])
	}
	var name string
	if json.Unmarshal(quoted, &name) != nil {
		return ""
	}
	return name
}

func skipSpace(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\t' || b[i] == '\n' || b[i] == '\r') {
		i++
	}
	return i
}

// skipString returns the position after the string that starts at i.
func skipString(b []byte, i int) int {
	for i++; i < len(b); i++ {
		switch b[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(b)
}

// skipValue returns the position after the value that starts at i.
func skipValue(b []byte, i int) int {
	depth := 0
	for i < len(b) {
		switch b[i] {
		case '"':
			i = skipString(b, i)
			if depth == 0 {
				return i
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				return i // of the object around it
			}
			if depth--; depth == 0 {
				return i + 1
			}
		case ',':
			if depth == 0 {
				return i
			}
		}
		i++
	}
	return i
}
