package primitives

import (
	stdjson "encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
)

type flatOrder struct {
	ID       string    `json:"id"`
	Customer string    `json:"customer"`
	Status   string    `json:"status"`
	Cents    int64     `json:"cents"`
	Quantity int       `json:"quantity"`
	Weight   float64   `json:"weight"`
	Paid     bool      `json:"paid"`
	Region   string    `json:"region"`
	Time     time.Time `json:"time"`
	Note     string    `json:"note"`
}

type nestedOrder struct {
	ID       string            `json:"id"`
	Time     time.Time         `json:"time"`
	Address  *nestedAddress    `json:"address"`
	Lines    []nestedLine      `json:"lines"`
	Attrs    map[string]string `json:"attrs,omitempty"`
	Discount *float64          `json:"discount,omitempty"`
}

type nestedAddress struct {
	Street string `json:"street"`
	City   string `json:"city"`
	Zip    string `json:"zip"`
}

type nestedLine struct {
	SKU      string   `json:"sku"`
	Cents    int64    `json:"cents"`
	Quantity int      `json:"quantity"`
	Tags     []string `json:"tags,omitempty"`
}

var benchTime = time.Date(2024, 5, 6, 7, 8, 9, 123000000, time.UTC)

func flat200() flatOrder {
	return flatOrder{"o-100200300", "c-4711", "shipped", 129900, 3, 12.75, true, "eu-west-1", benchTime, "leave at the door"}
}

func flat4k() flatOrder {
	o := flat200()
	o.Note = strings.Repeat("The quick brown fox jumps over the lazy dog. ", 85)
	return o
}

func nested200() nestedOrder {
	return nestedOrder{
		ID: "o-1", Time: benchTime, Address: &nestedAddress{"12 Long St", "Oslo", "0150"},
		Lines: []nestedLine{{SKU: "sku-1", Cents: 1299, Quantity: 2}}, Attrs: map[string]string{"src": "web"},
	}
}

func nested4k() nestedOrder {
	o, discount := nested200(), 0.15
	o.Discount, o.Lines = &discount, nil
	for i := range 48 {
		o.Lines = append(o.Lines, nestedLine{fmt.Sprintf("sku-%05d", i*977), int64(i) * 1237, i%7 + 1, []string{"fragile", "promo"}})
	}
	o.Attrs["agent"], o.Attrs["campaign"] = "mobile/4.2", "spring"
	return o
}

func payload(t testing.TB, v any) []byte {
	t.Helper()
	data, err := stdjson.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// BenchmarkJSON compares the codec with encoding/json, as one would call it by
// hand, on the same payloads. docs/json.md has a table of it.
func BenchmarkJSON(b *testing.B) {
	benchJSON(b, "flat200", flat200())
	benchJSON(b, "nested200", nested200())
	benchJSON(b, "flat4k", flat4k())
	benchJSON(b, "nested4k", nested4k())
}

func benchJSON[T any](b *testing.B, name string, v T) {
	data, c := payload(b, v), JSON[T]()
	run := func(what string, f func() error) {
		b.Run(name+"/"+what, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				if err := f(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	run("decode/codec", func() error { _, err := c.Decode(data); return err })
	run("decode/std", func() error { var v T; return stdjson.Unmarshal(data, &v) })
	var buf []byte
	run("encode/codec", func() (err error) { buf, err = c.Append(buf[:0], v); return err })
	run("encode/std", func() error { _, err := stdjson.Marshal(&v); return err })
	run("encode/std-append", func() error {
		data, err := stdjson.Marshal(&v)
		buf = append(buf[:0], data...)
		return err
	})
}

// BenchmarkJSONRefused is the price of a record that cannot be decoded.
func BenchmarkJSONRefused(b *testing.B) {
	c := JSON[nestedOrder]()
	data := []byte(strings.Replace(string(payload(b, nested4k())), `"quantity":6,"tags":["fragile","promo"]}]`, `"quantity":"6"}]`, 1))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Decode(data); err == nil {
			b.Fatal("decoded")
		}
	}
}

func BenchmarkRaw(b *testing.B) {
	recs, out := []Record{{Value: payload(b, flat200())}}, Outputs{}
	decode, encode := mustDecoder[[]byte](b, nil), mustEncoder[[]byte](b, nil, nil)
	b.ReportAllocs()
	for b.Loop() {
		v, err := decode(recs)
		if err == nil {
			err = encode(v, &out)
		}
		if err != nil {
			b.Fatal(err)
		}
		out.Reset()
	}
}
