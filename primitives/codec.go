package primitives

import "fmt"

// A Codec turns values of type T into bytes and back. It is called from many
// goroutines.
type Codec[T any] interface {
	// Decode makes a T from data. What it returns may keep references to data,
	// which does not change. Its error should be a *DecodeError.
	Decode(data []byte) (T, error)

	// Append appends the encoded form of v to dst and returns the extended slice.
	Append(dst []byte, v T) ([]byte, error)
}

// A DecodeError says why bytes are not a T. It is permanent: decoding again
// does not help.
type DecodeError struct {
	Type   string // the Go type wanted, as "main.Order"
	Field  string // path of the field, as "lines.0.cents"; empty when not known
	Offset int64  // position in the input in bytes, -1 when not known
	Err    error
}

func (e *DecodeError) Error() string {
	msg := "decode " + e.Type
	if e.Field != "" {
		msg += ": field " + e.Field
	}
	if e.Offset >= 0 {
		msg += fmt.Sprintf(" at byte %d", e.Offset)
	}
	return fmt.Sprintf("%s: %v", msg, e.Err)
}

// Unwrap returns the reason.
func (e *DecodeError) Unwrap() error { return e.Err }

// Permanent says that a second attempt cannot succeed.
func (e *DecodeError) Permanent() bool { return true }

// An EncodeError says why a T cannot be encoded. It is permanent.
type EncodeError struct {
	Type string
	Err  error
}

func (e *EncodeError) Error() string { return fmt.Sprintf("encode %s: %v", e.Type, e.Err) }

// Unwrap returns the reason.
func (e *EncodeError) Unwrap() error { return e.Err }

// Permanent says that a second attempt cannot succeed.
func (e *EncodeError) Permanent() bool { return true }

// DecoderOf returns the Decoder of a source whose payload is encoded with c. A
// nil c means the codec that CodecFor chooses. When T is Record, the record
// itself is the value.
func DecoderOf[T any](c Codec[T]) (Decoder[T], error) {
	var zero T
	if _, ok := any(zero).(Record); ok && c == nil {
		return func(recs []Record) (v T, err error) {
			*any(&v).(*Record) = recs[0]
			return v, nil
		}, nil
	}
	if c == nil {
		var err error
		if c, err = CodecFor[T](); err != nil {
			return nil, err
		}
	}
	return func(recs []Record) (T, error) { return c.Decode(recs[0].Value) }, nil
}

// EncoderOf returns the Encoder of a sink that writes one record per value, with
// the value encoded by c and the key made by key. A nil c means the codec that
// CodecFor chooses, a nil key no keys. When T is Record, it is written as it is.
func EncoderOf[T any](c Codec[T], key func(T) string) (Encoder[T], error) {
	var zero T
	if _, ok := any(zero).(Record); ok && c == nil {
		return func(v T, out *Outputs) error {
			r := *any(&v).(*Record)
			if key != nil {
				r.Key = out.Take(append(out.Buffer(), key(v)...))
			}
			out.Add(Record{Key: r.Key, Value: r.Value, Headers: r.Headers, Time: r.Time})
			return nil
		}, nil
	}
	if _, ok := any(zero).([]byte); ok && c == nil && key == nil {
		return func(v T, out *Outputs) error {
			out.AddValue(*any(&v).(*[]byte))
			return nil
		}, nil
	}
	if c == nil {
		var err error
		if c, err = CodecFor[T](); err != nil {
			return nil, err
		}
	}
	return func(v T, out *Outputs) error {
		buf := out.Buffer()
		value, err := c.Append(buf, v)
		if err != nil {
			return err
		}
		value = out.Take(value)
		if key == nil {
			out.AddValue(value)
			return nil
		}
		out.Add(Record{Key: out.Take(append(out.Buffer(), key(v)...)), Value: value})
		return nil
	}, nil
}
