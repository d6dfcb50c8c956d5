package flow

import (
	"context"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/runtime"
)

// A resource is a primitive that a flow uses, without the adapters around it.
type resource struct {
	name  string // as "kafka:orders"
	value any
	probe probe
}

// A use is what a processor does with a resource.
type use struct {
	resource
	role role
}

type role int

const (
	reads role = iota
	writes
	buries // writes dead letters
)

// adapter is implemented by what stands between a processor and its primitives.
type adapter interface{ resources() []resource }

func resourcesOfSource[T any](src Source[T]) []resource {
	if src == nil {
		return nil
	}
	if a, ok := src.(adapter); ok {
		return a.resources()
	}
	return []resource{{src.String(), src, probeOf[T](src)}}
}

func resourcesOfSink[T any](sink Sink[T]) []resource {
	if sink == nil {
		return nil
	}
	if a, ok := sink.(adapter); ok {
		return a.resources()
	}
	return []resource{{sink.String(), sink, probeOf[T](sink)}}
}

func (m messages[T]) resources() []resource { return resourcesOfSource(m.inner) }
func (b batches[T]) resources() []resource  { return resourcesOfSource(b.inner) }
func (e each[T]) resources() []resource     { return resourcesOfSink(e.inner) }
func (s stream[T]) resources() []resource   { return resourcesOfSink(s.inner) }
func (discard) resources() []resource       { return nil }

func (t tee[T]) resources() []resource {
	var all []resource
	for _, s := range t.sinks {
		all = append(all, resourcesOfSink(s)...)
	}
	return all
}

// uses remembers what a processor does with resources.
func (p *Processor) uses(r role, resources []resource) {
	for _, res := range resources {
		p.used = append(p.used, use{res, r})
	}
}

// with returns the processor's resources in that role.
func (p *Processor) with(r role) []resource {
	var all []resource
	for _, u := range p.used {
		if u.role == r {
			all = append(all, u.resource)
		}
	}
	return all
}

// needs joins what the primitives of the flow need, by system and variable.
func (f *Flow) needs() []primitives.Need {
	var all []primitives.Need
	for _, p := range f.processors {
		for _, u := range p.used {
			n, ok := u.value.(primitives.Needer)
			if !ok {
				continue
			}
			var reader *primitives.Env
			if u.role == reads {
				reader = &primitives.Env{Flow: f.name, Processor: p.name()}
			}
			for _, need := range n.Needs(reader) {
				i := slices.IndexFunc(all, func(have primitives.Need) bool {
					return have.System == need.System && have.Variable == need.Variable
				})
				if i < 0 {
					i = len(all)
					all = append(all, primitives.Need{System: need.System, Variable: need.Variable})
				}
				for _, name := range need.Names {
					if !slices.Contains(all[i].Names, name) {
						all[i].Names = append(all[i].Names, name)
					}
				}
			}
		}
	}
	return all
}

// A probe says whether a value that is about to be sent is one of the primitive's
// type, and which key the primitive gives it.
type probe func(value []byte) (key []byte, err error)

// probeOf returns the probe of a primitive, which is nil where it cannot decode
// what it stores.
func probeOf[T any](v any) probe {
	source, ok := v.(interface {
		Decoder() (primitives.Decoder[T], error)
	})
	if !ok {
		return nil
	}
	return func(value []byte) (key []byte, err error) {
		decode, err := source.Decoder()
		if err != nil {
			return nil, err
		}
		in, err := decodeSafely(decode, []primitives.Record{{Value: value}})
		if err != nil {
			return nil, err
		}
		sink, ok := v.(interface {
			Encoder() (primitives.Encoder[T], error)
		})
		if !ok {
			return nil, nil
		}
		encode, err := sink.Encoder()
		if err != nil {
			return nil, err
		}
		defer func() { // of a key function
			if p := recover(); p != nil {
				err = &runtime.PanicError{Value: p, Stack: debug.Stack()}
			}
		}()
		var out primitives.Outputs
		if err := encode(in, &out); err != nil || len(out.Records) != 1 {
			return nil, err
		}
		return out.Records[0].Key, nil
	}
}

// writable is the part of a Sink that does not depend on its type.
type writable interface {
	OpenSink(ctx context.Context, env *primitives.Env) (primitives.Writer, error)
}

// processorNamed finds a processor; the error lists those that there are.
func (f *Flow) processorNamed(name string) (*Processor, error) {
	var names []string
	for _, p := range f.processors {
		if p.name() == name {
			return p, nil
		}
		names = append(names, p.name())
	}
	return nil, usageError{fmt.Errorf("there is no processor %q: use one of %s", name, quoted(names))}
}

// resourceNamed finds what a processor reads, or writes when it is a collector, or
// a primitive by its name or by the part behind the colon. The processor is one
// that uses it.
func (f *Flow) resourceNamed(name string) (resource, *Processor, error) {
	for _, p := range f.processors {
		if p.name() != name {
			continue
		}
		found := p.with(reads)
		if len(found) == 0 {
			found = p.with(writes)
		}
		switch len(found) {
		case 0:
			return resource{}, nil, usageError{fmt.Errorf("the %s %q has no source and no sink", p.kind, name)}
		case 1:
			return found[0], p, nil
		}
		return resource{}, nil, usageError{fmt.Errorf("the %s %q has several sinks: use one of %s", p.kind, name, quoted(namesOf(found)))}
	}
	type place struct {
		resource
		by *Processor
	}
	var exact, bare []place
	var all []string
	for _, p := range f.processors {
		for _, u := range p.used {
			if slices.Contains(all, u.name) {
				continue
			}
			all = append(all, u.name)
			if u.name == name {
				exact = append(exact, place{u.resource, p})
			}
			if _, short, ok := strings.Cut(u.name, ":"); ok && short == name {
				bare = append(bare, place{u.resource, p})
			}
		}
	}
	found := append(exact, bare...)
	switch {
	case len(exact) == 1 || len(found) == 1:
		return found[0].resource, found[0].by, nil
	case len(found) > 1:
		return resource{}, nil, usageError{fmt.Errorf("%q is the name of %s and %s: use the whole name", name, found[0].name, found[1].name)}
	}
	for _, p := range f.processors {
		all = append(all, p.name())
	}
	return resource{}, nil, usageError{fmt.Errorf("the flow has no processor and no primitive %q: use one of %s", name, quoted(all))}
}

func namesOf(resources []resource) []string {
	var names []string
	for _, r := range resources {
		names = append(names, r.name)
	}
	return names
}

// quoted lists names, those with blanks in quotes.
func quoted(names []string) string {
	if len(names) == 0 {
		return "(there are none)"
	}
	out := make([]string, len(names))
	for i, n := range names {
		if out[i] = n; strings.ContainsAny(n, " \t") {
			out[i] = fmt.Sprintf("%q", n)
		}
	}
	return strings.Join(out, ", ")
}
