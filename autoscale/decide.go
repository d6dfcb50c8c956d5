package autoscale

import (
	"fmt"
	"math"
)

// Rules of Decide.
const (
	// RuleStart is a pool that has no replicas: it gets Limits.Start.
	RuleStart Rule = "start"
	// RuleUnknown holds, because a signal that the decision hangs on is not known.
	RuleUnknown Rule = "unknown"
	// RuleBehind grows, because the backlog takes longer than the burn threshold.
	RuleBehind Rule = "behind"
	// RuleFalling grows, because the backlog grows while CPUs are busy.
	RuleFalling Rule = "falling behind"
	// RuleStalled grows by one, because there is a backlog and nothing succeeds.
	RuleStalled Rule = "stalled"
	// RuleNoPulls grows by one, because no task came to take a record.
	RuleNoPulls Rule = "no pulls"
	// RuleCPU shrinks, because replicas use less CPU than their target.
	RuleCPU Rule = "cpu"
	// RuleHold leaves the size as it is: all is within its targets.
	RuleHold Rule = "hold"
)

// noise is the share of the throughput below which growth of the backlog counts as none.
const noise = 0.01

// Decide returns the number of replicas of a consumer. It is pure, and total: no
// input makes it panic, and the result is within Min and Max.
//
// With n replicas, throughput T, backlog B that grew by g per second, CPU percent C,
// CPUTarget G and BurnThreshold K:
//
//	behind          B/T > K             ceil(n * B/(K*T))
//	falling behind  g > 1% of T, C > G  ceil(n * (T+g)/T)
//	stalled         T = 0, B > 0        n + 1
//	no pulls        P = 0               n + 1
//	cpu             else, C < G, g no more than noise   floor(n * C/G), at least 1
//
// Of the rules that grow, the one that wants most counts, so that more backlog never
// gives fewer replicas. Growth is limited to what Parallel says could find work, and
// then to the CPUs that are free; CPUs that it lacked are asked for in WantedCPU, as
// ceil(2 * CPUs of the pool as it will be). Before a first interval growth counts as
// none. A signal that is not known takes out the rules that need it, and shrinking.
//
// The formulas are those of BuildFlow's autoscaler. There, a backlog that shrinks is
// taken for one that grows, the first rule that applies hides the others, idle
// replicas at 0 % CPU stay for good, and T = 0 divides by zero.
func Decide(s Signals, l Limits) Decision {
	return settle(s, l, wish(s, l))
}

// A want is what a rule asks for, before limits and capacity.
type want struct {
	replicas int
	rule     Rule
	why      string // without the numbers of replicas
}

// wish applies the rules for consumers.
func wish(s Signals, l Limits) want {
	n := s.Replicas
	if n < 1 {
		return want{max(l.Start, 1), RuleStart, "no replicas yet"}
	}
	t, b := atLeastZero(s.Throughput), atLeastZero(s.Backlog)
	hold := func(rule Rule, format string, args ...any) want {
		return want{n, rule, fmt.Sprintf(format, args...)}
	}
	switch {
	case math.IsNaN(b):
		return hold(RuleUnknown, "backlog not known")
	case math.IsNaN(t) || math.IsInf(t, 1):
		return hold(RuleUnknown, "throughput not known")
	}
	cpu := known(s.CPU)
	g := growth(s)
	grows := g > noise*t

	// What grows: the largest, and where two want the same, the first.
	best := want{replicas: n}
	grow := func(x float64, rule Rule, format string, args ...any) {
		if r := max(roundUp(x, n), plus(n, 1)); r > best.replicas {
			best = want{r, rule, fmt.Sprintf(format, args...)}
		}
	}
	k := l.BurnThreshold.Seconds()
	if t > 0 && b/t > k {
		grow(float64(n)*(b/t/k), RuleBehind, "backlog %s would take %s at %s/s, target %s", count(b), seconds(b/t), rate(t), seconds(k))
	}
	if t > 0 && grows && cpu > l.CPUTarget {
		grow(float64(n)*((t+g)/t), RuleFalling, "backlog grows by %s/s at %s/s done, CPU %s%% of target %s%%", rate(g), rate(t), rate(cpu), rate(l.CPUTarget))
	}
	if t == 0 && b > 0 {
		grow(0, RuleStalled, "backlog %s and nothing done", count(b))
	}
	if s.Pulls == 0 {
		grow(0, RuleNoPulls, "no task came to take a record")
	}
	if best.replicas > n {
		return best
	}

	// What holds or shrinks.
	switch {
	case math.IsNaN(cpu):
		return hold(RuleUnknown, "CPU not known")
	case math.IsNaN(known(s.Pulls)):
		return hold(RuleUnknown, "pulls not known")
	case math.IsNaN(g):
		return hold(RuleUnknown, "backlog of the last decision not known")
	case grows:
		return hold(RuleHold, "backlog grows by %s/s, but CPU is %s%%, no more than its target %s%%", rate(g), rate(cpu), rate(l.CPUTarget))
	case cpu < l.CPUTarget && n > 1:
		return want{max(roundDown(float64(n)*(cpu/l.CPUTarget), n), 1), RuleCPU,
			fmt.Sprintf("CPU %s%% of target %s%%, backlog %s not growing", rate(cpu), rate(l.CPUTarget), count(b))}
	case b == 0:
		return hold(RuleHold, "no backlog, CPU %s%%", rate(cpu))
	}
	return hold(RuleHold, "backlog %s takes %s, target %s, CPU %s%%", count(b), seconds(b/t), seconds(k), rate(cpu))
}

// settle fits a want into limits, work and CPUs, and says so.
func settle(s Signals, l Limits, w want) Decision {
	d := Decision{Time: s.Time, From: s.Replicas, Want: w.replicas, Rule: w.rule}
	n := max(s.Replicas, 0)
	r, note := w.replicas, ""

	if s.Parallel > 0 && r > n && r > s.Parallel {
		r, note = max(n, s.Parallel), fmt.Sprintf("; wanted %s, no more than %s could find work", count(float64(w.replicas)), count(float64(s.Parallel)))
	}
	if r > l.Max {
		r, note = l.Max, fmt.Sprintf("; wanted %s, max_replicas is %d", count(float64(w.replicas)), l.Max)
	}
	if r < l.Min {
		r, note = l.Min, fmt.Sprintf("; min_replicas is %d", l.Min)
	}
	if room := room(s); r > n && float64(r-n) > room {
		// The minimum runs whether there are CPUs for it or not.
		fits := min(max(n+int(room), l.Min), l.Max)
		d.WantedCPU = wantedCPU(fits, s.NumCPUs)
		note = fmt.Sprintf("; wanted %s, %s", count(float64(r)), missing(s, d.WantedCPU))
		r = fits
	}
	d.Replicas = r
	if r == s.Replicas {
		d.Reason = "held: " + w.why + note
	} else {
		d.Reason = fmt.Sprintf("%s: %d -> %d%s", w.why, s.Replicas, r, note)
	}
	return d
}

// growth is by how much the backlog grows per second: 0 before the first interval,
// NaN when not known.
func growth(s Signals) float64 {
	dt := s.Elapsed.Seconds()
	if dt <= 0 {
		return 0
	}
	b, prev := atLeastZero(s.Backlog), atLeastZero(s.PrevBacklog)
	if math.IsInf(prev, 1) {
		return math.NaN()
	}
	return (b - prev) / dt
}

// room is how many replicas more there are CPUs for; 0 when not known.
func room(s Signals) float64 {
	switch {
	case math.IsNaN(s.FreeCPUs), math.IsNaN(s.NumCPUs):
		return 0
	case math.IsInf(s.FreeCPUs, 1), s.NumCPUs <= 0 && s.FreeCPUs >= 0:
		return math.Inf(1)
	case s.FreeCPUs <= 0 || math.IsInf(s.NumCPUs, 1):
		return 0
	}
	return float64(roundDown(s.FreeCPUs/s.NumCPUs, 0))
}

func missing(s Signals, asked int) string {
	if math.IsNaN(s.FreeCPUs) || math.IsNaN(s.NumCPUs) {
		return "free CPUs not known"
	}
	return fmt.Sprintf("CPUs free for %s more, %s asked for", count(room(s)), count(float64(asked)))
}

// wantedCPU is twice what the replicas are counted with, as BuildFlow asks of its
// cluster: machines take minutes to come.
func wantedCPU(replicas int, cpus float64) int {
	if !(cpus > 0) {
		return 0
	}
	return int(min(math.Ceil(float64(replicas)*cpus*2*(1-exact)), MaxReplicas*1000))
}

// exact is the part by which a quotient may miss an integer that it stands for.
const exact = 1e-9

// roundUp makes a number of replicas of x, at most MaxReplicas, or n where that is
// more, so that no product is too large for an int.
func roundUp(x float64, n int) int { return whole(math.Ceil(x*(1-exact)), n) }

// roundDown is roundUp, to the other side.
func roundDown(x float64, n int) int { return whole(math.Floor(x*(1+exact)), n) }

func whole(x float64, n int) int {
	top := max(n, MaxReplicas)
	switch {
	case x >= float64(top):
		return top
	case x >= 0:
		return int(x)
	}
	return 0 // negative or NaN
}

// plus adds without overflow.
func plus(n, more int) int {
	return min(n, math.MaxInt-more) + more
}

// atLeastZero takes what is below zero, such as a backlog of offsets that were read
// at different times, for zero.
func atLeastZero(x float64) float64 {
	return max(x, 0)
}

// known returns NaN for what cannot have been measured.
func known(x float64) float64 {
	if x < 0 {
		return math.NaN()
	}
	return x
}
