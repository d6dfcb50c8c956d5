package primitives

import "fmt"

// A Codec turns values of type T into bytes and back. It is called from many
// goroutines.
type Codec[T any] interface {
	// Decode makes a T from data. What it returns may keep references to data,
	// which does not change. Its error should be a *DecodeError.
	Decode(data []byte) (T, error)

	// Append appends the encoded form of v to dst and returns the extended slice.
	// After an error the result is not used.
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
// itself is the value. It errs when T cannot be carried.
func DecoderOf[T any](c Codec[T]) (Decoder[T], error) {
	if c == nil {
		if d, ok := any(Decoder[Record](decodeRecord)).(Decoder[T]); ok {
			return d, nil
		}
	}
	c, err := usable(c)
	if err != nil {
		return nil, err
	}
	if k, ok := c.(CodecChecker); ok {
		if err := k.CheckDecode(); err != nil {
			return nil, err
		}
	}
	if r, ok := c.(RecordCodec[T]); ok {
		return recordDecoder(r), nil
	}
	return func(recs []Record) (T, error) { return c.Decode(recs[0].Value) }, nil
}

// EncoderOf returns the Encoder of a sink that writes one record per value, with
// the value encoded by c and the key made by key. A nil c means the codec that
// CodecFor chooses, a nil key no keys. When T is Record, it is written as it is;
// when T is []byte, the record holds that very slice, not a copy. It errs when T
// cannot be carried.
func EncoderOf[T any](c Codec[T], key func(T) string) (Encoder[T], error) {
	if c == nil {
		// The types are compared here, once: a conversion per value would have to
		// go through an interface.
		switch key := any(key).(type) {
		case func(Record) string:
			return any(Encoder[Record](recordEncoder(key))).(Encoder[T]), nil
		case func([]byte) string:
			return any(Encoder[[]byte](bytesEncoder(key))).(Encoder[T]), nil
		}
	}
	c, err := usable(c)
	if err != nil {
		return nil, err
	}
	if k, ok := c.(CodecChecker); ok {
		if err := k.CheckEncode(); err != nil {
			return nil, err
		}
	}
	if r, ok := c.(RecordCodec[T]); ok {
		return recordCodecEncoder(r, key), nil
	}
	return func(v T, out *Outputs) error {
		value, err := c.Append(out.Buffer(), v)
		if err != nil {
			return err
		}
		value = out.Take(value)
		if key == nil {
			out.AddValue(value)
			return nil
		}
		out.Add(Record{Key: takeKey(out, key(v)), Value: value})
		return nil
	}, nil
}

func decodeRecord(recs []Record) (Record, error) { return recs[0], nil }

func recordEncoder(key func(Record) string) Encoder[Record] {
	return func(r Record, out *Outputs) error {
		if key != nil {
			r.Key = takeKey(out, key(r))
		}
		// What only a source sets (offset, attempt, lease) is not part of an output.
		out.Add(Record{Key: r.Key, Value: r.Value, Headers: r.Headers, Time: r.Time})
		return nil
	}
}

func bytesEncoder(key func([]byte) string) Encoder[[]byte] {
	if key == nil {
		return func(v []byte, out *Outputs) error {
			out.AddValue(v)
			return nil
		}
	}
	return func(v []byte, out *Outputs) error {
		out.Add(Record{Key: takeKey(out, key(v)), Value: v})
		return nil
	}
}

// takeKey keeps a key; an empty one is none.
func takeKey(out *Outputs, key string) []byte {
	if key == "" {
		return nil
	}
	return out.Take(append(out.Buffer(), key...))
}
