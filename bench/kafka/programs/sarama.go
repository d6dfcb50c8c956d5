package programs

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/IBM/sarama"
)

func saramaConfig() *sarama.Config {
	c := sarama.NewConfig()
	c.Version = sarama.MaxVersion
	c.ChannelBufferSize = 4096
	c.Consumer.Offsets.Initial = sarama.OffsetOldest
	c.Consumer.Group.Rebalance.GroupStrategies = []sarama.BalanceStrategy{sarama.NewBalanceStrategySticky()}
	c.Producer.RequiredAcks = sarama.WaitForAll
	c.Producer.Return.Successes = true
	c.Producer.Return.Errors = true
	return c
}

// saramaCopy is a consumer group with an AsyncProducer. Acknowledgements come in the
// order of the output partitions, so each claim keeps its unacknowledged records in
// a queue and marks the front of it.
func saramaCopy(c codec) func(context.Context, Work) error {
	return func(ctx context.Context, w Work) error {
		producer, err := sarama.NewAsyncProducer(w.Brokers, saramaConfig())
		if err != nil {
			return err
		}
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		var acks sync.WaitGroup
		acks.Go(func() {
			for m := range producer.Successes() {
				out := m.Metadata.(*saramaOut)
				out.claim.acked(out)
			}
		})
		acks.Go(func() {
			for e := range producer.Errors() {
				cancel(e)
			}
		})
		err = saramaConsume(ctx, w, func(s sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
			return copyClaim(ctx, w, c, producer, s, claim)
		})
		producer.AsyncClose()
		acks.Wait()
		return err
	}
}

// saramaConsume runs a consumer group until ctx ends.
func saramaConsume(ctx context.Context, w Work, consume func(sarama.ConsumerGroupSession, sarama.ConsumerGroupClaim) error) error {
	group, err := sarama.NewConsumerGroup(w.Brokers, w.Group, saramaConfig())
	if err != nil {
		return err
	}
	for ctx.Err() == nil && err == nil {
		err = group.Consume(ctx, []string{w.In}, saramaHandler{consume})
	}
	err = errors.Join(err, group.Close())
	if cause := context.Cause(ctx); ctx.Err() != nil && !errors.Is(cause, context.Canceled) {
		err = errors.Join(err, cause)
	}
	return err
}

type saramaHandler struct {
	consume func(sarama.ConsumerGroupSession, sarama.ConsumerGroupClaim) error
}

func (saramaHandler) Setup(sarama.ConsumerGroupSession) error   { return nil }
func (saramaHandler) Cleanup(sarama.ConsumerGroupSession) error { return nil }
func (h saramaHandler) ConsumeClaim(s sarama.ConsumerGroupSession, c sarama.ConsumerGroupClaim) error {
	return h.consume(s, c)
}

func copyClaim(ctx context.Context, w Work, c codec, producer sarama.AsyncProducer, s sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	open := &saramaClaim{mark: func(offset int64) { s.MarkOffset(claim.Topic(), claim.Partition(), offset, "") }}
	defer open.drain()
	for {
		select {
		case m, more := <-claim.Messages():
			if !more {
				return nil
			}
			_, value, err := c.apply(m.Value, w.Wait)
			if err != nil {
				return err
			}
			out := &saramaOut{claim: open, next: m.Offset + 1}
			out.message = sarama.ProducerMessage{Topic: w.Out, Key: sarama.ByteEncoder(m.Key), Value: sarama.ByteEncoder(value), Metadata: out}
			open.add(out)
			select {
			case producer.Input() <- &out.message:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		case <-s.Context().Done():
			return nil
		}
	}
}

// A saramaClaim knows the outputs of a claim that are not acknowledged.
type saramaClaim struct {
	mark func(offset int64)

	mu   sync.Mutex
	open []*saramaOut
}

type saramaOut struct {
	message sarama.ProducerMessage
	claim   *saramaClaim
	next    int64
	done    bool
}

func (c *saramaClaim) add(o *saramaOut) {
	c.mu.Lock()
	c.open = append(c.open, o)
	c.mu.Unlock()
}

func (c *saramaClaim) acked(o *saramaOut) {
	c.mu.Lock()
	defer c.mu.Unlock()
	o.done = true
	var next int64
	for len(c.open) > 0 && c.open[0].done {
		next = c.open[0].next
		c.open[0] = nil
		c.open = c.open[1:]
	}
	if next > 0 {
		c.mark(next)
	}
}

// drain waits until all is acknowledged: what is not by then is read again.
func (c *saramaClaim) drain() {
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		c.mu.Lock()
		open := len(c.open)
		c.mu.Unlock()
		if open == 0 {
			return
		}
	}
}

// saramaEach commits after each record and waits for that.
func saramaEach(ctx context.Context, w Work) error {
	return saramaConsume(ctx, w, func(s sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
		for {
			select {
			case m, more := <-claim.Messages():
				if !more {
					return nil
				}
				if err := std.take(m.Value); err != nil {
					return err
				}
				w.Handled.Add(1)
				s.MarkMessage(m, "")
				s.Commit()
			case <-s.Context().Done():
				return nil
			}
		}
	})
}
