package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	goruntime "runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/flowkit-go/flow"
)

// modulePath is what a program with a flow imports.
const modulePath = "github.com/flowkit-go/flow"

// A target is the package that the user named.
type target struct {
	dir string // where the go command runs
	pkg string // the package, as seen from dir
	arg string // as the user wrote it
}

// newTarget resolves a folder, which may belong to any module, or an import path.
func newTarget(arg string) (target, error) {
	if strings.HasPrefix(arg, "-") || strings.Contains(arg, "...") {
		return target{}, usagef("%q names no single package: give a folder, as ./examples/quakes, or an import path", arg)
	}
	info, err := os.Stat(arg)
	switch {
	case err == nil && info.IsDir():
		dir, err := filepath.Abs(arg)
		return target{dir: dir, pkg: ".", arg: arg}, err
	case err == nil:
		return target{}, usagef("%s is a file: give its folder, %s", arg, filepath.Dir(arg))
	case arg[0] == '.' || filepath.IsAbs(arg):
		return target{}, usagef("there is no folder %s: give that of a main package, or an import path", arg)
	}
	return target{dir: ".", pkg: arg, arg: arg}, nil
}

// A listed package is what the go command tells about one that is built.
type listed struct {
	ImportPath, Name, Dir     string
	Standard, DepOnly         bool
	EmbedFiles, EmbedPatterns []string
	Module                    *listedModule
}

type listedModule struct {
	Path, Version, Dir, GoMod, GoVersion string
	Main                                 bool
	Replace                              *listedModule
}

// local reports whether the package's source belongs to the user: to a main
// module or to one that a folder replaces.
func (p listed) local() bool {
	return p.Module != nil && (p.Module.Main || p.Module.Replace != nil && p.Module.Replace.Version == "")
}

// A build is a program that was built and, with inspect, what it says of itself.
type build struct {
	path  string
	sum   [sha256.Size]byte
	took  time.Duration
	deps  []listed
	root  listed
	verbs bool        // it calls flow.Main, and so knows run, check and graph
	graph flow.Graph  // empty without verbs
	env   environment // in which it was checked and runs
	kafka string      // address of the local broker that it uses; "" for none
}

// A buildError is a package that cannot be run. Its text is what the compiler or
// the program said.
type buildError struct{ output, hint string }

func (e *buildError) Error() string { return e.output }

// A builder builds one package again and again.
type builder struct {
	target target
	temp   string // folder for programs
	flags  []string
	n      int
}

// newBuilder makes a temporary folder; the caller calls close.
func newBuilder(t target, flags ...string) (*builder, error) {
	if _, err := exec.LookPath("go"); err != nil {
		return nil, usagef("the go command was not found: install Go from https://go.dev/dl and put it in PATH")
	}
	temp, err := os.MkdirTemp(os.Getenv("GOTMPDIR"), "flow-")
	if err != nil {
		return nil, fmt.Errorf("folder for the program: %w: set TMPDIR to one that can be written", err)
	}
	return &builder{target: t, temp: temp, flags: flags}, nil
}

// forget removes a program that will not run again.
func (b *build) forget() { _ = os.RemoveAll(filepath.Dir(b.path)) }

func (b *builder) close() { _ = os.RemoveAll(b.temp) }

// build compiles the package. Errors are *buildError when the source is wrong; the
// packages that it depends on are returned all the same, as far as they are known.
func (b *builder) build(ctx context.Context) (*build, error) {
	b.n++
	began := time.Now()
	out := &build{path: filepath.Join(b.temp, fmt.Sprint(b.n), "program")}
	var listErr error
	var listing sync.WaitGroup
	listing.Go(func() { out.deps, listErr = b.list(ctx) })
	args := append([]string{"build", "-o", out.path}, b.flags...)
	_, err := b.goCommand(ctx, append(args, "--", b.target.pkg)...)
	listing.Wait()
	out.took = time.Since(began)
	if ctx.Err() != nil {
		return out, context.Cause(ctx)
	}
	for _, p := range out.deps {
		if !p.DepOnly {
			out.root = p
		}
	}
	switch {
	case out.root.Name != "" && out.root.Name != "main":
		return out, &buildError{output: fmt.Sprintf("%s is package %s, not a program", b.target.arg, out.root.Name),
			hint: "give the folder of a package main that calls flow.Main"}
	case err != nil:
		return out, err
	case listErr != nil:
		return out, listErr
	case !slices.ContainsFunc(out.deps, func(p listed) bool { return p.ImportPath == modulePath }):
		return out, &buildError{output: fmt.Sprintf("%s does not import %s", b.target.arg, modulePath),
			hint: "give a program whose main function calls flow.Main"}
	}
	if out.path, err = named(out.path, out.root); err != nil {
		return out, err
	}
	return out, out.read()
}

// named gives the program the name of its folder, so that it is recognised in a
// list of processes.
func named(path string, root listed) (string, error) {
	name := filepath.Base(root.Dir)
	if goruntime.GOOS == "windows" {
		name += ".exe"
	}
	better := filepath.Join(filepath.Dir(path), name)
	return better, os.Rename(path, better)
}

// mainName is in the function table of each program that calls flow.Main, also of
// one without symbols. A program that does not might take "check" for a file, or
// run its flow whatever it is told: it is never asked.
var mainName = []byte(modulePath + ".(*Flow).main")

// read looks at what was built.
func (b *build) read() error {
	content, err := os.ReadFile(b.path)
	if err != nil {
		return err
	}
	b.sum = sha256.Sum256(content)
	b.verbs = bytes.Contains(content, mainName)
	return nil
}

// needVerbs returns an error for a program that does not call flow.Main.
func (b *build) needVerbs(what string) error {
	if b.verbs {
		return nil
	}
	return &buildError{output: fmt.Sprintf("%s does not call flow.Main, which %s needs", b.root.ImportPath, what),
		hint: "call it in the main function"}
}

// list asks for the packages that are built, without the standard library.
func (b *builder) list(ctx context.Context) ([]listed, error) {
	out, err := b.goCommand(ctx, "list", "-e", "-deps",
		"-json=ImportPath,Name,Dir,Standard,DepOnly,EmbedFiles,EmbedPatterns,Module", "--", b.target.pkg)
	if err != nil {
		return nil, err
	}
	var deps []listed
	for in := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := in.Decode(&p); err == io.EOF {
			return deps, nil
		} else if err != nil {
			return nil, fmt.Errorf("read what go list says: %w", err)
		}
		if !p.Standard {
			deps = append(deps, p)
		}
	}
}

// goCommand runs the go command where the target is. What it writes to stderr
// becomes the error.
func (b *builder) goCommand(ctx context.Context, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = b.target.dir
	group(cmd)
	cmd.Cancel = func() error { return killGroup(cmd) }
	cmd.WaitDelay = 5 * time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return stdout.Bytes(), nil
	case !errors.As(err, &exit):
		return nil, fmt.Errorf("run go %s: %w", args[0], err)
	}
	return nil, &buildError{output: b.readable(stderr.String()),
		hint: fmt.Sprintf("correct it, or name another package than %q", b.target.arg)}
}

// position is the beginning of a line of the compiler's, file:line.
var position = regexp.MustCompile(`^(\S+\.\w+)(:\d+)`)

// readable makes the files of compiler messages relative to the working directory
// and drops the lines that name the package.
func (b *builder) readable(output string) string {
	var lines []string
	for line := range strings.Lines(output) {
		line = strings.TrimRight(line, "\r\n")
		if strings.HasPrefix(line, "# ") || line == "" {
			continue
		}
		if m := position.FindStringSubmatch(line); m != nil {
			line = b.relative(m[1]) + strings.TrimPrefix(line, m[1])
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

func (b *builder) relative(file string) string {
	if !filepath.IsAbs(file) {
		file = filepath.Join(b.target.dir, file)
	}
	wd, err := os.Getwd()
	if err != nil || !filepath.IsAbs(file) {
		return file
	}
	if rel, err := filepath.Rel(wd, file); err == nil && !strings.HasPrefix(rel, filepath.Join("..", "..", "..")) {
		return rel
	}
	return file
}
