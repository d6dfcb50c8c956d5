package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/IBM/sarama"

	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/primitives/kafka/driver"
)

// questionPause is the time between two attempts at a question.
const questionPause = 100 * time.Millisecond

// questionAttempts is how often a question is asked while the answer is that it
// may be answered soon: a leader is being elected, a coordinator loads.
const questionAttempts = 20

// patiently asks until the answer is not one that passes, or ctx ends. fresh is
// true after the first attempt: what is cached is then looked up anew.
func patiently(ctx context.Context, question func(fresh bool) error) error {
	for attempt := 1; ; attempt++ {
		err := question(attempt > 1)
		if err == nil || attempt == questionAttempts || !passing(err) {
			return err
		}
		select {
		case <-time.After(questionPause):
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), err)
		}
	}
}

// Partitions implements driver.Admin.
func (c *Client) Partitions(ctx context.Context, topics ...string) ([]primitives.Partition, error) {
	var out []primitives.Partition
	var unknown []string
	for _, topic := range topics {
		var ids []int32
		err := patiently(ctx, func(bool) error {
			found := make(chan []int32, 1)
			err := c.ask(ctx, func() error {
				ids, err := c.meta.Partitions(topic)
				found <- ids
				return err
			})
			if err == nil {
				ids = <-found
			}
			return err
		})
		switch {
		case errors.Is(err, sarama.ErrUnknownTopicOrPartition):
			unknown = append(unknown, topic)
		case err != nil:
			return nil, fmt.Errorf("partitions of %s: %w", topic, err)
		}
		for _, id := range ids {
			out = append(out, primitives.Partition{Topic: topic, ID: id})
		}
	}
	if len(unknown) > 0 {
		return nil, fmt.Errorf("%s: %w", strings.Join(unknown, ", "), driver.ErrUnknownTopic)
	}
	slices.SortStableFunc(out, func(a, b primitives.Partition) int {
		return cmp.Or(strings.Compare(a.Topic, b.Topic), cmp.Compare(a.ID, b.ID))
	})
	return out, nil
}

// Committed implements driver.Admin.
func (c *Client) Committed(ctx context.Context, group string, ps []primitives.Partition, stable bool) ([]int64, error) {
	if len(ps) == 0 {
		return nil, nil
	}
	var out []int64
	err := patiently(ctx, func(fresh bool) error {
		addr, err := c.coordinator(ctx, group, fresh)
		if err != nil {
			return err
		}
		l, err := c.link(addr)
		if err != nil {
			return err
		}
		request := sarama.NewOffsetFetchRequest(c.config.Version, group, byTopic(ps))
		request.RequireStable = stable
		response, err := call(ctx, l, func(b *sarama.Broker) (*sarama.OffsetFetchResponse, error) { return b.FetchOffset(request) })
		if err != nil {
			return err
		}
		out, err = committedOf(response, ps)
		return err
	})
	if err != nil {
		return nil, refused(fmt.Errorf("committed offsets of group %s: %w", group, err))
	}
	return out, nil
}

func committedOf(response *sarama.OffsetFetchResponse, ps []primitives.Partition) ([]int64, error) {
	overall, blocks := response.Err, response.Blocks
	if response.Version >= 8 {
		if len(response.Groups) != 1 {
			return nil, sarama.ErrIncompleteResponse
		}
		overall, blocks = response.Groups[0].Err, response.Groups[0].Blocks
	}
	if overall != sarama.ErrNoError {
		return nil, overall
	}
	out := make([]int64, len(ps))
	for i, p := range ps {
		block := blocks[p.Topic][p.ID]
		if block == nil {
			return nil, fmt.Errorf("%s: %w", p, sarama.ErrIncompleteResponse)
		}
		switch block.Err {
		case sarama.ErrNoError:
			out[i] = block.Offset
		case sarama.ErrUnstableOffsetCommit:
			return nil, fmt.Errorf("%s: %w: %w", p, driver.ErrUnstable, block.Err)
		default:
			return nil, fmt.Errorf("%s: %w", p, block.Err)
		}
	}
	return out, nil
}

func byTopic(ps []primitives.Partition) map[string][]int32 {
	out := map[string][]int32{}
	for _, p := range ps {
		out[p.Topic] = append(out[p.Topic], p.ID)
	}
	return out
}

// Offsets implements driver.Admin: one request per leader, all at once.
func (c *Client) Offsets(ctx context.Context, ps []primitives.Partition, at driver.Position) ([]int64, error) {
	out := make([]int64, len(ps))
	todo := make([]int, len(ps)) // indices into ps
	for i := range todo {
		todo[i] = i
	}
	err := patiently(ctx, func(fresh bool) error {
		if fresh {
			var topics []string
			for _, i := range todo {
				topics = append(topics, ps[i].Topic)
			}
			slices.Sort(topics)
			if err := c.refresh(ctx, slices.Compact(topics)...); err != nil && !answered(err) {
				return err
			}
		}
		leaders := map[string][]int{}
		var wg sync.WaitGroup
		var mu sync.Mutex
		var errs []error
		var left []int
		for _, i := range todo {
			b, _, err := c.leader(ctx, ps[i].Topic, ps[i].ID)
			if err != nil {
				left, errs = append(left, i), append(errs, fmt.Errorf("%s: %w", ps[i], err))
				continue
			}
			leaders[b.Addr()] = append(leaders[b.Addr()], i)
		}
		for addr, some := range leaders {
			wg.Go(func() {
				failed, err := c.offsetsAt(ctx, addr, ps, some, at, out)
				mu.Lock()
				defer mu.Unlock()
				left = append(left, failed...)
				if err != nil {
					errs = append(errs, err)
				}
			})
		}
		wg.Wait()
		todo = left
		return errors.Join(errs...)
	})
	if err != nil {
		for _, i := range todo {
			out[i] = -1
		}
		return out, fmt.Errorf("offsets: %w", err)
	}
	return out, nil
}

// offsetsAt asks one leader, and returns the indices that it did not answer for.
func (c *Client) offsetsAt(ctx context.Context, addr string, ps []primitives.Partition, some []int, at driver.Position, out []int64) ([]int, error) {
	l, err := c.link(addr)
	if err != nil {
		return some, err
	}
	request := sarama.NewOffsetRequest(c.config.Version)
	when := int64(at)
	if at == driver.Stable {
		when, request.IsolationLevel = sarama.OffsetNewest, sarama.ReadCommitted
	}
	for _, i := range some {
		request.AddBlock(ps[i].Topic, ps[i].ID, when, 1)
	}
	response, err := call(ctx, l, func(b *sarama.Broker) (*sarama.OffsetResponse, error) { return b.GetAvailableOffsets(request) })
	if err != nil {
		return some, err
	}
	var failed, beyond []int
	var first error
	for _, i := range some {
		block := response.GetBlock(ps[i].Topic, ps[i].ID)
		switch {
		case block == nil:
			failed, first = append(failed, i), cmp.Or[error](first, sarama.ErrIncompleteResponse)
		case block.Err != sarama.ErrNoError:
			failed = append(failed, i)
			if first == nil {
				first = fmt.Errorf("%s: %w", ps[i], block.Err)
			}
		case block.Offset < 0 && at >= 0:
			beyond = append(beyond, i) // no record is that new
		default:
			out[i] = block.Offset
		}
	}
	if len(beyond) > 0 {
		f, err := c.offsetsAt(ctx, addr, ps, beyond, driver.Latest, out)
		failed = append(failed, f...)
		if first == nil {
			first = err
		}
	}
	return failed, first
}
