package registry

import (
	"context"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/sr"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
)

// placeOf returns the indexes of a message: its own among its siblings last. The
// messages that stand for maps do not count, as in Confluent's Java serializer.
func placeOf(m protoreflect.MessageDescriptor) []int {
	var indexes []int
	for d := protoreflect.Descriptor(m); ; d = d.Parent() {
		message, ok := d.(protoreflect.MessageDescriptor)
		if !ok {
			slices.Reverse(indexes)
			return indexes
		}
		siblings := message.Parent().(interface {
			Messages() protoreflect.MessageDescriptors
		}).Messages()
		index := 0
		for i := range message.Index() {
			if !siblings.Get(i).IsMapEntry() {
				index++
			}
		}
		indexes = append(indexes, index)
	}
}

// nameAt returns the full name of the message at indexes of a schema, empty when it
// has none there. It is not known when the schema is not a serialized descriptor.
func nameAt(schema string, indexes []int) (name protoreflect.FullName, known bool) {
	raw, err := base64.StdEncoding.DecodeString(schema)
	if err != nil {
		return "", false
	}
	var file descriptorpb.FileDescriptorProto
	if proto.Unmarshal(raw, &file) != nil {
		return "", false
	}
	name, messages := protoreflect.FullName(file.GetPackage()), file.GetMessageType()
	for _, want := range indexes {
		messages = slices.DeleteFunc(slices.Clone(messages), func(m *descriptorpb.DescriptorProto) bool {
			return m.GetOptions().GetMapEntry()
		})
		if want < 0 || want >= len(messages) {
			return "", true
		}
		part := protoreflect.Name(messages[want].GetName())
		if name = name.Append(part); name == "" {
			return "", true
		}
		messages = messages[want].GetNestedType()
	}
	return name, true
}

// schemaOf returns the schema of a file, with references to what it imports.
func (s *session) schemaOf(ctx context.Context, file protoreflect.FileDescriptor, register bool) (schema sr.Schema, err error) {
	raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(protodesc.ToFileDescriptorProto(file))
	if err != nil {
		return schema, fmt.Errorf("registry: descriptor of %s: %w", file.Path(), err)
	}
	schema = sr.Schema{Schema: base64.StdEncoding.EncodeToString(raw), Type: sr.TypeProtobuf}
	imports := file.Imports()
	for i := range imports.Len() {
		imported := imports.Get(i).FileDescriptor
		path := imported.Path()
		if strings.HasPrefix(path, "google/protobuf/") {
			continue // every registry has them
		}
		theirs, err := s.schemaOf(ctx, imported, register)
		if err != nil {
			return schema, err
		}
		found, err := s.settle(ctx, path, theirs, register)
		if err != nil {
			return schema, err
		}
		schema.References = append(schema.References, sr.SchemaReference{Name: path, Subject: path, Version: found.Version})
	}
	return schema, nil
}
