package flow

import (
	"fmt"
	"os"
	"slices"
	"strings"
)

// onlyVar names the environment variable with the processors that run, separated by
// commas: one flow can so be spread over several processes.
const onlyVar = "FLOW_ONLY"

// only returns which processors run, by name: nil is all of them. A handler that was
// added with Handle is named by its pattern. It errs for a name that there is not.
func (f *Flow) only() ([]string, error) {
	v, set := os.LookupEnv(onlyVar)
	if !set || v == "" {
		return nil, nil
	}
	known := f.names()
	var names, strangers []string
	for name := range strings.SplitSeq(v, ",") {
		name = strings.TrimSpace(name)
		switch {
		case name == "":
		case slices.Contains(known, name):
			names = append(names, name)
		default:
			strangers = append(strangers, fmt.Sprintf("%q", name))
		}
	}
	hint := "use one or several of " + strings.Join(known, ", ")
	switch {
	case len(strangers) > 0:
		return nil, fmt.Errorf("--only or %s=%q: there is no processor %s: %s", onlyVar, v, strings.Join(strangers, ", "), hint)
	case len(names) == 0:
		return nil, fmt.Errorf("--only or %s=%q names no processor: %s", onlyVar, v, hint)
	}
	return names, nil
}

// names are those of all processors and handlers, in the order of registration.
func (f *Flow) names() []string {
	var all []string
	for _, p := range f.processors {
		all = append(all, p.name())
	}
	for _, h := range f.handlers {
		all = append(all, h.pattern)
	}
	return all
}

// chosen reports whether a processor is one of only.
func chosen(only []string, name string) bool {
	return only == nil || slices.Contains(only, name)
}
