package web

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

type badInput struct {
	ID    int      `path:"id"`
	Limit int8     `query:"limit"`
	Since *name    `query:"since"`
	Sev   severity `query:"sev"`
	Who   string   `header:"X-Who" required:"true"`
	Name  string   `json:"name" required:"true"`
	Lines []struct {
		Cents int64 `json:"cents"`
	} `json:"lines"`
}

// A client's mistake gets a 4xx that names what is wrong, never a 5xx.
func TestBadInput(t *testing.T) {
	handler := func(_ ctx, in badInput) (string, error) { return "ok", nil }
	small := must(Endpoint("POST /small/{id}", handler))
	small.BodyLimit = 40
	s, log := newTestServer(t, Config{},
		must(Endpoint("POST /x/{id}", handler)), small,
		must(Endpoint("POST /text", func(_ ctx, in string) (string, error) { return in, nil })),
		must(Endpoint("POST /pointer", func(_ ctx, in *struct{ A int }) (struct{ A int }, error) { return *in, nil })),
		must(Endpoint("GET /get", func(_ ctx, in paging) (string, error) { return "ok", nil })))
	const good = `{"name":"n"}`
	tests := []struct {
		name, request, body string
		headers             []string
		status              int
		detail              string
		fields              []FieldError
	}{
		{name: "good", request: "POST /x/1?limit=1", body: good, status: 200},
		{name: "absent Content-Type", request: "POST /x/1", body: good, status: 200},
		{name: "+json", request: "POST /x/1", body: good, headers: []string{"Content-Type: application/vnd.x+json; charset=UTF-8"}, status: 200},
		{name: "path type", request: "POST /x/one", body: good, status: 422, detail: `path id: want an integer, got "one"`,
			fields: []FieldError{{"path", "id", `want an integer, got "one"`}}},
		{name: "query range", request: "POST /x/1?limit=200", body: good, status: 422,
			detail: `query limit: want an integer from -128 to 127, got "200"`,
			fields: []FieldError{{"query", "limit", `want an integer from -128 to 127, got "200"`}}},
		{name: "query twice", request: "POST /x/1?limit=1&limit=2&limit=3", body: good, status: 422,
			detail: `query limit: is given more than once`, fields: []FieldError{{"query", "limit", "is given more than once"}}},
		{name: "query escape", request: "POST /x/1?limit=%zz", body: good, status: 400,
			detail: "the query has a % that is not followed by two hexadecimal digits"},
		{name: "own type", request: "POST /x/1?sev=mid", body: good, status: 422, detail: `query sev: "mid": want low or high`,
			fields: []FieldError{{"query", "sev", `"mid": want low or high`}}},
		{name: "several", request: "POST /x/one?limit=x", body: `{"name":null}`, status: 422,
			detail: "body name: is required (and 2 more)",
			fields: []FieldError{{"body", "name", "is required"}, {"path", "id", `want an integer, got "one"`}, {"query", "limit", `want an integer, got "x"`}}},
		{name: "missing header", request: "POST /x/1", body: good, headers: []string{"X-Who:"}, status: 422,
			detail: "header X-Who: is required", fields: []FieldError{{"header", "X-Who", "is required"}}},
		{name: "missing member", request: "POST /x/1", body: `{"x":{"name":1}}`, status: 422,
			detail: "body name: is required", fields: []FieldError{{"body", "name", "is required"}}},
		{name: "malformed", request: "POST /x/1", body: `{"name":}`, status: 400,
			detail: "the body is not valid JSON at byte 8: invalid character '}' looking for beginning of value"},
		{name: "cut off", request: "POST /x/1", body: `{"name":"n`, status: 400, detail: "the body is not valid JSON at byte 10: unexpected end of JSON input"},
		{name: "trailing data", request: "POST /x/1", body: good + ` x`, status: 400,
			detail: "the body is not valid JSON at byte 13: invalid character 'x' after top-level value"},
		{name: "member type", request: "POST /x/1", body: `{"name":"n","lines":[{"cents":"5"}]}`, status: 422,
			detail: "body lines.0.cents: want an integer from -9223372036854775808 to 9223372036854775807, got string at byte 30",
			fields: []FieldError{{"body", "lines.0.cents", "want an integer from -9223372036854775808 to 9223372036854775807, got string at byte 30"}}},
		{name: "not an object", request: "POST /x/1", body: `[1]`, status: 422, detail: "body: want an object, got array at byte 0",
			fields: []FieldError{{"body", "", "want an object, got array at byte 0"}}},
		{name: "empty body", request: "POST /x/1", status: 400, detail: "the request has no body, and needs one in JSON"},
		{name: "blank body", request: "POST /x/1", body: "  ", status: 400, detail: "the body is not valid JSON at byte 2: unexpected end of JSON input"},
		{name: "form", request: "POST /x/1", body: "name=n", headers: []string{"Content-Type: application/x-www-form-urlencoded"}, status: 415,
			detail: `the body must be application/json in UTF-8, and Content-Type says "application/x-www-form-urlencoded"`},
		{name: "text where JSON is wanted", request: "POST /x/1", body: good, headers: []string{"Content-Type: text/plain"}, status: 415,
			detail: `the body must be application/json in UTF-8, and Content-Type says "text/plain"`},
		{name: "charset", request: "POST /x/1", body: good, headers: []string{"Content-Type: application/json; charset=latin1"}, status: 415,
			detail: `the body must be application/json in UTF-8, and Content-Type says "application/json; charset=latin1"`},
		{name: "compressed", request: "POST /x/1", body: good, headers: []string{"Content-Encoding: gzip"}, status: 415,
			detail: `Content-Encoding "gzip" is not supported: send the body as it is`},
		{name: "too large", request: "POST /small/1", body: `{"name":"` + strings.Repeat("n", 40) + `"}`, status: 413, detail: "the body is larger than 40 bytes"},
		{name: "text", request: "POST /text", body: "hello", headers: []string{"Content-Type: text/plain; charset=utf-8"}, status: 200},
		{name: "JSON for text", request: "POST /text", body: `5`, headers: []string{"Content-Type: application/json"}, status: 422,
			detail: "body: want a string, got number at byte 0", fields: []FieldError{{"body", "", "want a string, got number at byte 0"}}},
		{name: "text not UTF-8", request: "POST /text", body: "\xff", status: 400, detail: "the body is not valid UTF-8"},
		{name: "null for a pointer", request: "POST /pointer", body: "null", status: 200},
		{name: "no such path", request: "GET /nowhere", status: 404, detail: "there is nothing at this path"},
		{name: "no such method", request: "PUT /text", body: "x", status: 405, detail: "this path takes POST, OPTIONS"},
		{name: "unknown method", request: "FROB /text", status: 405, detail: "this path takes POST, OPTIONS"},
		{name: "unknown method and path", request: "FROB /nowhere", status: 404, detail: "there is nothing at this path"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			method, target, _ := strings.Cut(tt.request, " ")
			headers := append([]string{"X-Who: me"}, tt.headers...)
			if tt.name == "missing header" {
				headers = nil
			}
			w := send(s, method, target, tt.body, headers...)
			if w.Code != tt.status {
				t.Fatalf("status %d, want %d: %s", w.Code, tt.status, w.Body)
			}
			if w.Code == 200 {
				return
			}
			var got problem
			if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
				t.Fatal(err)
			}
			want := problem{Type: "about:blank", Title: http.StatusText(tt.status), Status: tt.status, Detail: tt.detail, Errors: tt.fields}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
			if ct := w.Header().Get("Content-Type"); ct != "application/problem+json" {
				t.Errorf("Content-Type %q", ct)
			}
		})
	}
	if log.Len() > 0 {
		t.Errorf("clients' mistakes are in the log: %s", log)
	}
}

func TestMethods(t *testing.T) {
	big := strings.Repeat("x", 5000)
	s, _ := newTestServer(t, Config{},
		must(Endpoint("GET /a/{id}", func(ctx, struct{}) (string, error) { return big, nil })),
		must(Endpoint("DELETE /a/{id}", func(ctx, struct{}) (struct{}, error) { return struct{}{}, nil })))
	if w := send(s, "PUT", "/a/1", "x"); w.Code != 405 || w.Header().Get("Allow") != "GET, HEAD, DELETE, OPTIONS" {
		t.Errorf("PUT: %d, Allow %q", w.Code, w.Header().Get("Allow"))
	}
	if w := send(s, "OPTIONS", "/a/1", ""); w.Code != 204 || w.Header().Get("Allow") != "GET, HEAD, DELETE, OPTIONS" {
		t.Errorf("OPTIONS: %d, Allow %q", w.Code, w.Header().Get("Allow"))
	}
	if w := send(s, "HEAD", "/a/1", ""); w.Code != 200 || w.Header().Get("Content-Length") != "5000" {
		t.Errorf("HEAD: %d, Content-Length %q", w.Code, w.Header().Get("Content-Length"))
	}
	if w := send(s, "DELETE", "/a/1", ""); w.Code != 204 || w.Body.Len() != 0 {
		t.Errorf("DELETE: %d %s", w.Code, w.Body)
	}
}
