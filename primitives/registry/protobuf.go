package registry

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/sr"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/flowkit-go/flow/primitives"
)

// Protobuf is a codec for values that are written in Protobuf, with the id of their
// schema and the place of the message in it. Use it by its address; it must not be
// changed once it is used. T is the pointer type that protoc-gen-go makes.
//
// Reading needs the registry only to tell which message a value is, once for each
// schema: a value of another message is an error of the record. Fields are matched
// by number, as Protobuf has it.
type Protobuf[T proto.Message] struct {
	// Registry is where schemas are. Default: as the environment says.
	Registry Server

	// Topic and Strategy choose the subject of what is written; Subject is it,
	// whatever these say. They are not needed for reading.
	Topic    string
	Strategy Strategy
	Subject  string

	// Schema is the text of the .proto file, for a registry that has it as text and
	// does not take it to be the same as a descriptor. Default: the descriptor of
	// T's file, in base64. The files that it imports, other than those of
	// google/protobuf, have their paths as subjects.
	Schema string

	// Latest writes with the id of the newest schema of the subject at the time of
	// the first record, which must have T's message in the same place.
	Latest bool

	// Register registers the schema, and those that it imports, when they are not
	// there. Default: they must be.
	Register bool

	once          sync.Once
	session       *session
	data          primitives.Codec[T]
	message       protoreflect.MessageDescriptor
	indexes       []int
	problem       error
	reads, writes atomic.Bool
	readers       lookups[place, struct{}]  // the places that have T's message
	writers       lookups[struct{}, []byte] // the header, with the indexes
}

var (
	_ primitives.Codec[proto.Message] = (*Protobuf[proto.Message])(nil)
	_ primitives.CodecChecker         = (*Protobuf[proto.Message])(nil)
	_ primitives.CodecStarter         = (*Protobuf[proto.Message])(nil)
)

// place is where a message stands: in a schema, at indexes as on the wire.
type place struct {
	id      int
	indexes string
}

func (c *Protobuf[T]) prepare() { c.once.Do(c.settle) }

func (c *Protobuf[T]) settle() {
	if reflect.TypeFor[T]().Kind() != reflect.Pointer {
		c.problem = fmt.Errorf("registry: %s is not the pointer type of a message", reflect.TypeFor[T]())
		return
	}
	if c.session, c.problem = c.Registry.open(); c.problem != nil {
		return
	}
	c.data = primitives.Proto[T]()
	var none T
	c.message = none.ProtoReflect().Descriptor()
	c.indexes = placeOf(c.message)
}

// CheckDecode implements primitives.CodecChecker.
func (c *Protobuf[T]) CheckDecode() error {
	c.prepare()
	c.reads.Store(true)
	if c.problem != nil {
		return c.problem
	}
	_, err := primitives.DecoderOf(c.data)
	return err
}

// CheckEncode implements primitives.CodecChecker.
func (c *Protobuf[T]) CheckEncode() error {
	c.prepare()
	c.writes.Store(true)
	if c.problem != nil {
		return c.problem
	}
	if c.Latest && (c.Register || c.Schema != "") {
		return errors.New("registry: Latest is set together with Register or Schema: with Latest there is nothing to register")
	}
	if _, err := c.subject(); err != nil {
		return err
	}
	_, err := primitives.EncoderOf(c.data, nil)
	return err
}

func (c *Protobuf[T]) subject() (string, error) {
	return c.Strategy.subject(c.Subject, c.Topic, string(c.message.FullName()))
}

// StartCodec asks the registry for the schema to write with, or whether it answers.
func (c *Protobuf[T]) StartCodec(ctx context.Context) error {
	c.prepare()
	if c.problem != nil {
		return c.problem
	}
	if c.writes.Load() {
		_, err := c.header(ctx)
		return err
	}
	return c.session.reach(ctx)
}

// Append writes v with its schema's id and its place before it.
func (c *Protobuf[T]) Append(dst []byte, v T) ([]byte, error) {
	c.prepare()
	header, err := c.header(context.Background())
	if err != nil {
		return dst, err
	}
	return c.data.Append(append(dst, header...), v)
}

// Decode reads a value of T's message.
func (c *Protobuf[T]) Decode(data []byte) (T, error) {
	c.prepare()
	var zero T
	if c.problem != nil {
		return zero, c.problem
	}
	id, rest, err := cutHeader(data)
	if err != nil {
		return zero, invalid[T](err)
	}
	raw, rest, err := cutIndexes(rest)
	if err != nil {
		return zero, invalid[T](err)
	}
	if known := c.readers.known.Load(); known != nil {
		if _, ok := (*known)[place{id, string(raw)}]; ok {
			return c.data.Decode(rest)
		}
	}
	if err := c.verify(id, raw); err != nil {
		if passes(err) {
			return zero, err
		}
		return zero, invalid[T](err)
	}
	return c.data.Decode(rest)
}

// verify asks the registry whether a place has T's message.
func (c *Protobuf[T]) verify(id int, raw []byte) error {
	_, err := c.readers.get(place{id, string(raw)}, func() (none struct{}, err error) {
		schema, err := c.session.byID(context.Background(), id, "serialized")
		if err != nil {
			return none, err
		}
		if schema.Type != sr.TypeProtobuf {
			return none, fmt.Errorf("registry: schema %d is of type %s, want PROTOBUF", id, schema.Type)
		}
		indexes := indexesOf(raw)
		name, known := nameAt(schema.Schema, indexes)
		switch {
		case known && name == "":
			return none, fmt.Errorf("registry: schema %d has no message at %v", id, indexes)
		case known && name != c.message.FullName():
			return none, fmt.Errorf("the value is a %s, want a %s", name, c.message.FullName())
		case !known && string(raw) != string(appendIndexes(nil, c.indexes)):
			// The text of a file, which is not parsed here: the place has to do.
			return none, fmt.Errorf("the value is the message at %v of schema %d, want the one at %v, %s", indexes, id, c.indexes, c.message.FullName())
		}
		return none, nil
	})
	return err
}

// header returns what stands before each value.
func (c *Protobuf[T]) header(ctx context.Context) ([]byte, error) {
	return c.writers.get(struct{}{}, func() ([]byte, error) {
		if err := c.CheckEncode(); err != nil {
			return nil, err
		}
		subject, err := c.subject()
		if err != nil {
			return nil, err
		}
		var found sr.SubjectSchema
		if c.Latest {
			if found, err = c.session.latest(ctx, subject); err != nil {
				return nil, err
			}
			if name, known := nameAt(found.Schema.Schema, c.indexes); known && name != c.message.FullName() {
				return nil, fmt.Errorf("registry: the newest schema of subject %s has %q where %s should be: set Schema", subject, name, c.message.FullName())
			}
		} else {
			schema, err := c.session.schemaOf(ctx, c.message.ParentFile(), c.Register)
			if err != nil {
				return nil, err
			}
			if c.Schema != "" {
				schema.Schema = c.Schema
			}
			if found, err = c.session.settle(ctx, subject, schema, c.Register); err != nil {
				return nil, err
			}
		}
		return appendIndexes(appendHeader(nil, found.ID), c.indexes), nil
	})
}
