package flow_test

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// children are what tests want from processes of their own, by the variable that says
// so.
var children = map[string]func(value string) error{killedVar: runKilled, kafkaChildVar: runKafkaChild}

// TestMain runs the tests, or what a test wants from a process of its own.
func TestMain(m *testing.M) {
	for name, run := range children {
		if value := os.Getenv(name); value != "" {
			if err := run(value); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			os.Exit(0)
		}
	}
	// The metrics library of sarama has one goroutine for the process.
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/rcrowley/go-metrics.(*meterArbiter).tick"))
}
