package registry

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/sr"
	"github.com/twmb/franz-go/pkg/sr/srfake"

	"github.com/flowkit-go/flow/primitives"
)

type Order struct {
	ID    string    `avro:"id"`
	Cents int64     `avro:"cents"`
	Note  *string   `avro:"note"`
	Tags  []string  `avro:"tags"`
	At    time.Time `avro:"at,timestamp-micros"`
}

const orderV1 = `{"type":"record","name":"Order","namespace":"shop","fields":[
	{"name":"id","type":"string"},{"name":"cents","type":"int"},{"name":"coupon","type":"string"}]}`

const orderV2 = `{"type":"record","name":"Order","namespace":"shop","fields":[
	{"name":"id","type":"string"},{"name":"cents","type":"long"},{"name":"region","type":"string","default":"eu"}]}`

type shopOrder struct {
	ID     string `avro:"id"`
	Cents  int64  `avro:"cents"`
	Coupon string `avro:"coupon"`
	Region string `avro:"region"`
}

func TestAvroRoundTripOfAnyValue(t *testing.T) {
	s := newServer(t)
	c := &Avro[Order]{Registry: Server{URL: s.URL}, Topic: "orders", Register: true}
	encode, err := primitives.EncoderOf[Order](c, func(o Order) string { return o.ID })
	if err != nil {
		t.Fatal(err)
	}
	decode, err := primitives.DecoderOf[Order](&Avro[Order]{Registry: Server{URL: s.URL}})
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(5, 6))
	var out primitives.Outputs
	var want []Order
	for i := range 500 {
		o := Order{ID: fmt.Sprint(i), Cents: rng.Int64() - rng.Int64(), At: time.UnixMicro(rng.Int64N(4e15)).UTC(), Tags: []string{}}
		for range rng.IntN(4) {
			o.Tags = append(o.Tags, strings.Repeat("ä", rng.IntN(50)))
		}
		if rng.IntN(2) == 0 {
			o.Note = new(fmt.Sprint("note ", rng.Int()))
		}
		if err := encode(o, &out); err != nil {
			t.Fatal(err)
		}
		want = append(want, o)
	}
	for i, r := range out.Records {
		got, err := decode([]primitives.Record{r})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want[i], got); diff != "" {
			t.Fatalf("(-want +got):\n%s", diff)
		}
	}
	if !s.SubjectExists("orders-value") {
		t.Error("the schema is not in subject orders-value")
	}
	if n := s.times("POST /subjects/orders-value/versions"); n != 1 {
		t.Errorf("registered %d times, want once", n)
	}
	if n := s.times("GET /schemas/ids/"); n != 1 {
		t.Errorf("asked %d times for the schema, want once", n)
	}
}

func TestAvroResolvesWhatTheWriterHad(t *testing.T) {
	s := newServer(t)
	at := Server{URL: s.URL}
	writer := &Avro[shopOrder]{Registry: at, Topic: "orders", Schema: orderV1, Register: true}
	old, err := writer.Append(nil, shopOrder{ID: "o-1", Cents: 250, Coupon: "c"})
	if err != nil {
		t.Fatal(err)
	}
	resolved, err := (&Avro[shopOrder]{Registry: at, Schema: orderV2}).Decode(old)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(shopOrder{ID: "o-1", Cents: 250, Region: "eu"}, resolved); diff != "" {
		t.Errorf("with a schema (-want +got):\n%s", diff)
	}
	byName, err := (&Avro[shopOrder]{Registry: at}).Decode(old)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(shopOrder{ID: "o-1", Cents: 250, Coupon: "c"}, byName); diff != "" {
		t.Errorf("by name (-want +got):\n%s", diff)
	}
	only, err := (&Avro[struct {
		ID string `avro:"id"`
	}]{Registry: at}).Decode(old)
	if err != nil || only.ID != "o-1" {
		t.Errorf("a struct with one of the fields: %+v, %v", only, err)
	}
	dynamic, err := (&Avro[map[string]any]{Registry: at}).Decode(old)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]any{"id": "o-1", "cents": int32(250), "coupon": "c"}, dynamic); diff != "" {
		t.Errorf("a map (-want +got):\n%s", diff)
	}

	_, err = (&Avro[shopOrder]{Registry: at, Schema: `{"type":"record","name":"Order","namespace":"shop","fields":[{"name":"must","type":"string"}]}`}).Decode(old)
	if !primitives.IsPermanent(err) || !strings.Contains(err.Error(), "must") {
		t.Errorf("schemas that do not go together: %v, want a permanent error that names the field", err)
	}
}

func TestAvroFollowsReferences(t *testing.T) {
	s := newServer(t)
	s.SeedSchema("money", 1, 10, sr.Schema{Schema: `{"type":"record","name":"Money","namespace":"shop","fields":[{"name":"cents","type":"long"}]}`})
	s.SeedSchema("orders-value", 1, 11, sr.Schema{
		Schema:     `{"type":"record","name":"Order","namespace":"shop","fields":[{"name":"id","type":"string"},{"name":"price","type":"shop.Money"}]}`,
		References: []sr.SchemaReference{{Name: "shop.Money", Subject: "money", Version: 1}},
	})
	type order struct {
		ID    string `avro:"id"`
		Price struct {
			Cents int64 `avro:"cents"`
		} `avro:"price"`
	}
	c := &Avro[order]{Registry: Server{URL: s.URL}, Topic: "orders", Latest: true}
	want := order{ID: "o-1"}
	want.Price.Cents = 250
	value, err := c.Append(nil, want)
	if err != nil {
		t.Fatal(err)
	}
	if string(value[:headerSize]) != "\x00\x00\x00\x00\x0b" {
		t.Errorf("header % x, want id 11", value[:headerSize])
	}
	got, err := c.Decode(value)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestAvroNothingIsRegisteredUnasked(t *testing.T) {
	s := newServer(t)
	c := &Avro[Order]{Registry: Server{URL: s.URL}, Topic: "orders"}
	_, err := c.Append(nil, Order{})
	if err == nil || primitives.IsPermanent(err) || passes(err) || !strings.Contains(err.Error(), "Register") {
		t.Errorf("got %v, want an error of the configuration that says what to do", err)
	}
	if s.SubjectExists("orders-value") || s.times("POST /subjects/orders-value/versions") > 0 {
		t.Error("the schema was registered")
	}
}

func TestAvroIncompatibleSchemaIsNoFaultOfTheRecord(t *testing.T) {
	s := newServer(t)
	s.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPost {
			w.WriteHeader(http.StatusConflict)
			fmt.Fprint(w, `{"error_code":409,"message":"incompatible with an earlier schema"}`)
			return true
		}
		return false
	})
	_, err := (&Avro[Order]{Registry: Server{URL: s.URL}, Topic: "orders", Register: true}).Append(nil, Order{})
	if err == nil || primitives.IsPermanent(err) || passes(err) || !strings.Contains(err.Error(), "incompatible with an earlier schema") {
		t.Errorf("got %v, want an error of the configuration with the registry's reason", err)
	}
}

func TestRegistryAwayPasses(t *testing.T) {
	s := newServer(t)
	good := &Avro[Order]{Registry: Server{URL: s.URL}, Topic: "orders", Register: true}
	value, err := good.Append(nil, Order{})
	if err != nil {
		t.Fatal(err)
	}
	for name, at := range map[string]Server{
		"refused": {URL: "http://127.0.0.1:1"},
		"slow":    {URL: s.URL, Timeout: time.Nanosecond},
		"500":     {URL: s.URL},
		"429":     {URL: s.URL},
		"401":     {URL: s.URL},
	} {
		t.Run(name, func(t *testing.T) {
			if n := 0; true {
				_, _ = fmt.Sscan(name, &n)
				s.fail(n)
				defer s.fail(0)
			}
			c := &Avro[Order]{Registry: at, Topic: "orders"}
			_, errEncode := c.Append(nil, Order{})
			_, errDecode := c.Decode(value)
			for what, err := range map[string]error{"encode": errEncode, "decode": errDecode, "start": start(c)} {
				if d, later := primitives.RetryDelay(err); !later || d != pause || primitives.IsPermanent(err) {
					t.Errorf("%s: %v, want an error to try again after %v", what, err, pause)
				}
			}
		})
	}
	if _, err := good.Decode(value); err != nil {
		t.Errorf("after the registry has come back: %v", err)
	}
}

func start[T any](c interface {
	primitives.Codec[T]
	primitives.CodecChecker
}) error {
	if err := errors.Join(c.CheckDecode(), c.CheckEncode()); err != nil {
		return err
	}
	return primitives.StartCodec[T](context.Background(), c)
}

func TestStartCodecFindsWhatIsWrong(t *testing.T) {
	s := newServer(t)
	at := Server{URL: s.URL}
	if err := start(&Avro[Order]{Registry: at, Topic: "orders"}); err == nil || !strings.Contains(err.Error(), "subject orders-value") {
		t.Errorf("not registered: %v", err)
	}
	if err := start(&Avro[shopOrder]{Registry: at, Topic: "orders", Schema: orderV1, Register: true}); err != nil {
		t.Errorf("registered: %v", err)
	}
	reader := &Avro[shopOrder]{Registry: at, Topic: "orders", Schema: `{"type":"record","name":"Order","namespace":"shop","fields":[{"name":"must","type":"string"}]}`}
	if err := errors.Join(reader.CheckDecode(), reader.StartCodec(t.Context())); err == nil || !strings.Contains(err.Error(), "must") {
		t.Errorf("what is there cannot be read: %v", err)
	}
	new := &Avro[shopOrder]{Registry: at, Topic: "new"}
	if err := errors.Join(new.CheckDecode(), new.StartCodec(t.Context())); err != nil {
		t.Errorf("a topic that nobody has written to: %v", err)
	}
	nameless := &Avro[map[string]any]{Registry: at}
	if err := errors.Join(nameless.CheckDecode(), nameless.StartCodec(t.Context())); err != nil {
		t.Errorf("a reader without a subject: %v", err)
	}
}

func TestValuesThatAreNotOfARegistry(t *testing.T) {
	s := newServer(t)
	c := &Avro[Order]{Registry: Server{URL: s.URL}, Topic: "orders", Register: true}
	value, err := c.Append(nil, Order{ID: "x"})
	if err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string][]byte{
		"empty": nil, "short": {0, 0, 0}, "JSON": []byte(`{"id":"x"}`), "unknown id": {0, 0, 0, 1, 0, 2},
		"cut": value[:len(value)-1], "longer": append(append([]byte{}, value...), 1),
	} {
		var d *primitives.DecodeError
		if _, err := c.Decode(bad); !errors.As(err, &d) || !primitives.IsPermanent(err) {
			t.Errorf("%s: %v, want a permanent decode error", name, err)
		}
	}
	if n := s.times("GET /schemas/ids/256"); n != 1 {
		t.Errorf("asked %d times for an unknown id, want once", n)
	}
	if _, err := c.Decode([]byte{0, 0, 0, 1, 0, 2}); err == nil || s.times("GET /schemas/ids/256") != 1 {
		t.Error("an unknown id was asked for again at once")
	}
}

func TestCredentials(t *testing.T) {
	s := newServer(t, srfake.WithAuth("Basic dXNlcjpzZWNyZXQ="))
	s.SeedSchema("orders-value", 1, 5, sr.Schema{Schema: orderV1})
	try := func(at Server) error {
		_, err := (&Avro[shopOrder]{Registry: at, Topic: "orders", Latest: true}).Append(nil, shopOrder{})
		return err
	}
	if err := try(Server{URL: s.URL, User: "user", Password: "secret"}); err != nil {
		t.Errorf("by fields: %v", err)
	}
	if err := try(Server{URL: strings.Replace(s.URL, "://", "://user:secret@", 1)}); err != nil {
		t.Errorf("by URL: %v", err)
	}
	wrong := try(Server{URL: strings.Replace(s.URL, "://", "://user:hunter2@", 1)})
	if wrong == nil || !strings.Contains(wrong.Error(), "credentials") || strings.Contains(wrong.Error(), "hunter2") {
		t.Errorf("wrong ones: %v, want an error without the password", wrong)
	}
	t.Setenv(envURL, s.URL)
	t.Setenv(envUser, "user:secret")
	if err := try(Server{}); err != nil {
		t.Errorf("by environment: %v", err)
	}
}

func TestMistakesShowAtRegistration(t *testing.T) {
	t.Setenv(envURL, "")
	at := Server{URL: "http://localhost:1"}
	encoder := func(c primitives.Codec[shopOrder]) error { _, err := primitives.EncoderOf(c, nil); return err }
	for want, err := range map[string]error{
		"SCHEMA_REGISTRY_URL": encoder(&Avro[shopOrder]{Topic: "t"}),
		"URL is not":          encoder(&Avro[shopOrder]{Registry: Server{URL: "localhost:8081"}, Topic: "t"}),
		"Timeout":             encoder(&Avro[shopOrder]{Registry: Server{URL: "http://x", Timeout: -1}, Topic: "t"}),
		"Topic":               encoder(&Avro[shopOrder]{Registry: at}),
		"Strategy is 7":       encoder(&Avro[shopOrder]{Registry: at, Topic: "t", Strategy: 7}),
		"Latest and Register": encoder(&Avro[shopOrder]{Registry: at, Topic: "t", Latest: true, Register: true}),
		"Schema:":             encoder(&Avro[shopOrder]{Registry: at, Topic: "t", Schema: "{"}),
		"none can be made": func() error {
			_, err := primitives.EncoderOf[map[string]any](&Avro[map[string]any]{Registry: at, Topic: "t"}, nil)
			return err
		}(),
		"needs the name": func() error {
			_, err := primitives.EncoderOf[string](&Avro[string]{Registry: at, Strategy: RecordName, Schema: `"string"`}, nil)
			return err
		}(),
	} {
		if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "registry: ") {
			t.Errorf("%s: got %v", want, err)
		}
	}
	if _, err := primitives.DecoderOf[shopOrder](&Avro[shopOrder]{Registry: at}); err != nil {
		t.Errorf("a reader needs no topic: %v", err)
	}
}

func TestStrategies(t *testing.T) {
	at := Server{URL: "http://localhost:1"}
	for want, c := range map[string]*Avro[shopOrder]{
		"orders-value":      {Registry: at, Topic: "orders"},
		"shop.Order":        {Registry: at, Strategy: RecordName, Schema: orderV1},
		"orders-shop.Order": {Registry: at, Topic: "orders", Strategy: TopicRecordName, Schema: orderV1},
		"orders-shopOrder":  {Registry: at, Topic: "orders", Strategy: TopicRecordName},
		"mine":              {Registry: at, Topic: "orders", Subject: "mine"},
	} {
		c.prepare()
		if got, err := c.subject(); got != want || err != nil {
			t.Errorf("got %q, %v, want %q", got, err, want)
		}
	}
}

func TestManyGoroutinesShareACodec(t *testing.T) {
	s := newServer(t)
	c := &Avro[Order]{Registry: Server{URL: s.URL}, Topic: "orders", Register: true}
	var all sync.WaitGroup
	for i := range 16 {
		all.Go(func() {
			for n := range 50 {
				want := Order{ID: fmt.Sprint(i, n), Tags: []string{}, At: time.UnixMicro(0).UTC()}
				value, err := c.Append(nil, want)
				if err != nil {
					t.Error(err)
					return
				}
				if got, err := c.Decode(value); err != nil || !cmp.Equal(got, want) {
					t.Errorf("got %+v, %v", got, err)
				}
			}
		})
	}
	all.Wait()
	if n := s.times(""); n != 3 { // register, look up, by id
		t.Errorf("%d requests, want 3", n)
	}
}

func BenchmarkAvro(b *testing.B) {
	fake := srfake.New()
	defer fake.Close()
	c := &Avro[Order]{Registry: Server{URL: fake.URL()}, Topic: "orders", Register: true}
	v := Order{ID: "o-100200300", Cents: 129900, Tags: []string{"a", "b"}, At: time.UnixMicro(1e15)}
	value, err := c.Append(nil, v)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("encode", func(b *testing.B) {
		buf := make([]byte, 0, 512)
		b.ReportAllocs()
		for b.Loop() {
			if _, err := c.Append(buf, v); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := c.Decode(value); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// The registry's schemas and the values are what others wrote: neither may do more
// than fail.
func FuzzAvroDecode(f *testing.F) {
	fake := srfake.New()
	f.Cleanup(fake.Close)
	writer := &Avro[Order]{Registry: Server{URL: fake.URL()}, Topic: "orders", Register: true}
	value, err := writer.Append(nil, Order{ID: "o-1", Tags: []string{"a"}, At: time.UnixMicro(1)})
	if err != nil {
		f.Fatal(err)
	}
	dynamic := &Avro[map[string]any]{Registry: Server{URL: fake.URL()}}
	f.Add(value)
	f.Add(append(value[:headerSize:headerSize], 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01))
	f.Fuzz(func(t *testing.T, value []byte) {
		if len(value) >= headerSize {
			value = append([]byte("\x00\x00\x00\x00\x01"), value[headerSize:]...)
		}
		if _, err := writer.Decode(value); err != nil && !primitives.IsPermanent(err) {
			t.Fatalf("not permanent: %v", err)
		}
		if _, err := dynamic.Decode(value); err != nil && !primitives.IsPermanent(err) {
			t.Fatalf("not permanent: %v", err)
		}
	})
}
