package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/goccy/go-json"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/flowkit-go/flow/bench/kafka/programs"
)

// latency measures the time from a record's production to its output's arrival at a
// steady rate. Both ends are in this process, so one clock counts.
func (b *bench) latency(ctx context.Context) error {
	return b.turns(ctx, programs.Copy, "latency", func(ctx context.Context, p programs.Program) (figures, error) {
		w := programs.Work{In: b.name("in"), Out: b.name("out"), Group: b.name("group")}
		for _, topic := range []string{w.In, w.Out} {
			if err := b.c.Create(ctx, topic, b.parts); err != nil {
				return nil, err
			}
		}
		c, err := b.start(programs.Copy, p.Name, w)
		if err != nil {
			return nil, err
		}
		defer c.kill()
		times, err := b.pass(ctx, c, w, b.rate, b.length, nil)
		if err != nil {
			return nil, err
		}
		if _, err := c.stop(); err != nil {
			return nil, err
		}
		slices.Sort(times)
		at := func(part float64) float64 {
			return float64(times[int(float64(len(times)-1)*part)]) / float64(time.Millisecond)
		}
		f := figures{"p50_ms": at(0.5), "p99_ms": at(0.99), "max_ms": at(1)}
		return f, errors.Join(b.c.Remove(ctx, w.In), b.c.Remove(ctx, w.Out))
	})
}

// pass sends records at a rate through a program for a time and measures how long
// each takes. Those before the program has had a second of warming up do not count. It errs when one does not
// come out. Each second is called with the program while records flow.
func (b *bench) pass(ctx context.Context, c *child, w programs.Work, rate int, length time.Duration, each func(second int)) ([]time.Duration, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	ends := map[int32]kgo.Offset{}
	for p := range b.parts {
		ends[int32(p)] = kgo.NewOffset().At(0)
	}
	reader, err := kgo.NewClient(kgo.SeedBrokers(b.brokers...), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{w.Out: ends}))
	if err != nil {
		return nil, err
	}
	defer reader.Close()
	producer, err := kgo.NewClient(kgo.SeedBrokers(b.brokers...), kgo.DefaultProduceTopic(w.In),
		kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.ProducerLinger(0))
	if err != nil {
		return nil, err
	}
	defer producer.Close()

	// the first record through shows that the program is ready
	var sent int64
	send := func() {
		o := programs.NewOrder(sent, customers)
		value, err := json.Marshal(o)
		if err != nil {
			cancel(err)
			return
		}
		producer.Produce(ctx, &kgo.Record{Key: []byte(programs.Key(o)), Value: value}, func(_ *kgo.Record, err error) {
			if err != nil {
				cancel(err)
			}
		})
		sent++
	}
	var times []time.Duration
	check := newChecker(int(length.Seconds()+4)*rate + 1000)
	var measured time.Time
	receive := func(until func() bool) {
		for !until() && ctx.Err() == nil {
			polling, done := context.WithTimeout(ctx, 30*time.Second)
			fetches := reader.PollFetches(polling)
			done()
			now := time.Now()
			if err := fetches.Err(); err != nil {
				cancel(fmt.Errorf("%d of %d outputs have come: %w\n%s", check.count, sent, err, c.errs))
				return
			}
			fetches.EachRecord(func(r *kgo.Record) {
				var o programs.Order
				err := json.Unmarshal(r.Value, &o)
				if err = errors.Join(err, check.take(r)); err != nil {
					cancel(err)
				}
				if sent := time.Unix(0, o.At); !measured.IsZero() && sent.After(measured) {
					times = append(times, now.Sub(sent))
				}
			})
		}
	}
	send()
	receive(func() bool { return check.count > 0 })
	measured = time.Now().Add(time.Second)
	total := int64(float64(rate)*(length.Seconds()+1)) + 1
	var sending sync.WaitGroup
	sending.Go(func() {
		began, first := time.Now(), sent
		pause := time.NewTicker(500 * time.Microsecond)
		defer pause.Stop()
		for second := 0; sent < total && ctx.Err() == nil; <-pause.C {
			for due := first + int64(time.Since(began).Seconds()*float64(rate)); sent < min(due, total); {
				send()
			}
			if each != nil && int(time.Since(began).Seconds()) > second {
				second++
				each(second)
			}
		}
	})
	receive(func() bool { return check.count-check.repeated >= int(total) })
	sending.Wait()
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	check.seen = check.seen[:total]
	return times, check.missing()
}
