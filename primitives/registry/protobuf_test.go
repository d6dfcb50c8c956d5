package registry

import (
	"encoding/base64"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/sr"
	"github.com/twmb/franz-go/pkg/sr/srfake"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/flowkit-go/flow/primitives"
)

func TestProtobufRoundTrip(t *testing.T) {
	s := newServer(t)
	c := &Protobuf[*wrapperspb.StringValue]{Registry: Server{URL: s.URL}, Topic: "texts", Register: true}
	encode, err := primitives.EncoderOf[*wrapperspb.StringValue](c, nil)
	if err != nil {
		t.Fatal(err)
	}
	decode, err := primitives.DecoderOf[*wrapperspb.StringValue](&Protobuf[*wrapperspb.StringValue]{Registry: Server{URL: s.URL}})
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(7, 8))
	for range 300 {
		var out primitives.Outputs
		want := wrapperspb.String(strings.Repeat("x", rng.IntN(300)))
		if err := encode(want, &out); err != nil {
			t.Fatal(err)
		}
		got, err := decode(out.Records)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
			t.Fatalf("(-want +got):\n%s", diff)
		}
	}
	if n := s.times(""); n != 3 { // register, look up, by id
		t.Errorf("%d requests, want 3", n)
	}
}

func TestProtobufOtherMessageOfTheSameSchemaIsRefused(t *testing.T) {
	s := newServer(t)
	at := Server{URL: s.URL}
	value, err := (&Protobuf[*wrapperspb.BytesValue]{Registry: at, Subject: "wrappers", Register: true}).Append(nil, wrapperspb.Bytes([]byte("x")))
	if err != nil {
		t.Fatal(err)
	}
	reader := &Protobuf[*wrapperspb.StringValue]{Registry: at}
	for range 2 { // asked, then remembered
		if _, err := reader.Decode(value); !primitives.IsPermanent(err) || !strings.Contains(err.Error(), "google.protobuf.BytesValue") {
			t.Errorf("got %v, want a permanent error that names the message", err)
		}
	}
	// A schema that is known as text: the place decides.
	s.SeedSchema("text", 1, 99, sr.Schema{Schema: `syntax = "proto3"; message A {} message B {}`, Type: sr.TypeProtobuf})
	texts := appendIndexes(appendHeader(nil, 99), placeOf((&wrapperspb.StringValue{}).ProtoReflect().Descriptor()))
	if _, err := reader.Decode(texts); err != nil {
		t.Errorf("the same place: %v", err)
	}
	if _, err := reader.Decode(appendIndexes(appendHeader(nil, 99), []int{1})); !primitives.IsPermanent(err) {
		t.Errorf("another place: %v, want a permanent error", err)
	}
	s.SeedSchema("avro", 1, 98, sr.Schema{Schema: `"string"`})
	if _, err := reader.Decode(appendIndexes(appendHeader(nil, 98), []int{0})); !primitives.IsPermanent(err) || !strings.Contains(err.Error(), "AVRO") {
		t.Errorf("a schema of Avro: %v", err)
	}
}

// The message may stand in another place of the writer's file.
func TestProtobufFindsAMessageThatMoved(t *testing.T) {
	s := newServer(t)
	file := &descriptorpb.FileDescriptorProto{
		Name: proto.String("w.proto"), Package: proto.String("google.protobuf"), Syntax: proto.String("proto3"),
		MessageType: []*descriptorpb.DescriptorProto{{Name: proto.String("StringValue")}, {Name: proto.String("Other")}},
	}
	raw, err := proto.Marshal(file)
	if err != nil {
		t.Fatal(err)
	}
	s.SeedSchema("moved", 1, 50, sr.Schema{Schema: base64.StdEncoding.EncodeToString(raw), Type: sr.TypeProtobuf})
	payload, err := proto.Marshal(wrapperspb.String("hello"))
	if err != nil {
		t.Fatal(err)
	}
	c := &Protobuf[*wrapperspb.StringValue]{Registry: Server{URL: s.URL}}
	got, err := c.Decode(append(appendIndexes(appendHeader(nil, 50), []int{0}), payload...))
	if err != nil || got.GetValue() != "hello" {
		t.Errorf("got %v, %v", got, err)
	}
	for _, place := range [][]int{{1}, {2}, {0, 0}} {
		if _, err := c.Decode(append(appendIndexes(appendHeader(nil, 50), place), payload...)); !primitives.IsPermanent(err) {
			t.Errorf("%v: %v, want a permanent error", place, err)
		}
	}
}

func TestProtobufPlaces(t *testing.T) {
	for _, c := range []struct {
		m    proto.Message
		want string
	}{
		{&descriptorpb.FileDescriptorSet{}, "\x00"},
		{&descriptorpb.DescriptorProto{}, "\x02\x04"},
		{&descriptorpb.DescriptorProto_ExtensionRange{}, "\x04\x04\x00"},
		{&descriptorpb.DescriptorProto_ReservedRange{}, "\x04\x04\x02"},
		{&structpb.Value{}, "\x02\x02"},
		{&structpb.ListValue{}, "\x02\x04"},
		{&wrapperspb.StringValue{}, "\x02\x0e"},
	} {
		d := c.m.ProtoReflect().Descriptor()
		raw := appendIndexes(nil, placeOf(d))
		name, known := nameAt(serialized(t, d.ParentFile()), placeOf(d))
		if !known || name != d.FullName() {
			t.Errorf("%s: the message at its place is %q", d.FullName(), name)
		}
		if string(raw) != c.want {
			t.Errorf("%s: % x, want % x", d.FullName(), raw, c.want)
		}
	}
}

func serialized(t *testing.T, file protoreflect.FileDescriptor) string {
	t.Helper()
	raw, err := proto.Marshal(protodesc.ToFileDescriptorProto(file))
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(raw)
}

// importing builds a file that imports another one and a well-known one.
func importing(t *testing.T) protoreflect.FileDescriptor {
	t.Helper()
	money, err := protodesc.NewFile(&descriptorpb.FileDescriptorProto{
		Name: proto.String("shop/money.proto"), Package: proto.String("shop"), Syntax: proto.String("proto3"),
		MessageType: []*descriptorpb.DescriptorProto{{Name: proto.String("Money")}},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	known := &protoregistry.Files{}
	for _, f := range []protoreflect.FileDescriptor{money, wrapperspb.File_google_protobuf_wrappers_proto} {
		if err := known.RegisterFile(f); err != nil {
			t.Fatal(err)
		}
	}
	field := func(name, typ string, number int32) *descriptorpb.FieldDescriptorProto {
		return &descriptorpb.FieldDescriptorProto{
			Name: proto.String(name), Number: proto.Int32(number), TypeName: proto.String(typ),
			Type: descriptorpb.FieldDescriptorProto_TYPE_MESSAGE.Enum(), Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum(),
		}
	}
	order, err := protodesc.NewFile(&descriptorpb.FileDescriptorProto{
		Name: proto.String("shop/order.proto"), Package: proto.String("shop"), Syntax: proto.String("proto3"),
		Dependency: []string{"shop/money.proto", "google/protobuf/wrappers.proto"},
		MessageType: []*descriptorpb.DescriptorProto{{Name: proto.String("Order"), Field: []*descriptorpb.FieldDescriptorProto{
			field("price", ".shop.Money", 1), field("note", ".google.protobuf.StringValue", 2),
		}}},
	}, known)
	if err != nil {
		t.Fatal(err)
	}
	return order
}

func TestProtobufRegistersWhatAFileImports(t *testing.T) {
	s := newServer(t)
	session, err := Server{URL: s.URL}.open()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := session.schemaOf(t.Context(), importing(t), false); err == nil || !strings.Contains(err.Error(), "shop/money.proto") {
		t.Errorf("not registered: %v, want an error that names the import", err)
	}
	schema, err := session.schemaOf(t.Context(), importing(t), true)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]sr.SchemaReference{{Name: "shop/money.proto", Subject: "shop/money.proto", Version: 1}}, schema.References); diff != "" {
		t.Errorf("references (-want +got):\n%s", diff)
	}
	if _, err := session.settle(t.Context(), "orders-value", schema, true); err != nil {
		t.Error(err)
	}
	if name, known := nameAt(schema.Schema, []int{0}); !known || name != "shop.Order" {
		t.Errorf("the schema has %q", name)
	}
}

func TestProtobufLatest(t *testing.T) {
	s := newServer(t)
	file := (&wrapperspb.StringValue{}).ProtoReflect().Descriptor().ParentFile()
	s.SeedSchema("texts-value", 1, 31, sr.Schema{Schema: serialized(t, file), Type: sr.TypeProtobuf})
	s.SeedSchema("other-value", 1, 32, sr.Schema{Schema: serialized(t, (&structpb.Value{}).ProtoReflect().Descriptor().ParentFile()), Type: sr.TypeProtobuf})
	value, err := (&Protobuf[*wrapperspb.StringValue]{Registry: Server{URL: s.URL}, Topic: "texts", Latest: true}).Append(nil, wrapperspb.String("x"))
	if err != nil || !strings.HasPrefix(string(value), "\x00\x00\x00\x00\x1f") {
		t.Errorf("got % x, %v, want id 31", value, err)
	}
	_, err = (&Protobuf[*wrapperspb.StringValue]{Registry: Server{URL: s.URL}, Topic: "other", Latest: true}).Append(nil, wrapperspb.String("x"))
	if err == nil || primitives.IsPermanent(err) || !strings.Contains(err.Error(), "google.protobuf.StringValue") {
		t.Errorf("another file: %v, want an error that names the message", err)
	}
}

func TestProtobufMistakesShowAtRegistration(t *testing.T) {
	t.Setenv(envURL, "")
	at := Server{URL: "http://localhost:1"}
	encoder := func(c *Protobuf[*wrapperspb.StringValue]) error {
		_, err := primitives.EncoderOf[*wrapperspb.StringValue](c, nil)
		return err
	}
	for want, err := range map[string]error{
		"SCHEMA_REGISTRY_URL":    encoder(&Protobuf[*wrapperspb.StringValue]{Topic: "t"}),
		"Topic is empty":         encoder(&Protobuf[*wrapperspb.StringValue]{Registry: at}),
		"Latest is set together": encoder(&Protobuf[*wrapperspb.StringValue]{Registry: at, Topic: "t", Latest: true, Register: true}),
		"not the pointer type": func() error {
			_, err := primitives.EncoderOf[proto.Message](&Protobuf[proto.Message]{Registry: at, Topic: "t"}, nil)
			return err
		}(),
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", want, err)
		}
	}
}

func TestProtobufRegistryAwayPasses(t *testing.T) {
	s := newServer(t)
	value, err := (&Protobuf[*wrapperspb.StringValue]{Registry: Server{URL: s.URL}, Topic: "texts", Register: true}).Append(nil, wrapperspb.String("x"))
	if err != nil {
		t.Fatal(err)
	}
	s.fail(503)
	c := &Protobuf[*wrapperspb.StringValue]{Registry: Server{URL: s.URL}, Topic: "texts"}
	_, errDecode := c.Decode(value)
	_, errEncode := c.Append(nil, wrapperspb.String("x"))
	reader := &Protobuf[*wrapperspb.StringValue]{Registry: Server{URL: s.URL}}
	for what, err := range map[string]error{"encode": errEncode, "decode": errDecode, "start": start(c), "start reading": reader.StartCodec(t.Context())} {
		if !passes(err) {
			t.Errorf("%s: %v, want an error that passes", what, err)
		}
	}
	s.fail(0)
	if err := reader.StartCodec(t.Context()); err != nil {
		t.Errorf("after it has come back: %v", err)
	}
}

func FuzzProtobufDecode(f *testing.F) {
	fake := srfake.New()
	f.Cleanup(fake.Close)
	c := &Protobuf[*wrapperspb.StringValue]{Registry: Server{URL: fake.URL()}, Topic: "t", Register: true}
	value, err := c.Append(nil, wrapperspb.String("hello"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(value)
	f.Fuzz(func(t *testing.T, value []byte) {
		if len(value) > 4 {
			copy(value, "\x00\x00\x00\x00") // ids up to 255: few requests
		}
		if _, err := c.Decode(value); err != nil && !primitives.IsPermanent(err) {
			t.Fatalf("not permanent: %v", err)
		}
	})
}

func BenchmarkProtobuf(b *testing.B) {
	fake := srfake.New()
	defer fake.Close()
	c := &Protobuf[*wrapperspb.StringValue]{Registry: Server{URL: fake.URL()}, Topic: "texts", Register: true}
	plain := primitives.Proto[*wrapperspb.StringValue]()
	v := wrapperspb.String(strings.Repeat("x", 180))
	value, err := c.Append(nil, v)
	if err != nil {
		b.Fatal(err)
	}
	for name, codec := range map[string]primitives.Codec[*wrapperspb.StringValue]{"registry": c, "plain": plain} {
		data := value
		if name == "plain" {
			_, data, _ = cutHeader(value)
			_, data, _ = cutIndexes(data)
		}
		b.Run(name+"/encode", func(b *testing.B) {
			buf := make([]byte, 0, 512)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := codec.Append(buf, v); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(name+"/decode", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := codec.Decode(data); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// The messages that a compiler makes for maps have no place of their own.
func TestProtobufMapsDoNotCount(t *testing.T) {
	entry := &descriptorpb.DescriptorProto{
		Name: proto.String("TagsEntry"), Options: &descriptorpb.MessageOptions{MapEntry: proto.Bool(true)},
	}
	for i, name := range []string{"key", "value"} {
		entry.Field = append(entry.Field, &descriptorpb.FieldDescriptorProto{
			Name: proto.String(name), Number: proto.Int32(int32(i + 1)),
			Type: descriptorpb.FieldDescriptorProto_TYPE_STRING.Enum(), Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum(),
		})
	}
	file, err := protodesc.NewFile(&descriptorpb.FileDescriptorProto{
		Name: proto.String("m.proto"), Package: proto.String("m"), Syntax: proto.String("proto3"),
		MessageType: []*descriptorpb.DescriptorProto{{
			Name: proto.String("Order"), NestedType: []*descriptorpb.DescriptorProto{entry, {Name: proto.String("Line")}},
			Field: []*descriptorpb.FieldDescriptorProto{{
				Name: proto.String("tags"), Number: proto.Int32(1), TypeName: proto.String(".m.Order.TagsEntry"),
				Type: descriptorpb.FieldDescriptorProto_TYPE_MESSAGE.Enum(), Label: descriptorpb.FieldDescriptorProto_LABEL_REPEATED.Enum(),
			}},
		}},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	line := file.Messages().Get(0).Messages().ByName("Line")
	if diff := cmp.Diff([]int{0, 0}, placeOf(line)); diff != "" {
		t.Errorf("place (-want +got):\n%s", diff)
	}
	if name, known := nameAt(serialized(t, file), []int{0, 0}); !known || name != "m.Order.Line" {
		t.Errorf("at that place is %q", name)
	}
}
