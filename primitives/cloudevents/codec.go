package cloudevents

import (
	"context"
	"encoding"
	"errors"
	"fmt"
	"net/url"
	"reflect"
	"strings"
	"sync"

	"google.golang.org/protobuf/proto"

	"github.com/flowkit-go/flow/primitives"
)

// Mode is how events are written. Reading takes all of them.
type Mode int

const (
	// Binary puts attributes in headers with the names of the Kafka binding, as
	// ce_id and content-type, and the data in the value. It needs a primitive that
	// carries headers: a file has none, and would lose the attributes.
	Binary Mode = iota

	// BinaryNATS is Binary with the names and the escaping of the NATS binding, as
	// ce-id and ce-datacontenttype.
	BinaryNATS

	// Structured puts all of the event in the value, as a JSON document, with the
	// header content-type.
	Structured
)

// A Codec is for events whose data is a T. The zero value is ready to use, by its
// address: &cloudevents.Codec[Order]{}. It must not be changed once it is used.
//
// Decode and Append, which have no headers, are the structured mode.
type Codec[T any] struct {
	// Mode is how events are written. Default Binary.
	Mode Mode

	// Data is the codec for the data. Default: what CodecFor chooses for T.
	Data primitives.Codec[T]

	// ContentType is the attribute datacontenttype of events that have none. Default:
	// application/json, application/protobuf or text/plain, where T chooses its codec
	// or Data is JSON; what Data says itself when it has a method ContentType() string;
	// none for []byte. Any other Data needs it.
	ContentType string

	// Source and Type are for events that leave them empty.
	Source, Type string

	once    sync.Once
	data    primitives.Codec[T]
	media   string // ContentType or its default
	json    bool   // data is known to write JSON
	bytes   bool   // T is []byte: nil is no data
	name    string // of Event[T], for errors
	problem error  // why data could not be made
}

var (
	_ primitives.RecordCodec[Event[any]] = (*Codec[any])(nil)
	_ primitives.CodecChecker            = (*Codec[any])(nil)
	_ primitives.CodecStarter            = (*Codec[any])(nil)
)

func (c *Codec[T]) prepare() { c.once.Do(c.settle) }

// settle chooses what was left to choose.
func (c *Codec[T]) settle() {
	c.name = reflect.TypeFor[Event[T]]().String()
	c.bytes = reflect.TypeFor[T]() == reflect.TypeFor[[]byte]()
	c.data, c.media = c.Data, c.ContentType
	switch {
	case c.data == nil:
		if c.data, c.problem = primitives.CodecFor[T](); c.problem != nil {
			return
		}
		media := mediaFor[T]()
		c.json = media == mediaJSON
		if c.media == "" {
			c.media = media
		}
	case reflect.TypeOf(c.data) == reflect.TypeOf(primitives.JSON[T]()):
		c.json = true
		if c.media == "" {
			c.media = mediaJSON
		}
	case c.media == "":
		if typed, ok := c.data.(interface{ ContentType() string }); ok {
			c.media = typed.ContentType()
		}
	}
}

const mediaJSON = "application/json"

// mediaFor is the media type of what CodecFor[T] writes.
func mediaFor[T any]() string {
	t := reflect.TypeFor[T]()
	is := func(i reflect.Type) bool {
		return t.Kind() != reflect.Interface && (t.Implements(i) || reflect.PointerTo(t).Implements(i))
	}
	switch {
	case t == reflect.TypeFor[[]byte]():
		return ""
	case t == reflect.TypeFor[string]():
		return "text/plain"
	case is(reflect.TypeFor[proto.Message]()):
		return "application/protobuf"
	case is(reflect.TypeFor[encoding.TextMarshaler]()) && is(reflect.TypeFor[encoding.TextUnmarshaler]()):
		return "text/plain"
	}
	return mediaJSON
}

// CheckDecode implements primitives.CodecChecker.
func (c *Codec[T]) CheckDecode() error {
	c.prepare()
	if c.problem != nil {
		return c.problem
	}
	_, err := primitives.DecoderOf(c.data)
	return err
}

// CheckEncode implements primitives.CodecChecker.
func (c *Codec[T]) CheckEncode() error {
	c.prepare()
	switch {
	case c.problem != nil:
		return c.problem
	case c.Mode < Binary || c.Mode > Structured:
		return fmt.Errorf("cloudevents: Mode is %d: want Binary, BinaryNATS or Structured", c.Mode)
	case c.media == "" && !c.bytes:
		return errors.New("cloudevents: ContentType is empty: set it to the media type of what Data writes, as application/avro")
	}
	if err := checkText(c.media); err != nil {
		return fmt.Errorf("cloudevents: ContentType: %w", err)
	}
	if _, err := url.Parse(c.Source); err != nil {
		return fmt.Errorf("cloudevents: Source: want a URI reference, as /shop/orders: %w", err)
	}
	_, err := primitives.EncoderOf(c.data, nil)
	return err
}

// StartCodec starts Data, if that has a start.
func (c *Codec[T]) StartCodec(ctx context.Context) error {
	c.prepare()
	return primitives.StartCodec(ctx, c.data)
}

// DecodeRecord reads an event in whatever mode it is in.
func (c *Codec[T]) DecodeRecord(r *primitives.Record) (Event[T], error) {
	c.prepare()
	if c.problem != nil {
		return Event[T]{}, c.invalid("", c.problem)
	}
	h := scan(r.Headers)
	switch media := strings.ToLower(string(h.contentType)); {
	case strings.HasPrefix(media, mediaBatch):
		return Event[T]{}, c.invalid("", errors.New("a batch of events in one record: want one event"))
	case strings.HasPrefix(media, mediaEvent):
		if format := essence(media); format != mediaEventJSON && format != mediaEvent {
			return Event[T]{}, c.invalid("", fmt.Errorf("the event format %q is not supported, want %q", format, mediaEventJSON))
		}
		return c.Decode(r.Value)
	case h.count == 0 && startsObject(r.Value):
		return c.Decode(r.Value) // from a system without headers
	}
	return c.decodeBinary(r, h)
}

// AppendRecord writes an event in the codec's mode.
func (c *Codec[T]) AppendRecord(out *primitives.Outputs, e Event[T]) (primitives.Record, error) {
	c.prepare()
	a, err := c.written(&e)
	if err != nil {
		return primitives.Record{}, err
	}
	if c.Mode == Structured {
		value, err := c.appendJSON(out.Buffer(), &a, e.Data)
		if err != nil {
			return primitives.Record{}, err
		}
		return primitives.Record{Value: out.Take(value), Headers: structuredHeaders, Time: e.Time}, nil
	}
	return c.appendBinary(out, &a, &e)
}

// Decode reads the structured mode.
func (c *Codec[T]) Decode(data []byte) (Event[T], error) {
	c.prepare()
	if c.problem != nil {
		return Event[T]{}, c.invalid("", c.problem)
	}
	return c.decodeJSON(data)
}

// Append writes the structured mode.
func (c *Codec[T]) Append(dst []byte, e Event[T]) ([]byte, error) {
	c.prepare()
	a, err := c.written(&e)
	if err != nil {
		return dst, err
	}
	return c.appendJSON(dst, &a, e.Data)
}

// written returns the attributes that e is written with.
func (c *Codec[T]) written(e *Event[T]) (attributes, error) {
	a := attributes{
		id: e.ID, source: e.Source, typ: e.Type, subject: e.Subject, time: e.Time,
		dataContentType: e.DataContentType, dataSchema: e.DataSchema, extensions: e.Extensions,
	}
	if a.source == "" {
		a.source = c.Source
	}
	if a.typ == "" {
		a.typ = c.Type
	}
	if a.dataContentType == "" {
		a.dataContentType = c.media
	}
	err := c.problem
	if err == nil {
		err = a.checkWritten()
	}
	if err != nil {
		return a, c.unwritable(err)
	}
	return a, nil
}

// event joins what was read.
func (c *Codec[T]) event(a *attributes, data T) Event[T] {
	return Event[T]{
		ID: a.id, Source: a.source, Type: a.typ, Subject: a.subject, Time: a.time,
		DataContentType: a.dataContentType, DataSchema: a.dataSchema, Extensions: a.extensions, Data: data,
	}
}

// invalid is the error for an event that cannot be read, at a field that is an
// attribute's name, or empty.
func (c *Codec[T]) invalid(field string, err error) error {
	var a *attributeError
	if field == "" && errors.As(err, &a) {
		field, err = a.name, a.err
	}
	return &primitives.DecodeError{Type: c.name, Field: field, Offset: -1, Err: fmt.Errorf("cloudevents: %w", err)}
}

// invalidData is the error for data that cannot be read. Positions in it mean
// nothing to who sees the whole record.
func (c *Codec[T]) invalidData(err error) error {
	inner, ok := err.(*primitives.DecodeError)
	if !ok {
		return err // it may be one that passes
	}
	field := "data"
	if inner.Field != "" {
		field += "." + inner.Field
	}
	return &primitives.DecodeError{Type: c.name, Field: field, Offset: -1, Err: inner.Err}
}

func (c *Codec[T]) unwritable(err error) error {
	return &primitives.EncodeError{Type: c.name, Err: fmt.Errorf("cloudevents: %w", err)}
}
