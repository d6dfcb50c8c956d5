package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
)

// environment is a list of variables as KEY=VALUE in which later ones win, as
// os/exec takes it.
type environment []string

// get returns the last value of a variable, "" if there is none.
func (e environment) get(key string) string {
	for i := len(e) - 1; i >= 0; i-- {
		if k, v, _ := strings.Cut(e[i], "="); k == key {
			return v
		}
	}
	return ""
}

func (e environment) with(key, value string) environment {
	return append(e[:len(e):len(e)], key+"="+value)
}

// loadEnv returns this process's environment on top of the variables of an env
// file, so that what is set in the shell wins. A missing file is an error only
// when it was asked for.
func loadEnv(file string, asked bool) (environment, error) {
	content, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) && !asked {
		return os.Environ(), nil
	}
	if err != nil {
		return nil, usagef("env file %s cannot be read: %w: correct --env-file", file, errors.Unwrap(err))
	}
	vars, err := parseEnv(string(content))
	if err != nil {
		return nil, usagef("env file %s: %w", file, err)
	}
	return append(vars, os.Environ()...), nil
}

// parseEnv reads lines of KEY=VALUE. Blank lines and lines that start with # are
// left out, as is "export " before a key. A value in single quotes is taken as it
// is; in double quotes \n, \t, \" and \\ are known. Without quotes it ends at " #"
// and blanks around it are dropped. Variables inside of values are not replaced.
func parseEnv(content string) (environment, error) {
	var vars environment
	for i, line := range strings.Split(strings.TrimPrefix(content, "\ufeff"), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		key, value, found := strings.Cut(strings.TrimPrefix(line, "export "), "=")
		key = strings.TrimSpace(key)
		if !found || !isEnvKey(key) {
			return nil, fmt.Errorf("line %d: want KEY=VALUE, got %q", i+1, line)
		}
		value, err := envValue(strings.TrimSpace(value))
		if err != nil {
			return nil, fmt.Errorf("line %d: %s: %w", i+1, key, err)
		}
		vars = append(vars, key+"="+value)
	}
	return vars, nil
}

func isEnvKey(s string) bool {
	for i, r := range s {
		letter := r == '_' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
		if !letter && (i == 0 || r < '0' || r > '9') {
			return false
		}
	}
	return s != ""
}

var unescape = strings.NewReplacer(`\n`, "\n", `\t`, "\t", `\"`, `"`, `\\`, `\`)

func envValue(s string) (string, error) {
	if s == "" || s[0] != '"' && s[0] != '\'' {
		if strings.HasPrefix(s, "#") {
			return "", nil
		}
		if i := strings.Index(s, " #"); i >= 0 {
			s = s[:i]
		}
		return strings.TrimSpace(s), nil
	}
	quote, end := s[0], -1
	for i := 1; i < len(s) && end < 0; i++ {
		switch {
		case s[i] == '\\' && quote == '"':
			i++
		case s[i] == quote:
			end = i
		}
	}
	if end < 0 {
		return "", fmt.Errorf("the quote %c is not closed", quote)
	}
	if rest := strings.TrimSpace(s[end+1:]); rest != "" && rest[0] != '#' {
		return "", fmt.Errorf("%q stands behind the closing quote", rest)
	}
	if quote == '"' {
		return unescape.Replace(s[1:end]), nil
	}
	return s[1:end], nil
}
