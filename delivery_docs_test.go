package flow_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"testing"
)

// TestDeliveryDocs keeps docs/delivery.md true: it names each test of a case, no
// other, and each of the 145 cases once.
func TestDeliveryDocs(t *testing.T) {
	doc, err := os.ReadFile(filepath.Join("docs", "delivery.md"))
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, pattern := range []string{"*_test.go", filepath.Join("runtime", "*_test.go")} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range regexp.MustCompile(`(?m)^func (TestDelivery_\d{3}_\w+)\(`).FindAllSubmatch(text, -1) {
				want = append(want, string(m[1]))
			}
		}
	}
	got := regexp.MustCompile(`TestDelivery_\d{3}_\w+`).FindAllString(string(doc), -1)
	slices.Sort(want)
	slices.Sort(got)
	equal(t, "tests named in docs/delivery.md", got, want)

	var cases []int
	for _, m := range regexp.MustCompile(`(?m)^\| (\d{3}) \|`).FindAllSubmatch(doc, -1) {
		n, _ := strconv.Atoi(string(m[1]))
		cases = append(cases, n)
	}
	slices.Sort(cases)
	equal(t, "cases in docs/delivery.md", cases, numbers(1, 146))
}
