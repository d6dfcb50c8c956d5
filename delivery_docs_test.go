package flow_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestDeliveryDocs keeps docs/delivery.md true: each of the 145 cases has one row, which
// names the tests of the case in all packages, and no others.
func TestDeliveryDocs(t *testing.T) {
	want := map[int][]string{}
	for test, folder := range deliveryTests(t) {
		name, _, _ := strings.Cut(test, " ")
		for _, n := range caseNumbers(name) {
			want[n] = append(want[n], name+folder)
		}
	}
	doc, err := os.ReadFile(filepath.Join("docs", "delivery.md"))
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile("`(TestDelivery_\\w+)`( \\([\\w/]+\\))?")
	got := map[int][]string{}
	var cases []int
	all := 0
	for _, m := range regexp.MustCompile(`(?m)^\| (\d{3}) \|(.*)`).FindAllSubmatch(doc, -1) {
		n, _ := strconv.Atoi(string(m[1]))
		cases = append(cases, n)
		for _, test := range named.FindAllSubmatch(m[2], -1) {
			got[n] = append(got[n], string(test[1])+string(test[2]))
			all++
		}
	}
	slices.Sort(cases)
	equal(t, "cases in docs/delivery.md", cases, numbers(1, 146))
	for _, n := range cases {
		slices.Sort(got[n])
		slices.Sort(want[n])
		if !slices.Equal(got[n], want[n]) {
			t.Errorf("case %03d: docs/delivery.md names\n\t%v\nand there are\n\t%v", n, got[n], want[n])
		}
	}
	equal(t, "tests named outside of the tables", len(named.FindAll(doc, -1))-all, 0)
}

// deliveryTests finds the tests of cases. A key is the test's name and folder, a value the
// folder as docs/delivery.md has it. A module of its own counts too.
func deliveryTests(t *testing.T) map[string]string {
	t.Helper()
	tests := map[string]string{}
	pattern := regexp.MustCompile(`(?m)^func (TestDelivery_\w+)\(`)
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "testdata" || path != "." && strings.HasPrefix(d.Name(), ".")):
			return filepath.SkipDir
		case d.IsDir() || !strings.HasSuffix(path, "_test.go"):
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		folder := ""
		if dir := filepath.ToSlash(filepath.Dir(path)); dir != "." {
			folder = " (" + dir + ")"
		}
		for _, m := range pattern.FindAllSubmatch(text, -1) {
			name := string(m[1])
			if len(caseNumbers(name)) == 0 {
				t.Errorf("%s: %s has no number of a case", path, name)
			}
			tests[name+" "+folder] = folder
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return tests
}

// caseNumbers are the cases that a test covers, by its name: TestDelivery_082_083_name.
func caseNumbers(test string) (all []int) {
	for _, part := range strings.Split(strings.TrimPrefix(test, "TestDelivery_"), "_") {
		n, err := strconv.Atoi(part)
		if err != nil || len(part) != 3 {
			break
		}
		all = append(all, n)
	}
	return all
}
