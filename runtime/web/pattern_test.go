package web

import (
	"net/http"
	"strings"
	"testing"

	"github.com/go-chi/chi/v5"
	"github.com/google/go-cmp/cmp"
)

func TestParsePattern(t *testing.T) {
	tests := []struct {
		pattern   string
		wildcards []string
		err       string // a part of it
	}{
		{pattern: "GET /"},
		{pattern: "POST /orders/{id}", wildcards: []string{"id"}},
		{pattern: "PUT  /a/{x}-{y}.json", wildcards: []string{"x", "y"}},
		{pattern: "DELETE /days/{day:[0-9]{4}-[0-9]{2}}", wildcards: []string{"day"}},
		{pattern: "GET /files/*", wildcards: []string{"*"}},
		{pattern: "GET /größe/{n}/", wildcards: []string{"n"}},
		{pattern: "/orders", err: `has no method: write "GET /orders"`},
		{pattern: "", err: `position 1: want a method, one of GET, POST`},
		{pattern: "FETCH /x", err: "position 1: want a method"},
		{pattern: "get /x", err: "write the method as GET"},
		{pattern: "HEAD /x", err: "write GET in place of HEAD"},
		{pattern: "OPTIONS /x", err: "OPTIONS is answered"},
		{pattern: "GET x", err: `position 5: the path must start with "/"`},
		{pattern: "GET", err: `position 4: the path must start with "/"`},
		{pattern: "GET /a/{id", err: `position 8: "{" is not closed`},
		{pattern: "GET /a}", err: `position 7: "}" without "{"`},
		{pattern: "GET /{}", err: "wildcard {}: the name must be"},
		{pattern: "GET /{1a}", err: "wildcard {1a}: the name must be"},
		{pattern: "GET /{a-b}", err: "wildcard {a-b}: the name must be"},
		{pattern: "GET /{a}/{a}", err: "position 10: wildcard {a} is used twice"},
		{pattern: "GET /{a}{b}", err: "position 9: two wildcards need something between them"},
		{pattern: "GET /{a}*", err: "position 9: two wildcards"},
		{pattern: "GET /*/x", err: `position 6: "*" stands for the rest`},
		{pattern: "GET /{a:}", err: "wildcard a: no regular expression"},
		{pattern: "GET /{a:(}", err: "wildcard a: error parsing regexp"},
		{pattern: "GET /{a:x/y}", err: `never matches "/"`},
		{pattern: "GET /a//b", err: "position 7: empty segment"},
		{pattern: "GET /a/../b", err: `clients resolve ".."`},
		{pattern: "GET /a b", err: `position 7: " " cannot be in a path`},
		{pattern: "GET /a?b=c", err: `"?" cannot be in a path`},
		{pattern: "GET /a%20b", err: `"%" cannot be in a path`},
		{pattern: "GET /\xff", err: "not valid UTF-8"},
	}
	for _, tt := range tests {
		p, err := ParsePattern(tt.pattern)
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("ParsePattern(%q): error %v, want one with %q", tt.pattern, err, tt.err)
			}
			continue
		}
		if err != nil {
			t.Errorf("ParsePattern(%q): %v", tt.pattern, err)
			continue
		}
		if diff := cmp.Diff(tt.wildcards, p.Wildcards()); diff != "" {
			t.Errorf("ParsePattern(%q) wildcards: %s", tt.pattern, diff)
		}
	}
}

func TestConflicts(t *testing.T) {
	tests := []struct {
		a, b string
		want bool
	}{
		{"GET /a/{x}", "GET /a/{y}", true},
		{"GET /a", "GET /a", true},
		{"GET /a/{x:[0-9]+}", "GET /a/{y:[0-9]+}", true},
		{"GET /a/{x}", "POST /a/{x}", false},
		{"GET /a/{x}", "GET /a/b", false},
		{"GET /a/{x}", "GET /a/*", false},
		{"GET /a/{x}", "GET /a/{x}/", false},
		{"GET /a/{x:[0-9]+}", "GET /a/{x}", false},
	}
	for _, tt := range tests {
		a, b := must(ParsePattern(tt.a)), must(ParsePattern(tt.b))
		if got := Conflicts(a, b); got != tt.want {
			t.Errorf("Conflicts(%s, %s) = %t, want %t", tt.a, tt.b, got, tt.want)
		}
	}
}

// An alternative at the top of an expression is anchored on both sides.
func TestWildcardExpressionMatchesInFull(t *testing.T) {
	rt := must(Endpoint("GET /{kind:cat|dog}", func(_ ctx, in struct {
		Kind string `path:"kind"`
	}) (string, error) {
		return in.Kind, nil
	}))
	s, _ := newTestServer(t, Config{}, rt)
	for path, want := range map[string]int{"/cat": 200, "/dog": 200, "/catfish": 404, "/hotdog": 404} {
		if got := send(s, "GET", path, "").Code; got != want {
			t.Errorf("GET %s: %d, want %d", path, got, want)
		}
	}
}

func FuzzParsePattern(f *testing.F) {
	for _, s := range []string{"GET /", "POST /a/{id}", "PUT /{a:[0-9]+}/{b}.json", "GET /f/*", "GET /{a", "DELETE /x}", "GET /{a:{b}}", "GET /{a:b*}-{c}/*"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ParsePattern(s)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "web: pattern ") {
				t.Fatalf("error does not name the pattern: %v", err)
			}
			return
		}
		if !Conflicts(p, p) {
			t.Fatalf("%q does not conflict with itself", s)
		}
		again, err := ParsePattern(p.String())
		if err != nil || again.String() != p.String() {
			t.Fatalf("%q is %q when read again: %v", p, again, err)
		}
		mux := chi.NewMux()
		mux.Get("/a/{other}", http.NotFound) // so that the tree is split
		mux.Method(p.Method, p.route, http.NotFoundHandler())
		mux.Method(p.Method, p.route, http.NotFoundHandler())
	})
}
