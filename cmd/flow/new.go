package main

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	goruntime "runtime"
	"runtime/debug"
	"strings"
	"text/template"

	"github.com/spf13/cobra"
	"golang.org/x/mod/modfile"
	"golang.org/x/mod/module"
	"golang.org/x/mod/semver"
)

//go:embed templates
var templates embed.FS

func newCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "new NAME", Short: "Make a project that compiles and passes its test",
		Long: `Make a project: a flow that takes orders over HTTP, queues them, and answers from a
table, with a test. NAME is the module's path, as shop or example.com/shop; its last
part names the flow and the folder.`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usagef("flow new takes one name, as in: flow new shop")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, _ := cmd.Flags().GetString("dir")
			return newProject(cmd, args[0], dir)
		},
	}
	cmd.Flags().String("dir", "", "folder of the project; default the last part of NAME")
	return cmd
}

// A project is what the templates are filled with.
type project struct {
	Name      string // of the flow
	Module    string
	GoVersion string
}

var projectName = regexp.MustCompile(`^[a-z][a-z0-9_-]*$`)

func newProject(cmd *cobra.Command, modPath, dir string) error {
	p := project{Name: path.Base(modPath), Module: modPath}
	switch err := module.CheckImportPath(modPath); {
	case !projectName.MatchString(p.Name):
		return usagef("%q cannot be the name of a flow: want lower-case letters, digits, - and _, a letter first, as shop", p.Name)
	case err != nil:
		return usagef("%q cannot be the path of a module: %w", modPath, errors.Unwrap(err))
	}
	if dir == "" {
		dir = p.Name
	}
	if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
		return usagef("folder %s exists and is not empty: choose another with --dir", dir)
	} else if err != nil && !errors.Is(err, os.ErrNotExist) {
		return usagef("folder %s cannot be used: %w: choose another with --dir", dir, errors.Unwrap(err))
	}
	if _, err := exec.LookPath("go"); err != nil {
		return usagef("the go command was not found: install Go from https://go.dev/dl and put it in PATH")
	}
	if inStandardLibrary(cmd.Context(), p.Module) {
		return usagef("%q is a package of the standard library: choose another name, or a path as example.com/%s", p.Module, p.Name)
	}
	origin, err := findOrigin()
	if err != nil {
		return err
	}
	p.GoVersion = origin.goVersion
	if err := p.write(dir); err != nil {
		return fmt.Errorf("write the project: %w", err)
	}
	if err := origin.require(cmd, p, dir); err != nil {
		return err
	}
	fmt.Fprintf(cmd.OutOrStdout(), "%s is ready in %s\n\n  cd %s\n  go test ./...\n  flow run\n", p.Name, dir, dir)
	return nil
}

func inStandardLibrary(ctx context.Context, name string) bool {
	root, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return false
	}
	_, err = os.Stat(filepath.Join(strings.TrimSpace(string(root)), "src", filepath.FromSlash(name)))
	return err == nil
}

// write fills in the templates: all that does not depend on where Flow comes from.
func (p project) write(dir string) error {
	all, err := template.ParseFS(templates, "templates/*.tmpl")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, t := range all.Templates() {
		var text bytes.Buffer
		if err := t.Execute(&text, p); err != nil {
			return err
		}
		name := strings.TrimSuffix(t.Name(), ".tmpl")
		if name == "gitignore" { // go:embed leaves out names with a dot in front
			name = ".gitignore"
		}
		if err := os.WriteFile(filepath.Join(dir, name), text.Bytes(), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// An origin is where this command's module comes from, and so what a new project
// requires: a released version, or a checkout.
type origin struct {
	version   string // "" for a checkout
	checkout  string
	goVersion string
}

// findOrigin reads the build info, and looks for the source that this command was
// built from unless it is a released version.
func findOrigin() (origin, error) {
	o := origin{goVersion: strings.TrimPrefix(strings.Fields(goruntime.Version())[0], "go")}
	version := ""
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range append([]*debug.Module{&info.Main}, info.Deps...) {
			if m.Path == modulePath && m.Replace == nil {
				version = m.Version
			}
		}
	}
	if released(version) {
		o.version = version
		return o, nil
	}
	_, file, _, _ := goruntime.Caller(0)
	wd, err := os.Getwd()
	if err != nil {
		return o, err
	}
	for _, start := range []string{filepath.Dir(file), wd} {
		if dir, goVersion := moduleAbove(start); dir != "" {
			o.checkout, o.goVersion = dir, goVersion
			return o, nil
		}
	}
	return o, usagef("this flow command is no release (%q) and its source was not found: install one with "+
		"go install %s/cmd/flow@latest, or work inside of a checkout", version, modulePath)
}

// released reports whether a version can be had from the module proxy by everyone.
func released(v string) bool {
	return semver.IsValid(v) && !module.IsPseudoVersion(v) && semver.Build(v) == ""
}

// moduleAbove looks for the source of Flow in dir and above.
func moduleAbove(dir string) (root, goVersion string) {
	if !filepath.IsAbs(dir) { // a build with -trimpath
		return "", ""
	}
	for ; ; dir = filepath.Dir(dir) {
		content, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && modfile.ModulePath(content) == modulePath {
			f, err := modfile.ParseLax("go.mod", content, nil)
			if err != nil || f.Go == nil {
				return "", ""
			}
			return dir, f.Go.Version
		}
		if dir == filepath.Dir(dir) {
			return "", ""
		}
	}
}

// require writes the project's go.mod. With a checkout nothing is downloaded: the
// project requires what Flow requires. Otherwise the go command fills in the rest.
func (o origin) require(cmd *cobra.Command, p project, dir string) error {
	mod := &modfile.File{}
	if err := mod.AddModuleStmt(p.Module); err != nil {
		return err
	}
	if err := mod.AddGoStmt(p.GoVersion); err != nil {
		return err
	}
	if o.version != "" {
		if err := mod.AddRequire(modulePath, o.version); err != nil {
			return err
		}
		if err := writeMod(mod, dir); err != nil {
			return err
		}
		tidy := exec.CommandContext(cmd.Context(), "go", "mod", "tidy")
		tidy.Dir = dir
		if out, err := tidy.CombinedOutput(); err != nil {
			return fmt.Errorf("the project is in %s, but its modules could not be downloaded: run go mod tidy there\n%s", dir, bytes.TrimSpace(out))
		}
		return nil
	}
	content, err := os.ReadFile(filepath.Join(o.checkout, "go.mod"))
	if err != nil {
		return err
	}
	theirs, err := modfile.Parse("go.mod", content, nil)
	if err != nil {
		return err
	}
	requires := []*modfile.Require{{Mod: module.Version{Path: modulePath, Version: "v0.0.0"}}}
	for _, r := range theirs.Require {
		requires = append(requires, &modfile.Require{Mod: r.Mod, Indirect: true})
	}
	mod.SetRequireSeparateIndirect(requires)
	if err := mod.AddReplace(modulePath, "", o.checkout, ""); err != nil {
		return err
	}
	if err := writeMod(mod, dir); err != nil {
		return err
	}
	sums, err := os.ReadFile(filepath.Join(o.checkout, "go.sum"))
	if err != nil {
		return err
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "this flow command is not a release: go.mod replaces %s by %s\n", modulePath, o.checkout)
	return os.WriteFile(filepath.Join(dir, "go.sum"), sums, 0o644)
}

func writeMod(mod *modfile.File, dir string) error {
	mod.Cleanup()
	text, err := mod.Format()
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "go.mod"), text, 0o644)
}
