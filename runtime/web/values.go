package web

import (
	"encoding"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// A setter parses text into a value of its type. Its error is for the client.
type setter func(v reflect.Value, text string) error

var (
	durationType        = reflect.TypeFor[time.Duration]()
	timeType            = reflect.TypeFor[time.Time]()
	textUnmarshalerType = reflect.TypeFor[encoding.TextUnmarshaler]()
)

// setterFor returns the setter of t, nil when a t cannot be read from text.
func setterFor(t reflect.Type) setter {
	switch {
	case t == durationType:
		return setDuration
	case t == timeType:
		return setTime
	case t.Kind() == reflect.Pointer:
		elem := setterFor(t.Elem())
		if elem == nil {
			return nil
		}
		return func(v reflect.Value, text string) error {
			to := reflect.New(v.Type().Elem())
			if err := elem(to.Elem(), text); err != nil {
				return err
			}
			v.Set(to)
			return nil
		}
	case t.Kind() != reflect.Interface && reflect.PointerTo(t).Implements(textUnmarshalerType):
		return setText
	}
	switch t.Kind() {
	case reflect.String:
		return func(v reflect.Value, text string) error { v.SetString(text); return nil }
	case reflect.Bool:
		return setBool
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return setInt
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return setUint
	case reflect.Float32, reflect.Float64:
		return setFloat
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return func(v reflect.Value, text string) error { v.SetBytes([]byte(text)); return nil }
		}
	}
	return nil
}

// isList reports whether t takes repeated values, each by the setter of its element.
func isList(t reflect.Type) bool {
	return t.Kind() == reflect.Slice && setterFor(t) == nil && setterFor(t.Elem()) != nil
}

func setBool(v reflect.Value, text string) error {
	b, err := strconv.ParseBool(text)
	if err != nil {
		return fmt.Errorf("want true or false, got %s", quote(text))
	}
	v.SetBool(b)
	return nil
}

func setInt(v reflect.Value, text string) error {
	n, err := strconv.ParseInt(text, 10, 64)
	if err == nil && !v.OverflowInt(n) {
		v.SetInt(n)
		return nil
	}
	n, err = strconv.ParseInt(text, 10, v.Type().Bits())
	if errors.Is(err, strconv.ErrRange) {
		top := uint64(1)<<(v.Type().Bits()-1) - 1
		return fmt.Errorf("want an integer from -%d to %d, got %s", top+1, top, quote(text))
	}
	if err != nil {
		return fmt.Errorf("want an integer, got %s", quote(text))
	}
	v.SetInt(n)
	return nil
}

func setUint(v reflect.Value, text string) error {
	n, err := strconv.ParseUint(text, 10, v.Type().Bits())
	if errors.Is(err, strconv.ErrRange) {
		return fmt.Errorf("want an integer from 0 to %d, got %s", ^uint64(0)>>(64-v.Type().Bits()), quote(text))
	}
	if err != nil {
		return fmt.Errorf("want an integer of 0 or more, got %s", quote(text))
	}
	v.SetUint(n)
	return nil
}

// setFloat takes what JSON takes: neither NaN nor infinity, nor Go's hexadecimal form.
func setFloat(v reflect.Value, text string) error {
	f, err := strconv.ParseFloat(text, v.Type().Bits())
	if errors.Is(err, strconv.ErrRange) {
		return fmt.Errorf("the number %s is out of range", quote(text))
	}
	if err != nil || strings.Trim(text, "0123456789+-.eE") != "" {
		return fmt.Errorf("want a number, got %s", quote(text))
	}
	v.SetFloat(f)
	return nil
}

func setDuration(v reflect.Value, text string) error {
	d, err := time.ParseDuration(text)
	if err != nil {
		return fmt.Errorf("want a duration as 1m30s, got %s", quote(text))
	}
	v.SetInt(int64(d))
	return nil
}

func setTime(v reflect.Value, text string) error {
	if err := v.Addr().Interface().(*time.Time).UnmarshalText([]byte(text)); err != nil {
		return fmt.Errorf("want a time as 2006-01-02T15:04:05Z (a + in a query is written %%2B), got %s", quote(text))
	}
	return nil
}

func setText(v reflect.Value, text string) error {
	if err := v.Addr().Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(text)); err != nil {
		return fmt.Errorf("%s: %w", quote(text), err)
	}
	return nil
}

// maxQuoted bounds how much of a client's value comes back in a reply.
const maxQuoted = 64

func quote(text string) string {
	if len(text) > maxQuoted {
		return strconv.Quote(text[:maxQuoted]) + "..."
	}
	return strconv.Quote(text)
}
