package keda

import (
	"errors"
	"fmt"
	"math"
	"time"
)

// A look is what was found of one processor at one time, over all its processes.
// A float that is not known is NaN.
type look struct {
	at  time.Time
	err error // nothing is known

	processes  int
	replicas   int  // of all processes; the processes themselves where those are not asked
	counted    bool // replicas are of the processes' own, and what is decided about
	most       int  // replicas of the process that has most
	full       int  // replicas of the largest process whose CPUs had no room for more; 0 none
	unanswered []string
	paused     bool // by hand, in some process

	grouped    bool // by the source, which knows all processes
	told       bool // the backlog is told by the source, also where no process runs
	partitions int  // of the source; 0 not known
	working    int  // partitions with records; 0 not known
	committed  map[string]int64
	throughput float64 // as the processes tell; NaN where the group is asked
	backlog    float64
	shared     bool // the backlog is that of one source which every process told in whole
	cpu        float64
	ongoing    float64 // handler calls in progress, and requests that wait
}

// everyone is what a look at the processes gave.
type everyone struct {
	asked bool // there are names to look under
	peers []peer
	err   error
}

// lookAt joins what the group and the processes tell of a processor.
func lookAt(at time.Time, p *Processor, standing Standing, groupErr error, all everyone) look {
	unknown := math.NaN()
	l := look{at: at, throughput: unknown, backlog: unknown, cpu: unknown, ongoing: unknown}
	l.grouped = p.Group != nil && !errors.Is(groupErr, ErrNotTold)
	if l.grouped && groupErr != nil {
		l.err = groupErr
		return l
	}
	lent := l.grouped && standing.Members < 0 // by the source, to processes that it does not know
	l.grouped, l.told = l.grouped && !lent, l.grouped
	if all.asked {
		l.count(p, all)
	}
	switch {
	case l.grouped:
		l.group(standing, all)
	case !all.asked:
		l.err = fmt.Errorf("%w: name them by --peers or FLOW_PEERS", ErrNotTold)
	case all.err != nil:
		l.err = all.err
	case l.processes > 0 && len(l.unanswered) == l.processes:
		l.err = fmt.Errorf("no process answers: %s", l.unanswered[0])
	case lent:
		l.backlog, l.shared = 0, false
		l.wait(standing)
	}
	return l
}

// wait adds what waits at the source.
func (l *look) wait(s Standing) {
	for _, n := range s.Waiting {
		l.backlog += float64(max(n, 0))
	}
}

// count adds up what the processes tell.
func (l *look) count(p *Processor, all everyone) {
	var cpu, most, sum, throughput float64
	told, answered := 0, 0
	held := map[string]bool{}
	l.counted, l.ongoing = p.resizes(), 0
	for _, peer := range all.peers {
		if peer.err != nil {
			l.processes++
			l.unanswered = append(l.unanswered, fmt.Sprintf("%s: %v", peer.address, peer.err))
			continue
		}
		for _, s := range peer.state.Processors {
			if s.Name != p.Name { // it may be one that runs other processors
				continue
			}
			l.processes++
			answered++
			l.replicas += s.Replicas
			l.most = max(l.most, s.Replicas)
			if s.Autoscale.WantedCPU > 0 {
				l.full = max(l.full, s.Replicas)
			}
			l.paused = l.paused || s.Paused
			l.ongoing += float64(s.InFlight)
			throughput += s.Throughput
			if s.Backlog != nil {
				told++
				most, sum = max(most, float64(*s.Backlog)), sum+float64(*s.Backlog)
			}
			if s.CPU != nil {
				cpu += *s.CPU * float64(s.Replicas)
			} else {
				cpu = math.NaN()
			}
			for _, lane := range s.Lanes {
				key := fmt.Sprintf("%s/%d", lane.Topic, lane.Partition)
				l.shared = l.shared || held[key]
				held[key] = true
			}
		}
	}
	if answered > 0 && l.replicas > 0 {
		l.cpu = cpu / float64(l.replicas)
	}
	l.throughput = throughput
	if told == answered && answered > 0 {
		if l.backlog = sum; l.shared {
			l.backlog = most
		}
	}
	if p.Requests { // its backlog are the requests that wait
		l.ongoing += sum
	}
	l.missing(answered)
}

// missing makes unknown what depends on processes that did not answer. They are taken
// to be like the others.
func (l *look) missing(answered int) {
	n := l.processes - answered
	if n == 0 {
		return
	}
	each := 1
	if answered > 0 {
		each = max((l.replicas+answered-1)/answered, 1)
	}
	l.replicas += n * each
	l.throughput, l.backlog, l.cpu, l.ongoing = math.NaN(), math.NaN(), math.NaN(), math.NaN()
}

// group takes from the source what it knows better than the processes.
func (l *look) group(s Standing, all everyone) {
	l.committed, l.partitions = s.Committed, len(s.Waiting)
	l.backlog, l.throughput, l.shared = 0, math.NaN(), false
	l.wait(s)
	for _, n := range s.Waiting {
		if n > 0 {
			l.working++
		}
	}
	switch {
	case !all.asked:
		l.processes, l.replicas = s.Members, s.Members
	case all.err != nil:
		l.processes, l.replicas = s.Members, s.Members
		l.unanswered = []string{all.err.Error()}
	case s.Members > l.processes:
		// Some are not under the name, such as those that are not ready.
		n := s.Members - l.processes
		l.unanswered = append(l.unanswered, fmt.Sprintf("%d more read, and were not found", n))
		answered := l.processes
		l.processes = s.Members
		backlog := l.backlog
		l.missing(answered)
		l.backlog = backlog
	}
}

// idle reports whether there was nothing to do; moved is what was done since the look
// before.
func (l *look) idle(threshold, moved float64) bool {
	return l.err == nil && l.backlog <= threshold && moved == 0 && !(l.ongoing > 0)
}

// size is what is decided about: replicas, or processes where these are all alike.
func (l *look) size() int {
	if l.counted {
		return l.replicas
	}
	return l.processes
}
