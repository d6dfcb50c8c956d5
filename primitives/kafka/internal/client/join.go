package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/IBM/sarama"

	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/primitives/kafka/driver"
)

// join enters the next generation of the group and returns what is assigned in it.
func (m *member) join(ctx context.Context) (map[primitives.Partition]bool, error) {
	// The coordinator answers when all members have joined: at most the rebalance
	// timeout later.
	ctx, cancel := context.WithTimeoutCause(ctx, m.with.RebalanceTimeout+m.client.cluster.RequestTimeout, errSilent)
	defer cancel()
	l, err := m.coordinator(ctx)
	if err != nil {
		return nil, err
	}
	joined, err := m.sendJoin(ctx, l)
	if err == nil && joined.Err == sarama.ErrMemberIdRequired { // KIP-394: now as the member that the answer names
		m.become(joined.MemberId, undefined)
		joined, err = m.sendJoin(ctx, l)
	}
	if err == nil && joined.Err != sarama.ErrNoError {
		err = joined.Err
	}
	if err != nil {
		return nil, fmt.Errorf("join group %s: %w", m.with.Group, err)
	}
	m.contact = time.Now()
	// From here on the member is one of this generation, also where the rest fails.
	m.become(joined.MemberId, joined.GenerationId)
	strategy := m.strategy(joined.GroupProtocol)
	if strategy == nil {
		return nil, fmt.Errorf("join group %s: the group has chosen the balance strategy %q, which this member does not know", m.with.Group, joined.GroupProtocol)
	}
	synced, err := m.sync(ctx, l, joined, strategy)
	if err == nil && synced.Err != sarama.ErrNoError {
		err = synced.Err
	}
	if err != nil {
		return nil, fmt.Errorf("join group %s: sync: %w", m.with.Group, err)
	}
	m.contact = time.Now()
	m.reason, m.again = "", 0
	assigned := map[primitives.Partition]bool{}
	if len(synced.MemberAssignment) == 0 {
		return assigned, nil
	}
	a, err := synced.GetMemberAssignment()
	if err != nil {
		return nil, fmt.Errorf("join group %s: assignment: %w", m.with.Group, err)
	}
	if o, ok := strategy.(sarama.OnAssignmentBalanceStrategy); ok {
		o.OnAssignment(a, joined.GenerationId)
	}
	m.userData = a.UserData
	for topic, ids := range a.Topics {
		for _, id := range ids {
			assigned[primitives.Partition{Topic: topic, ID: id}] = true
		}
	}
	return assigned, nil
}

// coordinator returns the connection to the group's coordinator.
func (m *member) coordinator(ctx context.Context) (*link, error) {
	l := m.link
	if l != nil && !m.moved.Load() {
		return l, nil
	}
	addr, err := m.client.coordinator(ctx, m.with.Group, true)
	if err != nil {
		return nil, fmt.Errorf("find the coordinator of group %s: %w", m.with.Group, err)
	}
	m.moved.Store(false)
	if l == nil || l.addr != addr {
		if l != nil {
			l.close()
		}
		config := *m.client.config
		config.Net.ReadTimeout = m.with.RebalanceTimeout + m.client.cluster.RequestTimeout // for a join; contexts bound the rest
		m.link = newLink(&config, addr)
	}
	return m.link, nil
}

func (m *member) strategy(name string) sarama.BalanceStrategy {
	for _, s := range m.strategies {
		if s.Name() == name {
			return s
		}
	}
	return nil
}

func (m *member) sendJoin(ctx context.Context, l *link) (*sarama.JoinGroupResponse, error) {
	who := m.who()
	request := sarama.NewJoinGroupRequest(m.client.config.Version)
	request.GroupId, request.MemberId, request.ProtocolType = who.Group, who.ID, "consumer"
	request.SessionTimeout = int32(m.with.SessionTimeout.Milliseconds())
	request.RebalanceTimeout = int32(m.with.RebalanceTimeout.Milliseconds())
	if who.InstanceID != "" {
		request.GroupInstanceId = &who.InstanceID
	}
	if m.reason != "" {
		request.Reason = &m.reason
	}
	owned, generation := m.ownedByTopic(), who.Generation
	for _, s := range m.strategies {
		meta := &sarama.ConsumerGroupMemberMetadata{
			Version: 2, Topics: m.with.Topics, UserData: m.userData, OwnedPartitions: owned, GenerationID: generation,
		}
		if p, ok := s.(sarama.SubscriptionUserDataBalanceStrategy); ok {
			data, err := p.SubscriptionUserData(slices.Clone(m.with.Topics))
			if err != nil {
				return nil, err
			}
			meta.UserData = data
		}
		if err := request.AddGroupProtocolMetadata(s.Name(), meta); err != nil {
			return nil, err
		}
	}
	return call(ctx, l, func(b *sarama.Broker) (*sarama.JoinGroupResponse, error) { return b.JoinGroup(request) })
}

func (m *member) ownedByTopic() []*sarama.OwnedPartition {
	topics := byTopic(sorted(m.owned))
	var out []*sarama.OwnedPartition
	for _, topic := range slices.Sorted(maps.Keys(topics)) {
		out = append(out, &sarama.OwnedPartition{Topic: topic, Partitions: topics[topic]})
	}
	return out
}

// sync asks for the assignment. The leader makes that of everyone first.
func (m *member) sync(ctx context.Context, l *link, joined *sarama.JoinGroupResponse, s sarama.BalanceStrategy) (*sarama.SyncGroupResponse, error) {
	who := m.who()
	kind, name := "consumer", s.Name()
	request := &sarama.SyncGroupRequest{
		Version: 5, GroupId: who.Group, MemberId: who.ID, GenerationId: who.Generation, ProtocolType: &kind, ProtocolName: &name,
	}
	if who.InstanceID != "" {
		request.GroupInstanceId = &who.InstanceID
	}
	m.leading = joined.LeaderId == joined.MemberId
	if m.leading {
		if err := m.plan(ctx, joined, s, request); err != nil {
			return nil, err
		}
	}
	return call(ctx, l, func(b *sarama.Broker) (*sarama.SyncGroupResponse, error) { return b.SyncGroup(request) })
}

// plan shares out the partitions among the members.
func (m *member) plan(ctx context.Context, joined *sarama.JoinGroupResponse, s sarama.BalanceStrategy, request *sarama.SyncGroupRequest) error {
	members, err := joined.GetMembers()
	if err != nil {
		return err
	}
	topics := map[string][]int32{}
	for _, meta := range members {
		for _, topic := range meta.Topics {
			topics[topic] = nil
		}
	}
	names := slices.Sorted(maps.Keys(topics))
	if topics, err = m.partitionsOf(ctx, names); err != nil {
		return err
	}
	m.counts = countsOf(topics)
	plan, err := s.Plan(members, topics)
	if err != nil {
		return err
	}
	for id := range members {
		assignment := &sarama.ConsumerGroupMemberAssignment{Topics: plan[id]}
		if assignment.UserData, err = s.AssignmentData(id, plan[id], joined.GenerationId); err != nil {
			return err
		}
		if err := request.AddGroupAssignmentMember(id, assignment); err != nil {
			return err
		}
	}
	return nil
}

// partitionsOf looks up the partitions of topics anew. A topic that does not exist has
// none, and a partition without a leader is one: neither keeps the members from sharing
// out the others.
//
// A broker that does not answer is not waited for for long: what was known before is good
// enough then, as all members wait for the leader and cannot commit meanwhile.
func (m *member) partitionsOf(ctx context.Context, topics []string) (map[string][]int32, error) {
	refreshing, cancel := context.WithTimeoutCause(ctx, metadataPatience, errSilent)
	defer cancel()
	switch err := m.client.refresh(refreshing, topics...); {
	case err == nil || answered(err):
	case refreshing.Err() != nil && ctx.Err() == nil:
		m.with.Logger.Warn("metadata not refreshed", "group", m.with.Group, "error", err)
	default:
		return nil, err
	}
	out := make(map[string][]int32, len(topics))
	for _, topic := range topics {
		ps, err := m.client.Partitions(ctx, topic)
		switch {
		case errors.Is(err, driver.ErrUnknownTopic):
			m.with.Logger.Warn("a topic that a member of the group reads does not exist", "group", m.with.Group, "topic", topic)
		case err != nil:
			return nil, err
		}
		out[topic] = nil
		for _, p := range ps {
			out[topic] = append(out[topic], p.ID)
		}
	}
	return out, nil
}

func countsOf(topics map[string][]int32) map[string]int {
	counts := make(map[string]int, len(topics))
	for topic, ids := range topics {
		counts[topic] = len(ids)
	}
	return counts
}

// metadataPatience is how long the leader waits for metadata before it shares out the
// partitions that it knows.
const metadataPatience = 2 * time.Second

// quickJoins is how often a join is followed by the next one at once.
const quickJoins = 5

// overtakenPause is waited before a further join when so many were overtaken: short, as
// the others of the group wait for it.
const overtakenPause = 200 * time.Millisecond

// afterFailedJoin decides what a failed join means. An error ends run.
func (m *member) afterFailedJoin(ctx context.Context, g driver.Group, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	var code sarama.KError
	switch errors.As(err, &code); code {
	case sarama.ErrUnknownMemberId, sarama.ErrIllegalGeneration:
		m.lose(g, err)
		m.forget(err)
		if m.again++; m.again <= quickJoins {
			return nil // as a new member
		}
	case sarama.ErrRebalanceInProgress: // the next one has begun before this one was over
		m.contact = time.Now() // who is told so is a member
		if m.again++; m.again > quickJoins {
			select {
			case <-time.After(overtakenPause):
			case <-ctx.Done():
			}
		}
		return nil
	case sarama.ErrFencedInstancedId:
		m.lose(g, err)
		return m.fenced(err)
	case sarama.ErrInvalidSessionTimeout:
		return fmt.Errorf("%w: SessionTimeout %v is outside of the brokers' group.min.session.timeout.ms and group.max.session.timeout.ms", err, m.with.SessionTimeout)
	case sarama.ErrInconsistentGroupProtocol:
		return fmt.Errorf("%w: the group's other members use another balance strategy than %v: set Balance to what all have in common", err, m.with.Strategies)
	case sarama.ErrGroupAuthorizationFailed, sarama.ErrTopicAuthorizationFailed, sarama.ErrSASLAuthenticationFailed,
		sarama.ErrInvalidGroupId, sarama.ErrGroupMaxSizeReached, sarama.ErrInvalidTopic:
		m.lose(g, err)
		return err
	}
	m.moved.Store(true)
	if silent := time.Since(m.contact); silent > m.with.SessionTimeout {
		m.lose(g, fmt.Errorf("the group's coordinator has not answered for %v: %w", silent.Round(time.Millisecond), err))
		m.contact = time.Now()
	}
	if err := retry(ctx, g, err); err != nil && !errors.Is(err, primitives.ErrDraining) {
		return err
	}
	return nil // also while the flow drains: what is done must be committed
}

// leave takes the member out of the group, so that its partitions go to others
// at once. A static member stays for its session timeout, to come back.
func (m *member) leave(ctx context.Context) {
	who := m.who()
	if m.link == nil || who.ID == "" || who.InstanceID != "" {
		return
	}
	m.become("", undefined)
	ctx, cancel := context.WithTimeoutCause(ctx, min(m.with.SessionTimeout, m.client.cluster.RequestTimeout), errSilent)
	defer cancel()
	reason := "the consumer is closed"
	request := &sarama.LeaveGroupRequest{
		Version: 5, GroupId: who.Group, MemberId: who.ID, Members: []sarama.MemberIdentity{{MemberId: who.ID, Reason: &reason}},
	}
	response, err := call(ctx, m.link, func(b *sarama.Broker) (*sarama.LeaveGroupResponse, error) { return b.LeaveGroup(request) })
	if err == nil && response.Err != sarama.ErrNoError {
		err = response.Err
	}
	if err != nil && !errors.Is(err, sarama.ErrUnknownMemberId) {
		// The session timeout does what leaving would have done.
		m.with.Logger.Warn("group not left", "group", who.Group, "error", err)
	}
}

func sort(ps []primitives.Partition) {
	slices.SortFunc(ps, func(a, b primitives.Partition) int {
		return cmp.Or(strings.Compare(a.Topic, b.Topic), cmp.Compare(a.ID, b.ID))
	})
}
