package client

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/IBM/sarama"

	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/primitives/kafka/driver"
)

// consumer is one member of a group, with what it fetches.
type consumer struct {
	*Client
	with    driver.Consuming
	member  *member
	fetcher *fetcher
	commits sync.Mutex // guards committer
	// committer is the connection for commits, to the coordinator that was last known.
	committer *link

	ctx  context.Context // ends with Close
	end  context.CancelFunc
	runs sync.WaitGroup

	closing sync.Once
	ending  error
}

var _ driver.Consumer = (*consumer)(nil)

// OpenConsumer connects to the cluster.
func OpenConsumer(ctx context.Context, cluster driver.Cluster, with driver.Consuming) (driver.Consumer, error) {
	c, err := Open(ctx, cluster, with.Topics...)
	if err != nil {
		return nil, err
	}
	m, err := newMember(c, with)
	if err != nil {
		return nil, errors.Join(err, c.Close(context.WithoutCancel(ctx)))
	}
	opened := &consumer{Client: c, with: with, member: m, fetcher: newFetcher(c, with)}
	opened.ctx, opened.end = context.WithCancel(context.Background())
	return opened, nil
}

// Run implements driver.Consumer.
func (c *consumer) Run(ctx context.Context, g driver.Group) error {
	c.runs.Add(1)
	defer c.runs.Done()
	if c.ctx.Err() != nil {
		return primitives.ErrClosed
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(c.ctx, cancel)()
	c.fetcher.start(g)
	failed := make(chan error, 1)
	running, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var watching sync.WaitGroup
	defer watching.Wait()
	watching.Go(func() {
		select {
		case err := <-c.fetcher.failed:
			failed <- err
			stop(err)
		case <-running.Done():
		}
	})
	err := c.member.run(running, g)
	stop(nil)
	c.fetcher.stop()
	select {
	case failure := <-failed:
		return failure
	default:
	}
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func (c *consumer) Read(p primitives.Partition, offset int64, paused bool, s driver.Stream) {
	c.fetcher.read(p, offset, paused, s)
}
func (c *consumer) Stop(ps ...primitives.Partition)  { c.fetcher.release(ps) }
func (c *consumer) Pause(ps []primitives.Partition)  { c.fetcher.pause(ps) }
func (c *consumer) Resume(ps []primitives.Partition) { c.fetcher.resume(ps) }
func (c *consumer) Member() driver.Member            { return c.member.who() }

// Commit implements driver.Consumer.
func (c *consumer) Commit(ctx context.Context, who driver.Member, offsets []driver.Offset) []error {
	errs := make([]error, len(offsets))
	if len(offsets) == 0 {
		return errs
	}
	if who.Generation == undefined { // an empty group would take it from anyone
		for i := range errs {
			errs[i] = fmt.Errorf("%w: not a member of the group", primitives.ErrNotAssigned)
		}
		return errs
	}
	for attempt := 1; ; attempt++ {
		response, err := c.sendCommit(ctx, who, offsets, attempt > 1)
		again := attempt < 2 && err != nil && passing(err)
		if err == nil {
			again = commitErrors(response, offsets, errs) && attempt < 3
		} else if !again {
			for i := range errs {
				errs[i] = err
			}
		}
		if !again {
			return errs
		}
	}
}

func (c *consumer) sendCommit(ctx context.Context, who driver.Member, offsets []driver.Offset, fresh bool) (*sarama.OffsetCommitResponse, error) {
	addr, err := c.coordinator(ctx, who.Group, fresh)
	if err != nil {
		return nil, fmt.Errorf("find the coordinator of group %s: %w", who.Group, err)
	}
	request := sarama.NewOffsetCommitRequest(c.config, who.Group)
	request.ConsumerID, request.ConsumerGroupGeneration = who.ID, who.Generation
	if who.InstanceID != "" {
		request.GroupInstanceId = &who.InstanceID
	}
	for _, o := range offsets {
		request.AddBlockWithLeaderEpoch(o.Partition.Topic, o.Partition.ID, o.Next, -1, 0, "")
	}
	return call(ctx, c.commitLink(addr), func(b *sarama.Broker) (*sarama.OffsetCommitResponse, error) { return b.CommitOffset(request) })
}

// commitLink returns the connection for commits, to the broker at addr.
func (c *consumer) commitLink(addr string) *link {
	c.commits.Lock()
	old := c.committer
	if old != nil && old.addr == addr {
		c.commits.Unlock()
		return old
	}
	l := newLink(c.config, addr)
	c.committer = l
	c.commits.Unlock()
	if old != nil {
		old.close()
	}
	return l
}

// commitErrors sets errs from an answer and reports whether to ask again at once.
func commitErrors(response *sarama.OffsetCommitResponse, offsets []driver.Offset, errs []error) (again bool) {
	for i, o := range offsets {
		code, ok := response.Errors[o.Partition.Topic][o.Partition.ID]
		if !ok {
			errs[i] = sarama.ErrIncompleteResponse
			continue
		}
		errs[i] = nil
		switch code {
		case sarama.ErrNoError:
			continue
		case sarama.ErrUnknownMemberId, sarama.ErrFencedInstancedId:
			errs[i] = fmt.Errorf("%w: %w", primitives.ErrNotAssigned, code)
		case sarama.ErrIllegalGeneration, sarama.ErrRebalanceInProgress: // brokers look at the member first: it is one
			errs[i] = fmt.Errorf("%w: %w", driver.ErrRebalancing, code)
		case sarama.ErrNotCoordinatorForConsumer, sarama.ErrConsumerCoordinatorNotAvailable:
			again = true
			errs[i] = code
		default:
			errs[i] = code
		}
	}
	return again
}

// Close implements driver.Consumer.
func (c *consumer) Close(ctx context.Context) error {
	c.closing.Do(func() {
		c.end()
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			c.runs.Wait()
			c.fetcher.stop()
			c.member.leave(ctx)
			c.commits.Lock()
			committer := c.committer
			c.commits.Unlock()
			if committer != nil {
				committer.close()
			}
			if c.member.link != nil {
				c.member.link.close()
			}
		}()
		select {
		case <-ended:
		case <-ctx.Done(): // what is left ends with its connections
			c.ending = context.Cause(ctx)
		}
		c.ending = errors.Join(c.ending, c.Client.Close(ctx))
	})
	return c.ending
}
