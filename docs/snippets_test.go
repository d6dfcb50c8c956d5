package docs_test

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A Go block that begins with "package" is a file: it is compiled, in a package of
// its own or, with the mark "package: NAME", in one with the others of that name,
// whose tests are run.
// With the mark "file: PATH" it is the whole of that file. Any other Go block is a
// part of some file of the repository, whatever its indentation.
func TestGoBlocksCompile(t *testing.T) {
	source := sources(t)
	overlay := map[string]string{} // path in the module -> file with the content
	module, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	packages := map[string]bool{} // to whether it has tests
	n := 0
	for _, p := range pages(t) {
		for _, b := range p.blocks {
			if b.language != "go" {
				continue
			}
			n++
			at := fmt.Sprintf("%s:%d", p.path, b.line)
			if path, ok := strings.CutPrefix(b.mark, "file: "); ok {
				if got := source[path]; got != b.text {
					t.Errorf("%s: the block is not the file %s", at, path)
				}
				continue
			}
			if !strings.HasPrefix(b.text, "package ") && !strings.HasPrefix(b.text, "// ") || !strings.Contains(b.text, "package ") {
				if !containsBlock(source, b.text) {
					t.Errorf("%s: the block is no whole file, and no file of the repository has it", at)
				}
				continue
			}
			name := fmt.Sprintf("block%d", n)
			if group, ok := strings.CutPrefix(b.mark, "package: "); ok {
				name = group
			}
			file := fmt.Sprintf("block%d.go", n)
			if strings.Contains(b.text, `"testing"`) {
				file = fmt.Sprintf("block%d_test.go", n)
			}
			content := filepath.Join(dir, file)
			// a //line directive makes the compiler name the document
			if err := os.WriteFile(content, []byte(fmt.Sprintf("//line %s:%d\n%s", p.path, b.line+1, b.text)), 0o644); err != nil {
				t.Fatal(err)
			}
			overlay[filepath.Join(module, "docs", "testdata", name, file)] = content
			packages["./docs/testdata/"+name] = packages["./docs/testdata/"+name] || strings.HasSuffix(file, "_test.go")
		}
	}
	if len(packages) == 0 {
		t.Fatal("found no Go block that is a whole file")
	}
	replace, err := json.Marshal(map[string]any{"Replace": overlay})
	if err != nil {
		t.Fatal(err)
	}
	overlayFile := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(overlayFile, replace, 0o644); err != nil {
		t.Fatal(err)
	}
	build := []string{"list", "-export", "-overlay=" + overlayFile} // compiles and does not link
	for name := range packages {
		build = append(build, name)
	}
	run(t, module, "go", build...)
	for name, tests := range packages {
		if tests { // vet and the test itself would run in a folder that does not exist
			program := filepath.Join(dir, "snippet.test")
			if run(t, module, "go", "test", "-c", "-vet=off", "-overlay="+overlayFile, "-o", program, name) {
				run(t, dir, program)
			}
		}
	}
}

// run runs a command, whose failure is one of the test.
func run(t *testing.T, dir, name string, args ...string) bool {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%s: %v\n%s", strings.Join(cmd.Args, " "), err, out)
	}
	return err == nil
}

// sources are the Go files of the repository, and the templates of new projects as
// they are filled in for one named shop.
func sources(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir("..", func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := filepath.ToSlash(strings.TrimPrefix(path, ".."+string(filepath.Separator)))
		if e.IsDir() && path != ".." && strings.HasPrefix(e.Name(), ".") {
			return filepath.SkipDir
		}
		if e.IsDir() || !strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, ".go.tmpl") {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		all[name] = strings.ReplaceAll(string(text), "{{.Name}}", "shop")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func containsBlock(source map[string]string, text string) bool {
	want := trimLines(text)
	for _, s := range source {
		if strings.Contains(trimLines(s), want) {
			return true
		}
	}
	return false
}

// trimLines takes away the blanks around each line.
func trimLines(text string) string {
	lines := strings.Split(strings.Trim(text, "\n"), "\n")
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	return "\n" + strings.Join(lines, "\n") + "\n"
}
