package autoscale

import (
	"context"
	"errors"
	"math"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// fluid is a processor of replicas that handle 100/s each, and records that arrive as a
// test says, second by second.
type fluid struct {
	mu       sync.Mutex
	began    time.Time
	now      time.Time
	rate     func(since time.Duration) float64
	replicas int
	done     float64
	busy     float64 // replica-seconds
	backlog  float64
	since    Signals // the last, with done and busy of then
	before   [2]float64
	looked   []time.Duration // when it was measured
	resized  []time.Duration
	glanced  []time.Duration
	glance   func(ctx context.Context, g Glance) (Glance, error)
}

func newFluid(replicas int, rate func(since time.Duration) float64) *fluid {
	now := time.Now()
	return &fluid{began: now, now: now, replicas: replicas, rate: rate, glance: func(_ context.Context, g Glance) (Glance, error) { return g, nil }}
}

// flow lets time pass up to now. mu is held.
func (p *fluid) flow() {
	for ; !p.now.Add(time.Second).After(time.Now()); p.now = p.now.Add(time.Second) {
		can := 100 * float64(p.replicas)
		come := p.backlog + p.rate(p.now.Sub(p.began))
		did := min(come, can)
		p.done, p.backlog, p.busy = p.done+did, come-did, p.busy+did/100
	}
}

func (p *fluid) Replicas() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.replicas
}

func (p *fluid) Resize(n int) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.flow()
	p.replicas = n
	p.resized = append(p.resized, time.Since(p.began))
	return nil
}

func (p *fluid) Signals() (Signals, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.flow()
	p.looked = append(p.looked, time.Since(p.began))
	s := Signals{Time: time.Now(), Replicas: p.replicas, Backlog: p.backlog, PrevBacklog: math.NaN(), Pulls: math.Inf(1), NumCPUs: 1, FreeCPUs: math.Inf(1)}
	from := p.began
	if !p.since.Time.IsZero() {
		from, s.PrevBacklog, s.Elapsed = p.since.Time, p.since.Backlog, s.Time.Sub(p.since.Time)
	}
	secs := s.Time.Sub(from).Seconds()
	s.Throughput, s.Busy = (p.done-p.before[0])/secs, (p.busy-p.before[1])/secs/float64(p.replicas)
	s.CPU = 100 * s.Busy
	p.since, p.before = s, [2]float64{p.done, p.busy}
	return s, nil
}

func (p *fluid) Glance(ctx context.Context) (Glance, error) {
	p.mu.Lock()
	p.flow()
	p.glanced = append(p.glanced, time.Since(p.began))
	g := Glance{Time: time.Now(), Done: p.done, Backlog: p.backlog}
	p.mu.Unlock()
	return p.glance(ctx, g)
}

// times are when something was done.
func (p *fluid) times(of *[]time.Duration) []time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(*of)
}

// from are the limits of a pool of so many at least.
func from(n int) Limits {
	l := limits(20, time.Minute)
	l.Start, l.Min = n, n
	return l
}

// jumps are 200/s, and 800/s from then on.
func jumps(at time.Duration) func(time.Duration) float64 {
	return func(since time.Duration) float64 {
		if since >= at {
			return 800
		}
		return 200
	}
}

func TestLoopDecidesEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const jump = 125 * time.Second
		p := newFluid(4, jumps(jump))
		l := running(t, nil, Member{Name: "a", Target: p, Limits: from(4), NumCPUs: 1})
		time.Sleep(jump + 14*time.Second + time.Millisecond)
		synctest.Wait()
		// The glances at 130 s and 135 s see it grow.
		if d := cmp.Diff([]time.Duration{135 * time.Second}, p.times(&p.resized)); d != "" {
			t.Errorf("resizes (-want +got):\n%s", d)
		}
		if d := lastOf(t, l, "a"); d.From != 4 || d.Replicas < 8 || d.Replicas > 10 {
			t.Errorf("%+v", d)
		}
		// The next regular decision is a whole frequency later.
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		want := []time.Duration{time.Minute, 2 * time.Minute, 135 * time.Second, 195 * time.Second, 255 * time.Second}
		if d := cmp.Diff(want, p.times(&p.looked)); d != "" {
			t.Errorf("decisions (-want +got):\n%s", d)
		}
		if burn := p.backlog / 100 / float64(p.Replicas()); burn > 10 {
			t.Errorf("the backlog still takes %v s", burn)
		}
	})
}

// One that cannot grow is not decided about all the time.
func TestLoopEarlyDecisionsForNothingGetFew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newFluid(4, jumps(61*time.Second))
		running(t, NewBudget(4), Member{Name: "a", Target: p, Limits: from(4), NumCPUs: 1})
		time.Sleep(time.Hour)
		looked := p.times(&p.looked)
		for i := range looked[1:] {
			if gap := looked[i+1] - looked[i]; gap < 10*time.Second {
				t.Errorf("two decisions within %v", gap)
			}
		}
		if n := len(looked); n > 65 {
			t.Errorf("%d decisions in an hour, want about 60", n)
		}
		if p.Replicas() != 4 {
			t.Errorf("%d replicas for 4 CPUs", p.Replicas())
		}
	})
}

// What a glance cannot tell leaves the decisions where they are.
func TestLoopGlancesThatTellNothing(t *testing.T) {
	for name, glance := range map[string]func(context.Context, Glance) (Glance, error){
		"error":   func(_ context.Context, g Glance) (Glance, error) { return g, errors.New("the broker is away") },
		"panic":   func(context.Context, Glance) (Glance, error) { panic("no") },
		"unknown": func(_ context.Context, g Glance) (Glance, error) { g.Backlog = math.NaN(); return g, nil },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newFluid(4, jumps(61*time.Second))
				p.glance = glance
				running(t, nil, Member{Name: "a", Target: p, Limits: from(4), NumCPUs: 1})
				time.Sleep(2*time.Minute + time.Millisecond)
				synctest.Wait()
				if d := cmp.Diff([]time.Duration{time.Minute, 2 * time.Minute}, p.times(&p.looked)); d != "" {
					t.Errorf("decisions (-want +got):\n%s", d)
				}
				if n := len(p.times(&p.glanced)); n != 22 {
					t.Errorf("%d glances, want 22", n)
				}
				if d := cmp.Diff([]time.Duration{2 * time.Minute}, p.times(&p.resized)); d != "" {
					t.Errorf("resizes (-want +got):\n%s", d)
				}
			})
		})
	}
}

// What one error hides is not taken for what came in between.
func TestLoopGlancesBeginAnewAfterAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newFluid(4, jumps(61*time.Second))
		p.glance = func(_ context.Context, g Glance) (Glance, error) {
			if n := len(p.glanced); n == 13 || n == 15 { // at 70 s and 80 s
				return g, errors.New("away")
			}
			return g, nil
		}
		running(t, nil, Member{Name: "a", Target: p, Limits: from(4), NumCPUs: 1})
		time.Sleep(97 * time.Second)
		synctest.Wait()
		if d := cmp.Diff([]time.Duration{95 * time.Second}, p.times(&p.resized)); d != "" {
			t.Errorf("resizes (-want +got):\n%s", d)
		}
	})
}

// A glance that does not come back is given up for the decision, and delays no other
// processor.
func TestLoopGlanceThatBlocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow, quick := newFluid(4, jumps(61*time.Second)), newFluid(4, jumps(61*time.Second))
		slow.glance = func(ctx context.Context, g Glance) (Glance, error) {
			<-ctx.Done()
			return g, context.Cause(ctx)
		}
		running(t, nil, Member{Name: "slow", Target: slow, Limits: from(4), NumCPUs: 1},
			Member{Name: "quick", Target: quick, Limits: from(4), NumCPUs: 1})
		time.Sleep(2*time.Minute + time.Second)
		synctest.Wait()
		if d := cmp.Diff([]time.Duration{time.Minute, 2 * time.Minute}, slow.times(&slow.looked)); d != "" {
			t.Errorf("decisions of the slow one (-want +got):\n%s", d)
		}
		if d := cmp.Diff([]time.Duration{75 * time.Second}, quick.times(&quick.resized)); d != "" {
			t.Errorf("resizes of the quick one (-want +got):\n%s", d)
		}
	})
}

// A stop ends a glance and waits for it; nothing is looked at or decided after it.
func TestLoopStopsWhileItGlances(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newFluid(4, jumps(61*time.Second))
		gate := make(chan struct{})
		p.glance = func(_ context.Context, g Glance) (Glance, error) {
			if len(p.glanced) == 13 { // the one that would be urgent
				<-gate
			}
			return g, nil
		}
		l := NewLoop(nil, Member{Name: "a", Target: p, Limits: from(4), NumCPUs: 1})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); l.Run(ctx) }()
		time.Sleep(70*time.Second + time.Millisecond)
		synctest.Wait()
		cancel()
		synctest.Wait()
		select {
		case <-ended:
			t.Error("Run returned during a glance")
		default:
		}
		close(gate)
		<-ended
		time.Sleep(time.Hour)
		if len(p.glanced) != 13 || len(p.looked) != 1 || p.Replicas() != 4 {
			t.Errorf("%d glances, %d decisions, %d replicas", len(p.glanced), len(p.looked), p.Replicas())
		}
	})
}

// A processor that somebody has fixed is not looked at; one that is given back is, with
// nothing known of the time before.
func TestLoopGlancesOnAutoOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newFluid(4, jumps(time.Hour))
		l := running(t, nil, Member{Name: "a", Target: p, Limits: from(4), NumCPUs: 1})
		time.Sleep(31 * time.Second)
		if _, err := l.Change(t.Context(), "a", Change{Replicas: 4}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Hour)
		if n := len(p.times(&p.glanced)); n != 6 {
			t.Errorf("%d glances, want the 6 before it was fixed", n)
		}
		if _, err := l.Change(t.Context(), "a", Change{Auto: true}); err != nil {
			t.Fatal(err)
		}
		from := time.Since(p.began)
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if d := cmp.Diff([]time.Duration{from + 15*time.Second}, p.times(&p.resized)); d != "" {
			t.Errorf("resizes (-want +got):\n%s", d)
		}
	})
}

// A resize that fails is tried again with the next regular decision.
func TestLoopEarlyResizeThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &failing{fluid: newFluid(4, jumps(61*time.Second)), fails: 1}
		l := running(t, nil, Member{Name: "a", Target: p, Limits: from(4), NumCPUs: 1})
		time.Sleep(76 * time.Second)
		synctest.Wait()
		if d := lastOf(t, l, "a"); d.Rule != RuleFailed {
			t.Errorf("%+v", d)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if d := cmp.Diff([]time.Duration{135 * time.Second}, p.times(&p.resized)); d != "" {
			t.Errorf("resizes (-want +got):\n%s", d)
		}
	})
}

// failing is a fluid whose first resizes fail.
type failing struct {
	*fluid
	fails int
}

func (p *failing) Resize(n int) error {
	if p.fails--; p.fails >= 0 {
		return errors.New("no connection")
	}
	return p.fluid.Resize(n)
}
