package web

import (
	"strings"
	"testing"
	"time"
)

type paging struct {
	Limit int `query:"limit" default:"10"`
}

func TestNewBinderErrors(t *testing.T) {
	tests := []struct {
		name string
		make func() error
		want []string
	}{
		{"no such wildcard", binder[struct {
			ID string `path:"order"`
		}]("GET /orders/{id}"), []string{"GET /orders/{id}", "field ID: the pattern has no wildcard {order}, only id"}},
		{"no wildcard at all", binder[struct {
			ID string `path:"id"`
		}]("GET /orders"), []string{"only none at all"}},
		{"two sources", binder[struct {
			ID string `path:"id" query:"id"`
		}]("GET /orders/{id}"), []string{"field ID: comes from both path and query"}},
		{"type", binder[struct {
			C chan int       `query:"c"`
			M map[string]int `header:"M"`
			L []string       `path:"id"`
		}]("GET /orders/{id}"), []string{"field C: a query value cannot become a chan int", "field M: a header value", "field L: a path value"}},
		{"body field on GET", binder[struct{ Name string }]("GET /orders"),
			[]string{"field Name: has no path, query or header tag, and GET has no body"}},
		{"body on DELETE", binder[map[string]int]("DELETE /orders"), []string{"DELETE has no body to read a map[string]int from"}},
		{"same name twice", binder[struct {
			A string `header:"x-id"`
			B string `header:"X-ID"`
		}]("GET /orders"), []string{"field B: header X-ID is bound to field A already"}},
		{"default of the wrong type", binder[struct {
			N int `query:"n" default:"many"`
		}]("GET /orders"), []string{`field N: default: want an integer, got "many"`}},
		{"default and required", binder[struct {
			N int `query:"n" default:"1" required:"true"`
		}]("GET /orders"), []string{"field N: has a default and is required"}},
		{"required spelled otherwise", binder[struct {
			N int `query:"n" required:"yes"`
		}]("GET /orders"), []string{`field N: the required tag is "true" or left out, got "yes"`}},
		{"required path", binder[struct {
			N int `path:"id" required:"true"`
		}]("GET /orders/{id}"), []string{"field N: a path value is always there"}},
		{"not exported", binder[struct {
			n int `query:"n"` //lint:ignore U1000 the tag is what is wrong
		}]("GET /orders"), []string{"field n: is not exported"}},
		{"empty name", binder[struct {
			N int `query:""`
		}]("GET /orders"), []string{`field N: the query tag must be one name, got ""`}},
		{"pointer embedded", binder[struct{ *paging }]("GET /orders"), []string{"field paging: embed web.paging itself"}},
		{"default on an object", binder[struct {
			When struct{} `default:"x"`
		}]("POST /orders"), []string{"field When: a default cannot become a struct {}"}},
		{"JSON cannot carry it", binder[struct{ F func() }]("POST /orders"), []string{"field F has type func()"}},
		{"output", func() error { _, err := NewReply[chan int](); return err }, []string{"output chan int"}},
		{"nil handler", func() error { _, err := Endpoint[struct{}, string]("GET /x", nil); return err }, []string{"GET /x: the handler is nil"}},
		{"nil collector", func() error { _, err := Collector[string]("POST /x", nil); return err }, []string{"POST /x: the handler is nil"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.make()
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q has no %q", err, want)
				}
			}
		})
	}
}

func binder[In any](pattern string) func() error {
	return func() error {
		_, err := NewBinder[In](must(ParsePattern(pattern)))
		return err
	}
}

func TestNewBinderAccepts(t *testing.T) {
	for name, make := range map[string]func() error{
		"nothing":          binder[struct{}]("GET /x"),
		"unbound wildcard": binder[struct{}]("GET /x/{id}"),
		"left out": binder[struct {
			Cache map[string]int `json:"-"`
		}]("GET /x"),
		"embedded":       binder[struct{ paging }]("GET /x"),
		"time as a body": binder[time.Time]("POST /x"),
		"pointer":        binder[*struct{ A int }]("POST /x"),
		"rest of path": binder[struct {
			Path string `path:"*"`
		}]("GET /x/*"),
		"body and header": binder[struct {
			A int
			B string `header:"B"`
		}]("PUT /x"),
	} {
		if err := make(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
