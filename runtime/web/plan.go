package web

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/textproto"
	"reflect"
	"slices"
	"strings"
)

// A plan says where the fields of an input come from. It is made once, when a
// route is registered.
type plan struct {
	path, query, header []field
	body                []field // those with a default or required
	fields              int     // of all four
	hasBody             bool    // some field comes from the body, or the whole value does
}

// A field is one field of an input and where its value comes from.
type field struct {
	goName   string
	source   string // "path", "query", "header" or "body"
	name     string
	index    []int
	set      setter // of the element, for a list
	list     bool
	fallback string
	optional bool // has a fallback
	required bool
}

// maxFields bounds the fields of one source, so that a word has a bit for each.
const maxFields = 64

var jsonUnmarshalerType = reflect.TypeFor[json.Unmarshaler]()

// newPlan makes the plan for inputs of type t. All that is wrong is reported.
func newPlan(t reflect.Type, p Pattern) (*plan, error) {
	if t.Kind() == reflect.Pointer && t.Elem().Kind() == reflect.Struct {
		t = t.Elem()
	}
	b := &planner{pattern: p, taken: map[string]string{}}
	if t.Kind() == reflect.Struct && !(decodesItself(t) && !hasSources(t)) {
		b.walk(t, nil, "")
	} else {
		b.whole(t)
	}
	for _, fields := range [][]field{b.path, b.query, b.header, b.body} {
		b.fields += len(fields)
		if len(fields) > maxFields {
			b.fail(fields[maxFields].goName, "more than %d fields from the %s", maxFields, fields[0].source)
		}
	}
	if len(b.errs) > 0 {
		return nil, fmt.Errorf("web: %s: input %s: %w", p, t, errors.Join(b.errs...))
	}
	return &b.plan, nil
}

type planner struct {
	plan
	pattern Pattern
	taken   map[string]string // "query x" -> the Go field that has it
	errs    []error
}

func (b *planner) fail(goName, format string, args ...any) {
	b.errs = append(b.errs, fmt.Errorf("field %s: "+format, append([]any{goName}, args...)...))
}

// whole plans an input that is the body itself.
func (b *planner) whole(t reflect.Type) {
	b.hasBody = true
	if !b.pattern.hasBody() {
		b.errs = append(b.errs, fmt.Errorf("%s has no body to read a %s from: use a struct with path, query or header tags",
			b.pattern.Method, t))
	}
}

func (b *planner) walk(t reflect.Type, index []int, prefix string) {
	for i := range t.NumField() {
		f := t.Field(i)
		at := append(slices.Clone(index), i)
		sources := sourcesOf(f.Tag)
		name := prefix + f.Name
		switch {
		case len(sources) == 0 && f.Anonymous && isPlainEmbedding(f, f.Type):
			b.walk(f.Type, at, name+".")
		case len(sources) == 0 && f.Anonymous && f.Type.Kind() == reflect.Pointer &&
			f.Type.Elem().Kind() == reflect.Struct && hasSources(f.Type.Elem()):
			b.fail(name, "embed %s itself, not a pointer to it", f.Type.Elem())
		case len(sources) > 1:
			b.fail(name, "comes from both %s and %s: keep one tag", sources[0], sources[1])
		case len(sources) == 1 && !f.IsExported():
			b.fail(name, "is not exported and cannot be set")
		case len(sources) == 1:
			b.tagged(f, sources[0], name, at)
		case !f.IsExported() || f.Tag.Get("json") == "-":
		case !b.pattern.hasBody():
			b.fail(name, "has no path, query or header tag, and %s has no body: add a tag, or `json:\"-\"` to leave the field out",
				b.pattern.Method)
		default:
			b.fromBody(f, name, at)
		}
	}
}

// tagged plans a field with a path, query or header tag.
func (b *planner) tagged(f reflect.StructField, source, goName string, index []int) {
	name := f.Tag.Get(source)
	to := field{goName: goName, source: source, name: name, index: index}
	if to.set = setterFor(f.Type); to.set == nil && isList(f.Type) && source != "path" {
		to.set, to.list = setterFor(f.Type.Elem()), true
	}
	switch {
	case name == "" || strings.ContainsAny(name, ", \t\r\n"):
		b.fail(goName, "the %s tag must be one name, got %q", source, name)
		return
	case to.set == nil:
		b.fail(goName, "a %s value cannot become a %s: use a string, bool, number, time, duration, encoding.TextUnmarshaler, "+
			"a pointer to one, or (query and header) a slice of them", source, f.Type)
		return
	case source == "path" && !slices.Contains(b.pattern.wildcards, name):
		b.fail(goName, "the pattern has no wildcard {%s}, only %s", name, wildcardList(b.pattern))
		return
	case source == "header":
		to.name = textproto.CanonicalMIMEHeaderKey(name)
	}
	if other, ok := b.taken[source+" "+to.name]; ok {
		b.fail(goName, "%s %s is bound to field %s already", source, name, other)
		return
	}
	b.taken[source+" "+to.name] = goName
	if !b.options(f, &to) {
		return
	}
	switch source {
	case "path":
		if to.required || to.optional {
			b.fail(goName, "a path value is always there: drop the required or default tag")
		}
		b.path = append(b.path, to)
	case "query":
		b.query = append(b.query, to)
	case "header":
		b.header = append(b.header, to)
	}
}

// fromBody plans a field that is a member of the JSON body.
func (b *planner) fromBody(f reflect.StructField, goName string, index []int) {
	b.hasBody = true
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	if name == "" {
		name = f.Name
	}
	to := field{goName: goName, source: "body", name: name, index: index, set: setterFor(f.Type)}
	if to.set == nil && isList(f.Type) {
		to.set, to.list = setterFor(f.Type.Elem()), true
	}
	if _, ok := f.Tag.Lookup("default"); ok && to.set == nil {
		b.fail(goName, "a default cannot become a %s", f.Type)
		return
	}
	if b.options(f, &to) && (to.required || to.optional) {
		b.body = append(b.body, to)
	}
}

// options reads the tags default and required, and reports whether they are good.
func (b *planner) options(f reflect.StructField, to *field) bool {
	to.fallback, to.optional = f.Tag.Lookup("default")
	switch v := f.Tag.Get("required"); v {
	case "", "false":
	case "true":
		to.required = true
	default:
		b.fail(to.goName, "the required tag is \"true\" or left out, got %q", v)
		return false
	}
	if to.required && to.optional {
		b.fail(to.goName, "has a default and is required: keep one")
		return false
	}
	if to.optional {
		if err := to.setAll(reflect.New(f.Type).Elem(), to.fallback); err != nil {
			b.fail(to.goName, "default: %w", err)
			return false
		}
	}
	return true
}

// setAll sets v from text that may hold several values with commas between them.
func (f *field) setAll(v reflect.Value, text string) error {
	if !f.list {
		return f.set(v, text)
	}
	for part := range strings.SplitSeq(text, ",") {
		if err := f.add(v, strings.TrimSpace(part)); err != nil {
			return err
		}
	}
	return nil
}

// add sets v, or appends to it when it is a list.
func (f *field) add(v reflect.Value, text string) error {
	if !f.list {
		return f.set(v, text)
	}
	n := v.Len()
	v.Grow(1)
	v.SetLen(n + 1)
	v.Index(n).SetZero()
	return f.set(v.Index(n), text)
}

func sourcesOf(tag reflect.StructTag) (sources []string) {
	for _, s := range []string{"path", "query", "header"} {
		if _, ok := tag.Lookup(s); ok {
			sources = append(sources, s)
		}
	}
	return sources
}

// hasSources reports whether a field of t, or of a struct embedded in it, has a tag of ours.
func hasSources(t reflect.Type) bool {
	for f := range t.Fields() {
		if len(sourcesOf(f.Tag)) > 0 || f.Anonymous && f.Type.Kind() == reflect.Struct && hasSources(f.Type) {
			return true
		}
	}
	return false
}

// isPlainEmbedding reports whether the fields of f count as those of the struct around it.
func isPlainEmbedding(f reflect.StructField, t reflect.Type) bool {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	return t.Kind() == reflect.Struct && (hasSources(t) || name == "" && !decodesItself(t))
}

// decodesItself reports whether the methods of t, not its fields, say what its JSON is.
func decodesItself(t reflect.Type) bool {
	p := reflect.PointerTo(t)
	return p.Implements(jsonUnmarshalerType) || p.Implements(textUnmarshalerType)
}

func wildcardList(p Pattern) string {
	if len(p.wildcards) == 0 {
		return "none at all"
	}
	return strings.Join(p.wildcards, ", ")
}
