package simulate

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/flowkit-go/flow/autoscale"
)

// Options say what is simulated: the limits of the processor, and what its replicas
// are like. Start from Defaults.
type Options struct {
	Limits autoscale.Limits

	Capacity   float64       // records per second that one replica can handle
	CPU        float64       // percent of its CPUs that a replica uses when it handles that many; less than 100 where handlers wait for I/O
	StartDelay time.Duration // from a resize until new replicas work: 0 within a process, half a minute for pods
	Backlog    float64       // records that wait at the beginning
	Seed       uint64        // varies which replicas are in a handler when the backlog is measured
	Exact      bool          // measures the backlog without the records in flight: 0 where replicas keep up

	// Of the rivals.
	HPATarget   float64       // percent of CPU that the HPA aims at; 0 is 80 % of Options.CPU
	KEDALag     float64       // records of backlog for each replica, KEDA's lagThreshold; 0 is Capacity times Limits.BurnThreshold
	KEDAPolling time.Duration // how old a backlog may be that KEDA gives out, with useCachedMetrics; 0 is never old, which is KEDA's default
}

// Defaults are autoscale.Defaults with 20 replicas at most, a replica that handles
// 100 records per second at 100 % CPU and starts at once, and no backlog.
func Defaults() Options {
	o := Options{Limits: autoscale.Defaults(), Capacity: 100, CPU: 100}
	o.Limits.Max = 20
	return o
}

// Validate returns an error for each option that is out of range.
func (o Options) Validate() error {
	errs := []error{o.Limits.Validate()}
	check := func(name string, v, most float64, open bool, want string) {
		if math.IsNaN(v) || v < 0 || v > most || open && v == 0 {
			errs = append(errs, fmt.Errorf("%s is %v, want %s", name, v, want))
		}
	}
	check("capacity", o.Capacity, MaxRate, true, "records per second of one replica, more than 0, at most 1e12")
	check("cpu", o.CPU, 100_000, false, "percent of a replica's CPUs when it is busy all the time, from 0 to 100000")
	check("start delay", o.StartDelay.Seconds(), 86400, false, "seconds from 0 to 86400")
	check("backlog", o.Backlog, 1e15, false, "records from 0 to 1e15")
	check("hpa target", o.HPATarget, 100_000, false, "percent from 0 to 100000, 0 being 80% of cpu")
	check("keda lag", o.KEDALag, 1e15, false, "records from 0 to 1e15, 0 being capacity times burn threshold")
	check("keda polling", o.KEDAPolling.Seconds(), 86400, false, "seconds from 0 to 86400")
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("simulate: %w", err)
	}
	return nil
}

// hpaTarget is fair: whoever sets an HPA up looks at what a busy pod uses.
func (o Options) hpaTarget() float64 {
	if o.HPATarget > 0 {
		return o.HPATarget
	}
	return 0.8 * o.CPU
}

// kedaLag is fair: with it, KEDA wants what works the backlog off within the burn
// threshold.
func (o Options) kedaLag() float64 {
	if o.KEDALag > 0 {
		return o.KEDALag
	}
	return o.Capacity * o.Limits.BurnThreshold.Seconds()
}
