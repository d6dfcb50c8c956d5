package kafka

import (
	"context"
	"fmt"

	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/primitives/kafka/driver"
)

var (
	_ primitives.Replayer = Topic[string]{}
	_ primitives.Replayer = Topics[string]{}
	_ primitives.Progress = (*progress)(nil)
)

// OpenProgress opens what the consumer group has committed.
func (t Topic[T]) OpenProgress(ctx context.Context, env *primitives.Env) (primitives.Progress, error) {
	return openProgress(ctx, t.consuming(), env)
}

// OpenProgress opens what the consumer group has committed.
func (t Topics[T]) OpenProgress(ctx context.Context, env *primitives.Env) (primitives.Progress, error) {
	return openProgress(ctx, t.consuming(), env)
}

// progress is the committed offsets of a group for some topics.
type progress struct {
	groups driver.Groups
	cfg    *consuming
	with   driver.Consuming
	group  string
	topics []string
}

func openProgress(ctx context.Context, cfg *consuming, env *primitives.Env) (primitives.Progress, error) {
	with, cluster, err := cfg.settle(env)
	if err != nil {
		return nil, err
	}
	operator, ok := cfg.cluster.driver().(driver.Operator)
	if !ok {
		return nil, fmt.Errorf("kafka: the driver %s cannot set the offsets of a group", cfg.cluster.driver().Name())
	}
	groups, err := operator.OpenGroups(ctx, cluster)
	if err != nil {
		return nil, openError(err)
	}
	return &progress{groups, cfg, with, with.Group, cfg.topics}, nil
}

// String returns "group" and its name.
func (p *progress) String() string { return "group " + p.group }

// Committed returns the offsets of the partitions that have one.
func (p *progress) Committed(ctx context.Context) ([]primitives.Commit, error) {
	ps, err := p.groups.Partitions(ctx, p.topics...)
	if err != nil {
		return nil, fmt.Errorf("kafka: %w", err)
	}
	offsets, err := p.groups.Committed(ctx, p.group, ps, false)
	if err != nil {
		return nil, fmt.Errorf("kafka: %w", err)
	}
	return commitsAt(ps, offsets), nil
}

// commitsAt are the positions of the partitions that have one.
func commitsAt(ps []primitives.Partition, offsets []int64) []primitives.Commit {
	var out []primitives.Commit
	for i, next := range offsets {
		if next >= 0 {
			out = append(out, primitives.Commit{Partition: ps[i], Next: next})
		}
	}
	return out
}

// Members describes who is in the group, which may read other topics too. A static
// member that was stopped is in it for its session timeout.
func (p *progress) Members(ctx context.Context) ([]string, error) {
	members, err := p.groups.Members(ctx, p.group)
	if err != nil {
		return nil, fmt.Errorf("kafka: %w", err)
	}
	return members, nil
}

// Reset commits offsets for the group, which must have no members.
func (p *progress) Reset(ctx context.Context, to []primitives.Commit) error {
	members, err := p.Members(ctx)
	if err != nil {
		return err
	}
	if len(members) > 0 { // the coordinator refuses that too, should one join now
		return fmt.Errorf("kafka: set the offsets of group %s: %w", p.group, primitives.ErrInUse)
	}
	offsets := make([]driver.Offset, len(to))
	for i, c := range to {
		offsets[i] = driver.Offset{Partition: c.Partition, Next: c.Next}
	}
	if err := p.groups.SetOffsets(ctx, p.group, offsets); err != nil {
		return fmt.Errorf("kafka: %w", err)
	}
	return nil
}

// Close closes the connections.
func (p *progress) Close(ctx context.Context) error {
	if err := p.groups.Close(ctx); err != nil {
		return fmt.Errorf("kafka: close: %w", err)
	}
	return nil
}
