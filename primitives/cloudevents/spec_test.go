package cloudevents

import (
	stdjson "encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flowkit-go/flow/primitives"
)

// appInfo is the data of the specification's examples.
type appInfo struct {
	A string `json:"appinfoA"`
	B int    `json:"appinfoB"`
	C bool   `json:"appinfoC"`
}

var specTime = time.Date(2018, 4, 5, 17, 31, 0, 0, time.UTC)

// The examples of the JSON format, section 3.2, and the same event in binary mode.
func TestSpecJSONFormatExamples(t *testing.T) {
	extensions := map[string]any{"comexampleextension1": "value", "comexampleothervalue": int32(5)}
	t.Run("binary data", func(t *testing.T) {
		example(t, &Codec[[]byte]{}, `{
			"specversion" : "1.0", "type" : "com.example.someevent", "source" : "/mycontext",
			"id" : "A234-1234-1234", "time" : "2018-04-05T17:31:00Z",
			"comexampleextension1" : "value", "comexampleothervalue" : 5,
			"datacontenttype" : "application/vnd.apache.thrift.binary", "data_base64" : "AQL/AA=="
		}`, Event[[]byte]{
			ID: "A234-1234-1234", Source: "/mycontext", Type: "com.example.someevent", Time: specTime,
			DataContentType: "application/vnd.apache.thrift.binary", Extensions: extensions, Data: []byte{1, 2, 255, 0},
		}, "\x01\x02\xff\x00", map[string]string{"content-type": "application/vnd.apache.thrift.binary", "ce_id": "A234-1234-1234"})
	})
	t.Run("text data", func(t *testing.T) {
		example(t, &Codec[string]{}, `{
			"specversion" : "1.0", "type" : "com.example.someevent", "source" : "/mycontext",
			"id" : "B234-1234-1234", "time" : "2018-04-05T17:31:00Z",
			"comexampleextension1" : "value", "comexampleothervalue" : 5, "unsetextension": null,
			"datacontenttype" : "application/xml", "data" : "<much wow=\"xml\"/>"
		}`, Event[string]{
			ID: "B234-1234-1234", Source: "/mycontext", Type: "com.example.someevent", Time: specTime,
			DataContentType: "application/xml", Extensions: extensions, Data: `<much wow="xml"/>`,
		}, `<much wow="xml"/>`, map[string]string{"content-type": "application/xml", "ce_id": "B234-1234-1234"})
	})
	t.Run("JSON object", func(t *testing.T) {
		example(t, &Codec[appInfo]{}, `{
			"specversion" : "1.0", "type" : "com.example.someevent", "source" : "/mycontext", "subject": null,
			"id" : "C234-1234-1234", "time" : "2018-04-05T17:31:00Z",
			"comexampleextension1" : "value", "comexampleothervalue" : 5,
			"datacontenttype" : "application/json", "data" : { "appinfoA" : "abc", "appinfoB" : 123, "appinfoC" : true }
		}`, Event[appInfo]{
			ID: "C234-1234-1234", Source: "/mycontext", Type: "com.example.someevent", Time: specTime,
			DataContentType: "application/json", Extensions: extensions, Data: appInfo{"abc", 123, true},
		}, `{"appinfoA":"abc","appinfoB":123,"appinfoC":true}`, map[string]string{"content-type": "application/json", "ce_id": "C234-1234-1234"})
	})
	t.Run("JSON string without content type", func(t *testing.T) {
		example(t, &Codec[string]{Data: primitives.JSON[string]()}, `{
			"specversion" : "1.0", "type" : "com.example.someevent", "source" : "/mycontext", "subject": null,
			"id" : "D234-1234-1234", "time" : "2018-04-05T17:31:00Z",
			"comexampleextension1" : "value", "comexampleothervalue" : 5, "data" : "I'm just a string"
		}`, Event[string]{
			ID: "D234-1234-1234", Source: "/mycontext", Type: "com.example.someevent", Time: specTime,
			Extensions: extensions, Data: "I'm just a string",
		}, `"I'm just a string"`, map[string]string{"content-type": "application/json", "ce_id": "D234-1234-1234"})
	})
}

// example reads a document, writes it in binary mode and again as a document.
func example[T any](t *testing.T, c *Codec[T], doc string, want Event[T], value string, headers map[string]string) {
	t.Helper()
	got, err := c.DecodeRecord(&primitives.Record{
		Headers: []primitives.Header{{Name: "content-type", Value: []byte("application/cloudevents+json; charset=UTF-8")}},
		Value:   []byte(doc),
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("the document (-want +got):\n%s", diff)
	}

	r := record(t, c, got)
	if string(r.Value) != value {
		t.Errorf("binary mode has the value %q, want %q", r.Value, value)
	}
	headers["ce_specversion"] = "1.0"
	headers["ce_type"] = "com.example.someevent"
	headers["ce_source"] = "/mycontext"
	headers["ce_time"] = "2018-04-05T17:31:00Z"
	headers["ce_comexampleextension1"] = "value"
	headers["ce_comexampleothervalue"] = "5"
	if diff := cmp.Diff(headers, asMap(r.Headers)); diff != "" {
		t.Errorf("headers of binary mode (-want +got):\n%s", diff)
	}

	again, err := c.Append(nil, got)
	if err != nil {
		t.Fatal(err)
	}
	wantDoc := canonicalJSON(t, []byte(doc))
	if want.DataContentType == "" { // it is set explicitly, as the format has it
		wantDoc["datacontenttype"] = "application/json"
	}
	if diff := cmp.Diff(wantDoc, canonicalJSON(t, again)); diff != "" {
		t.Errorf("written as a document again (-want +got):\n%s", diff)
	}
}

// canonicalJSON is a document without members that are null.
func canonicalJSON(t *testing.T, doc []byte) map[string]any {
	t.Helper()
	var m map[string]any
	if err := stdjson.Unmarshal(doc, &m); err != nil {
		t.Fatalf("%v: %s", err, doc)
	}
	for name, v := range m {
		if v == nil {
			delete(m, name)
		}
	}
	return m
}

func asMap(headers []primitives.Header) map[string]string {
	m := map[string]string{}
	for _, h := range headers {
		m[h.Name] = string(h.Value)
	}
	return m
}

func asHeaders(pairs ...string) []primitives.Header {
	var all []primitives.Header
	for i := 0; i < len(pairs); i += 2 {
		all = append(all, primitives.Header{Name: pairs[i], Value: []byte(pairs[i+1])})
	}
	return all
}

func record[T any](t *testing.T, c *Codec[T], e Event[T]) primitives.Record {
	t.Helper()
	encode, err := primitives.EncoderOf[Event[T]](c, nil)
	if err != nil {
		t.Fatal(err)
	}
	var out primitives.Outputs
	if err := encode(e, &out); err != nil {
		t.Fatal(err)
	}
	return out.Records[0]
}

// The example of the Kafka binding, section 3.2.5.
func TestSpecKafkaBinaryExample(t *testing.T) {
	c := &Codec[[]byte]{}
	got, err := c.DecodeRecord(&primitives.Record{
		Key: []byte("mykey"), Value: []byte("avro bytes"),
		Headers: asHeaders("ce_specversion", "1.0", "ce_type", "com.example.someevent", "ce_source", "/mycontext/subcontext",
			"ce_id", "1234-1234-1234", "ce_time", "2018-04-05T03:56:24Z", "content-type", "application/avro", "other", "x"),
	})
	if err != nil {
		t.Fatal(err)
	}
	want := Event[[]byte]{
		ID: "1234-1234-1234", Source: "/mycontext/subcontext", Type: "com.example.someevent",
		Time: time.Date(2018, 4, 5, 3, 56, 24, 0, time.UTC), DataContentType: "application/avro", Data: []byte("avro bytes"),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// The example of the Kafka binding, section 3.3.4, without its omissions.
func TestSpecKafkaStructuredHeader(t *testing.T) {
	r := record(t, &Codec[appInfo]{Mode: Structured}, Event[appInfo]{ID: "1", Source: "/s", Type: "t"})
	if diff := cmp.Diff(asHeaders("content-type", "application/cloudevents+json; charset=UTF-8"), r.Headers); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	want := `{"specversion":"1.0","id":"1","source":"/s","type":"t","datacontenttype":"application/json","data":{"appinfoA":"","appinfoB":0,"appinfoC":false}}`
	if string(r.Value) != want {
		t.Errorf("got  %s\nwant %s", r.Value, want)
	}
}

// The example of the NATS binding, sections 3.1.3.2 and 3.1.4.
func TestSpecNATSBinaryExample(t *testing.T) {
	c := &Codec[appInfo]{Mode: BinaryNATS}
	e := Event[appInfo]{
		ID: "1234-1234-1234", Source: "/mycontext/subcontext", Type: "com.example.someevent",
		Time: time.Date(2018, 4, 5, 3, 56, 24, 0, time.UTC), Subject: "Euro € 😀", Data: appInfo{A: "x"},
	}
	r := record(t, c, e)
	want := map[string]string{
		"ce-specversion": "1.0", "ce-type": "com.example.someevent", "ce-time": "2018-04-05T03:56:24Z",
		"ce-id": "1234-1234-1234", "ce-source": "/mycontext/subcontext", "ce-datacontenttype": "application/json",
		"ce-subject": "Euro%20%E2%82%AC%20%F0%9F%98%80",
	}
	if diff := cmp.Diff(want, asMap(r.Headers)); diff != "" {
		t.Errorf("headers (-want +got):\n%s", diff)
	}
	for i := range r.Headers { // names are case-insensitive
		r.Headers[i].Name = strings.ToUpper(r.Headers[i].Name)
	}
	got, err := c.DecodeRecord(&r)
	if err != nil {
		t.Fatal(err)
	}
	e.DataContentType = "application/json"
	if diff := cmp.Diff(e, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestSpecNATSEscapes(t *testing.T) {
	for in, want := range map[string]string{
		`plain`: "plain", `a%20b`: "a b", `%e2%82%ac`: "€", `"quoted \"text\" \\"`: `quoted "text" \`, `%41%42`: "AB", `""`: "",
	} {
		if got, err := unescape(in); err != nil || got != want {
			t.Errorf("unescape(%q) = %q, %v, want %q", in, got, err, want)
		}
	}
	for _, in := range []string{"%C0%A0", "%", "%4", "%zz", "a%2"} {
		if got, err := unescape(in); err == nil {
			t.Errorf("unescape(%q) = %q, want an error", in, got)
		}
	}
}
