package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/flowkit-go/flow"
)

// inProcess runs the command without a process of its own.
func inProcess(args ...string) (stdout, stderr string, code int) {
	var out, errs bytes.Buffer
	code = command(args, &out, &errs)
	return out.String(), errs.String(), code
}

// Mistakes on the command line are one line that says what to do, and end with 2.
func TestMistakes(t *testing.T) {
	empty := t.TempDir()
	full := filepath.Join(empty, "full")
	if err := os.MkdirAll(filepath.Join(full, "x"), 0o755); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		args []string
		want string
	}{
		{[]string{"rum"}, `"rum" is not a command: use one of check, deploy, dlq, graph, new, pause, replay, resume, run, scale, send, simulate, tail, version`},
		{[]string{"run", "--bad"}, "unknown flag: --bad: see flow run --help"},
		{[]string{"run", "--replicas", "bill"}, "want a processor's name and a number"},
		{[]string{"run", "--replicas", "bill=0"}, "want a processor's name and a number"},
		{[]string{"run", "a", "b"}, "2 packages are given"},
		{[]string{"run", "./nope"}, "there is no folder ./nope"},
		{[]string{"run", "./..."}, "names no single package"},
		{[]string{"run", "main.go"}, "main.go is a file: give its folder, ."},
		{[]string{"run", "../../primitives"}, "is package primitives, not a program"},
		{[]string{"run", "fmt"}, "fmt does not import github.com/flowkit-go/flow"},
		{[]string{"run", empty}, "name another package"},
		{[]string{"run", "--env-file", "nope"}, "env file nope cannot be read"},
		{[]string{"check", "nope/x"}, "name another package"},
		{[]string{"dlq", "lost"}, `"lost" is not a command of dlq`},
		{[]string{"tail", "./nope", "x"}, "there is no folder ./nope"},
		{[]string{"graph", "--bad"}, "unknown flag: --bad: see flow graph --help"},
		{[]string{"version", "./nope"}, "there is no folder ./nope"},
		{[]string{"new"}, "flow new takes one name"},
		{[]string{"new", "Shop"}, `"Shop" cannot be the name of a flow`},
		{[]string{"new", "sort"}, "package of the standard library"},
		{[]string{"new", "../shop"}, "cannot be the path of a module"},
		{[]string{"new", "shop", "--dir", full}, "exists and is not empty: choose another with --dir"},
	}
	for _, tt := range tests {
		t.Run(strings.Join(tt.args, " "), func(t *testing.T) {
			stdout, stderr, code := inProcess(tt.args...)
			if code != flow.ExitUsage || stdout != "" {
				t.Errorf("exit code %d, stdout %q", code, stdout)
			}
			if strings.Count(stderr, "\n") != 1 || !strings.HasPrefix(stderr, "error: ") || !strings.Contains(stderr, tt.want) {
				t.Errorf("stderr %q, want one line with %q", stderr, tt.want)
			}
		})
	}
}

func TestNoToolchain(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, stderr, code := inProcess("run", "testdata/batch")
	if code != flow.ExitUsage || !strings.Contains(stderr, "install Go from https://go.dev/dl") {
		t.Errorf("exit code %d, %s", code, stderr)
	}
}

func TestHelp(t *testing.T) {
	stdout, stderr, code := inProcess()
	if code != flow.ExitOK || stderr != "" || !strings.Contains(stdout, "Usage:") {
		t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
	}
}

// check, graph and version are answered by the program itself, with the flags and
// the env file, and with its exit code.
func TestVerbs(t *testing.T) {
	t.Parallel()
	stdout, stderr, code := inProcess("graph", "testdata/service", "--format", "json")
	var g flow.Graph
	if err := json.Unmarshal([]byte(stdout), &g); err != nil || code != flow.ExitOK || len(g.Processors) != 5 {
		t.Errorf("graph: exit code %d, %v\n%s%s", code, err, stdout, stderr)
	}
	_, stderr, code = inProcess("graph", "testdata/service", "--format", "png")
	if code != flow.ExitUsage || !strings.Contains(stderr, "text, json, mermaid, dot") {
		t.Errorf("a format that is not known: exit code %d, %s", code, stderr)
	}
	env := filepath.Join(t.TempDir(), "env")
	if err := os.WriteFile(env, []byte("FLOW_KEEP_NUM_REPLICAS=none"), 0o644); err != nil {
		t.Fatal(err)
	}
	_, stderr, code = inProcess("check", "testdata/service", "--env-file", env)
	if code != flow.ExitUsage || !strings.Contains(stderr, "FLOW_KEEP_NUM_REPLICAS") {
		t.Errorf("check with a bad variable: exit code %d, %s", code, stderr)
	}
	stdout, _, code = inProcess("version", modulePath+"/cmd/flow/testdata/batch")
	if code != flow.ExitOK || !strings.HasPrefix(stdout, "batch ") {
		t.Errorf("version: exit code %d, %s", code, stdout)
	}
}

// A new project compiles, is formatted, and passes vet and its test, without network.
func TestNewProject(t *testing.T) {
	t.Setenv("GOPROXY", "off")
	t.Setenv("GOFLAGS", "-mod=readonly")
	dir := filepath.Join(t.TempDir(), "shop")
	if stdout, stderr, code := inProcess("new", "example.com/shop", "--dir", dir); code != flow.ExitOK {
		t.Fatalf("exit code %d\n%s%s", code, stdout, stderr)
	}
	for _, args := range [][]string{{"go", "vet", "./..."}, {"go", "test", "./..."}, {"gofmt", "-l", "."}} {
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil || args[0] == "gofmt" && len(out) > 0 {
			t.Errorf("%s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	text, err := os.ReadFile(filepath.Join(dir, "main.go"))
	if lines := bytes.Count(text, []byte("\n")); err != nil || lines > 60 {
		t.Errorf("main.go has %d lines, want no more than 60; %v", lines, err)
	}
	if stdout, stderr, code := inProcess("check", dir, "--quiet"); code != flow.ExitOK {
		t.Errorf("check: exit code %d\n%s%s", code, stdout, stderr)
	}
}
