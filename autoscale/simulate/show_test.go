package simulate

import (
	"bytes"
	"encoding/xml"
	"flag"
	"io"
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write golden files")

// golden compares with a file under testdata, or writes it.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := "testdata/" + name
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Error(diff)
	}
}

var shown = []Result{
	{Trace: "a", Policy: "flow", Length: time.Hour, Over: 35 * time.Second, ReplicaSeconds: 7200, Resizes: 3, PeakBurn: 61.4},
	{Trace: "a", Policy: "hpa", Length: time.Hour, Over: 1200 * time.Second, ReplicaSeconds: 1234567, Resizes: 40, PeakBurn: math.Inf(1), Left: 1000},
	{Trace: "b", Policy: "flow", Length: 2 * time.Hour, ReplicaSeconds: 14400, PeakBurn: 0.25},
	{Trace: "b", Policy: "hpa", Length: 2 * time.Hour, ReplicaSeconds: 999, Resizes: 1},
}

func TestTable(t *testing.T) {
	var b bytes.Buffer
	if err := WriteTable(&b, shown); err != nil {
		t.Fatal(err)
	}
	golden(t, "table.txt", b.Bytes())
}

func TestMarkdown(t *testing.T) {
	var b bytes.Buffer
	if err := WriteMarkdown(&b, shown); err != nil {
		t.Fatal(err)
	}
	want := `| trace | flow | hpa |
|---|--:|--:|
| a | 35 / 7,200 / 3 | 1,200 / 1,234,567 / 40 |
| b | 0 / 14,400 / 0 | 0 / 999 / 1 |
| all | 35 / 21,600 / 3 | 1,200 / 1,235,566 / 41 |
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Error(diff)
	}
}

// The plot is well-formed, has everything that a reader needs, and no coordinate that
// is not a number.
func TestSVG(t *testing.T) {
	o := Defaults()
	traces := generated(t, o, 10, 1)
	traces[0].Name = "<step> & back"
	var b bytes.Buffer
	if err := WriteSVG(&b, compare(t, traces, o), o); err != nil {
		t.Fatal(err)
	}
	text := b.String()
	var words []string
	for d := xml.NewDecoder(&b); ; {
		token, err := d.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if chars, ok := token.(xml.CharData); ok {
			words = append(words, strings.TrimSpace(string(chars)))
		}
	}
	all := strings.Join(words, "\n")
	for _, want := range []string{
		"<step> & back", "records per second that arrive", "burn time in seconds", "replicas", "threshold 60",
		"flow: ", "buildflow: ", "hpa: ", "keda: ", "time (h:mm:ss)", "0:30:00", "grey: attempts fail", "slow-downstream",
	} {
		if !strings.Contains(all, want) {
			t.Errorf("no %q in the plot", want)
		}
	}
	for _, bad := range []string{"NaN", "Inf", "%!"} {
		if strings.Contains(text, bad) {
			t.Errorf("%q in the plot", bad)
		}
	}
	// three panels of each trace have 1 + 4 + 4 lines
	if got, want := strings.Count(text, "<path"), len(traces)*(1+2*len(Policies())); got != want {
		t.Errorf("%d lines, want %d", got, want)
	}
}

func TestSVGOfNothing(t *testing.T) {
	for _, results := range [][]Result{nil, {{Trace: "empty", Policy: "flow", Length: time.Second}}} {
		var b bytes.Buffer
		if err := WriteSVG(&b, results, Defaults()); err != nil {
			t.Fatal(err)
		}
		if err := xml.Unmarshal(b.Bytes(), new(struct{})); err != nil || strings.Contains(b.String(), "NaN") {
			t.Errorf("error %v in %s", err, b.String())
		}
	}
}

func TestScales(t *testing.T) {
	for v, want := range map[float64]float64{0: 4, math.NaN(): 4, 1: 1, 9: 10, 11: 12, 100: 100, 101: 120, 0.013: 0.016, 65: 80} {
		if got := niceTop(v); math.Abs(got-want) > 1e-9 {
			t.Errorf("top of %v is %v, want %v", v, got, want)
		}
	}
	for v, want := range map[float64]string{0: "0", 0.25: "0.25", 1500: "1500", 10000: "10k", 2.5e6: "2.5M", 1e12: "1000G"} {
		if got := axis(v); got != want {
			t.Errorf("%v is written %s, want %s", v, got, want)
		}
	}
	if got := duration(math.Inf(1)); got != "for ever" {
		t.Errorf("infinite is written %s", got)
	}
}
