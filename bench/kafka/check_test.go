package main

import (
	"io"
	"strings"
	"testing"
)

func TestCheckSaysWhatIsMissed(t *testing.T) {
	b := &bench{results: []*result{
		{Job: "copy", Program: "sarama", Rounds: []figures{{"rate": 100}, {"rate": 120}, {"rate": 80}}},
		{Job: "copy", Program: "flow", Rounds: []figures{{"rate": 310}, {"rate": 300}, {"rate": 330}}},
		{Job: "copy", Program: "flow-each-behind", Rounds: []figures{{"rate": 200}}},
		{Job: "latency", Program: "sarama", Rounds: []figures{{"p50_ms": 1, "p99_ms": 3}}},
		{Job: "latency", Program: "flow", Rounds: []figures{{"p50_ms": 0.9, "p99_ms": 3.5}}},
		{Job: "soak", Program: "flow", Rounds: []figures{{"first_mib": 50, "last_mib": 60}}},
		{Job: "memory", Program: "flow"}, // was not reached
	}}
	b.print(io.Discard)
	want := []string{
		"copy: rate of flow-each-behind is 200, want at least 294",
		"latency: p99_ms of flow is 3.50, want at most 3",
		"soak: last_mib of flow is 60, want at most 55.0",
	}
	err := b.check()
	if err == nil || err.Error() != strings.Join(want, "\n") {
		t.Errorf("%v", err)
	}
	if got := b.results[1].Summary["ratio"].String(); got != "3.10 (2.50..4.12)" {
		t.Errorf("ratio %s", got)
	}
}
