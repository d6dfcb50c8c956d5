// Package docs_test keeps the documentation true: every Go block compiles or
// stands in a file of the repository, links lead somewhere, and metrics and state
// fields are those that there are.
package docs_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A page is one document.
type page struct {
	path   string // from the root of the repository
	text   string
	blocks []block
}

// A block is a fenced part of a page.
type block struct {
	line     int    // of the fence
	language string // as "go"
	mark     string // of an HTML comment in the line before the fence
	text     string
}

// pages are all documents of the repository.
func pages(t *testing.T) []page {
	t.Helper()
	var all []page
	for _, pattern := range []string{"../*.md", "*.md"} {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			name := strings.TrimPrefix(filepath.ToSlash(filepath.Join("docs", path)), "../")
			all = append(all, page{path: name, text: string(text), blocks: blocksOf(string(text))})
		}
	}
	if len(all) < 10 {
		t.Fatalf("found %d documents, want more: the test runs in the wrong folder", len(all))
	}
	return all
}

func blocksOf(text string) []block {
	var all []block
	var open *block
	before := ""
	for i, line := range strings.Split(text, "\n") {
		trimmed := strings.TrimSpace(line)
		language, fence := strings.CutPrefix(trimmed, "```")
		switch {
		case fence && open == nil:
			open = &block{line: i + 1, language: language}
			if mark, ok := strings.CutPrefix(before, "<!--"); ok {
				open.mark = strings.TrimSpace(strings.TrimSuffix(mark, "-->"))
			}
		case fence:
			all = append(all, *open)
			open = nil
		case open != nil:
			open.text += line + "\n"
		}
		before = trimmed
	}
	return all
}

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#{1,6} +(.*)$`)
	fenced  = regexp.MustCompile("(?s)```.*?```")
)

func TestLinksLeadSomewhere(t *testing.T) {
	found := 0
	for _, p := range pages(t) {
		for _, m := range link.FindAllStringSubmatch(fenced.ReplaceAllString(p.text, ""), -1) {
			target, fragment, _ := strings.Cut(m[1], "#")
			if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
				continue
			}
			found++
			path := filepath.Join("..", p.path)
			if target != "" {
				path = filepath.Join("..", filepath.Dir(p.path), target)
			}
			text, err := os.ReadFile(path)
			if err != nil {
				if _, err := os.Stat(path); err != nil {
					t.Errorf("%s: link to %s: there is no such file", p.path, m[1])
				}
				continue
			}
			if fragment != "" && !anchors(string(text))[fragment] {
				t.Errorf("%s: link to %s: there is no such heading", p.path, m[1])
			}
		}
	}
	if found < 20 {
		t.Errorf("found %d links, want more: the test does not see them", found)
	}
}

// anchors are the names that headings get on the pages of code hosts.
func anchors(text string) map[string]bool {
	all := map[string]bool{}
	for _, m := range heading.FindAllStringSubmatch(fenced.ReplaceAllString(text, ""), -1) {
		name := strings.Map(func(r rune) rune {
			switch {
			case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '-', r == '_':
				return r
			case r >= 'A' && r <= 'Z':
				return r - 'A' + 'a'
			case r == ' ':
				return '-'
			}
			return -1
		}, m[1])
		all[name] = true
	}
	return all
}
