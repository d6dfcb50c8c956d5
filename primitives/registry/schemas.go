package registry

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/sr"
)

// byID returns a schema, in a format that the registry may not know, or empty.
func (s *session) byID(ctx context.Context, id int, format string) (found sr.Schema, err error) {
	err = s.ask(ctx, func(ctx context.Context) error {
		if format != "" {
			ctx = sr.WithParams(ctx, sr.Format(format))
		}
		found, err = s.client.SchemaByID(ctx, id)
		return err
	})
	if err != nil {
		return found, s.wrap(fmt.Sprintf("get schema %d", id), err)
	}
	return found, nil
}

// latest returns the newest schema of a subject.
func (s *session) latest(ctx context.Context, subject string) (sr.SubjectSchema, error) {
	return s.version(ctx, subject, -1)
}

// version returns one version of a subject's schema, -1 for the newest.
func (s *session) version(ctx context.Context, subject string, version int) (found sr.SubjectSchema, err error) {
	err = s.ask(ctx, func(ctx context.Context) error {
		found, err = s.client.SchemaByVersion(ctx, subject, version)
		return err
	})
	if err != nil {
		which := "the newest schema"
		if version >= 0 {
			which = fmt.Sprintf("schema version %d", version)
		}
		return found, s.wrap(fmt.Sprintf("get %s of subject %s", which, subject), err)
	}
	return found, nil
}

// settle returns the id and version that a schema has in a subject, and gives it
// one when register is set.
func (s *session) settle(ctx context.Context, subject string, schema sr.Schema, register bool) (found sr.SubjectSchema, err error) {
	if register {
		err := s.ask(ctx, func(ctx context.Context) error {
			_, err := s.client.RegisterSchema(ctx, subject, schema, -1, -1)
			return err
		})
		if err != nil {
			return found, s.wrap("register the schema in subject "+subject, err)
		}
	}
	err = s.ask(ctx, func(ctx context.Context) error {
		found, err = s.client.LookupSchema(ctx, subject, schema)
		return err
	})
	switch {
	case err == nil:
		return found, nil
	case notFound(err):
		return found, fmt.Errorf("%w: register it there, or set Register, or write with another one by Schema or Latest",
			s.wrap("the schema is not in subject "+subject, err))
	}
	return found, s.wrap("look up the schema in subject "+subject, err)
}
