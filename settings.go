package flow

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/flowkit-go/flow/autoscale"
	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/runtime"
)

// settings are one processor's options while they are collected: from the
// defaults, the code, and then the environment.
type settings struct {
	kind Kind
	spec spec
	from map[string]string // option -> where it was set, absent for defaults
	at   string            // where the processor is registered

	batches, streams bool // of the source's and the sink's adapters
}

// spec is what options set.
type spec struct {
	name          string
	limits        autoscale.Limits
	cpus          float64
	tasks         int
	logLevel      slog.Level
	timeout       time.Duration
	order         Order
	retry         runtime.Retry
	deadLetter    Sink[Raw]
	hasDeadLetter bool
	deadLimit     runtime.DeadLimit
	skipFailed    bool
	skipInvalid   bool
	commit        runtime.CommitPolicy
	buffer        runtime.Buffer
	weigh         func(*primitives.Record) int
	stallAfter    time.Duration
	maxBody       int
	middleware    []Middleware
	setup         []func(context.Context) (context.Context, error)
	teardown      []func(context.Context) error
}

// defaultHTTPTimeout bounds a request's handler unless Timeout says otherwise.
const defaultHTTPTimeout = 30 * time.Second

func newSettings(kind Kind, name, at string) *settings {
	s := &settings{kind: kind, at: at, from: map[string]string{}, spec: spec{
		name:       name,
		limits:     autoscale.Defaults(),
		cpus:       1,
		tasks:      1,
		commit:     runtime.CommitPolicy{Every: time.Second},
		buffer:     runtime.Buffer{Records: 4096, Bytes: 64 << 20},
		stallAfter: 5 * time.Minute,
		maxBody:    1 << 20,
	}}
	if kind != KindConsumer {
		s.spec.timeout = defaultHTTPTimeout
	}
	return s
}

// set remembers that options were set in code.
func (s *settings) set(options ...string) {
	for _, o := range options {
		s.from[o] = s.at
	}
}

// settle fills in what follows from other options.
func (s *settings) settle() {
	l := &s.spec.limits
	if s.from["num_replicas"] == "" {
		l.Start = l.Min
	}
	if s.from["max_replicas"] == "" {
		l.Max = max(l.Min, l.Start)
	}
	if c := &s.spec.commit; c.Mode == runtime.ExactlyOnce && s.from["commit_every"] == "" {
		c.Every = 100 * time.Millisecond
	}
}

// validate returns an error for each option that is out of range, naming it.
func (s *settings) validate() []error {
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	p := &s.spec
	if err := p.limits.Validate(); err != nil {
		errs = append(errs, split(err)...)
	}
	check(p.cpus > 0, "num_cpus is %v, want more than 0", p.cpus)
	check(p.timeout >= 0, "timeout is %v, want 0 (none) or more", p.timeout)
	for i, fn := range p.setup {
		check(fn != nil, "Setup function %d is nil", i+1)
	}
	for i, fn := range p.teardown {
		check(fn != nil, "Teardown function %d is nil", i+1)
	}
	if s.kind != KindConsumer {
		check(p.maxBody > 0, "max_body_bytes is %d, want more than 0", p.maxBody)
		return errs
	}
	check(p.tasks >= 1, "num_concurrent_tasks is %d, want at least 1", p.tasks)
	check(p.order >= ByPartition && p.order <= Unordered, "order is %d, want ByPartition, ByKey or Unordered", int(p.order))
	check(p.retry.Attempts >= 0, "retry_attempts is %d, want 1 or more", p.retry.Attempts)
	check(s.from["retry_attempts"] == "" || p.retry.Attempts > 0, "retry_attempts is 0, want 1 or more: the first attempt counts")
	check(p.commit.Every >= 0 && p.commit.Records >= 0, "commit_every is %v and commit_records %d, want neither below 0", p.commit.Every, p.commit.Records)
	check(p.commit.Every > 0 || p.commit.Records > 0, "commit_every and commit_records are both 0, so nothing would ever be committed: set one of them")
	mode := p.commit.Mode
	check(mode >= runtime.AtLeastOnce && mode <= runtime.ExactlyOnce, "commit_mode is %d, want at_least_once, each, on_read or exactly_once", int(mode))
	if mode == runtime.EachRecord || mode == runtime.ExactlyOnce {
		check(p.order == ByPartition, "order is %s with commit_mode %s, which handles the records of a partition one after the other: want order partition", p.order, mode)
		check(!p.retry.Park && !p.retry.Away, "RetryParked or RetryLater is given with commit_mode %s, which keeps the order of a partition: use Retry", mode)
	}
	check(mode != runtime.EachRecord || p.tasks == 1, "num_concurrent_tasks is %d with commit_mode each, which handles one record at a time: want 1, and more replicas for more partitions at a time", p.tasks)
	check(mode != runtime.EachRecord && mode != runtime.ExactlyOnce || !s.batches, "the source is of Batches with commit_mode %s, which commits single records, each in its partition: handle single records, or use at_least_once", mode)
	check(mode != runtime.ExactlyOnce || !s.streams, "the sink is of Stream with commit_mode %s: it is written in parts, outside of the transaction", mode)
	check(p.deadLimit.Consecutive >= 0, "dead_letter_max_consecutive is %d, want 0 (no limit) or more", p.deadLimit.Consecutive)
	check(p.deadLimit.Ratio >= 0, "dead_letter_max_ratio is %v, want 0 (no limit) or more", p.deadLimit.Ratio)
	check(p.hasDeadLetter || p.deadLimit == runtime.DeadLimit{}, "DeadLetterLimit is given without DeadLetter")
	check(p.buffer.Records >= 1, "buffer_records is %d, want at least 1", p.buffer.Records)
	check(p.buffer.Bytes >= 1, "buffer_bytes is %d, want at least 1", p.buffer.Bytes)
	check(p.stallAfter > 0, "stall_after is %v, want more than 0", p.stallAfter)
	check(!p.hasDeadLetter || p.deadLetter != nil, "DeadLetter is given a nil sink")
	check(!p.hasDeadLetter || !p.skipFailed, "both DeadLetter and SkipFailed are given: choose one")
	for i, mw := range p.middleware {
		check(mw != nil, "middleware %d is nil", i+1)
	}
	return errs
}

// split takes joined errors apart.
func split(err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	return []error{err}
}

// option is one option by the name that the environment and flow check use.
type option struct {
	name  string
	kinds []Kind
	get   func(*spec) string
	parse func(*spec, string) error
}

// options lists what can be overridden by the environment.
func options() []option {
	all := []Kind{KindConsumer, KindCollector, KindEndpoint}
	consumers := []Kind{KindConsumer}
	http := []Kind{KindCollector, KindEndpoint}
	return []option{
		intOption("num_replicas", all, func(s *spec) *int { return &s.limits.Start }),
		intOption("min_replicas", all, func(s *spec) *int { return &s.limits.Min }),
		intOption("max_replicas", all, func(s *spec) *int { return &s.limits.Max }),
		floatOption("num_cpus", all, func(s *spec) *float64 { return &s.cpus }),
		intOption("num_concurrent_tasks", consumers, func(s *spec) *int { return &s.tasks }),
		{"log_level", all,
			func(s *spec) string { return s.logLevel.String() },
			func(s *spec, v string) error { return s.logLevel.UnmarshalText([]byte(v)) }},
		boolOption("enable_autoscaler", all, func(s *spec) *bool { return &s.limits.Enabled }),
		secondsOption("autoscale_frequency_secs", all, func(s *spec) *time.Duration { return &s.limits.Frequency }),
		secondsOption("autoscale_down_window_secs", all, func(s *spec) *time.Duration { return &s.limits.ScaleDownWindow }),
		secondsOption("autoscale_cooldown_secs", all, func(s *spec) *time.Duration { return &s.limits.Cooldown }),
		secondsOption("consumer_backlog_burn_threshold", consumers, func(s *spec) *time.Duration { return &s.limits.BurnThreshold }),
		floatOption("consumer_cpu_percent_target", consumers, func(s *spec) *float64 { return &s.limits.CPUTarget }),
		intOption("target_num_ongoing_requests_per_replica", http, func(s *spec) *int { return &s.limits.TargetOngoing }),
		intOption("max_concurrent_queries", http, func(s *spec) *int { return &s.limits.MaxConcurrency }),
		durationOption("timeout", all, func(s *spec) *time.Duration { return &s.timeout }),
		intOption("max_body_bytes", http, func(s *spec) *int { return &s.maxBody }),
		{"order", consumers,
			func(s *spec) string { return s.order.String() },
			func(s *spec, v string) error { return parseOrder(&s.order, v) }},
		intOption("retry_attempts", consumers, func(s *spec) *int { return &s.retry.Attempts }),
		durationOption("retry_first", consumers, func(s *spec) *time.Duration { return &s.retry.Backoff.First }),
		durationOption("retry_max", consumers, func(s *spec) *time.Duration { return &s.retry.Backoff.Max }),
		boolOption("skip_failed", consumers, func(s *spec) *bool { return &s.skipFailed }),
		boolOption("skip_invalid", consumers, func(s *spec) *bool { return &s.skipInvalid }),
		durationOption("commit_every", consumers, func(s *spec) *time.Duration { return &s.commit.Every }),
		intOption("commit_records", consumers, func(s *spec) *int { return &s.commit.Records }),
		{"commit_mode", consumers,
			func(s *spec) string { return s.commit.Mode.String() },
			func(s *spec, v string) error { return parseMode(&s.commit.Mode, v) }},
		intOption("dead_letter_max_consecutive", consumers, func(s *spec) *int { return &s.deadLimit.Consecutive }),
		floatOption("dead_letter_max_ratio", consumers, func(s *spec) *float64 { return &s.deadLimit.Ratio }),
		intOption("buffer_records", consumers, func(s *spec) *int { return &s.buffer.Records }),
		intOption("buffer_bytes", consumers, func(s *spec) *int { return &s.buffer.Bytes }),
		durationOption("stall_after", consumers, func(s *spec) *time.Duration { return &s.stallAfter }),
	}
}

func (o option) applies(k Kind) bool {
	for _, kind := range o.kinds {
		if kind == k {
			return true
		}
	}
	return false
}

func intOption(name string, kinds []Kind, field func(*spec) *int) option {
	return option{name, kinds,
		func(s *spec) string { return strconv.Itoa(*field(s)) },
		func(s *spec, v string) error {
			n, err := strconv.Atoi(v)
			return keep(field(s), n, err, "a whole number")
		}}
}

func floatOption(name string, kinds []Kind, field func(*spec) *float64) option {
	return option{name, kinds,
		func(s *spec) string { return strconv.FormatFloat(*field(s), 'g', -1, 64) },
		func(s *spec, v string) error {
			n, err := strconv.ParseFloat(v, 64)
			return keep(field(s), n, err, "a number")
		}}
}

func boolOption(name string, kinds []Kind, field func(*spec) *bool) option {
	return option{name, kinds,
		func(s *spec) string { return strconv.FormatBool(*field(s)) },
		func(s *spec, v string) error {
			on, err := strconv.ParseBool(v)
			return keep(field(s), on, err, "true or false")
		}}
}

func durationOption(name string, kinds []Kind, field func(*spec) *time.Duration) option {
	return option{name, kinds,
		func(s *spec) string { return field(s).String() },
		func(s *spec, v string) error {
			d, err := time.ParseDuration(v)
			return keep(field(s), d, err, `a duration with its unit, as "500ms" or "30s"`)
		}}
}

// secondsOption takes a number of seconds, as the option's name says, or a duration.
func secondsOption(name string, kinds []Kind, field func(*spec) *time.Duration) option {
	return option{name, kinds,
		func(s *spec) string { return strconv.FormatFloat(field(s).Seconds(), 'g', -1, 64) },
		func(s *spec, v string) error {
			if secs, err := strconv.ParseFloat(v, 64); err == nil {
				*field(s) = time.Duration(secs * float64(time.Second))
				return nil
			}
			d, err := time.ParseDuration(v)
			return keep(field(s), d, err, `a number of seconds, or a duration as "90s"`)
		}}
}

func parseOrder(o *Order, v string) error {
	for _, have := range []Order{ByPartition, ByKey, Unordered} {
		if v == have.String() {
			*o = have
			return nil
		}
	}
	return errors.New("want partition, key or none")
}

func parseMode(m *runtime.CommitMode, v string) error {
	for mode := runtime.AtLeastOnce; mode <= runtime.ExactlyOnce; mode++ {
		if v == mode.String() {
			*m = mode
			return nil
		}
	}
	return errors.New("want at_least_once, each, on_read or exactly_once")
}

// keep stores what was parsed. What cannot be parsed changes nothing, so that it is
// one mistake and not also that of the value it would leave.
func keep[T any](to *T, v T, err error, want string) error {
	if err != nil {
		return fmt.Errorf("want %s", want)
	}
	*to = v
	return nil
}

// Setting is one option's effective value and where it comes from.
type Setting struct {
	Option string `json:"option"`
	Value  string `json:"value"`
	From   string `json:"from"` // "default", a place in the code, or "env NAME"
	Env    string `json:"env"`  // the variable that overrides it
}

// list returns the effective value of each option.
func (s *settings) list() []Setting {
	var out []Setting
	for _, o := range options() {
		if !o.applies(s.kind) {
			continue
		}
		from := s.from[o.name]
		if from == "" {
			from = "default"
		}
		out = append(out, Setting{o.name, o.get(&s.spec), from, envPrefix(s.spec.name) + envName(o.name)})
	}
	return out
}
