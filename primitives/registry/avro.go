package registry

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"sync/atomic"

	"github.com/twmb/avro"
	"github.com/twmb/franz-go/pkg/sr"

	"github.com/flowkit-go/flow/primitives"
)

// Avro is a codec for values that are written in Avro, with the id of their schema.
// Use it by its address; it must not be changed once it is used. T is a struct,
// whose fields have the names of their avro tags or their own, or map[string]any
// with Schema or Latest.
//
// A value is read by the schema that it was written with. With Schema set, that one
// is resolved to Schema by the rules of Avro: fields that the writer does not have
// get their defaults, aliases and promotions count, and schemas that do not go
// together are an error of the record. Without it, fields are matched by name: what
// the writer does not have is left zero, what T does not have is skipped.
type Avro[T any] struct {
	// Registry is where schemas are. Default: as the environment says.
	Registry Server

	// Topic and Strategy choose the subject of what is written; Subject is it,
	// whatever these say. They are not needed for reading.
	Topic    string
	Strategy Strategy
	Subject  string

	// Schema is the text of the schema to write with and to read for. Default: one
	// made from T, to write with.
	Schema string

	// Latest writes with the newest schema of the subject at the time of the first
	// record, in place of Schema or one made from T.
	Latest bool

	// Register registers the schema when the subject does not have it. Default: it
	// must be there.
	Register bool

	once          sync.Once
	session       *session
	own           *avro.Schema // to write with; nil with Latest or when T has none
	target        *avro.Schema // to read for; nil by name
	problem       error        // with fields that count for both directions
	unmade        error        // why there is no schema from T
	reads, writes atomic.Bool  // what was checked
	readers       lookups[int, *avro.Schema]
	writers       lookups[struct{}, *avroWriter]
}

var (
	_ primitives.Codec[any]   = (*Avro[any])(nil)
	_ primitives.CodecChecker = (*Avro[any])(nil)
	_ primitives.CodecStarter = (*Avro[any])(nil)
)

// avroWriter is a schema and the header of values written with it.
type avroWriter struct {
	schema *avro.Schema
	header []byte
}

// skipUnknown leaves out what T has no field for.
var skipUnknown = []avro.Opt{avro.SkipUnknown()}

func (c *Avro[T]) prepare() { c.once.Do(c.settle) }

func (c *Avro[T]) settle() {
	if c.session, c.problem = c.Registry.open(); c.problem != nil {
		return
	}
	if c.Schema != "" {
		schema, err := avro.Parse(c.Schema)
		if err != nil {
			c.problem = fmt.Errorf("registry: Schema: %w", err)
			return
		}
		c.own, c.target = schema, schema
		return
	}
	if t := reflect.TypeFor[T](); t.Kind() != reflect.Struct {
		c.unmade = fmt.Errorf("registry: Schema is empty, and none can be made from %s: set Schema or Latest", t)
		return
	}
	if c.own, c.unmade = avro.SchemaFor[T](); c.unmade != nil {
		c.unmade = fmt.Errorf("registry: Schema is empty, and none can be made from %s: %w", reflect.TypeFor[T](), c.unmade)
	}
}

// CheckDecode implements primitives.CodecChecker.
func (c *Avro[T]) CheckDecode() error {
	c.prepare()
	c.reads.Store(true)
	return c.problem
}

// CheckEncode implements primitives.CodecChecker.
func (c *Avro[T]) CheckEncode() error {
	c.prepare()
	c.writes.Store(true)
	if c.problem != nil {
		return c.problem
	}
	if c.Latest && c.Register {
		return errors.New("registry: Latest and Register are both set: with Latest there is nothing to register")
	}
	if c.unmade != nil && !c.Latest {
		return c.unmade
	}
	_, err := c.subject()
	return err
}

func (c *Avro[T]) subject() (string, error) {
	name := ""
	if c.own != nil {
		name = fullName(c.own)
	}
	return c.Strategy.subject(c.Subject, c.Topic, name)
}

// fullName is the name of a record with its namespace.
func fullName(s *avro.Schema) string {
	root := s.Root()
	if root.Namespace != "" && root.Name != "" {
		return root.Namespace + "." + root.Name
	}
	return root.Name
}

// StartCodec asks the registry for the schema to write with, and whether what is
// newest can be read.
func (c *Avro[T]) StartCodec(ctx context.Context) error {
	c.prepare()
	if c.problem != nil {
		return c.problem
	}
	if c.writes.Load() {
		if _, err := c.writer(ctx); err != nil {
			return err
		}
	}
	if !c.reads.Load() {
		return nil
	}
	subject, err := c.subject()
	if err != nil { // it is not needed
		return c.session.reach(ctx)
	}
	newest, err := c.session.latest(ctx, subject)
	switch {
	case notFound(err):
		return nil // nobody has written so far
	case err != nil:
		return err
	}
	_, err = c.reader(ctx, newest.ID)
	return err
}

// Append writes v with its schema's id before it.
func (c *Avro[T]) Append(dst []byte, v T) ([]byte, error) {
	c.prepare()
	w, err := c.writer(context.Background())
	if err != nil {
		return dst, err
	}
	dst, err = w.schema.AppendEncode(append(dst, w.header...), &v)
	if err != nil {
		return dst, &primitives.EncodeError{Type: reflect.TypeFor[T]().String(), Err: err}
	}
	return dst, nil
}

// Decode reads a value by the schema that it was written with.
func (c *Avro[T]) Decode(data []byte) (v T, err error) {
	c.prepare()
	if c.problem != nil {
		return v, c.problem
	}
	id, rest, err := cutHeader(data)
	if err != nil {
		return v, invalid[T](err)
	}
	schema, err := c.reader(context.Background(), id)
	if err != nil {
		if passes(err) {
			return v, err
		}
		return v, invalid[T](err)
	}
	if rest, err = schema.Decode(rest, &v, skipUnknown...); err == nil && len(rest) > 0 {
		err = fmt.Errorf("%d bytes are left over", len(rest))
	}
	if err != nil {
		var zero T
		return zero, invalid[T](fmt.Errorf("schema %d: %w", id, err))
	}
	return v, nil
}

func invalid[T any](err error) error {
	return &primitives.DecodeError{Type: reflect.TypeFor[T]().String(), Offset: -1, Err: err}
}

// writer returns the schema to write with.
func (c *Avro[T]) writer(ctx context.Context) (*avroWriter, error) {
	return c.writers.get(struct{}{}, func() (*avroWriter, error) {
		if err := c.CheckEncode(); err != nil {
			return nil, err
		}
		subject, err := c.subject()
		if err != nil {
			return nil, err
		}
		if c.Latest {
			newest, err := c.session.latest(ctx, subject)
			if err != nil {
				return nil, err
			}
			schema, err := c.session.parseAvro(ctx, newest.Schema)
			if err != nil {
				return nil, err
			}
			return &avroWriter{schema, appendHeader(nil, newest.ID)}, nil
		}
		found, err := c.session.settle(ctx, subject, sr.Schema{Schema: c.own.String(), Type: sr.TypeAvro}, c.Register)
		if err != nil {
			return nil, err
		}
		return &avroWriter{c.own, appendHeader(nil, found.ID)}, nil
	})
}

// reader returns the schema to read values with that were written with schema id.
func (c *Avro[T]) reader(ctx context.Context, id int) (*avro.Schema, error) {
	return c.readers.get(id, func() (*avro.Schema, error) {
		text, err := c.session.byID(ctx, id, "")
		if err != nil {
			return nil, err
		}
		writer, err := c.session.parseAvro(ctx, text)
		if err != nil || c.target == nil {
			return writer, err
		}
		resolved, err := avro.Resolve(writer, c.target)
		if err != nil {
			return nil, fmt.Errorf("registry: schema %d cannot be read as Schema: %w", id, err)
		}
		return resolved, nil
	})
}

// parseAvro parses a schema and those that it refers to.
func (s *session) parseAvro(ctx context.Context, text sr.Schema) (*avro.Schema, error) {
	if text.Type != sr.TypeAvro {
		return nil, fmt.Errorf("registry: the schema is of type %s, want AVRO", text.Type)
	}
	cache := &avro.SchemaCache{}
	if err := s.parseReferences(ctx, cache, text.References, 0); err != nil {
		return nil, err
	}
	schema, err := cache.Parse(text.Schema)
	if err != nil {
		return nil, fmt.Errorf("registry: the schema is not one of Avro: %w", err)
	}
	return schema, nil
}

func (s *session) parseReferences(ctx context.Context, cache *avro.SchemaCache, refs []sr.SchemaReference, depth int) error {
	if depth > maxDepth {
		return errors.New("registry: schemas refer to each other without end")
	}
	for _, ref := range refs {
		text, err := s.version(ctx, ref.Subject, ref.Version)
		if err != nil {
			return err
		}
		if err := s.parseReferences(ctx, cache, text.References, depth+1); err != nil {
			return err
		}
		if _, err := cache.Parse(text.Schema.Schema); err != nil {
			return fmt.Errorf("registry: schema %s of subject %s: %w", ref.Name, ref.Subject, err)
		}
	}
	return nil
}
