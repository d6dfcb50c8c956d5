package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/IBM/sarama"

	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/primitives/kafka/driver"
)

var (
	_ driver.Operator = Driver{}
	_ driver.Fetching = (*fetching)(nil)
	_ driver.Groups   = groups{}
)

// OpenGroups implements driver.Operator.
func (Driver) OpenGroups(ctx context.Context, c driver.Cluster) (driver.Groups, error) {
	client, err := Open(ctx, c)
	if err != nil {
		return nil, err
	}
	return groups{client}, nil
}

// groups is a client that takes a group which does not exist for an empty one.
type groups struct{ *Client }

// Committed implements driver.Admin.
func (g groups) Committed(ctx context.Context, group string, ps []primitives.Partition, stable bool) ([]int64, error) {
	out, err := g.Client.Committed(ctx, group, ps, stable)
	if errors.Is(err, sarama.ErrGroupIDNotFound) {
		out, err = make([]int64, len(ps)), nil
		for i := range out {
			out[i] = -1
		}
	}
	return out, err
}

// OpenFetching implements driver.Operator.
func (Driver) OpenFetching(ctx context.Context, cluster driver.Cluster, with driver.Consuming, retry func(context.Context, error) error) (driver.Fetching, error) {
	c, err := Open(ctx, cluster, with.Topics...)
	if err != nil {
		return nil, err
	}
	f := &fetching{Client: c, fetcher: newFetcher(c, with)}
	f.fetcher.start(nobody{retry: retry})
	return f, nil
}

// fetching is a fetcher without a group.
type fetching struct {
	*Client
	fetcher *fetcher
	closing sync.Once
	ending  error
}

func (f *fetching) Read(p primitives.Partition, offset int64, s driver.Stream) {
	f.fetcher.read(p, offset, false, s)
}
func (f *fetching) Stop(ps ...primitives.Partition) { f.fetcher.release(ps) }
func (f *fetching) Failed() <-chan error            { return f.fetcher.failed }

// Close implements driver.Fetching.
func (f *fetching) Close(ctx context.Context) error {
	f.closing.Do(func() {
		f.fetcher.stop()
		f.ending = f.Client.Close(ctx)
	})
	return f.ending
}

// nobody is the group of a fetcher that has none.
type nobody struct {
	driver.Group // is never asked about partitions
	retry        func(context.Context, error) error
}

func (n nobody) Retry(ctx context.Context, err error) error { return n.retry(ctx, err) }

// Members implements driver.Groups.
func (g groups) Members(ctx context.Context, group string) ([]string, error) {
	var members []string
	err := patiently(ctx, func(fresh bool) error {
		addr, err := g.coordinator(ctx, group, fresh)
		if err != nil {
			return err
		}
		l, err := g.link(addr)
		if err != nil {
			return err
		}
		request := &sarama.DescribeGroupsRequest{Version: 4, Groups: []string{group}}
		response, err := call(ctx, l, func(b *sarama.Broker) (*sarama.DescribeGroupsResponse, error) { return b.DescribeGroups(request) })
		if err != nil {
			return err
		}
		if len(response.Groups) != 1 {
			return sarama.ErrIncompleteResponse
		}
		members = nil
		switch code := response.Groups[0].Err; code {
		case sarama.ErrNoError:
		case sarama.ErrGroupIDNotFound:
			return nil
		default:
			return code
		}
		for _, m := range response.Groups[0].Members {
			who := fmt.Sprintf("%s on %s", m.ClientId, m.ClientHost)
			if m.GroupInstanceId != nil {
				who = *m.GroupInstanceId + ", " + who
			}
			members = append(members, who)
		}
		slices.Sort(members)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("members of group %s: %w", group, err)
	}
	return members, nil
}

// SetOffsets implements driver.Groups.
func (g groups) SetOffsets(ctx context.Context, group string, offsets []driver.Offset) error {
	if len(offsets) == 0 {
		return nil
	}
	err := patiently(ctx, func(fresh bool) error {
		addr, err := g.coordinator(ctx, group, fresh)
		if err != nil {
			return err
		}
		l, err := g.link(addr)
		if err != nil {
			return err
		}
		request := sarama.NewOffsetCommitRequest(g.config, group)
		// Without a member and a generation, which a group takes while it is empty.
		request.ConsumerGroupGeneration = sarama.GroupGenerationUndefined
		for _, o := range offsets {
			request.AddBlockWithLeaderEpoch(o.Partition.Topic, o.Partition.ID, o.Next, -1, 0, "")
		}
		response, err := call(ctx, l, func(b *sarama.Broker) (*sarama.OffsetCommitResponse, error) { return b.CommitOffset(request) })
		if err != nil {
			return err
		}
		var errs []error
		for _, o := range offsets {
			code, ok := response.Errors[o.Partition.Topic][o.Partition.ID]
			switch {
			case !ok:
				errs = append(errs, fmt.Errorf("%s: %w", o.Partition, sarama.ErrIncompleteResponse))
			case code == sarama.ErrUnknownMemberId, code == sarama.ErrIllegalGeneration, code == sarama.ErrRebalanceInProgress:
				return fmt.Errorf("%w: %w", primitives.ErrInUse, code)
			case code != sarama.ErrNoError:
				errs = append(errs, fmt.Errorf("%s: %w", o.Partition, code))
			}
		}
		return errors.Join(errs...)
	})
	if err != nil {
		return fmt.Errorf("set the offsets of group %s: %w", group, err)
	}
	return nil
}
