package cpu

import (
	"bytes"
	"context"
	"math"
	"math/rand/v2"
	"runtime/pprof"
	"sync"
	"time"

	"github.com/google/pprof/profile"
)

// Defaults of a Config.
const (
	DefaultEvery  = 10 * time.Second
	DefaultWindow = time.Second
)

// Config is what a Meter measures, and how often.
type Config struct {
	// Busy has, by name, how long all goroutines of a processor have been at work so
	// far, running or waiting. Names that are not in it are not measured. It is called
	// from the goroutine of Run.
	Busy map[string]func() time.Duration

	// Every is the time from one window to the next. Default 10 s.
	Every time.Duration

	// Window is how long the profiler runs each time. Default 1 s, at most half of Every.
	Window time.Duration

	// Needed is asked before each window: nothing is measured while it returns false.
	// Nil is always.
	Needed func() bool
}

// Source says how a Usage was found.
type Source string

const (
	// Sampled is from the samples of a CPU profile.
	Sampled Source = "sampled"
	// Shared is the CPU time of the process, shared out by the time that processors were
	// busy: what there is while somebody else profiles, and where there is no profiler.
	// It says too much of those whose handlers mostly wait. No processor gets more than
	// the time that it was busy, which is too little for a handler that computes in
	// several goroutines.
	Shared Source = "shared"
	// Unknown is neither.
	Unknown Source = "unknown"
)

// Usage is what a processor uses.
type Usage struct {
	Cores  float64   // mean; NaN when not known
	Time   time.Time // end of the last window in it
	Source Source
}

// A Meter measures the CPU use of processors, whose goroutines are marked by their
// name. It takes a CPU profile in a short window at a random moment of every interval.
// 100 samples per second and core make a second's window exact to about 0.1 cores; the
// mean of a minute's windows to about 0.04.
//
// There is one CPU profiler per process. While somebody else has it, the Meter falls back to
// Shared. While the Meter has it, in one second of ten, pprof.StartCPUProfile fails for
// others, unless they call Yield before.
type Meter struct {
	Config

	mu     sync.Mutex
	yields int     // who keeps the Meter from profiling
	open   *window // now
	looks  []look  // the newest last
}

// window is one run of the profiler.
type window struct {
	cut    chan struct{} // closed when it should end early
	isCut  bool
	closed chan struct{} // closed when the profiler is free again
}

// look is what one interval came to.
type look struct {
	end    time.Time
	took   time.Duration
	source Source
	cores  map[string]float64
}

const (
	kept  = 12 // looks
	stale = 3  // intervals after which a look says nothing of the present
)

// NewMeter returns a Meter that measures while its Run runs.
func NewMeter(c Config) *Meter {
	if c.Every <= 0 {
		c.Every = DefaultEvery
	}
	if c.Window <= 0 {
		c.Window = DefaultWindow
	}
	c.Window = min(c.Window, c.Every/2)
	return &Meter{Config: c}
}

// Run measures until ctx ends. When it returns, the profiler is free.
func (m *Meter) Run(ctx context.Context) {
	before := m.tally()
	for {
		// At a random moment, so that load in step with the windows is seen as it is.
		early := rand.N(m.Every - m.Window + 1)
		if !sleep(ctx, early) {
			return
		}
		if m.Needed != nil && !m.Needed() {
			before = tally{}
		} else if before = m.measure(ctx, before); ctx.Err() != nil {
			return
		}
		if !sleep(ctx, m.Every-m.Window-early) {
			return
		}
	}
}

func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// measure takes one look. before is the tally of the one before it.
func (m *Meter) measure(ctx context.Context, before tally) (after tally) {
	l, sampled := m.sample(ctx)
	after = m.tally()
	if !sampled {
		l = after.since(before)
	}
	if l.source != Unknown {
		m.mu.Lock()
		m.looks = append(m.looks, l)
		m.looks = m.looks[max(0, len(m.looks)-kept):]
		m.mu.Unlock()
	}
	return after
}

// Cores returns what a processor has used since a moment: the mean of the windows that
// have ended after it, or the last one when none has. It is not known, with NaN cores,
// when the last one is older than three intervals.
func (m *Meter) Cores(name string, since time.Time) Usage {
	m.mu.Lock()
	defer m.mu.Unlock()
	unknown := Usage{Cores: math.NaN(), Source: Unknown}
	n := len(m.looks)
	if n == 0 || time.Since(m.looks[n-1].end) > stale*m.Every {
		return unknown
	}
	first := n - 1
	for first > 0 && m.looks[first-1].end.After(since) {
		first--
	}
	for _, source := range []Source{Sampled, Shared} { // what was shared out is worth less
		if u := mean(m.looks[first:], name, source); u.Source != Unknown {
			return u
		}
	}
	return unknown
}

// mean of the looks that have a source.
func mean(looks []look, name string, source Source) Usage {
	u, weight := Usage{Cores: math.NaN(), Source: Unknown}, 0.0
	sum := 0.0
	for _, l := range looks {
		if cores, has := l.cores[name]; has && l.source == source {
			sum += cores * l.took.Seconds()
			weight += l.took.Seconds()
			u = Usage{sum / weight, l.end, source}
		}
	}
	return u
}

// Yield makes the Meter leave the CPU profiler to the caller: a window that is open
// ends, within some 100 ms, and none is opened before release is called, which may be
// repeated. It errs when ctx ends before; then there is nothing to release.
func (m *Meter) Yield(ctx context.Context) (release func(), err error) {
	m.mu.Lock()
	m.yields++
	w := m.open
	if w != nil && !w.isCut {
		w.isCut = true
		close(w.cut)
	}
	m.mu.Unlock()
	release = sync.OnceFunc(func() {
		m.mu.Lock()
		m.yields--
		m.mu.Unlock()
	})
	if w != nil {
		select {
		case <-w.closed:
		case <-ctx.Done():
			release()
			return nil, ctx.Err()
		}
	}
	return release, nil
}

// begin opens a window, or returns nil when somebody goes first.
func (m *Meter) begin() *window {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.yields > 0 {
		return nil
	}
	m.open = &window{cut: make(chan struct{}), closed: make(chan struct{})}
	return m.open
}

func (m *Meter) end(w *window) {
	m.mu.Lock()
	m.open = nil
	m.mu.Unlock()
	close(w.closed)
}

// sample takes a profile. It reports false when there is none that says something.
func (m *Meter) sample(ctx context.Context) (look, bool) {
	if !ticking() {
		return look{}, false
	}
	w := m.begin()
	if w == nil {
		return look{}, false
	}
	var buf bytes.Buffer
	if err := pprof.StartCPUProfile(&buf); err != nil { // somebody else has it
		m.end(w)
		return look{}, false
	}
	began, used := time.Now(), processTime()
	timer := time.NewTimer(m.Window)
	select {
	case <-timer.C:
	case <-w.cut:
	case <-ctx.Done():
	}
	timer.Stop()
	end, used := time.Now(), processTime()-used
	pprof.StopCPUProfile()
	m.end(w)
	took := end.Sub(began)
	if ctx.Err() != nil || took < m.Window/4 {
		return look{}, false
	}
	cores, err := m.read(buf.Bytes(), took, used)
	return look{end, took, Sampled, cores}, err == nil
}

// ticking reports whether time.Now follows the system's clock. In the bubbles of
// testing/synctest it does not: the window's timer would never fire there, because the
// goroutine that writes the profile does not wait in a way that lets the bubble's time go on.
func ticking() bool { return time.Since(systemTime()).Abs() < time.Hour }

// read sums up a profile by label.
func (m *Meter) read(data []byte, took, used time.Duration) (map[string]float64, error) {
	p, err := profile.ParseData(data)
	if err != nil {
		return nil, err
	}
	if d := time.Duration(p.DurationNanos); d > 0 && d < took { // somebody has stopped it
		took = d
	}
	sums, all, err := sum(p)
	if err != nil {
		return nil, err
	}
	if used >= unseen && all < used/4 {
		return nil, errNoSamples
	}
	cores := make(map[string]float64, len(m.Busy))
	for name := range m.Busy {
		cores[name] = sums[name].Seconds() / took.Seconds()
	}
	return cores, nil
}

// unseen is the CPU time that must have left samples.
const unseen = 100 * time.Millisecond
