package memory

import (
	"context"
	"fmt"

	"github.com/flowkit-go/flow/primitives"
)

var (
	_ primitives.Replayer = Topic[string]{}
	_ primitives.Progress = (*progress)(nil)

	_ primitives.Backlogger = (*progress)(nil)
)

// OpenProgress opens the progress of the topic's group. It errs without a Broker.
func (t Topic[T]) OpenProgress(context.Context, *primitives.Env) (primitives.Progress, error) {
	if err := t.Validate(); err != nil {
		return nil, err
	}
	if t.Broker == nil {
		return nil, errNoBroker("topic", t.Name)
	}
	return &progress{t.Broker, t.Name, orElse(t.Group, "default")}, nil
}

type progress struct {
	broker       *Broker
	topic, group string
}

// String returns "group" and its name.
func (p *progress) String() string { return "group " + p.group }

// Committed returns what the group has committed.
func (p *progress) Committed(context.Context) (commits []primitives.Commit, err error) {
	p.broker.Look(func(s *State) {
		if t := s.b.topics[p.topic]; t != nil {
			for i := range t.parts {
				if next := s.Committed(p.group, p.topic, int32(i)); next >= 0 {
					commits = append(commits, primitives.Commit{Partition: primitives.Partition{Topic: p.topic, ID: int32(i)}, Next: next})
				}
			}
		}
	})
	return commits, nil
}

// Backlog counts what the group has not committed, whoever holds the partitions.
func (p *progress) Backlog(context.Context) (waiting []primitives.Backlog, err error) {
	p.broker.Look(func(s *State) {
		if t := s.b.topics[p.topic]; t != nil {
			for i, part := range t.parts {
				next := max(s.Committed(p.group, p.topic, int32(i)), part.first())
				waiting = append(waiting, primitives.Backlog{
					Partition: primitives.Partition{Topic: p.topic, ID: int32(i)}, Records: max(part.next-next, 0),
				})
			}
		}
	})
	return waiting, nil
}

// Members names the group's readers.
func (p *progress) Members(context.Context) (members []string, err error) {
	p.broker.mu.Lock()
	defer p.broker.mu.Unlock()
	if t := p.broker.topics[p.topic]; t != nil && t.groups[p.group] != nil {
		for _, r := range t.groups[p.group].members {
			members = append(members, r.name)
		}
	}
	return members, nil
}

// Reset sets positions that the next reader of the group starts at.
func (p *progress) Reset(_ context.Context, to []primitives.Commit) error {
	p.broker.mu.Lock()
	defer p.broker.mu.Unlock()
	t := p.broker.topics[p.topic]
	if t == nil {
		return fmt.Errorf("memory: there is no topic %s", p.topic)
	}
	g := t.group(p.group)
	if len(g.members) > 0 {
		return fmt.Errorf("memory: reset group %s of %s: %w", p.group, p.topic, primitives.ErrInUse)
	}
	for _, c := range to {
		if c.Partition.Topic != p.topic || c.Partition.ID < 0 || int(c.Partition.ID) >= len(t.parts) || c.Next < 0 {
			return fmt.Errorf("memory: reset group %s: there is no position %s@%d", p.group, c.Partition, c.Next)
		}
	}
	for _, c := range to {
		g.shares[c.Partition.ID].committed = c.Next
	}
	p.broker.changed.broadcast()
	return nil
}

// Close does nothing.
func (p *progress) Close(context.Context) error { return nil }
