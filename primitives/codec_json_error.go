package primitives

import (
	"bytes"
	stdjson "encoding/json"
	"errors"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// jsonError turns the error of encoding/json for data into a DecodeError.
func jsonError[T any](data []byte, err error) *DecodeError {
	e := &DecodeError{Type: typeName[T](), Offset: -1, Err: err}
	if syntax := (*stdjson.SyntaxError)(nil); errors.As(err, &syntax) && !stdjson.Valid(data) {
		e.Offset = syntaxOffset(data, syntax)
		return e
	}
	if len(data) > maxLocateBytes {
		if wrong := (*stdjson.UnmarshalTypeError)(nil); errors.As(err, &wrong) {
			e.Field, e.Offset, e.Err = wrong.Field, wrong.Offset, &jsonTypeError{wrong}
		}
		return e
	}
	path, offset, err := locate(reflect.TypeFor[T](), data, err)
	e.Field, e.Offset, e.Err = strings.Join(path, "."), offset, err
	if wrong, ok := err.(*stdjson.UnmarshalTypeError); ok {
		e.Err = &jsonTypeError{wrong}
	}
	return e
}

// jsonTypeError says the same as the error that it wraps without the field,
// which DecodeError names.
type jsonTypeError struct{ err *stdjson.UnmarshalTypeError }

func (e *jsonTypeError) Error() string {
	return "want " + e.err.Type.String() + ", got " + e.err.Value
}

func (e *jsonTypeError) Unwrap() error { return e.err }

// syntaxOffset is the position of the byte that e complains of. encoding/json
// counts that byte in, except where it complains of the end.
func syntaxOffset(data []byte, e *stdjson.SyntaxError) int64 {
	if e.Offset > 0 && strings.HasPrefix(e.Error(), "invalid character") {
		return e.Offset - 1
	}
	return min(e.Offset, int64(len(data)))
}

// maxLocate bounds the depth to which locate descends: it decodes every level
// again, and the input may be somebody's attack.
const maxLocate = 32

// maxLocateBytes is the size of input up to which locate is used. For a larger
// one the error says what encoding/json knows: the path without indexes, and
// where the value ends.
const maxLocateBytes = 64 << 10

// locate finds the innermost value in data, which is valid JSON that t refuses
// with err: its path, the position of its first byte, and what its own type
// says. encoding/json alone knows no index of an element, and nothing of the
// place where an UnmarshalJSON method failed.
func locate(t reflect.Type, data []byte, err error) (path []string, offset int64, inner error) {
	for range maxLocate {
		start := len(data) - len(bytes.TrimLeft(data, " \t\r\n"))
		data, offset = data[start:], offset+int64(start)
		child := firstRefused(t, data)
		if child == nil {
			break
		}
		path, offset = append(path, child.name), offset+int64(child.at)
		t, data, err = child.t, child.data, child.err
	}
	return path, offset, err
}

// A refusal is a member or element that its type does not take.
type refusal struct {
	name string
	at   int // where it starts
	data []byte
	t    reflect.Type
	err  error
}

// firstRefused returns the first member or element of data that t refuses, nil
// when there is none or t has no members.
func firstRefused(t reflect.Type, data []byte) *refusal {
	for t.Kind() == reflect.Pointer && !decodesItself(t) {
		t = t.Elem()
	}
	if decodesItself(t) {
		return nil
	}
	member := func(string) jsonMember { return jsonMember{t: t.Elem()} }
	switch object, array := data[0] == '{', data[0] == '['; t.Kind() {
	case reflect.Struct:
		if !object {
			return nil
		}
		member = jsonMembers(t)
	case reflect.Map:
		if !object {
			return nil
		}
	case reflect.Slice, reflect.Array:
		if !array {
			return nil
		}
	default:
		return nil
	}

	d := stdjson.NewDecoder(bytes.NewReader(data))
	if _, err := d.Token(); err != nil {
		return nil
	}
	for i := 0; d.More(); i++ {
		name := strconv.Itoa(i)
		if data[0] == '{' {
			key, err := d.Token()
			if err != nil {
				return nil
			}
			name, _ = key.(string)
		}
		var raw stdjson.RawMessage
		if err := d.Decode(&raw); err != nil {
			return nil
		}
		m := member(name)
		if err := m.try(raw); err != nil {
			return &refusal{name: name, at: int(d.InputOffset()) - len(raw), data: raw, t: m.t, err: err}
		}
	}
	return nil
}

// A jsonMember is what encoding/json stores a member of an object or an element
// of an array in.
type jsonMember struct {
	name   string
	t      reflect.Type // nil: the member is ignored
	quoted bool         // the option "string"
}

func (m jsonMember) try(raw []byte) error {
	switch {
	case m.t == nil:
		return nil
	case m.quoted:
		s := reflect.StructOf([]reflect.StructField{{Name: "V", Type: m.t, Tag: `json:",string"`}})
		return stdjson.Unmarshal([]byte(`{"V":`+string(raw)+`}`), reflect.New(s).Interface())
	default:
		return stdjson.Unmarshal(raw, reflect.New(m.t).Interface())
	}
}

// jsonMembers returns a function that finds the field of struct t for a name.
func jsonMembers(t reflect.Type) func(name string) jsonMember {
	var members []jsonMember
	fields := reflect.VisibleFields(t)
	// Of two fields with one name, the less embedded counts.
	slices.SortStableFunc(fields, func(a, b reflect.StructField) int { return len(a.Index) - len(b.Index) })
	for _, f := range fields {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if !f.IsExported() || f.Tag.Get("json") == "-" || name == "" && isEmbeddedStruct(f) {
			continue // the fields of an embedded struct are listed themselves
		}
		if name == "" {
			name = f.Name
		}
		quoted := strings.Contains(","+options+",", ",string,")
		members = append(members, jsonMember{name: name, t: f.Type, quoted: quoted})
	}
	exact := make(map[string]jsonMember, len(members))
	for _, m := range members {
		if _, taken := exact[m.name]; !taken {
			exact[m.name] = m
		}
	}
	return func(name string) jsonMember {
		if m, ok := exact[name]; ok {
			return m
		}
		for _, m := range members {
			if strings.EqualFold(m.name, name) {
				return m
			}
		}
		return jsonMember{}
	}
}
