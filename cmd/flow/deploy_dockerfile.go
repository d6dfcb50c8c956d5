package main

import (
	"cmp"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/flowkit-go/flow"
)

// An image is what the template of a Dockerfile is filled with.
type image struct {
	Program, Package, GoVersion string
	Ports                       []int
	HTTPPort, AdminPort         int
	Sums                        bool // there is a go.sum
	Download                    bool // the modules can be downloaded before the source is copied
}

// deployDockerfile prints a Dockerfile, to be used in the folder of the module.
func deployDockerfile(cmd *cobra.Command, ask func() (described, error)) error {
	d, err := ask()
	if err != nil {
		return err
	}
	i, err := newImage(d)
	if err != nil {
		return err
	}
	text, err := fillIn("Dockerfile", i)
	if err != nil {
		return err
	}
	return emit(cmd, text)
}

// newImage errs where the build in a container could not see the source.
func newImage(d described) (image, error) {
	m := d.root.Module
	if m == nil || m.Dir == "" || !m.Main {
		return image{}, usagef("%s belongs to no module whose folder is known: run flow deploy dockerfile in the folder of its module", d.root.ImportPath)
	}
	pkg, err := filepath.Rel(m.Dir, d.root.Dir)
	if err != nil {
		return image{}, err
	}
	pkg = filepath.ToSlash(pkg)
	if pkg != "." {
		pkg = "./" + pkg
	}
	i := image{
		Program: dnsLabel(longestLabel, filepath.Base(d.root.ImportPath)), Package: pkg,
		GoVersion: majorMinor(cmp.Or(m.GoVersion, "1.26")), Download: true,
	}
	if d.graph.HTTP != "off" && slices.ContainsFunc(d.graph.Processors, answers) {
		i.HTTPPort = portOf(d.graph.HTTP, flow.DefaultHTTPAddr)
		i.Ports = append(i.Ports, i.HTTPPort)
	}
	if d.graph.Admin != "off" {
		i.AdminPort = portOf(d.graph.Admin, flow.DefaultAdminAddr)
		i.Ports = append(i.Ports, i.AdminPort)
	}
	_, err = os.Stat(filepath.Join(m.Dir, "go.sum"))
	i.Sums = err == nil
	if _, err := os.Stat(filepath.Join(m.Dir, "vendor", "modules.txt")); err == nil {
		i.Download = false
		return i, nil
	}
	for _, p := range d.deps {
		if p.Module == nil || p.Module.Main && p.Module.Dir == m.Dir {
			continue
		}
		dir := p.Module.Dir
		if !p.Module.Main && (p.Module.Replace == nil || p.Module.Replace.Version != "") {
			continue // from the proxy
		}
		if rel, err := filepath.Rel(m.Dir, dir); err != nil || strings.HasPrefix(rel, "..") {
			return image{}, usagef("module %s is in %s, outside of %s: the build of an image does not see it: run go mod vendor there first, or require a version of it",
				p.Module.Path, dir, m.Dir)
		}
		i.Download = false // its go.mod is not there before the source is
	}
	return i, nil
}

// majorMinor is a Go version without its last part, as images are tagged.
func majorMinor(v string) string {
	parts := strings.SplitN(v, ".", 3)
	return strings.Join(parts[:min(len(parts), 2)], ".")
}
