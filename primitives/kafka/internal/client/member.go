package client

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/IBM/sarama"

	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/primitives/kafka/driver"
)

// member takes part in the classic group protocol: it joins, is told its
// partitions by the leader (which it may be itself), sends heartbeats, and joins
// again when the group changes.
//
// An eager strategy gives all partitions back before each join. The cooperative
// one keeps them: what the new assignment lacks is given back after it, then the
// member joins once more so that the others can have it (KIP-429).
type member struct {
	client     *Client
	with       driver.Consuming
	strategies []sarama.BalanceStrategy
	eager      bool

	// link is the connection to the coordinator. Run uses it, or its heartbeat
	// while it runs, and leave after them. moved says to look for it again.
	link  *link
	moved atomic.Bool

	mu         sync.Mutex
	id         string
	generation int32

	// Of run.
	owned   map[primitives.Partition]bool
	contact time.Time // when the coordinator last knew us
	counts  map[string]int
	leading bool
	reason  string // for the next join

	again    int    // joins in a row that were overtaken by another rebalance
	userData []byte // what the strategy has left for its next plan
}

// undefined is the generation of who is not in the group.
const undefined = int32(sarama.GroupGenerationUndefined)

func newMember(c *Client, with driver.Consuming) (*member, error) {
	m := &member{client: c, with: with, generation: undefined, owned: map[primitives.Partition]bool{}}
	cooperative := len(with.Strategies) > 0
	for _, s := range with.Strategies {
		switch s {
		case driver.CooperativeSticky:
			m.strategies = append(m.strategies, sarama.NewBalanceStrategyCooperativeSticky())
			continue
		case driver.Sticky:
			m.strategies = append(m.strategies, sarama.NewBalanceStrategySticky())
		case driver.Range:
			m.strategies = append(m.strategies, sarama.NewBalanceStrategyRange())
		case driver.RoundRobin:
			m.strategies = append(m.strategies, sarama.NewBalanceStrategyRoundRobin())
		default:
			return nil, fmt.Errorf("balance strategy %q is not known", s)
		}
		cooperative = false // one eager strategy may be chosen: all must do as it needs
	}
	m.eager = !cooperative
	return m, nil
}

// who returns the membership as it is now.
func (m *member) who() driver.Member {
	m.mu.Lock()
	defer m.mu.Unlock()
	return driver.Member{Group: m.with.Group, ID: m.id, InstanceID: m.with.InstanceID, Generation: m.generation}
}

func (m *member) become(id string, generation int32) {
	m.mu.Lock()
	m.id, m.generation = id, generation
	m.mu.Unlock()
}

// run keeps the membership until ctx ends.
func (m *member) run(ctx context.Context, g driver.Group) error {
	m.contact = time.Now()
	for ctx.Err() == nil {
		assigned, err := m.join(ctx)
		if err != nil {
			if err := m.afterFailedJoin(ctx, g, err); err != nil {
				return err
			}
			continue
		}
		if err := m.generationOf(ctx, g, assigned); err != nil {
			return err
		}
	}
	return nil
}

// generationOf lives through one generation of the group, until the member has to
// join again.
func (m *member) generationOf(ctx context.Context, g driver.Group, assigned map[primitives.Partition]bool) error {
	beat := m.startHeartbeat(ctx)
	defer beat.stop()
	rejoin, err := m.reconcile(beat.alive, g, assigned)
	if err != nil && beat.alive.Err() == nil {
		return err
	}
	if !rejoin && beat.alive.Err() == nil {
		m.await(ctx, beat)
	}
	if ctx.Err() != nil {
		return nil
	}
	if cause := beat.lost(); cause != nil {
		beat.stop()
		if errors.Is(cause, sarama.ErrFencedInstancedId) {
			m.lose(g, cause)
			return m.fenced(cause)
		}
		m.lose(g, cause)
		m.forget(cause)
		return nil
	}
	if m.eager {
		m.revoke(beat.alive, g, sorted(m.owned))
	}
	if cause := beat.lost(); cause != nil { // meanwhile
		m.lose(g, cause)
		m.forget(cause)
	}
	m.contact = beat.contact()
	return nil
}

// await waits until the member has to join again, or ctx or the membership ends.
func (m *member) await(ctx context.Context, beat *heartbeat) {
	tick := time.NewTicker(m.with.MetadataInterval)
	defer tick.Stop()
	for {
		select {
		case <-beat.rebalance:
			m.reason = "group is rebalancing"
			return
		case <-beat.alive.Done():
			return
		case <-tick.C:
			if m.leading && m.grown(ctx) {
				m.reason = "partitions were added to a topic"
				return
			}
		}
	}
}

// grown reports whether the number of partitions has changed since the leader
// shared them out.
func (m *member) grown(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, m.client.cluster.RequestTimeout)
	defer cancel()
	topics, err := m.partitionsOf(ctx, slices.Sorted(maps.Keys(m.counts)))
	if err != nil {
		m.with.Logger.Warn("metadata not refreshed", "group", m.with.Group, "error", err)
		return false
	}
	return !maps.Equal(countsOf(topics), m.counts)
}

// reconcile gives back what the assignment lacks and takes what is new. It reports
// whether to join again, so that others get what was given back.
func (m *member) reconcile(ctx context.Context, g driver.Group, assigned map[primitives.Partition]bool) (rejoin bool, err error) {
	var gone, added []primitives.Partition
	for p := range m.owned {
		if !assigned[p] {
			gone = append(gone, p)
		}
	}
	for p := range assigned {
		if !m.owned[p] {
			added = append(added, p)
		}
	}
	sort(gone)
	sort(added)
	m.revoke(ctx, g, gone)
	if len(added) > 0 && ctx.Err() == nil {
		for _, p := range added {
			m.owned[p] = true
		}
		if err := g.Assigned(ctx, added); err != nil {
			return false, err
		}
	}
	if len(gone) > 0 {
		m.reason = "partitions were given back"
	}
	return len(gone) > 0, nil
}

// revoke gives partitions back, within the time that the group waits for it.
func (m *member) revoke(ctx context.Context, g driver.Group, gone []primitives.Partition) {
	if len(gone) == 0 || ctx.Err() != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, m.with.RebalanceTimeout*9/10)
	defer cancel()
	g.Revoked(ctx, gone)
	for _, p := range gone {
		delete(m.owned, p)
	}
}

// lose drops all partitions without notice.
func (m *member) lose(g driver.Group, cause error) {
	if len(m.owned) == 0 {
		return
	}
	gone := sorted(m.owned)
	clear(m.owned)
	g.Lost(gone, cause)
}

// forget makes the next join one of a new member, where the group has forgotten this one.
func (m *member) forget(cause error) {
	id := m.who().ID
	if errors.Is(cause, sarama.ErrUnknownMemberId) {
		id = ""
	}
	m.become(id, undefined)
	m.contact = time.Now()
	m.reason = cause.Error()
}

func (m *member) fenced(cause error) error {
	return fmt.Errorf("group %s: another process has joined as %q and this one is fenced off; give each process a StaticMember of its own: %w", m.with.Group, m.with.InstanceID, cause)
}

func sorted(set map[primitives.Partition]bool) []primitives.Partition {
	out := slices.Collect(maps.Keys(set))
	sort(out)
	return out
}

// retryCap is the longest pause before a broker is tried again. The pauses that
// the runtime chooses grow to much more, which is right for what stays wrong, but
// a broker that is back should be noticed.
const retryCap = 2 * time.Second

// retry reports an error that may pass and waits. It returns an error when there
// should be no further attempt.
func retry(ctx context.Context, g driver.Group, reason error) error {
	waiting, cancel := context.WithTimeout(ctx, retryCap)
	defer cancel()
	err := g.Retry(waiting, reason)
	if err != nil && waiting.Err() != nil && ctx.Err() == nil && !errors.Is(err, primitives.ErrDraining) {
		return nil
	}
	return err
}
