package primitives

import "context"

// A RecordCodec is a Codec that needs more of a record than its value, such as
// the headers. DecoderOf and EncoderOf use these methods in place of Decode and
// Append, so that every primitive with a field of type Codec takes one.
type RecordCodec[T any] interface {
	Codec[T]

	// DecodeRecord makes a T from r, which it must not change or keep. What it
	// returns may keep references to the record's bytes.
	DecodeRecord(r *Record) (T, error)

	// AppendRecord makes the record for v, whose bytes may lie in out's Buffer. It
	// does not add it to out. A primitive that makes keys replaces the record's.
	AppendRecord(out *Outputs, v T) (Record, error)
}

// A CodecChecker is a Codec that can be filled in wrongly. Its methods do no I/O.
// DecoderOf asks CheckDecode and EncoderOf asks CheckEncode; an error, which names
// the field and says what to do, is reported with the registration of the processor.
type CodecChecker interface {
	CheckDecode() error
	CheckEncode() error
}

// A CodecStarter is a Codec that needs another system, such as a schema registry.
// It asks that system when the first record needs it, or before, when StartCodec
// is called.
//
// A system that cannot be reached is no fault of the record: the errors of Decode
// and Append are then made by RetryAfter, and the record is tried again.
type CodecStarter interface {
	// StartCodec reaches the other system and checks, within ctx, that what
	// CheckDecode and CheckEncode were asked about will work. It may be called again.
	StartCodec(ctx context.Context) error
}

// StartCodec starts c if it is a CodecStarter. Primitives call it when they are
// opened, so that what is wrong is seen before the first record.
func StartCodec[T any](ctx context.Context, c Codec[T]) error {
	if s, ok := c.(CodecStarter); ok {
		return s.StartCodec(ctx)
	}
	return nil
}

func recordDecoder[T any](c RecordCodec[T]) Decoder[T] {
	return func(recs []Record) (T, error) { return c.DecodeRecord(&recs[0]) }
}

func recordCodecEncoder[T any](c RecordCodec[T], key func(T) string) Encoder[T] {
	return func(v T, out *Outputs) error {
		r, err := c.AppendRecord(out, v)
		if err != nil {
			return err
		}
		if key != nil {
			r.Key = takeKey(out, key(v))
		}
		out.Add(r)
		return nil
	}
}
