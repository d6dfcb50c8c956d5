package kafka

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/primitives/kafka/driver"
)

var _ primitives.Backlogger = (*progress)(nil)

// Backlog counts, for all partitions of the topics and of those of delays, the offsets
// between what the group has committed and the end of what can be read, whoever holds
// the partitions. Where nothing is committed it counts from where a member would begin.
func (p *progress) Backlog(ctx context.Context) ([]primitives.Backlog, error) {
	failed := func(err error) error {
		return fmt.Errorf("kafka: backlog of %s: %w", strings.Join(p.topics, ", "), err)
	}
	ps, err := p.groups.Partitions(ctx, p.with.Topics...)
	if err != nil {
		return nil, failed(err)
	}
	next, err := p.groups.Committed(ctx, p.group, ps, false)
	if err != nil {
		return nil, failed(err)
	}
	if err := p.begin(ctx, ps, next); err != nil {
		return nil, failed(err)
	}
	end := driver.Stable
	if p.with.ReadUncommitted {
		end = driver.Latest
	}
	ends, err := p.groups.Offsets(ctx, ps, end)
	if err != nil {
		return nil, failed(err)
	}
	out := make([]primitives.Backlog, len(ps))
	for i := range ps {
		out[i] = primitives.Backlog{Partition: ps[i], Records: max(ends[i]-next[i], 0)}
	}
	return out, nil
}

// begin fills in where partitions without a committed offset would be read from. All
// that is in a delay topic counts, whatever Start says.
func (p *progress) begin(ctx context.Context, ps []primitives.Partition, next []int64) error {
	starts := map[driver.Position][]int{} // indices of ps
	for i, part := range ps {
		switch {
		case next[i] >= 0:
		case !slices.Contains(p.topics, part.Topic):
			starts[driver.Earliest] = append(starts[driver.Earliest], i)
		case p.cfg.start == Stop:
			return fmt.Errorf("%s: group %s has committed no offset: set Start to Earliest, Latest or At, or commit one", part, p.group)
		default:
			at := p.cfg.start.position()
			starts[at] = append(starts[at], i)
		}
	}
	for position, at := range starts {
		some := make([]primitives.Partition, len(at))
		for j, i := range at {
			some[j] = ps[i]
		}
		found, err := p.groups.Offsets(ctx, some, position)
		if err != nil {
			return err
		}
		for j, i := range at {
			next[i] = found[j]
		}
	}
	return nil
}
