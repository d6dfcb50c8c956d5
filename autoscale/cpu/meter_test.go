package cpu

import (
	"bytes"
	"context"
	"math"
	"runtime"
	"runtime/pprof"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// spin uses a share of one core until ctx ends, in slices of 20 ms: less where the
// machine has others to run.
func spin(ctx context.Context, share float64) {
	x := 0.0
	defer func() { runtime.KeepAlive(x) }()
	for ctx.Err() == nil {
		began := time.Now()
		for time.Since(began) < time.Duration(share*float64(20*time.Millisecond)) {
			for i := range 1000 {
				x = x*31 + float64(i)
			}
		}
		select {
		case <-time.After(20*time.Millisecond - time.Since(began)):
		case <-ctx.Done():
		}
	}
}

// running starts a meter, and stops it before the test ends.
func running(t testing.TB, c Config) *Meter {
	m := NewMeter(c)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		m.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	return m
}

// await polls the real profiler's results.
func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("waited 30 s for %s", what)
		}
		<-time.After(10 * time.Millisecond)
	}
}

func idle() time.Duration { return 0 }

// A goroutine that a marked one starts counts with it; one that is not marked does not.
func TestMeterTellsLabelsApart(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()
	all.Go(func() {
		Mark(With(ctx, "much"))
		all.Go(func() { spin(ctx, 0.4) }) // inherits
		spin(ctx, 0.2)
	})
	all.Go(func() {
		Mark(With(ctx, "little"))
		spin(ctx, 0.15)
	})
	all.Go(func() { spin(ctx, 0.3) })
	m := running(t, Config{Every: 2200 * time.Millisecond, Window: time.Second, Busy: map[string]func() time.Duration{"much": idle, "little": idle, "none": idle}})
	start := time.Now()
	// A window in which others take the machine has too few samples to compare: the last
	// one counts, once there is one with some.
	future := start.Add(time.Hour)
	await(t, "a sampled window in which the loops run", func() bool {
		u := m.Cores("much", future)
		return u.Source == Sampled && u.Cores > 0.1 && m.Cores("little", future).Cores > 0.02
	})
	much, little, none := m.Cores("much", future), m.Cores("little", future), m.Cores("none", future)
	t.Logf("0.6, 0.15 and 0 of a core came back as %.2f, %.2f and %.2f", much.Cores, little.Cores, none.Cores)
	// On a machine that others use as well, the loops get less than they want: what
	// holds is their proportion.
	if much.Cores < 0.1 || much.Cores > 1 {
		t.Errorf("much: %v cores of 0.6", much.Cores)
	}
	if ratio := much.Cores / little.Cores; ratio < 1.3 || ratio > 12 {
		t.Errorf("much uses %.1f times of little, want about 4", ratio)
	}
	if none.Cores != 0 || none.Source != Sampled {
		t.Errorf("none: %+v", none)
	}
	if u := m.Cores("unheard of", start); u.Source != Unknown || !math.IsNaN(u.Cores) {
		t.Errorf("unheard of: %+v", u)
	}
	if age := time.Since(much.Time); age < 0 || age > time.Minute {
		t.Errorf("taken %v ago", age)
	}
}

// While somebody else profiles, their profile goes on, and what the process uses is
// shared out.
func TestMeterSharesWhileAnotherProfiles(t *testing.T) {
	var mine bytes.Buffer
	if err := pprof.StartCPUProfile(&mine); err != nil {
		t.Skip(err) // the whole test is being profiled
	}
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	all.Go(func() {
		Mark(With(ctx, "at work"))
		spin(ctx, 0.5)
	})
	began, used := time.Now(), processTime()
	m := running(t, Config{Every: 100 * time.Millisecond, Busy: map[string]func() time.Duration{
		"at work": func() time.Duration { return time.Since(began) }, "idle": idle,
	}})
	await(t, "a share", func() bool { u := m.Cores("at work", began); return u.Source == Shared && u.Cores > 0 })
	await(t, "CPU time that leaves samples", func() bool { return processTime()-used > 300*time.Millisecond })
	cancel()
	all.Wait()
	if u := m.Cores("idle", began); u.Source != Shared || u.Cores != 0 {
		t.Errorf("idle: %+v", u)
	}
	if u := m.Cores("at work", began); u.Cores > 1.01 {
		t.Errorf("at work in one goroutine: %+v", u)
	}
	pprof.StopCPUProfile()
	usage, err := m.read(mine.Bytes(), time.Since(began), 0)
	if err != nil || usage["at work"] <= 0 {
		t.Errorf("the profile that was taken meanwhile: %v, %v", usage, err)
	}
}

func TestMeterYields(t *testing.T) {
	m := running(t, Config{Every: time.Hour, Window: time.Hour / 2, Busy: map[string]func() time.Duration{"a": idle}})
	open := make(chan struct{})
	go func() { // in place of Run, which waits for a random time first
		defer close(open)
		m.sample(t.Context())
	}()
	await(t, "an open window", func() bool {
		m.mu.Lock()
		defer m.mu.Unlock()
		return m.open != nil
	})
	var releases []func()
	for range 2 {
		release, err := m.Yield(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		releases = append(releases, release)
	}
	<-open
	var buf bytes.Buffer
	if err := pprof.StartCPUProfile(&buf); err != nil {
		t.Errorf("profile while the meter yields: %v", err)
	}
	pprof.StopCPUProfile()
	releases[0]()
	releases[0]()
	if _, sampled := m.sample(t.Context()); sampled {
		t.Error("sampled while one still asks it not to")
	}
	releases[1]()
	if w := m.begin(); w == nil {
		t.Error("does not sample after the last release")
	} else {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := m.Yield(ctx); err != ctx.Err() {
			t.Errorf("yield with a context that has ended, while a window is open: %v", err)
		}
		if m.yields != 0 {
			t.Error("a Yield that failed holds the meter")
		}
		m.end(w)
	}
}

// Run returns when the profiler is free, in the middle of a window too.
func TestMeterStopWaits(t *testing.T) {
	m := NewMeter(Config{Every: time.Hour, Window: time.Hour / 2})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		m.measure(ctx, tally{})
	}()
	await(t, "an open window", func() bool {
		m.mu.Lock()
		defer m.mu.Unlock()
		return m.open != nil
	})
	cancel()
	<-ended
	var buf bytes.Buffer
	if err := pprof.StartCPUProfile(&buf); err != nil {
		t.Errorf("the profiler is not free: %v", err)
	}
	pprof.StopCPUProfile()
}

func TestMeterMeasuresWhenNeeded(t *testing.T) {
	asked := make(chan struct{}, 100)
	m := running(t, Config{Every: 20 * time.Millisecond, Busy: map[string]func() time.Duration{"a": idle}, Needed: func() bool {
		asked <- struct{}{}
		return false
	}})
	for range 3 {
		<-asked
	}
	if u := m.Cores("a", time.Time{}); u.Source != Unknown {
		t.Errorf("measured though it was not needed: %+v", u)
	}
}

func TestMeterMean(t *testing.T) {
	now := time.Now()
	at := func(ago, took time.Duration, s Source, cores float64) look {
		return look{now.Add(-ago), took, s, map[string]float64{"a": cores}}
	}
	for _, tt := range []struct {
		name  string
		looks []look
		since time.Duration
		want  Usage
	}{
		{"none", nil, time.Minute, Usage{math.NaN(), time.Time{}, Unknown}},
		{"mean by time", []look{at(30*time.Second, time.Second, Sampled, 9), at(15*time.Second, time.Second, Sampled, 1), at(5*time.Second, 3*time.Second, Sampled, 2)}, 20 * time.Second, Usage{1.75, now.Add(-5 * time.Second), Sampled}},
		{"sampled before shared", []look{at(15*time.Second, time.Second, Sampled, 1), at(5*time.Second, 10*time.Second, Shared, 2)}, 20 * time.Second, Usage{1, now.Add(-15 * time.Second), Sampled}},
		{"shared since", []look{at(25*time.Second, time.Second, Sampled, 1), at(5*time.Second, 10*time.Second, Shared, 2)}, 20 * time.Second, Usage{2, now.Add(-5 * time.Second), Shared}},
		{"none since", []look{at(25*time.Second, time.Second, Sampled, 1), at(15*time.Second, time.Second, Sampled, 2)}, time.Second, Usage{2, now.Add(-15 * time.Second), Sampled}},
		{"too old", []look{at(31*time.Second, time.Second, Sampled, 1)}, time.Minute, Usage{math.NaN(), time.Time{}, Unknown}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := NewMeter(Config{})
			m.looks = tt.looks
			got := m.Cores("a", now.Add(-tt.since))
			if got.Source != tt.want.Source || !got.Time.Equal(tt.want.Time) || math.Abs(got.Cores-tt.want.Cores) > 1e-9 || math.IsNaN(got.Cores) != math.IsNaN(tt.want.Cores) {
				t.Errorf("%+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestShare(t *testing.T) {
	start := time.Now()
	busy := func(a, b time.Duration) map[string]time.Duration {
		return map[string]time.Duration{"a": a, "b": b}
	}
	before := tally{start, 5 * time.Second, busy(time.Second, time.Second)}
	for _, tt := range []struct {
		name         string
		before, now  tally
		a, b         float64
		notKnownThen bool
	}{
		{"by time at work", before, tally{start.Add(10 * time.Second), 8 * time.Second, busy(10*time.Second, 4*time.Second)}, 0.225, 0.075, false},
		{"no more than that", before, tally{start.Add(10 * time.Second), 20 * time.Second, busy(2*time.Second, 3*time.Second)}, 0.1, 0.2, false},
		{"nobody at work", before, tally{start.Add(10 * time.Second), 8 * time.Second, busy(time.Second, time.Second)}, 0, 0, false},
		{"no CPU time", before, tally{start.Add(10 * time.Second), -1, busy(2*time.Second, 2*time.Second)}, 0, 0, true},
		{"no tally before", tally{}, before, 0, 0, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := tt.now.since(tt.before)
			if tt.notKnownThen != (l.source == Unknown) {
				t.Fatalf("source %v", l.source)
			}
			if math.Abs(l.cores["a"]-tt.a) > 1e-9 || math.Abs(l.cores["b"]-tt.b) > 1e-9 {
				t.Errorf("%v, want %v and %v", l.cores, tt.a, tt.b)
			}
		})
	}
}

// In a bubble nothing is sampled, but CPU time is shared out, by the bubble's time.
func TestMeterInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		m := NewMeter(Config{Busy: map[string]func() time.Duration{"a": func() time.Duration { return time.Since(start) }}})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			m.Run(ctx)
		}()
		time.Sleep(time.Minute)
		if u := m.Cores("a", time.Time{}); u.Source != Shared || u.Cores > 1 {
			t.Errorf("%+v", u)
		}
		time.Sleep(DefaultEvery)
		cancel()
		<-ended
	})
}

// A profile without samples, of a process that has used CPU time, says nothing.
func TestProfileWithoutSamples(t *testing.T) {
	m := NewMeter(Config{Busy: map[string]func() time.Duration{"a": idle}})
	var buf bytes.Buffer
	if err := pprof.StartCPUProfile(&buf); err != nil {
		t.Skip(err) // the whole test is being profiled
	}
	pprof.StopCPUProfile()
	if _, err := m.read(buf.Bytes(), time.Second, 10*time.Second); err != errNoSamples {
		t.Errorf("error %v", err)
	}
	if cores, err := m.read(buf.Bytes(), time.Second, 0); err != nil || cores["a"] != 0 {
		t.Errorf("of an idle process: %v, %v", cores, err)
	}
	if _, err := m.read([]byte("no profile"), time.Second, 0); err == nil {
		t.Error("no error for what is no profile")
	}
}
