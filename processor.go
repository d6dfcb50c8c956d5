package flow

import (
	"fmt"
	"path/filepath"
	goruntime "runtime"
	"strconv"

	"github.com/flowkit-go/flow/runtime"
	"github.com/flowkit-go/flow/runtime/web"
)

// Kind is the kind of a processor.
type Kind string

const (
	KindConsumer  Kind = "consumer"
	KindCollector Kind = "collector"
	KindEndpoint  Kind = "endpoint"
)

// A Processor is a consumer, collector or endpoint that was made by NewConsumer,
// NewCollector or NewEndpoint, for Flow.Add. It belongs to one flow.
type Processor struct {
	kind     Kind
	at       string
	settings *settings
	errs     []error
	owner    *Flow

	pattern      string // of a collector or endpoint
	source, sink string
	used         []use // what it reads and writes, without adapters
	shape        *web.Pattern
	consumer     func(*spec) *runtime.Consumer // nil unless it is one
	route        func(*spec) *runtime.Route    // nil for a consumer
	effective    *settings                     // with the environment's values, once checked
}

func newProcessor(kind Kind, name, at string) *Processor {
	return &Processor{kind: kind, at: at, settings: newSettings(kind, name, at)}
}

// fail records mistakes, to be reported when the flow is checked.
func (p *Processor) fail(errs ...error) { p.errs = append(p.errs, errs...) }

func (p *Processor) name() string { return p.settings.spec.name }

// A RegistrationError is one mistake in how a processor or a flow was set up.
type RegistrationError struct {
	At   string // file:line of the registration
	Kind Kind   // empty for the flow itself
	Name string
	Err  error
}

func (e *RegistrationError) Error() string {
	what := "flow"
	if e.Kind != "" {
		what = string(e.Kind)
	}
	return fmt.Sprintf("%s: %s %q: %v", e.At, what, e.Name, e.Err)
}

// Unwrap returns the mistake.
func (e *RegistrationError) Unwrap() error { return e.Err }

// callSite returns the place from which the function was called that called the
// exported function skip levels up, as dir/file.go:line.
func callSite(skip int) string {
	_, file, line, ok := goruntime.Caller(skip + 1)
	if !ok {
		return "unknown"
	}
	dir, name := filepath.Split(file)
	return filepath.Join(filepath.Base(dir), name) + ":" + strconv.Itoa(line)
}

// processor is the part of the settings that all kinds of processors have.
func (s *spec) processor() runtime.Processor {
	return runtime.Processor{
		Replicas: s.limits, ConcurrentTasks: s.tasks, NumCPUs: s.cpus,
		LogLevel: s.logLevel, Setup: s.setup, Teardown: s.teardown,
	}
}
