package keda

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flowkit-go/flow/autoscale"
)

// settle lets looks and at least one decision over a whole autoscale_frequency pass.
func settle() {
	time.Sleep(2*time.Minute + time.Second)
	synctest.Wait()
}

func TestBacklogOfTenMinutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroup(32)
		g.set(func(g *fakeGroup) { g.written, g.speed, g.members = 1e9, 320, 2 })
		s := start(t, Config{Processors: []Processor{bill(g)}})
		// 2 processes do 320/s. When it is decided, 59 s from here, 10 minutes' worth is left.
		time.Sleep(time.Second)
		g.set(func(g *fakeGroup) { g.written = g.committed() + 320*600 + 320*59 - 10 })
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := wanted(t, s, nil); n != 20 {
			t.Errorf("%d processes wanted for 10 times the burn threshold with 2: %+v", n, s.States()[0].Decision)
		}
		if !isActive(t, s, nil) {
			t.Error("not active with a backlog")
		}
	})
}

func TestNothingToDoAnyLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroup(4)
		g.set(func(g *fakeGroup) { g.written, g.speed, g.members = 1000, 4000, 1 })
		s := start(t, Config{Processors: []Processor{bill(g)}, Idle: 90 * time.Second})
		time.Sleep(80 * time.Second)
		synctest.Wait()
		if !isActive(t, s, nil) {
			t.Error("not active before the idle time is over")
		}
		time.Sleep(16 * time.Second)
		synctest.Wait()
		if isActive(t, s, nil) {
			t.Error("active although nothing was to do for the idle time")
		}
		if n := wanted(t, s, nil); n != 1 {
			t.Errorf("%d processes wanted, want the one that runs", n)
		}
		g.set(func(g *fakeGroup) { g.written += 40; g.speed = 0 })
		time.Sleep(DefaultPoll)
		synctest.Wait()
		if !isActive(t, s, nil) {
			t.Error("not active with 40 records")
		}
		if meta := map[string]string{MetaActivation: "100"}; isActive(t, s, meta) {
			t.Error("active with 40 records, where 100 count as nothing to do")
		}
	})
}

// What is not known is an error to KEDA, and not 0.
func TestSourceThatDoesNotAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroup(4)
		g.set(func(g *fakeGroup) { g.members = 3 })
		s := start(t, Config{Processors: []Processor{bill(g)}})
		settle()
		if n := wanted(t, s, nil); n != 3 || isActive(t, s, nil) {
			t.Errorf("%d wanted, want the 3 that run, with nothing to do", n)
		}
		g.set(func(g *fakeGroup) { g.err = errBroker })
		time.Sleep(DefaultPoll)
		synctest.Wait()
		tr, err := s.trigger(nil)
		if err != nil {
			t.Fatal(err)
		}
		if n, err := tr.wanted(); !errors.Is(err, errBroker) || !errors.Is(err, errUnknown) {
			t.Errorf("%d and %v while the source does not answer", n, err)
		}
		if !isActive(t, s, nil) {
			t.Error("not active although nothing is known")
		}
		g.set(func(g *fakeGroup) { g.err = nil })
		time.Sleep(DefaultPoll)
		synctest.Wait()
		if n := wanted(t, s, nil); n != 3 {
			t.Errorf("%d wanted after the error, want 3", n)
		}
	})
}

func TestNoProcessRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroup(4)
		s := start(t, Config{Processors: []Processor{bill(g)}})
		time.Sleep(time.Second)
		synctest.Wait()
		if isActive(t, s, nil) {
			t.Error("active without a process and without a backlog")
		}
		g.set(func(g *fakeGroup) { g.written = 1e6 })
		time.Sleep(DefaultPoll)
		synctest.Wait()
		if n := wanted(t, s, nil); n != 1 || !isActive(t, s, nil) {
			t.Errorf("%d wanted, active %v: want one to begin with", n, isActive(t, s, nil))
		}
		// While the first process takes over nothing is moved: no reason for a second one.
		g.set(func(g *fakeGroup) { g.members = 1 })
		time.Sleep(DefaultPoll)
		synctest.Wait()
		if n := wanted(t, s, nil); n != 1 {
			t.Errorf("%d wanted as soon as a process is there, which cannot be known yet", n)
		}
	})
}

// A process that begins or ends takes partitions along: what moves meanwhile is no
// measure of speed.
func TestThroughputBeginsAnewWithTheNumberOfProcesses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroup(32)
		s := start(t, Config{Processors: []Processor{bill(g)}})
		g.set(func(g *fakeGroup) { g.written, g.members, g.speed = 1e9, 2, 100 })
		time.Sleep(41 * time.Second)
		g.set(func(g *fakeGroup) { g.members = 3 })
		time.Sleep(20 * time.Second) // a decision is due
		synctest.Wait()
		if st := s.States()[0]; st.Throughput != nil || st.Wanted != 3 {
			t.Errorf("throughput %v, %d wanted: 20 s of 3 processes are too short", st.Throughput, st.Wanted)
		}
		time.Sleep(60 * time.Second)
		synctest.Wait()
		if st := s.States()[0]; st.Throughput == nil || *st.Throughput < 99 || *st.Throughput > 101 {
			t.Errorf("throughput %v, want 100/s", st.Throughput)
		}
	})
}

// Pods take their time. What was decided stays until they have come.
func TestDecisionStaysWhilePodsStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroup(32)
		g.set(func(g *fakeGroup) { g.written, g.members, g.speed = 320*240, 1, 320 })
		s := start(t, Config{Processors: []Processor{bill(g)}})
		settle()
		before := wanted(t, s, nil)
		if before < 2 {
			t.Fatalf("%d wanted, want more than run", before)
		}
		time.Sleep(2 * time.Minute) // the one has done it all, and no other has come
		synctest.Wait()
		if n := wanted(t, s, nil); n != before {
			t.Errorf("%d wanted after %d, within the window for shrinking", n, before)
		}
	})
}

func TestNoMoreProcessesThanPartitions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroup(3)
		g.set(func(g *fakeGroup) { g.written, g.members, g.speed = 1e9, 1, 3 })
		s := start(t, Config{Processors: []Processor{bill(g)}})
		settle()
		if n := wanted(t, s, nil); n != 3 {
			t.Errorf("%d wanted for 3 partitions", n)
		}
	})
}

// Scalers decide when the clock passes a multiple of the frequency, so two that began
// at different times come to the same.
func TestTwoScalersAgree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroup(500)
		g.set(func(g *fakeGroup) { g.written, g.members, g.speed = 40_000, 4, 100 })
		time.Sleep(4 * time.Second)
		first := start(t, Config{Processors: []Processor{bill(g)}})
		time.Sleep(17 * time.Second)
		second := start(t, Config{Processors: []Processor{bill(g)}})
		seen := map[int]bool{}
		for minute := range 20 {
			settle()
			a, b := first.States()[0], second.States()[0]
			if a.Wanted != b.Wanted || !a.Decision.Time.Equal(b.Decision.Time) {
				t.Errorf("after %d turns: %d and %d, decided at %v and %v", minute+1, a.Wanted, b.Wanted, a.Decision.Time, b.Decision.Time)
			}
			seen[a.Wanted] = true
			g.set(func(g *fakeGroup) {
				g.members, g.speed = a.Wanted, 25*float64(a.Wanted)
				g.written += 20_000 * float64(1+minute%3)
			})
		}
		if len(seen) < 3 {
			t.Errorf("they wanted %v only: the load is no test", seen)
		}
	})
}

// Where something behind the processes is slow more of them do not help, and no more are
// asked for.
func TestProcessesThatDoNotHelp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroup(512)
		g.set(func(g *fakeGroup) { g.written, g.members, g.speed = 50_000, 2, 100 })
		s := start(t, Config{Processors: []Processor{bill(g)}})
		helpless := false
		for range 20 {
			settle()
			st := s.States()[0]
			helpless = helpless || st.Decision.Rule == autoscale.RuleNoHelp
			g.set(func(g *fakeGroup) {
				g.written += 200 * 121
				g.members = st.Wanted // they come, and all together do what the two did
			})
		}
		if n := wanted(t, s, nil); !helpless || n > 100 {
			t.Errorf("%d processes wanted after 40 minutes in which they did not help: %+v", n, s.States()[0].Decision)
		}
	})
}

func TestTriggers(t *testing.T) {
	s, err := New(Config{Flow: "shop", Logger: quiet(), Processors: []Processor{
		bill(newGroup(1)), {Name: "GET /orders/{id}", Requests: true, Limits: limits(4)},
	}})
	if err != nil {
		t.Fatal(err)
	}
	if tr, err := s.trigger(nil); err != nil || tr.m.p.Name != "bill" || tr.metric() != "flow-bill" {
		t.Errorf("without a name: %v, want the only consumer", err)
	}
	tr, err := s.trigger(map[string]string{MetaProcessor: "GET /orders/{id}", MetaReplicas: "2", "scalerAddress": "x"})
	if err != nil || tr.replicas != 2 || tr.metric() != "flow-GET--orders--id-" {
		t.Errorf("%+v, %v", tr, err)
	}
	for want, meta := range map[string]map[string]string{
		`there is no processor "ship": use one of bill, GET /orders/{id}`: {MetaProcessor: "ship"},
		`replicasPerProcess is "0"`:                                       {MetaReplicas: "0"},
		`activationBacklog is "many"`:                                     {MetaActivation: "many"},
		`activationBacklog is "-1"`:                                       {MetaActivation: "-1"},
		`activationBacklog is "NaN"`:                                      {MetaActivation: "NaN"},
	} {
		if _, err := s.trigger(meta); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: error %v, want %s", meta, err, want)
		}
	}
}

func TestConfigsThatCannotBe(t *testing.T) {
	bad := autoscale.Defaults()
	bad.Min = 0
	for want, cfg := range map[string]Config{
		"Flow and Processors": {Flow: "shop"},
		"min_replicas is 0":   {Flow: "shop", Processors: []Processor{{Name: "bill", Limits: bad}}},
		"Idle":                {Flow: "shop", Processors: []Processor{bill(nil)}, Idle: -1},
		`peer "pods"`:         {Flow: "shop", Processors: []Processor{bill(nil)}, Peers: &Peers{Addresses: []string{"pods"}}},
	} {
		if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %s", err, want)
		}
	}
}
