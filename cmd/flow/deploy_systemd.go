package main

import (
	"cmp"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/flowkit-go/flow"
	"github.com/flowkit-go/flow/runtime"
)

// A unit is what the template of a systemd unit is filled with.
type unit struct {
	Name, Flow, Exec string
	DrainSecs        int
	LowPort          bool // below 1024, which only root may listen on
	Needs            []string
	Config           []variable
}

// Directive writes a variable as systemd reads it.
func (v variable) Directive() string {
	return strings.ReplaceAll(strconv.Quote(v.Name+"="+v.Value), "%", "%%")
}

// Stop is how long systemd waits for the drain.
func (u unit) Stop() int { return u.DrainSecs + settleSecs }

// programPath is a path that needs no quoting in a unit.
var programPath = regexp.MustCompile(`^/[A-Za-z0-9._/+@-]+$`)

// deploySystemd prints a unit.
func deploySystemd(cmd *cobra.Command, ask func() (described, error)) error {
	path, _ := cmd.Flags().GetString("exec")
	if path != "" && (!programPath.MatchString(path) || filepath.Clean(path) != path) {
		return usagef("--exec %q: want the absolute path of the program, as /usr/local/bin/shop", path)
	}
	name, err := nameFlag(cmd)
	if err != nil {
		return err
	}
	d, err := ask()
	if err != nil {
		return err
	}
	name = cmp.Or(name, d.name())
	if path == "" {
		path = "/usr/local/bin/" + name
	}
	u := unit{Name: name, Flow: d.graph.Flow, Exec: path, DrainSecs: drainSecs(d.graph),
		Config: carried(d, "FLOW_HTTP", "FLOW_ADMIN", "FLOW_DRAIN_TIMEOUT", "FLOW_LOG_LEVEL", "FLOW_CPUS")}
	for _, n := range d.graph.Needs {
		u.Needs = append(u.Needs, n.Variable)
	}
	for _, addr := range []string{d.graph.HTTP, d.graph.Admin} {
		if port := portOf(addr, ""); port > 0 && port < 1024 {
			u.LowPort = true
		}
	}
	text, err := fillIn("systemd.service", u)
	if err != nil {
		return err
	}
	return emit(cmd, text)
}

// drainSecs is the time that the flow's drain may take, rounded up.
func drainSecs(g flow.Graph) int {
	d, err := time.ParseDuration(g.DrainTimeout)
	if err != nil {
		d = runtime.DefaultDrainTimeout
	}
	return int((d + time.Second - 1) / time.Second)
}
