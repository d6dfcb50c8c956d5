package cloudevents

import (
	"encoding/base64"
	"fmt"
	"math"
	"strconv"
	"time"
)

// appendValue appends the canonical text of an extension's value.
func appendValue(dst []byte, v any) ([]byte, error) {
	switch v := v.(type) {
	case string:
		return append(dst, v...), nil
	case bool:
		return strconv.AppendBool(dst, v), nil
	case int:
		return appendInteger(dst, int64(v))
	case int32:
		return appendInteger(dst, int64(v))
	case int64:
		return appendInteger(dst, v)
	case []byte:
		return base64.StdEncoding.AppendEncode(dst, v), nil
	case time.Time:
		return v.AppendFormat(dst, time.RFC3339Nano), nil
	}
	return dst, fmt.Errorf("a %T cannot be a value: want string, bool, an integer, []byte or time.Time", v)
}

// appendInteger appends n, which is of 32 bits in CloudEvents.
func appendInteger(dst []byte, n int64) ([]byte, error) {
	if n < math.MinInt32 || n > math.MaxInt32 {
		return dst, fmt.Errorf("%d is not an integer of 32 bits: write it as a string", n)
	}
	return strconv.AppendInt(dst, n, 10), nil
}
