package docs_test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/flowkit-go/flow"

// TestImportArrows checks what packages import of Flow itself: see design.md. Tests
// may import more.
func TestImportArrows(t *testing.T) {
	allowed := map[string][]string{
		"":                         {"autoscale", "primitives", "runtime", "runtime/web"},
		"autoscale":                {},
		"primitives":               {},
		"primitives/primitivetest": {"primitives"},
		"runtime":                  {"autoscale", "primitives", "runtime/web"},
		"runtime/web":              {"primitives"},
		"flowtest":                 {"", "primitives", "primitives/memory"},
	}
	list := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Imports", "./...")
	list.Dir = ".."
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		name := short(p.ImportPath)
		may, ruled := allowed[name]
		if !ruled && strings.HasPrefix(name, "primitives/") {
			may, ruled = []string{"primitives"}, true
		}
		if !ruled {
			continue
		}
		seen++
		for _, i := range p.Imports {
			if i != module && !strings.HasPrefix(i, module+"/") {
				continue
			}
			if !slices.Contains(may, short(i)) && !strings.HasPrefix(short(i), name+"/internal") {
				t.Errorf("%s imports %s, and may import only %q of Flow", p.ImportPath, i, may)
			}
		}
	}
	if seen < 10 {
		t.Errorf("found %d packages, want more: the test does not see them", seen)
	}
}

func short(path string) string { return strings.TrimPrefix(strings.TrimPrefix(path, module), "/") }
