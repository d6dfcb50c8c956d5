package autoscale

import (
	"context"
	"time"
)

// Signals are what is known of a processor when its size is decided: measured since
// the last decision unless said otherwise. Any float may be NaN, which is: not known.
// What is not known never shrinks a pool.
type Signals struct {
	Time     time.Time // when they were taken
	Replicas int       // of the pool, as it was resized to

	// Of consumers, over all processes that share the input where the source can tell,
	// else of this process.
	Throughput  float64       // records per second handled with success; failed and repeated ones do not count
	Backlog     float64       // records not resolved: those in the source and those in flight
	PrevBacklog float64       // Backlog at the last decision
	Elapsed     time.Duration // since the last decision; 0 at the first

	Pulls     float64       // turns that tasks took per second; +Inf when tasks had to wait for records
	CPU       float64       // percent of one replica's NumCPUs, mean over the replicas
	Busy      float64       // share of the time that tasks were in a handler, 0 to 1
	Queueing  time.Duration // mean wait of records in this process before their handler began
	Parallel  int           // replicas that could find work at the same time: partitions with records, by tasks per replica; 0 no limit
	Processes int           // that share the input; 0 counts as 1

	// Of collectors and endpoints.
	Ongoing float64 // requests in progress and waiting, mean

	NumCPUs  float64 // CPUs that one replica is counted with
	FreeCPUs float64 // CPUs of this machine that no replica is counted with; +Inf no limit
}

// A Decision is what one look at the Signals came to.
type Decision struct {
	Time      time.Time `json:"time"`
	From      int       `json:"from"`        // replicas before
	Want      int       `json:"want"`        // replicas by the rule, before limits, capacity and calming
	Replicas  int       `json:"replicas"`    // replicas from now on
	WantedCPU int       `json:"wanted_cpus"` // CPUs that an outer scaler is asked for; 0 none
	Rule      Rule      `json:"rule"`
	Reason    string    `json:"reason"` // in words, with the numbers
}

// A Rule names what a decision follows from.
type Rule string

// A Target is a processor that can be scaled: what a Loop needs of it.
type Target interface {
	Pool
	// Signals measures since the last call. An error holds the size as it is.
	Signals() (Signals, error)
}

// A Glancer is a Target that can be looked at quickly, between two decisions. What a
// glance costs is paid every few seconds. One that errs, or does not know, is left out.
type Glancer interface {
	Glance(ctx context.Context) (Glance, error)
}
