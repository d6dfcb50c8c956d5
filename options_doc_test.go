package flow

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

var optionRow = regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| ([^|]*) \\| ([^|]*) \\| ([^|]*) \\|")

// The table in docs/options.md has every option that there is, with its kinds and
// defaults, and no other.
func TestOptionsAreDocumented(t *testing.T) {
	text, err := os.ReadFile("docs/options.md")
	if err != nil {
		t.Fatal(err)
	}
	type row struct{ kinds, value string }
	got := map[string]row{}
	for _, m := range optionRow.FindAllStringSubmatch(string(text), -1) {
		got[m[1]] = row{strings.TrimSpace(m[3]), strings.TrimSpace(m[4])}
	}
	for _, o := range options() {
		want := documented(o)
		switch have, ok := got[o.name]; {
		case !ok:
			t.Errorf("option %s is not in docs/options.md", o.name)
		case have != row(want):
			t.Errorf("option %s: docs/options.md says %q, want %q", o.name, have, want)
		}
		delete(got, o.name)
	}
	for name := range got {
		t.Errorf("docs/options.md has an option %s that does not exist", name)
	}
}

// documented is what the table should say: one default where all kinds have the
// same, and else that of consumers first.
func documented(o option) struct{ kinds, value string } {
	var kinds, values []string
	for _, k := range o.kinds {
		s := newSettings(k, "x", "")
		s.settle()
		kinds = append(kinds, string(k))
		if v := o.get(&s.spec); len(values) == 0 || values[len(values)-1] != v {
			values = append(values, v)
		}
	}
	all := strings.Join(kinds, ", ")
	if len(kinds) == 3 {
		all = "all"
	}
	return struct{ kinds, value string }{all, strings.Join(values, ", HTTP ")}
}
