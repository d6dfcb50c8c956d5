package flow

import (
	"fmt"
	"log/slog"
	"os"
	"strings"
)

// envName is how names of processors and options are written in environment
// variables: upper case, everything else than letters and digits an underscore.
func envName(s string) string {
	return strings.Trim(strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		case r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
			return r
		}
		return '_'
	}, s), "_")
}

// envPrefix is what variables for a processor begin with.
func envPrefix(processor string) string {
	name := envName(processor)
	for strings.Contains(name, "__") {
		name = strings.ReplaceAll(name, "__", "_")
	}
	return "FLOW_" + name + "_"
}

// override applies the environment's values.
func (s *settings) override() []error {
	var errs []error
	for _, o := range options() {
		if !o.applies(s.kind) {
			continue
		}
		name := envPrefix(s.spec.name) + envName(o.name)
		value, ok := os.LookupEnv(name)
		if !ok || value == "" {
			continue
		}
		if err := o.parse(&s.spec, value); err != nil {
			errs = append(errs, fmt.Errorf("environment variable %s=%q: %w", name, value, err))
			continue
		}
		s.from[o.name] = "env " + name
	}
	if level, ok, err := defaultLogLevel(); err != nil {
		errs = append(errs, err)
	} else if ok && s.from["log_level"] == "" {
		s.spec.logLevel, s.from["log_level"] = level, "env FLOW_LOG_LEVEL"
	}
	return append(errs, s.strangers()...)
}

// defaultLogLevel is the level of the flow's own lines, and of processors that do
// not set theirs, from FLOW_LOG_LEVEL.
func defaultLogLevel() (level slog.Level, set bool, err error) {
	v := os.Getenv("FLOW_LOG_LEVEL")
	if v == "" {
		return slog.LevelInfo, false, nil
	}
	if err := level.UnmarshalText([]byte(v)); err != nil {
		return slog.LevelInfo, false, fmt.Errorf("environment variable FLOW_LOG_LEVEL=%q: want DEBUG, INFO, WARN or ERROR", v)
	}
	return level, true, nil
}

// strangers reports variables that look like options of this processor and are
// none: most likely a name that is misspelt.
func (s *settings) strangers() []error {
	prefix := envPrefix(s.spec.name)
	known := map[string]bool{}
	for _, o := range options() {
		if o.applies(s.kind) {
			known[prefix+envName(o.name)] = true
		}
	}
	var errs []error
	for _, entry := range os.Environ() {
		name, _, _ := strings.Cut(entry, "=")
		if !strings.HasPrefix(name, prefix) || known[name] {
			continue
		}
		if guess := closest(name, known); guess != "" {
			errs = append(errs, fmt.Errorf("environment variable %s is not an option of this processor: did you mean %s?", name, guess))
		}
	}
	return errs
}

// closest returns the known name that differs from name in no more than three
// places, or "". What is further away belongs to something else.
func closest(name string, known map[string]bool) string {
	best, at := 4, ""
	for k := range known {
		if d := distance(name, k); d < best || (d == best && k < at) {
			best, at = d, k
		}
	}
	return at
}

// distance is the number of letters to insert, delete or replace (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := diagonal
			if a[i-1] != b[j-1] {
				cost++
			}
			diagonal = row[j]
			row[j] = min(cost, row[j]+1, row[j-1]+1)
		}
	}
	return row[len(b)]
}

// flowVariable returns the variable of the flow itself that would be mistaken for
// one of a processor with that name, or "".
func flowVariable(processor string) string {
	for _, own := range []string{"FLOW_DRAIN_TIMEOUT", "FLOW_LOG_LEVEL", "FLOW_HEARTBEAT_FILE"} {
		if strings.HasPrefix(own, envPrefix(processor)) {
			return own
		}
	}
	return ""
}
