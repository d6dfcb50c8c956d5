package runtime

import (
	"context"
	"math"
	"sync/atomic"
	"time"

	"github.com/flowkit-go/flow/autoscale"
)

// ongoing adds up looks at how many requests a route has, being handled or waiting.
type ongoing struct {
	sum, looks atomic.Int64
	lastSum    int64 // at the last call of mean, which one goroutine makes
	lastLooks  int64
}

// sampleEvery is the time between two looks at requests in progress.
const sampleEvery = 100 * time.Millisecond

// sample looks at all routes until ctx ends. A request says how long it took only when
// it has ended; a look sees those that take minutes as well.
func (f *frontend) sample(ctx context.Context) {
	ticker := time.NewTicker(sampleEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		for _, r := range f.routes {
			if r.limiter != nil {
				r.ongoing.sum.Add(int64(r.requests()))
				r.ongoing.looks.Add(1)
			}
		}
	}
}

// requests is the number of requests being handled or waiting now.
func (r *routeState) requests() int {
	inFlight, waiting, _ := r.limiter.Stats()
	return inFlight + waiting
}

// mean is the mean of the looks since the last call, or now where there was none.
func (o *ongoing) mean(now int) float64 {
	looks, sum := o.looks.Load(), o.sum.Load()
	n, d := looks-o.lastLooks, sum-o.lastSum
	o.lastLooks, o.lastSum = looks, sum
	if n <= 0 {
		return float64(now)
	}
	return float64(d) / float64(n)
}

// signals measures since the last call, and the first time since the start. Ongoing is
// the mean of all requests in progress and waiting; Throughput counts those that were
// answered with a status below 400. It does not err.
func (r *routeState) signals(now time.Time) (autoscale.Signals, error) {
	r.fold()
	_, waiting, _ := r.limiter.Stats()
	t := tally{at: now, done: r.stats.ok.Load(), replicas: r.pool.timeOfReplicas(now)}
	before, prev := r.looked.next(t, float64(waiting))
	s := autoscale.Signals{
		Time: now, Replicas: r.pool.Replicas(), Backlog: float64(waiting), PrevBacklog: math.NaN(),
		Ongoing: r.ongoing.mean(r.requests()), NumCPUs: r.NumCPUs, FreeCPUs: math.Inf(1),
		Pulls: math.NaN(), Busy: math.NaN(),
	}
	if before.at.IsZero() {
		before.at = r.born
	} else {
		s.PrevBacklog, s.Elapsed = prev, now.Sub(before.at)
	}
	m := t.since(before, r.Route.Replicas.MaxConcurrency)
	s.Throughput = m.throughput
	if m.replicas > 0 { // of the requests that a replica may have at a time
		s.Busy = min(1, s.Ongoing/(m.replicas*float64(max(1, r.Route.Replicas.MaxConcurrency))))
	}
	s.CPU = percent(use(r.usage, r.Name, before.at), m.replicas, r.NumCPUs)
	return s, nil
}

// busyTime is how long requests were in progress or waiting so far, added up over all.
func (r *routeState) busyTime() time.Duration {
	return time.Duration(r.ongoing.sum.Load()) * sampleEvery
}
