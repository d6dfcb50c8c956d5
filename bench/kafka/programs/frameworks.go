package programs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	wmkafka "github.com/ThreeDotsLabs/watermill-kafka/v3/pkg/kafka"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/lovoo/goka"
)

// gokaCopy is a Goka processor without a table. Its own defaults stay where they do
// not weaken the guarantee: it would be satisfied with one replica's acknowledgement.
func gokaCopy(ctx context.Context, w Work) error {
	c, own := saramaConfig(), goka.DefaultConfig()
	c.Consumer.Group.Rebalance.Strategy = own.Consumer.Group.Rebalance.Strategy //nolint:staticcheck // the field that Goka reads
	c.Consumer.Group.Rebalance.GroupStrategies = nil
	c.Consumer.Return.Errors = true
	c.Producer.Flush = own.Producer.Flush
	c.Producer.Retry = own.Producer.Retry
	goka.ReplaceGlobalConfig(c)
	graph := goka.DefineGroup(goka.Group(w.Group),
		goka.Input(goka.Stream(w.In), gokaCodec{}, func(ctx goka.Context, v any) {
			if w.Wait > 0 {
				time.Sleep(w.Wait)
			}
			ctx.Emit(goka.Stream(w.Out), ctx.Key(), Handle(v.(Order)))
		}),
		goka.Output(goka.Stream(w.Out), gokaCodec{}))
	p, err := goka.NewProcessor(w.Brokers, graph, goka.WithLogger(log.New(io.Discard, "", 0)))
	if err != nil {
		return err
	}
	if err := p.Run(ctx); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

type gokaCodec struct{}

func (gokaCodec) Encode(v any) ([]byte, error) { return std.encode(v) }

func (gokaCodec) Decode(b []byte) (any, error) {
	var o Order
	err := std.decode(b, &o)
	return o, err
}

// watermillCopy is a Watermill router with one handler.
func watermillCopy(ctx context.Context, w Work) error {
	logger := watermill.NopLogger{}
	marshaler := wmkafka.NewWithPartitioningMarshaler(func(_ string, m *message.Message) (string, error) { return m.Metadata.Get("key"), nil })
	in := saramaConfig()
	in.Consumer.Return.Errors = true
	subscriber, err := wmkafka.NewSubscriber(wmkafka.SubscriberConfig{
		Brokers: w.Brokers, Unmarshaler: marshaler, OverwriteSaramaConfig: in, ConsumerGroup: w.Group,
	}, logger)
	if err != nil {
		return err
	}
	publisher, err := wmkafka.NewPublisher(wmkafka.PublisherConfig{Brokers: w.Brokers, Marshaler: marshaler, OverwriteSaramaConfig: saramaConfig()}, logger)
	if err != nil {
		return err
	}
	router, err := message.NewRouter(message.RouterConfig{CloseTimeout: 10 * time.Second}, logger)
	if err != nil {
		return err
	}
	router.AddHandler("copy", w.In, subscriber, w.Out, publisher, func(m *message.Message) ([]*message.Message, error) {
		o, value, err := std.apply(m.Payload, w.Wait)
		if err != nil {
			return nil, err
		}
		out := message.NewMessage(watermill.NewShortUUID(), value)
		out.Metadata.Set("key", Key(o))
		return []*message.Message{out}, nil
	})
	if err := router.Run(ctx); err != nil {
		return fmt.Errorf("watermill: %w", err)
	}
	return errors.Join(publisher.Close(), subscriber.Close())
}
