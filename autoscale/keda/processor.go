package keda

import (
	"context"
	"errors"

	"github.com/flowkit-go/flow/autoscale"
)

// A Processor is what a Scaler knows of one before it looks.
type Processor struct {
	Name     string
	Requests bool             // a collector or an endpoint, sized by its requests in progress
	Limits   autoscale.Limits // of one process
	NumCPUs  float64          // CPUs that one replica is counted with
	Tasks    int              // per replica; 0 counts as 1
	InOrder  bool             // one record of a partition at a time

	// Group tells where all processes together are. It is nil where the source does
	// not tell; the processes are then asked.
	Group Group
}

// A Group is all processes that share a processor's input, as their source knows them.
type Group interface {
	// Standing asks the source. A Scaler calls it every few seconds, never twice at
	// the same time. An error means unknown, never nothing; one that wraps ErrNotTold
	// has the processes asked in its place.
	Standing(ctx context.Context) (Standing, error)
}

// ErrNotTold is wrapped by the error of a Group whose source turns out not to know how
// far all processes are.
var ErrNotTold = errors.New("the source does not tell how far all processes are")

// A Standing is how far a group is.
type Standing struct {
	Committed map[string]int64 // position by partition: what is below it is done
	Waiting   map[string]int64 // records that are not done, by partition; also those with none
	Members   int              // processes that read; below 0 the source does not know, and only Waiting counts
}

// replicasPerProcess is how many replicas one process runs at most.
func (p *Processor) replicasPerProcess() int {
	if !p.Limits.Enabled {
		return max(p.Limits.Start, 1) // the pool stays as it began
	}
	return max(p.Limits.Max, 1)
}

// resizes reports whether processes differ in what they do: because their pools are
// resized inside, or by what is counted. Where they do not, a decision is in
// processes, which is what it can be seen to have brought.
func (p *Processor) resizes() bool {
	return p.Requests || p.Limits.Enabled && p.Limits.Max > p.Limits.Min
}

// limits are those of all processes together: how many there may be at most is said in
// the ScaledObject.
func (p *Processor) limits() autoscale.Limits {
	l := p.Limits
	l.Enabled, l.Start, l.Min, l.Max = true, 1, 1, autoscale.MaxReplicas
	return l
}

// parallel is how many replicas can find work at the same time where n partitions have
// records, and 0 where any number can.
func (p *Processor) parallel(n int) int {
	if !p.InOrder {
		return 0
	}
	tasks := max(p.Tasks, 1)
	return (n + tasks - 1) / tasks
}
