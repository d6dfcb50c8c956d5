package autoscale

import (
	"math"
	"sync"
)

// A Budget shares out the CPUs of a process among its processors. It admits, and
// reserves nothing: each replica is counted with what its processor's num_cpus says.
// The start and the minimum of a processor are always admitted, and so is what
// somebody has asked for by hand; what a Loop adds is only what fits beside all that.
// A handler that mostly waits for I/O should be counted with as little as it uses:
// with num_cpus 0.1 two CPUs have room for 20 of its replicas.
//
// It may be used from any goroutine.
type Budget struct {
	cpus float64

	mu     sync.Mutex // held while a decision is made, which is no I/O
	shares map[string]share
}

// share is what one processor is counted with.
type share struct {
	each     int64 // micro-CPUs of one replica
	replicas int
}

// micro is the unit that CPUs are counted in: whole numbers add up the same in any
// order, so that what was taken and given back leaves nothing.
const micro = 1e6

// NewBudget shares out that many CPUs. 0 and less is no limit.
func NewBudget(cpus float64) *Budget {
	return &Budget{cpus: cpus, shares: map[string]share{}}
}

// CPUs is what there is to share out; 0 when there is no limit.
func (b *Budget) CPUs() float64 {
	if b.limited() {
		return b.cpus
	}
	return 0
}

func (b *Budget) limited() bool { return b.cpus > 0 && !math.IsInf(b.cpus, 1) }

// Count counts a processor with as many replicas as it has, however many CPUs that is:
// at its start, after a resize by hand, or when one failed. numCPUs is of one replica.
func (b *Budget) Count(processor string, numCPUs float64, replicas int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.shares[processor] = share{microCPUs(numCPUs), max(replicas, 0)}
}

// Admit calls decide with the CPUs that are free beside all processors, and counts the
// processor with the replicas that it returns: no more than fit, but always as many as
// it is counted with already, and least. It returns how many those are. Nothing else is
// admitted meanwhile, so that two processors do not both take the last CPU.
func (b *Budget) Admit(processor string, least int, decide func(free float64) int) (replicas int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.shares[processor]
	free := b.free()
	n := max(decide(free/micro), 0)
	if n > s.replicas && !math.IsInf(free, 1) && s.each > 0 {
		n = min(n, max(s.replicas+int(max(free, 0))/int(s.each), least))
	}
	s.replicas = n
	b.shares[processor] = s
	return n
}

// free is how many micro-CPUs no replica is counted with: below zero when more run than
// there are, +Inf when there is no limit. mu is held.
func (b *Budget) free() float64 {
	if !b.limited() {
		return math.Inf(1)
	}
	return math.Floor(b.cpus*micro) - float64(b.used())
}

func (b *Budget) used() (sum int64) {
	for _, s := range b.shares {
		sum += s.each * int64(s.replicas)
	}
	return sum
}

// Used is how many CPUs all replicas are counted with.
func (b *Budget) Used() float64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return float64(b.used()) / micro
}

// microCPUs is at least 1, so that no replica is for nothing.
func microCPUs(cpus float64) int64 {
	return int64(min(max(math.Round(cpus*micro), 1), 1e12))
}
