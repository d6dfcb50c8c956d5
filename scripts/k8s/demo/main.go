// Command demo is the flow that scripts/k8s scales: jobs from Kafka, a hundred a second in
// each process, which are to be worked off in five seconds.
package main

import (
	"context"
	"fmt"
	"time"

	"github.com/flowkit-go/flow"
	"github.com/flowkit-go/flow/primitives/kafka"
)

type job struct {
	N int `json:"n"`
}

func main() {
	jobs := kafka.Topic[job]{Name: "jobs", Group: "demo", Start: kafka.Earliest, Key: func(j job) string { return fmt.Sprint(j.N) }}
	app := flow.New("demo")
	flow.Consumer(app, "work", jobs, flow.Discard, flow.Do(work), flow.Ordered(flow.Unordered),
		flow.BacklogBurnThreshold(5*time.Second), flow.AutoscaleFrequency(2*time.Second), flow.ScaleDownWindow(10*time.Second))
	flow.Main(app)
}

// work takes a hundredth of a second, as a call of another system would.
func work(ctx context.Context, _ job) error {
	timer := time.NewTimer(10 * time.Millisecond)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
