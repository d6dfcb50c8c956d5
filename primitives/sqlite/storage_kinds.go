package sqlite

import (
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"time"
)

// timeLayout has one width for all years that it can hold, so that texts
// compare as the times do.
const timeLayout = "2006-01-02T15:04:05.000000000Z"

var boolStorage = storage{
	kind: kindInteger,
	zero: int64(0),
	append: func(row []byte, v reflect.Value) ([]byte, error) {
		if v.Bool() {
			return appendInt(row, 1), nil
		}
		return appendInt(row, 0), nil
	},
	set: func(v reflect.Value, src any) error {
		switch x := src.(type) {
		case bool:
			v.SetBool(x)
		case int64:
			v.SetBool(x != 0)
		default:
			return mismatch(v, src)
		}
		return nil
	},
}

var intStorage = storage{
	kind: kindInteger,
	zero: int64(0),
	append: func(row []byte, v reflect.Value) ([]byte, error) {
		return appendInt(row, v.Int()), nil
	},
	set: func(v reflect.Value, src any) error {
		x, ok := src.(int64)
		if !ok || v.OverflowInt(x) {
			return mismatch(v, src)
		}
		v.SetInt(x)
		return nil
	},
}

var uintStorage = storage{
	kind: kindInteger,
	zero: int64(0),
	append: func(row []byte, v reflect.Value) ([]byte, error) {
		x := v.Uint()
		if x > math.MaxInt64 {
			return row, fmt.Errorf("%d is too large for a signed integer of 64 bits", x)
		}
		return appendInt(row, int64(x)), nil
	},
	set: func(v reflect.Value, src any) error {
		x, ok := src.(int64)
		if !ok || x < 0 || v.OverflowUint(uint64(x)) {
			return mismatch(v, src)
		}
		v.SetUint(uint64(x))
		return nil
	},
}

var floatStorage = storage{
	kind: kindReal,
	zero: float64(0),
	append: func(row []byte, v reflect.Value) ([]byte, error) {
		x := v.Float()
		if math.IsNaN(x) {
			return row, errors.New("NaN cannot be stored: use a pointer, and nil for a number that is not known")
		}
		return appendFloat(row, x), nil
	},
	set: func(v reflect.Value, src any) error {
		switch x := src.(type) {
		case float64:
			v.SetFloat(x)
		case int64: // what an expression or a column without a type gives for whole numbers
			v.SetFloat(float64(x))
		default:
			return mismatch(v, src)
		}
		return nil
	},
}

var stringStorage = storage{
	kind: kindText,
	zero: "",
	append: func(row []byte, v reflect.Value) ([]byte, error) {
		return appendText(row, v.String()), nil
	},
	set: func(v reflect.Value, src any) error {
		x, ok := src.(string)
		if !ok {
			return mismatch(v, src)
		}
		v.SetString(x)
		return nil
	},
}

var bytesStorage = storage{
	kind: kindBlob,
	append: func(row []byte, v reflect.Value) ([]byte, error) {
		if v.Len() == 0 {
			return appendNull(row), nil
		}
		return appendBlob(row, v.Bytes()), nil
	},
	set: func(v reflect.Value, src any) error {
		switch x := src.(type) {
		case []byte:
			v.SetBytes(x)
		case string:
			v.SetBytes([]byte(x))
		case nil:
			v.SetZero()
		default:
			return mismatch(v, src)
		}
		return nil
	},
}

var byteArrayStorage = storage{
	kind: kindBlob,
	append: func(row []byte, v reflect.Value) ([]byte, error) {
		return appendBlob(row, v.Bytes()), nil
	},
	set: func(v reflect.Value, src any) error {
		x, ok := src.([]byte)
		if !ok || len(x) != v.Len() {
			return mismatch(v, src)
		}
		copy(v.Bytes(), x)
		return nil
	},
}

var timeStorage = storage{
	kind: kindText,
	zero: time.Time{}.Format(timeLayout),
	append: func(row []byte, v reflect.Value) ([]byte, error) {
		t := v.Addr().Interface().(*time.Time).UTC()
		if t.Year() < 0 || t.Year() > 9999 {
			return row, fmt.Errorf("the year %d is not between 0 and 9999", t.Year())
		}
		return appendTime(row, t), nil
	},
	set: func(v reflect.Value, src any) error {
		t := v.Addr().Interface().(*time.Time)
		switch x := src.(type) {
		case time.Time: // what the driver makes of columns that were declared DATETIME
			*t = x.UTC()
			return nil
		case string:
			for _, layout := range []string{timeLayout, time.RFC3339Nano, time.DateTime, time.DateOnly} {
				if parsed, err := time.Parse(layout, x); err == nil {
					*t = parsed.UTC()
					return nil
				}
			}
		}
		return mismatch(v, src)
	},
}

// textStorage keeps what MarshalText returns.
func textStorage(t reflect.Type) storage {
	st := storage{
		kind: kindText,
		append: func(row []byte, v reflect.Value) ([]byte, error) {
			s, err := v.Addr().Interface().(encoding.TextMarshaler).MarshalText()
			if err != nil {
				return row, err
			}
			return appendText(row, s), nil
		},
	}
	if zero, err := zeroText(t); err == nil {
		st.zero = string(zero)
	}
	canRead := reflect.PointerTo(t).Implements(textUnmarshalerType)
	st.set = func(v reflect.Value, src any) error {
		var b []byte
		switch x := src.(type) {
		case string:
			b = []byte(x)
		case []byte:
			b = x
		default:
			return mismatch(v, src)
		}
		if !canRead {
			return fmt.Errorf("%s has a MarshalText but no UnmarshalText", t)
		}
		return v.Addr().Interface().(encoding.TextUnmarshaler).UnmarshalText(b)
	}
	return st
}

// zeroText marshals the zero value of t. Marshalers that were not made for
// their zero value may panic; the column is then nullable.
func zeroText(t reflect.Type) (b []byte, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%v", r)
		}
	}()
	return reflect.New(t).Interface().(encoding.TextMarshaler).MarshalText()
}

var jsonStorage = storage{
	kind: kindText,
	zero: "null",
	append: func(row []byte, v reflect.Value) ([]byte, error) {
		b, err := json.Marshal(v.Addr().Interface())
		if err != nil {
			return row, err
		}
		return appendText(row, b), nil
	},
	set: func(v reflect.Value, src any) error {
		switch x := src.(type) {
		case string:
			return json.Unmarshal([]byte(x), v.Addr().Interface())
		case []byte:
			return json.Unmarshal(x, v.Addr().Interface())
		}
		return mismatch(v, src)
	},
}

func mismatch(v reflect.Value, src any) error {
	if src == nil {
		return fmt.Errorf("NULL is not a %s: use a pointer to it", v.Type())
	}
	return fmt.Errorf("%v (%T) is not a %s", src, src, v.Type())
}
