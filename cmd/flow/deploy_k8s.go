package main

import (
	"cmp"
	"regexp"

	"github.com/spf13/cobra"
)

// An object is one Kubernetes object as YAML.
type object struct {
	kind, name string
	text       []byte
}

// file is where the object goes with --out DIR.
func (o object) file() string { return o.name + "." + o.kind + ".yaml" }

var (
	imageName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9._:/@-]*$`)
	volumes   = regexp.MustCompile(`^[1-9][0-9]*(\.[0-9]+)?(Mi|Gi|Ti|M|G|T)$`)
)

// deployK8s prints the manifests.
func deployK8s(cmd *cobra.Command, ask func() (described, error)) error {
	f, err := readPlanFlags(cmd)
	if err != nil {
		return err
	}
	d, err := ask()
	if err != nil {
		return err
	}
	f.name = cmp.Or(f.name, d.name())
	p, err := newPlan(d, f)
	if err != nil {
		return err
	}
	objects, err := p.objects()
	if err != nil {
		return err
	}
	return writeObjects(cmd, objects)
}

func readPlanFlags(cmd *cobra.Command) (f planFlags, err error) {
	flags := cmd.Flags()
	if f.name, err = nameFlag(cmd); err != nil {
		return f, err
	}
	f.namespace, _ = flags.GetString("namespace")
	f.image, _ = flags.GetString("image")
	f.data, _ = flags.GetString("data")
	f.perProcessor, _ = flags.GetBool("per-processor")
	f.noKEDA, _ = flags.GetBool("no-keda")
	f.maxPods, _ = flags.GetInt("max-pods")
	switch {
	case dnsLabel(longestLabel, f.namespace) != f.namespace:
		return f, usagef("--namespace %s: want lower-case letters, digits and -, as default", f.namespace)
	case f.image != "" && !imageName.MatchString(f.image):
		return f, usagef("--image %q: want the name of an image, as registry.example.com/shop:1.4.0", f.image)
	case f.data != "" && f.data != "none" && !volumes.MatchString(f.data):
		return f, usagef(`--data %s: want a size, as 1Gi, or "none"`, f.data)
	case f.maxPods < 1:
		return f, usagef("--max-pods is %d, want at least 1", f.maxPods)
	}
	return f, nil
}

// objects are the manifests, what others need first.
func (p *plan) objects() ([]object, error) {
	var all []object
	var failed error
	add := func(when bool, kind, name string, data any) {
		if !when || failed != nil {
			return
		}
		text, err := fillIn(kind+".yaml", data)
		failed = err
		all = append(all, object{kind, name, text})
	}
	add(true, "configmap", p.Name, p)
	add(p.Volume != "", "persistentvolumeclaim", p.Name+"-data", p)
	scaler := p.Scales && p.AdminPort > 0
	for _, w := range p.Workloads {
		add(w.HTTP, "service", w.Name, w)
		add(!w.Ends, "deployment", w.Name, w)
		add(w.Ends, "job", w.Name, w)
		add(!w.Ends, "poddisruptionbudget", w.Name, w)
		add(len(w.Triggers) > 0, "scaledobject", w.Name, w)
	}
	add(scaler, "peers", p.Name+"-peers", p)
	add(scaler, "scaler", p.Name+"-scaler", p)
	return all, failed
}
