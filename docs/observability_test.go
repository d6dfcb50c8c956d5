package docs_test

import (
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/flowkit-go/flow"
)

var (
	described = regexp.MustCompile(`desc\("(flow_[a-z_]+)", "[^"]*"((?:, [a-z"]+)*)\)`)
	metricRow = regexp.MustCompile("(?m)^\\| `(flow_[a-z_]+)` \\| ([^|]*) \\|")
)

// Every metric stands in the table, with its labels, and nothing else does.
func TestMetricsAreDocumented(t *testing.T) {
	source, err := os.ReadFile("../runtime/metrics.go")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	for _, m := range described.FindAllStringSubmatch(string(source), -1) {
		var labels []string
		for _, l := range strings.Split(strings.TrimPrefix(m[2], ", "), ", ") {
			switch l {
			case "p":
				l = "processor"
			case "part":
				l = "partition"
			}
			labels = append(labels, strings.Trim(l, `"`))
		}
		want[m[1]] = strings.Join(labels, ", ")
	}
	if len(want) < 15 {
		t.Fatalf("found %d metrics in metrics.go, want more: the test does not see them", len(want))
	}
	text := read(t, "observability.md")
	got := map[string]string{}
	for _, m := range metricRow.FindAllStringSubmatch(text, -1) {
		got[m[1]] = strings.ReplaceAll(strings.TrimSpace(m[2]), "`", "")
	}
	for name, labels := range want {
		if l, ok := got[name]; !ok {
			t.Errorf("metric %s is not in observability.md", name)
		} else if l != labels {
			t.Errorf("metric %s has the labels %q, observability.md says %q", name, labels, l)
		}
	}
	for name := range got {
		if _, ok := want[name]; !ok {
			t.Errorf("observability.md has a metric %s that does not exist", name)
		}
	}
}

// Every field of /state is named.
func TestStateIsDocumented(t *testing.T) {
	text := read(t, "observability.md")
	n := 0
	var walk func(reflect.Type)
	walk = func(typ reflect.Type) {
		for typ.Kind() == reflect.Slice || typ.Kind() == reflect.Pointer {
			typ = typ.Elem()
		}
		if typ.Kind() != reflect.Struct || typ.PkgPath() == "time" {
			return
		}
		for f := range typ.Fields() {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			n++
			if !strings.Contains(text, "`"+name+"`") {
				t.Errorf("the field %s of %s is not in observability.md", name, typ)
			}
			walk(f.Type)
		}
	}
	walk(reflect.TypeFor[flow.Snapshot]())
	if n < 30 {
		t.Errorf("found %d fields, want more: the test does not see them", n)
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
