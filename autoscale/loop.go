package autoscale

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// A Member is a processor that a Loop looks after.
type Member struct {
	Name    string
	Target  Target
	Limits  Limits
	NumCPUs float64      // CPUs that one replica is counted with
	Ongoing bool         // decide by requests in progress, as for collectors and endpoints; else by backlog
	Log     *slog.Logger // with the processor's name; default slog.Default()
}

// A Loop decides about the size of processors while they run. Each has a schedule and
// a Governor of its own: one whose signals or whose Setup take long delays no other.
// The first decision comes after one Frequency.
//
// A Target that is a Glancer is glanced at in between, and a decision that cannot wait is
// made early; the next regular one comes one Frequency after it. A glance that fails is
// left out, and one that does not come back is given up when the decision is due.
//
// Signals that cannot be had hold a processor as it is. A resize that fails is recorded
// and tried again with the next decision. Processors that cannot be scaled, because
// their minimum is their maximum or they are not Enabled, are never asked for signals;
// they can be scaled by hand.
type Loop struct {
	budget  *Budget
	members map[string]*member // not changed after NewLoop
}

var (
	// ErrUnknownProcessor is wrapped by errors about a name that no Member has.
	ErrUnknownProcessor = errors.New("there is no such processor")
	// ErrRefused is wrapped by errors about a Change that cannot be: it changes nothing.
	ErrRefused = errors.New("refused")
)

// NewLoop makes a loop for members with names that differ. budget has them counted with
// their replicas from then on; nil is no limit.
func NewLoop(budget *Budget, members ...Member) *Loop {
	if budget == nil {
		budget = NewBudget(0)
	}
	l := &Loop{budget: budget, members: map[string]*member{}}
	for _, m := range members {
		if m.Log == nil {
			m.Log = slog.Default()
		}
		l.members[m.Name] = newMember(m, budget)
		budget.Count(m.Name, m.NumCPUs, m.Limits.Start)
	}
	return l
}

// Run decides until ctx ends, and returns when no decision is being made any more: a
// call of Signals or Resize that is under way is waited for.
func (l *Loop) Run(ctx context.Context) {
	var all sync.WaitGroup
	for _, m := range l.members {
		all.Go(func() { m.run(ctx) })
	}
	all.Wait()
}

// Warning says that the replicas that always run, which are the start and the minimum,
// are counted with more CPUs than the budget has, so that no processor can grow. It is
// empty when they are not, or when no processor scales.
func (l *Loop) Warning() string {
	sum, scales := 0.0, false
	for _, m := range l.members {
		sum += m.NumCPUs * float64(max(m.Limits.Start, m.Limits.Min))
		scales = scales || m.scalable(m.Limits)
	}
	if cpus := l.budget.CPUs(); scales && cpus > 0 && sum > cpus*(1+exact) {
		return fmt.Sprintf("the replicas that always run are counted with %s CPUs, and there are %s: none is added beyond the minimum; "+
			"give processors that mostly wait a smaller num_cpus, or say how many CPUs there are", rate(sum), rate(cpus))
	}
	return ""
}

// Status is how the size of a processor is decided, and what came of it.
type Status struct {
	Mode       Mode       `json:"mode"`
	Min        int        `json:"min"`
	Max        int        `json:"max"`
	Want       int        `json:"wanted_replicas"` // by the last decision's rule, before limits and CPUs
	WantedCPU  int        `json:"wanted_cpus"`     // CPUs that an outer scaler is asked for; 0 none
	FixedUntil *time.Time `json:"fixed_until"`     // null: not fixed, or for good
	Last       *Decision  `json:"last_decision"`   // null before the first
}

// Mode says who decides about a processor's size.
type Mode string

const (
	// Auto is the Loop, within Min and Max.
	Auto Mode = "auto"
	// Fixed is the number that somebody has asked for.
	Fixed Mode = "fixed"
	// Off is nobody: the processor does not scale.
	Off Mode = "off"
)

func (l *Loop) member(name string) (*member, error) {
	if m := l.members[name]; m != nil {
		return m, nil
	}
	return nil, fmt.Errorf("%w %q", ErrUnknownProcessor, name)
}

// Status returns how a processor is decided about.
func (l *Loop) Status(name string) (Status, error) {
	m, err := l.member(name)
	if err != nil {
		return Status{}, err
	}
	return m.status(), nil
}

// Decisions returns the last 1,000 decisions about a processor, the newest last.
func (l *Loop) Decisions(name string) ([]Decision, error) {
	m, err := l.member(name)
	if err != nil {
		return nil, err
	}
	return m.record.list(), nil
}

// Counts returns how many decisions there were about a processor, by direction and rule.
func (l *Loop) Counts(name string) map[Kind]int64 {
	if m := l.members[name]; m != nil {
		return m.record.kinds()
	}
	return nil
}

// Resized tells the loop of a resize that it has not made, so that its CPUs count. The
// next decision goes on from there.
func (l *Loop) Resized(name string) {
	if m := l.members[name]; m != nil {
		m.recount()
	}
}
