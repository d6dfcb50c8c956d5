package autoscale

import (
	"math"
	"strings"
	"testing"
	"time"
)

// idleFeed has 16 replicas of which 5 would do, and has seen it for so many minutes.
func idleFeed(t *testing.T, minutes int, change ...func(*Signals)) *feed {
	t.Helper()
	f := newFeed(t, 16)
	for range minutes {
		f.look(500, 0, 500/(100*float64(f.last.Replicas)), change...)
	}
	return f
}

func TestGovernorNeverShrinksOnWhatIsNotKnown(t *testing.T) {
	for name, change := range map[string]func(*Signals){
		"throughput":   func(s *Signals) { s.Throughput = math.NaN() },
		"backlog":      func(s *Signals) { s.Backlog = math.NaN() },
		"last backlog": func(s *Signals) { s.PrevBacklog, s.Elapsed = math.NaN(), time.Minute },
		"CPU":          func(s *Signals) { s.CPU = math.NaN() },
		"pulls":        func(s *Signals) { s.Pulls = math.NaN() },
		"busy":         func(s *Signals) { s.Busy = math.NaN() },
	} {
		t.Run(name, func(t *testing.T) {
			// What a replica can do is known, and the window is over with the next look.
			f := idleFeed(t, 5)
			f.look(500, 0, 500.0/1600, change)
			if f.decision.Replicas != 16 {
				t.Fatalf("%+v", f.decision)
			}
			f = idleFeed(t, 6)
			if f.decision.Replicas != 5 {
				t.Fatalf("with all known: %+v", f.decision)
			}
		})
	}
}

// While arrivals fall, one resize at the end is better than one for each step.
func TestGovernorWaitsWhileArrivalsFall(t *testing.T) {
	f := idleFeed(t, 1)
	for _, arrive := range []float64{1200, 1200, 1200, 1200, 900} {
		f.look(arrive, 0, arrive/1600)
	}
	f.is(16, RuleHold, "; arrivals still fall")
	for range 5 {
		f.look(900, 0, 900.0/1600)
	}
	f.is(9, RuleSpare, "16 -> 9")
}

func TestGovernorShrinksOnceInAWindow(t *testing.T) {
	f := newFeed(t, 100)
	f.look(2000, 0, 0.2)
	for range 5 {
		f.look(1400, 0, 0.14)
	}
	f.is(20, RuleCPU, "100 -> 20")
	for range 4 {
		f.look(1400, 0, 0.7)
		f.is(20, RuleHold, "; resized ")
	}
	f.look(1400, 0, 0.7)
	f.is(14, RuleSpare, "20 -> 14")
}

func TestGovernorWorksOffTheBacklogFirst(t *testing.T) {
	f := idleFeed(t, 5)
	for range 5 {
		// 650/s arrive in the first minute: 7 replicas, whose 12 s are 8,400 records.
		f.look(500, 9000, 500.0/1600)
		if f.decision.Replicas != 16 || !strings.Contains(f.decision.Reason, "backlog 9,000 first") {
			t.Fatalf("%+v", f.decision)
		}
	}
	f.look(500, 8000, 500.0/1600)
	f.is(7, RuleSpare, "16 -> 7")
}

func TestGovernorLeavesLessThanAFifth(t *testing.T) {
	f := newFeed(t, 6)
	for range 20 {
		f.look(500, 0, 500.0/600)
	}
	f.is(6, RuleHold, "5 would do, which is no fifth less")
}

// queue puts so many records per second in, for a minute, where one replica does each.
func (f *feed) queue(arrive, each float64) {
	f.Helper()
	can, waiting := each*float64(f.last.Replicas), max(f.last.Backlog, 0)
	if math.IsNaN(waiting) {
		waiting = 0
	}
	done := min(arrive+waiting/60, can)
	f.look(done, max(waiting+(arrive-done)*60, 0), done/can)
}

// Peaks that came back are played again: fewer replicas than those at the peak can work
// a peak off that is short.
func TestGovernorPlaysPeaksAgain(t *testing.T) {
	f := newFeed(t, 10)
	for range 4 {
		for range 20 {
			f.queue(150, 100)
		}
		for range 3 {
			f.queue(900, 100)
		}
	}
	for range 15 {
		f.queue(150, 100)
	}
	// 7 leave 200 * 180 records of the three minutes, which they do in 51 s.
	f.is(7, RuleHold, "")
}

// A backlog that is far over the threshold is brought under it at once.
func TestGovernorBringsTheBacklogUnderTheThreshold(t *testing.T) {
	f := newFeed(t, 2)
	f.look(100, 0, 0.5)
	f.look(200, 192000, 1, func(s *Signals) { s.PrevBacklog = 192000 })
	f.is(32, RuleBehind, "backlog 192,000 would take 16m at 200/s, target 60s; 200/s arrive, one does 100/s: 2 -> 32")
}

// Growth that adds what it should is no reason to stop.
func TestGovernorGoesOnWhereGrowthHelps(t *testing.T) {
	f := newFeed(t, 4)
	for range 6 {
		f.queue(1000, 20)
		if f.decision.Rule == RuleNoHelp {
			t.Fatalf("%+v", f.decision)
		}
	}
	if f.last.Replicas < 50 {
		t.Errorf("%+v", f.decision)
	}
}

// Replicas that are still starting are neither judged nor added once more.
func TestGovernorWaitsForReplicasThatStart(t *testing.T) {
	f := newFeed(t, 4)
	f.every, f.limits.Frequency = 15*time.Second, 15*time.Second
	f.look(200, 0, 0.5)
	f.look(400, 18000, 1)
	grown := f.decision.Replicas
	if grown <= 4 {
		t.Fatalf("%+v", f.decision)
	}
	f.look(400, 24000, 1)
	f.look(400, 30000, 1)
	if n := f.decision.Replicas; n > grown*13/10 || f.decision.Rule == RuleNoHelp {
		t.Errorf("from %d to %d: %s", grown, n, f.decision.Reason)
	}
}

// When records begin to fail in the middle of an interval, the throughput of that
// interval is too high to compare with.
func TestGovernorComparesLikeWithLike(t *testing.T) {
	f := newFeed(t, 6)
	f.look(500, 0, 500.0/600)
	f.look(500, 0, 500.0/600)
	f.look(280, 13200, 1)
	f.is(12, RuleFalling, "6 -> 12")
	f.look(310, 24600, 1) // 28/s each, where there were 27/s for half of the time
	if f.decision.Rule == RuleNoHelp || f.decision.Replicas <= 12 {
		t.Errorf("%+v", f.decision)
	}
}
