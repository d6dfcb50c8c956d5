package runtime

import (
	"context"
	"log/slog"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/flowkit-go/flow/autoscale"
	"github.com/flowkit-go/flow/primitives"
)

// BenchmarkResize is the time until a new number of replicas is in effect while
// records are handled all the time by handlers that wait, as for a service: up
// is until 16 handlers are at work at the same time, down until the tasks of all
// but one replica have ended and Teardown has run. Both are in ms.
func BenchmarkResize(b *testing.B) {
	const most = 16
	var inside, torn atomic.Int32
	all, down := make(chan struct{}, 1), make(chan struct{}, 1)
	signal := func(ch chan struct{}) {
		select {
		case ch <- struct{}{}:
		default:
		}
	}
	src := &replay{n: 1 << 62, lanes: 1, burst: make([]primitives.Record, 512)}
	limits := autoscale.Defaults()
	limits.Max = most
	spec := &Consumer{
		Name:   "bench",
		Source: Source{Name: "replay", Open: func(context.Context, *primitives.Env) (primitives.Reader, error) { return src, nil }},
		Handle: func(context.Context, []primitives.Record, *primitives.Outputs) error {
			if inside.Add(1) == most {
				signal(all)
			}
			time.Sleep(100 * time.Microsecond)
			inside.Add(-1)
			return nil
		},
		Order:      Unordered,
		Commit:     CommitPolicy{Every: time.Second},
		Buffer:     Buffer{Records: 4096, Bytes: 64 << 20},
		StallAfter: time.Minute,
		Processor: Processor{Replicas: limits, ConcurrentTasks: 1, Teardown: []func(context.Context) error{func(context.Context) error {
			if torn.Add(1) == most-1 {
				signal(down)
			}
			return nil
		}}},
	}
	c := newConsumer("bench", spec, slog.New(slog.DiscardHandler), 10*time.Second)
	if err := c.open(context.Background(), nil); err != nil {
		b.Fatal(err)
	}
	if err := c.start(context.Background()); err != nil {
		b.Fatal(err)
	}
	resize := func(n int, effect chan struct{}) time.Duration {
		began := time.Now()
		if err := c.pool.Resize(n); err != nil {
			b.Fatal(err)
		}
		select {
		case <-effect:
		case <-time.After(10 * time.Second):
			b.Fatalf("%d replicas were not in effect after 10 s: %d handlers at work, %d replicas torn down", n, inside.Load(), torn.Load())
		}
		return time.Since(began)
	}
	var up, back []time.Duration
	for b.Loop() {
		u := resize(most, all)
		torn.Store(0)
		d := resize(1, down)
		up, back = append(up, u), append(back, d)
		select { // what was signalled after the last look
		case <-all:
		default:
		}
	}
	for name, took := range map[string][]time.Duration{"up": up, "down": back} {
		slices.Sort(took)
		ms := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
		b.ReportMetric(ms(took[len(took)/2]), name+"-p50-ms")
		b.ReportMetric(ms(took[len(took)*99/100]), name+"-p99-ms")
		b.ReportMetric(ms(took[len(took)-1]), name+"-max-ms")
	}
	if err := c.drain(context.Background(), c.plan.start(time.Now())); err != nil {
		b.Fatal(err)
	}
}
