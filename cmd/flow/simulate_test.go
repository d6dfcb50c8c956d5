package main

import (
	"encoding/xml"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flowkit-go/flow"
)

// The tables in the documentation are what the commands above them print.
func TestSimulateTablesInDocsAreTrue(t *testing.T) {
	page, err := os.ReadFile("../../docs/autoscaling.md")
	if err != nil {
		t.Fatal(err)
	}
	tables := regexp.MustCompile(`(?s)<!-- begin: flow (simulate [^>]*) -->\n(.*?)<!-- end -->`).FindAllStringSubmatch(string(page), -1)
	if len(tables) < 3 {
		t.Fatalf("docs/autoscaling.md has %d tables between <!-- begin: flow simulate ... --> and <!-- end -->, want 3", len(tables))
	}
	for _, table := range tables {
		stdout, stderr, code := inProcess(strings.Fields(table[1])...)
		if code != flow.ExitOK || stderr != "" {
			t.Fatalf("exit code %d: %s", code, stderr)
		}
		if diff := cmp.Diff(strings.TrimSpace(table[2]), strings.TrimSpace(stdout)); diff != "" {
			t.Errorf("a table in docs/autoscaling.md is not what go run ./cmd/flow %s prints: put that there (-docs +printed)\n%s", table[1], diff)
		}
	}
}

func TestSimulateFile(t *testing.T) {
	dir := t.TempDir()
	load, plot := filepath.Join(dir, "monday.csv"), filepath.Join(dir, "monday.svg")
	if err := os.WriteFile(load, []byte("seconds,rate\n0,100\n600,900\n1200,100\n1800,0\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	stdout, stderr, code := inProcess("simulate", load, "--policy", "flow,keda", "--svg", plot, "--reasons")
	if code != flow.ExitOK || stderr != "" {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	for _, want := range []string{"monday flow ", ": 1 -> ", "seconds over", "replica-seconds", "keda"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("no %q in\n%s", want, stdout)
		}
	}
	for _, bad := range []string{"hpa", "buildflow", "ramp"} {
		if strings.Contains(stdout, bad) {
			t.Errorf("%q in\n%s", bad, stdout)
		}
	}
	drawn, err := os.ReadFile(plot)
	if err != nil {
		t.Fatal(err)
	}
	if err := xml.Unmarshal(drawn, new(struct{})); err != nil || !strings.Contains(string(drawn), "monday") {
		t.Errorf("the plot: %v\n%s", err, drawn)
	}
}

// Each flag reaches what it is for: with it, something else is printed.
func TestSimulateFlagsCount(t *testing.T) {
	base := []string{"simulate", "--trace", "spikes,on-off", "--backlog", "20000"}
	plain, _, _ := inProcess(base...)
	for _, args := range [][]string{
		{"--burn-threshold", "20s"}, {"--cpu-target", "60"}, {"--frequency", "15s"}, {"--min", "4"}, {"--max", "12"}, {"--start", "6"},
		{"--down-window", "30s"}, {"--cooldown", "10m"}, {"--capacity", "33"}, {"--cpu", "40"}, {"--start-delay", "45s"}, {"--backlog", "1"},
		{"--peak", "300"}, {"--length", "30m"}, {"--seed", "2"}, {"--hpa-target", "30"}, {"--keda-lag", "100"}, {"--keda-polling", "30s"}, {"--exact"},
		{"--policy", "hpa"}, {"--trace", "ramp"}, {"--markdown"}, {"--reasons"},
	} {
		t.Run(args[0], func(t *testing.T) {
			stdout, stderr, code := inProcess(append(base[:len(base):len(base)], args...)...)
			if code != flow.ExitOK || stderr != "" {
				t.Fatalf("exit code %d: %s", code, stderr)
			}
			if stdout == plain {
				t.Errorf("%v changes nothing", args)
			}
		})
	}
}

func TestSimulateMistakes(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	bad := write("bad.csv", "0,100\n60,lots\n")
	short := write("short.csv", "0,100\n")
	for _, tc := range []struct {
		args []string
		want string
	}{
		{[]string{bad}, `bad.csv:2:4: rate is "lots", want a number: records per second`},
		{[]string{short}, "its last row ends the trace, add one with the time of its end, or use --length"},
		{[]string{filepath.Join(dir, "nope.csv")}, "name a CSV file, or generate a load with --trace step,ramp"},
		{[]string{"--trace", "sine"}, `trace "sine" is not known, want one of step, ramp`},
		{[]string{"--policy", "vpa"}, `--policy has "vpa", want some of flow, buildflow, hpa, keda`},
		{[]string{"--policy", ""}, "--policy names none, want some of flow, buildflow, hpa, keda"},
		{[]string{"--min", "0"}, "min_replicas is 0, want at least 1"},
		{[]string{"--capacity", "0"}, "capacity is 0, want records per second of one replica"},
		{[]string{"--length", "1ms"}, "its length is 1ms, want it from 1s"},
		{[]string{"--length", "-5m"}, "--length is -5m0s, want it from 1s"},
		{[]string{"--peak", "-1"}, "the peak is -1"},
		{[]string{"--svg", filepath.Join(dir, "no", "x.svg"), "--trace", "step"}, "--svg: open "},
		{[]string{"--bad"}, "unknown flag: --bad: see flow simulate --help"},
	} {
		t.Run(strings.Join(tc.args, " "), func(t *testing.T) {
			stdout, stderr, code := inProcess(append([]string{"simulate"}, tc.args...)...)
			if code != flow.ExitUsage || stdout != "" {
				t.Errorf("exit code %d, stdout %q", code, stdout)
			}
			if !strings.HasPrefix(stderr, "error: ") || !strings.Contains(stderr, tc.want) {
				t.Errorf("stderr %q, want %q", stderr, tc.want)
			}
		})
	}

	// One row is enough when the length is given.
	if _, stderr, code := inProcess("simulate", short, "--length", "10m"); code != flow.ExitOK {
		t.Errorf("exit code %d: %s", code, stderr)
	}
}
