package web

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// A Pattern says which requests a route takes: a method and a path.
type Pattern struct {
	Method string // one of GET, POST, PUT, PATCH, DELETE; empty for any, see Server.Handle
	Path   string // as it was written

	route     string // what chi gets
	shape     string // route without the names of wildcards
	wildcards []string
}

// ParsePattern reads a method and a path, as "POST /orders/{id}". The path may
// have wildcards: {name} for a whole segment or a part of one, {name:regexp} for
// one that must match in full, and * at the end for the rest of the path, whose
// name is "*". Names are identifiers, each used once. GET serves HEAD too. The
// error says at which byte of the pattern, counted from 1, it goes wrong.
func ParsePattern(pattern string) (Pattern, error) {
	method, path, _ := strings.Cut(pattern, " ")
	switch {
	case strings.HasPrefix(pattern, "/"):
		return Pattern{}, fmt.Errorf("web: pattern %q has no method: write %q", pattern, "GET "+pattern)
	case method == http.MethodHead:
		return Pattern{}, fmt.Errorf("web: pattern %q: write GET in place of HEAD: it serves both", pattern)
	case method == http.MethodOptions:
		return Pattern{}, fmt.Errorf("web: pattern %q: OPTIONS is answered for every route already", pattern)
	case slices.Contains(methods, method):
	case slices.Contains(methods, strings.ToUpper(method)):
		return Pattern{}, fmt.Errorf("web: pattern %q: write the method as %s", pattern, strings.ToUpper(method))
	default:
		return Pattern{}, fmt.Errorf("web: pattern %q: position 1: want a method, one of %s, and a path, as %q",
			pattern, strings.Join(methods, ", "), "GET /orders/{id}")
	}
	trimmed := strings.TrimLeft(path, " ")
	p, at, err := parsePath(trimmed)
	if err != nil {
		at += len(pattern) - len(trimmed) + 1
		return Pattern{}, fmt.Errorf("web: pattern %q: position %d: %w", pattern, at, err)
	}
	p.Method = method
	return p, nil
}

// methods are those that a pattern can have, in the order of an Allow header.
var methods = []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete}

// parsePath accepts a part of what chi does: what chi would take otherwise than
// it reads is an error. The number is the offset of the error in path.
func parsePath(path string) (Pattern, int, error) {
	p := Pattern{Path: path}
	if !strings.HasPrefix(path, "/") {
		return p, 0, fmt.Errorf("the path must start with %q", "/")
	}
	if !utf8.ValidString(path) {
		return p, 0, fmt.Errorf("the path is not valid UTF-8")
	}
	var route, shape strings.Builder
	for i := 0; i < len(path); {
		switch c := path[i]; {
		case c == '{':
			n := closing(path[i:])
			if n < 0 {
				return p, i, fmt.Errorf("%q is not closed", "{")
			}
			name, expr, isExpr := strings.Cut(path[i+1:i+n], ":")
			if err := p.addWildcard(name); err != nil {
				return p, i, err
			}
			route.WriteString("{" + name)
			shape.WriteString("{")
			if isExpr {
				if err := checkExpr(expr); err != nil {
					return p, i, fmt.Errorf("wildcard %s: %w", name, err)
				}
				// Without the group, ^a|b$ would match less than the whole.
				anchored := ":^(?:" + expr + ")$"
				route.WriteString(anchored)
				shape.WriteString(anchored)
			}
			route.WriteString("}")
			shape.WriteString("}")
			i += n + 1
			if i < len(path) && (path[i] == '{' || path[i] == '*') {
				return p, i, fmt.Errorf("two wildcards need something between them")
			}
			continue
		case c == '}':
			return p, i, fmt.Errorf("%q without %q", "}", "{")
		case c == '*':
			if i < len(path)-1 {
				return p, i, fmt.Errorf("%q stands for the rest of the path and must be its end: write {name} for one segment", "*")
			}
			p.wildcards = append(p.wildcards, "*")
		case c <= ' ' || c == 0x7f || strings.IndexByte("?#%\\", c) >= 0:
			return p, i, fmt.Errorf("%q cannot be in a path", string(c))
		case c == '/':
			rest := path[i+1:]
			segment, _, more := strings.Cut(rest, "/")
			if segment == "" && more {
				return p, i, fmt.Errorf("empty segment")
			}
			if segment == "." || segment == ".." {
				return p, i + 1, fmt.Errorf("clients resolve %q before they send it", segment)
			}
		}
		route.WriteByte(path[i])
		shape.WriteByte(path[i])
		i++
	}
	p.route, p.shape = route.String(), shape.String()
	return p, 0, nil
}

// closing returns the offset of the brace that closes the one s starts with, -1
// when there is none.
func closing(s string) int {
	depth := 0
	for i := range len(s) {
		switch s[i] {
		case '{':
			depth++
		case '}':
			if depth--; depth == 0 {
				return i
			}
		}
	}
	return -1
}

func (p *Pattern) addWildcard(name string) error {
	if !isIdentifier(name) {
		return fmt.Errorf("wildcard {%s}: the name must be of letters, digits and _, and not start with a digit", name)
	}
	if slices.Contains(p.wildcards, name) {
		return fmt.Errorf("wildcard {%s} is used twice", name)
	}
	p.wildcards = append(p.wildcards, name)
	return nil
}

func isIdentifier(s string) bool {
	for i := range len(s) {
		c := s[i] | 0x20
		if s[i] != '_' && (c < 'a' || c > 'z') && (i == 0 || s[i] < '0' || s[i] > '9') {
			return false
		}
	}
	return s != ""
}

func checkExpr(expr string) error {
	if expr == "" {
		return fmt.Errorf("no regular expression after %q", ":")
	}
	if strings.Contains(expr, "/") {
		return fmt.Errorf("a wildcard is part of one segment and never matches %q", "/")
	}
	if _, err := regexp.Compile(expr); err != nil {
		return err
	}
	_, err := regexp.Compile("^(?:" + expr + ")$")
	return err
}

// String returns the pattern as "POST /orders/{id}".
func (p Pattern) String() string {
	if p.Method == "" {
		return p.Path
	}
	return p.Method + " " + p.Path
}

// Wildcards returns the names of the wildcards in their order.
func (p Pattern) Wildcards() []string { return slices.Clone(p.wildcards) }

// hasBody reports whether requests of the pattern have a body with a meaning.
func (p Pattern) hasBody() bool {
	return p.Method == http.MethodPost || p.Method == http.MethodPut || p.Method == http.MethodPatch
}

// Conflicts reports whether a and b take the same requests, so that one of them
// would never be called: same method, and paths that differ in nothing but the
// names of wildcards. Patterns that merely overlap, as /a/{x} and /a/b, don't:
// the more literal one goes first.
func Conflicts(a, b Pattern) bool {
	return (a.Method == b.Method || a.Method == "" || b.Method == "") && a.shape == b.shape
}
