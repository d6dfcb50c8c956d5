package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

type ctx = context.Context

type severity int

func (s *severity) UnmarshalText(text []byte) error {
	switch string(text) {
	case "low":
		*s = 1
	case "high":
		*s = 2
	default:
		return errors.New("want low or high")
	}
	return nil
}

type name string

type everything struct {
	ID       string          `path:"id"`
	Min      float64         `query:"min"`
	Small    int8            `query:"small"`
	Count    uint            `query:"count" default:"3"`
	Deep     *bool           `query:"deep"`
	Tags     []string        `query:"tag"`
	Numbers  []int           `query:"n" default:"1,2"`
	Since    time.Time       `query:"since"`
	Wait     time.Duration   `query:"wait"`
	Severity severity        `query:"severity"`
	Opt      *severity       `query:"opt"`
	Tenant   name            `header:"X-Tenant"`
	Langs    []string        `header:"Accept-Language"`
	Host     string          `header:"Host"`
	Key      []byte          `query:"key"`
	Title    string          `json:"title"`
	Pages    int             `json:"pages" default:"7"`
	Raw      json.RawMessage `json:"raw"`
	paging
}

func TestBind(t *testing.T) {
	bind := must(NewBinder[everything](must(ParsePattern("POST /books/{id}"))))
	yes, high := true, severity(2)
	tests := []struct {
		name, query, body string
		header            http.Header
		want              everything
	}{
		{name: "nothing but a body", body: `{"title":"x"}`,
			want: everything{Title: "x"}},
		{name: "all", body: `{"title":"x","pages":0,"raw":[1, 2]}`,
			query: "min=-2.5e1&small=-128&count=9&deep=true&tag=a&tag=b%20c+d&n=5&since=2024-05-06T07:08:09%2B02:00" +
				"&wait=1m30s&severity=high&opt=high&limit=4&unknown=1&key=%00k",
			header: http.Header{"X-Tenant": {"acme"}, "Accept-Language": {"de, en", "fr"}},
			want: everything{Min: -25, Small: -128, Count: 9, Deep: &yes, Tags: []string{"a", "b c d"}, Numbers: []int{5},
				Since: time.Date(2024, 5, 6, 7, 8, 9, 0, time.FixedZone("", 7200)), Wait: 90 * time.Second, Severity: 2, Opt: &high,
				Tenant: "acme", Langs: []string{"de", "en", "fr"}, Key: []byte("\x00k"), Title: "x", Raw: json.RawMessage("[1, 2]"), paging: paging{4}}},
		{name: "the body sets no field of another source", body: `{"title":"x","Tenant":"evil","ID":"evil","Tags":["evil"],"Deep":true,"Limit":99}`,
			want: everything{Title: "x"}},
		{name: "null is absent", body: `{"title":"x","pages":null}`, want: everything{Title: "x"}},
		{name: "another case", body: `{"title":"x","PAGES":8}`, want: everything{Title: "x", Pages: 8}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest("POST", "/books/b-1?"+tt.query, strings.NewReader(tt.body))
			for k, v := range tt.header {
				r.Header[k] = v
			}
			r.SetPathValue("id", "b-1")
			want := tt.want
			want.ID, want.Host = "b-1", "example.com"
			if want.Count == 0 {
				want.Count = 3
			}
			if want.Numbers == nil {
				want.Numbers = []int{1, 2}
			}
			if want.Limit == 0 {
				want.Limit = 10
			}
			if want.Pages == 0 && tt.name != "all" {
				want.Pages = 7
			}
			got, err := bind.Bind(r, 0)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got, cmp.AllowUnexported(everything{})); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// What stays of one request does not change with the next: bodies are read into
// memory that is used again.
func TestBindKeepsNothingOfTheBuffer(t *testing.T) {
	p := must(ParsePattern("POST /x"))
	raw, text, bytes := must(NewBinder[json.RawMessage](p)), must(NewBinder[string](p)), must(NewBinder[[]byte](p))
	request := func(fill string) *http.Request {
		return httptest.NewRequest("POST", "/x", strings.NewReader(`"`+strings.Repeat(fill, 100)+`"`))
	}
	a, b, c := must(raw.Bind(request("a"), 0)), must(text.Bind(request("a"), 0)), must(bytes.Bind(request("a"), 0))
	for range 10 {
		must(raw.Bind(request("b"), 0))
		must(text.Bind(request("b"), 0))
		must(bytes.Bind(request("b"), 0))
	}
	if all := string(a) + b + string(c); strings.Contains(all, "b") {
		t.Errorf("changed: %s", all)
	}
}

func TestBindPathWithSlash(t *testing.T) {
	rt := must(Endpoint("GET /files/{name}/size", func(_ ctx, in struct {
		Name string `path:"name"`
	}) (string, error) {
		return in.Name, nil
	}))
	s, _ := newTestServer(t, Config{}, rt)
	for target, want := range map[string]string{
		"/files/a%2Fb%20c/size": "a/b c",
		"/files/a%20b/size":     "a b",
		"/files/100%25/size":    "100%",
		"/files/%2525%2F/size":  "%25/",
	} {
		if got := send(s, "GET", target, "").Body.String(); got != want {
			t.Errorf("GET %s: %q, want %q", target, got, want)
		}
	}
}

func TestBindAllocations(t *testing.T) {
	none := must(NewBinder[struct{}](must(ParsePattern("GET /x/{id}"))))
	r := httptest.NewRequest("GET", "/x/1?a=1&b=true", nil)
	if n := testing.AllocsPerRun(100, func() { must(none.Bind(r, 0)) }); n != 0 {
		t.Errorf("an input without fields takes %v allocations", n)
	}
	some := must(NewBinder[struct {
		A int  `query:"a"`
		B bool `query:"b"`
	}](must(ParsePattern("GET /x/{id}"))))
	if n := testing.AllocsPerRun(100, func() { must(some.Bind(r, 0)) }); n > 1 { // the input itself
		t.Errorf("two fields take %v allocations", n)
	}
}

func FuzzBindQuery(f *testing.F) {
	type input struct {
		ID    string        `path:"id"`
		Min   float32       `query:"min"`
		N     int16         `query:"n" required:"true"`
		Tags  []uint8       `query:"tag"`
		Many  []severity    `query:"many"`
		Since *time.Time    `query:"since"`
		Wait  time.Duration `query:"wait" default:"5s"`
		Head  []int         `header:"X-Head"`
	}
	rt := must(Endpoint("GET /x/{id}", func(_ ctx, in input) (input, error) { return in, nil }))
	s := NewServer(Config{})
	if err := s.Add(rt); err != nil {
		f.Fatal(err)
	}
	f.Add("n=1&min=2.5&tag=a", "1,2", "id")
	f.Add("n=99999&n=1&%zz", "x", "%2F")
	f.Add("since=2024-01-01T00:00:00Z&wait=-1h&many=low&many=", "", "a")
	f.Fuzz(func(t *testing.T, query, header, id string) {
		r := httptest.NewRequest("GET", "/x/1", nil)
		r.URL = &url.URL{Path: "/x/" + id, RawPath: "/x/" + id, RawQuery: query}
		r.Header.Set("X-Head", header)
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, r)
		if w.Code >= 500 {
			t.Fatalf("query %q, header %q, id %q: %d %s", query, header, id, w.Code, w.Body)
		}
		if w.Code >= 400 && !json.Valid(w.Body.Bytes()) {
			t.Fatalf("no JSON: %s", w.Body)
		}
	})
}

func FuzzBindBody(f *testing.F) {
	type input struct {
		Name  string `json:"name" required:"true"`
		Pages int    `json:"pages" default:"7"`
		Lines []struct{ Cents int64 }
	}
	bind := must(NewBinder[input](must(ParsePattern("POST /x"))))
	f.Add(`{"name":"x","pages":1,"Lines":[{"Cents":5}]}`)
	f.Add(`{"na\u006de":null,"x":{"name":"\"}"},"name":[]}`)
	f.Add(`{"name":"a"} x`)
	f.Fuzz(func(t *testing.T, body string) {
		in, err := bind.Bind(httptest.NewRequest("POST", "/x", strings.NewReader(body)), 0)
		var own *Error
		if err != nil && (!errors.As(err, &own) || own.status() >= 500) {
			t.Fatalf("%q: %v", body, err)
		}
		var members map[string]json.RawMessage
		if err != nil || json.Unmarshal([]byte(body), &members) != nil {
			return
		}
		if raw, ok := members["name"]; ok && string(raw) != "null" && in.Pages == 7 {
			return
		}
		found := false
		for k, v := range members {
			found = found || strings.EqualFold(k, "name") && string(v) != "null"
		}
		if !found {
			t.Fatalf("%q: name is absent, and that is no error: %s", body, fmt.Sprint(in))
		}
	})
}
