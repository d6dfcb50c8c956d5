package cpu

import (
	"context"
	"crypto/sha256"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// BenchmarkMeter is what metering costs while all CPUs are at work: the CPU time beyond
// what the same work takes without the profiler, with reading the profile. Parts with
// and without alternate, so that a machine with other things to do disturbs both. It is
// in percent of one core, with a window in every Config.Every, the median of all parts.
func BenchmarkMeter(b *testing.B) {
	ctx, cancel := context.WithCancel(b.Context())
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()
	var done atomic.Int64
	for range runtime.GOMAXPROCS(0) {
		all.Go(func() {
			Mark(With(ctx, "bench"))
			var buf [4096]byte
			for ctx.Err() == nil {
				h := sha256.Sum256(buf[:])
				copy(buf[:], h[:])
				done.Add(1)
			}
		})
	}
	m := NewMeter(Config{Busy: map[string]func() time.Duration{"bench": idle}})
	// part returns the CPU time and the work that was done during f.
	part := func(f func()) (used time.Duration, work float64) {
		used, n := processTime(), done.Load()
		f()
		return processTime() - used, float64(done.Load() - n)
	}
	var extra, cores []float64
	for b.Loop() {
		used, work := part(func() { <-time.After(m.Window / 2) })
		with, more := part(func() {
			l, ok := m.sample(ctx)
			if !ok {
				b.Fatal("no sample")
			}
			cores = append(cores, l.cores["bench"])
		})
		again, less := part(func() { <-time.After(m.Window / 2) })
		each := float64(used+again) / (work + less)
		extra = append(extra, (float64(with)-more*each)/float64(m.Every)*100)
	}
	slices.Sort(extra)
	slices.Sort(cores)
	b.ReportMetric(extra[len(extra)/2], "%-of-a-core")
	b.ReportMetric(cores[len(cores)/2], "cores-seen")
}

// BenchmarkMark is what a request pays for its label: set, and given back.
func BenchmarkMark(b *testing.B) {
	mine, request := With(b.Context(), "quote"), b.Context()
	b.ReportAllocs()
	for b.Loop() {
		Mark(mine)
		Mark(request)
	}
	Mark(context.Background())
}
