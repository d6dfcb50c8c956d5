package main

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestScope(t *testing.T) {
	mine := &listedModule{Path: "shop", Main: true, GoMod: "/shop/go.mod"}
	beside := &listedModule{Path: "beside", GoMod: "/beside/go.mod", Replace: &listedModule{Path: "../beside"}}
	pinned := &listedModule{Path: "pinned", GoMod: "/cache/pinned/go.mod", Replace: &listedModule{Path: "fork", Version: "v1.0.0"}}
	s := newScope([]listed{
		{Dir: "/shop", Module: mine, EmbedFiles: []string{"schema.sql", "pages/a.html", "pages/in/b.html"}, EmbedPatterns: []string{"schema.sql", "all:pages"}},
		{Dir: "/shop/price", Module: mine},
		{Dir: "/beside", Module: beside},
		{Dir: "/cache/pinned", Module: pinned},
		{Dir: "/cache/other", Module: &listedModule{Path: "other", GoMod: "/cache/other/go.mod"}},
	}, "/src/.env")
	for file, want := range map[string]bool{
		"/shop/main.go":             true,
		"/shop/new.go":              true,
		"/shop/price/price.s":       true,
		"/shop/price/price_test.go": false,
		"/shop/price/notes.txt":     false,
		"/shop/.main.go.swp":        false,
		"/shop/.#main.go":           false,
		"/shop/main.go~":            false,
		"/shop/_old.go":             false,
		"/shop/tools/main.go":       false, // not built
		"/shop/go.mod":              true,
		"/shop/go.sum":              true,
		"/shop/schema.sql":          true,
		"/shop/other.sql":           false,
		"/shop/pages/a.html":        true,
		"/shop/pages/new.html":      true,
		"/shop/pages/in/new.html":   true,
		"/shop/pages/.a.html.swp":   false,
		"/shop/.flow/flow.db":       false,
		"/beside/beside.go":         true,
		"/cache/pinned/pinned.go":   false,
		"/cache/other/other.go":     false,
		"/src/.env":                 true,
		"/src/main.go":              false,
	} {
		if got := s.matters(file); got != want {
			t.Errorf("%s matters: %v, want %v", file, got, want)
		}
	}
	want := []string{"/beside", "/shop", "/shop/pages", "/shop/pages/in", "/shop/price", "/src"}
	if diff := cmp.Diff(want, s.folders()); diff != "" {
		t.Errorf("folders (-want +got):\n%s", diff)
	}
}

// Changes that come together are told together, also of a file that is replaced.
func TestWatcherCollects(t *testing.T) {
	dir := t.TempDir()
	mine := &listedModule{Path: "shop", Main: true, GoMod: filepath.Join(dir, "go.mod")}
	w, err := watch(newScope([]listed{{Dir: dir, Module: mine}}))
	if err != nil {
		t.Fatal(err)
	}
	defer w.close()
	write := func(name string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte("package main"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("notes.txt")
	write("a.go")
	write("b.tmp")
	if err := os.Rename(filepath.Join(dir, "b.tmp"), filepath.Join(dir, "b.go")); err != nil {
		t.Fatal(err)
	}
	got := <-w.changes
	slices.Sort(got)
	want := []string{filepath.Join(dir, "a.go"), filepath.Join(dir, "b.go")}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
	if err := os.Remove(filepath.Join(dir, "a.go")); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want[:1], <-w.changes); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
}
