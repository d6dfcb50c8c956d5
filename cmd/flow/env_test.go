package main

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseEnv(t *testing.T) {
	const file = "\ufeff# words\n\n A=1 \nexport B = two words # said\nC=\"x # \\\"y\\\"\\n\\\\z\" # more\r\n" +
		"D='as $it is\\n'\nE=\nF=a#b\nG==x\nH=# nothing\nI=\"\"\n"
	got, err := parseEnv(file)
	if err != nil {
		t.Fatal(err)
	}
	want := environment{"A=1", "B=two words", "C=x # \"y\"\n\\z", "D=as $it is\\n", "E=", "F=a#b", "G==x", "H=", "I="}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestParseEnvMistakes(t *testing.T) {
	for file, want := range map[string]string{
		"A=1\nB":        `line 2: want KEY=VALUE, got "B"`,
		"1A=x":          `line 1: want KEY=VALUE`,
		"=x":            `line 1: want KEY=VALUE`,
		"A B=x":         `line 1: want KEY=VALUE`,
		`A="x`:          `line 1: A: the quote " is not closed`,
		`A="x\"`:        `line 1: A: the quote " is not closed`,
		`A='x' y`:       `line 1: A: "y" stands behind the closing quote`,
		"A='x\nB=1'\n":  `line 1: A: the quote ' is not closed`,
		"# fine\nA b=1": `line 2: want KEY=VALUE`,
	} {
		if _, err := parseEnv(file); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", file, err, want)
		}
	}
}

func TestLoadEnv(t *testing.T) {
	missing := filepath.Join(t.TempDir(), ".env")
	if _, err := loadEnv(missing, false); err != nil {
		t.Errorf("a missing file that nobody asked for: %v", err)
	}
	if _, err := loadEnv(missing, true); err == nil || !strings.Contains(err.Error(), "--env-file") {
		t.Errorf("a missing file that was asked for: %v", err)
	}
}
