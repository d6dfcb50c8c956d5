package programs

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// franzClient is a client that commits what is marked, once a second and when it
// loses a partition.
func franzClient(w Work, opts ...kgo.Opt) (*kgo.Client, error) {
	return kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(w.Brokers...), kgo.ConsumerGroup(w.Group), kgo.ConsumeTopics(w.In),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.BlockRebalanceOnPoll(),
		kgo.DefaultProduceTopic(w.Out), kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.ProducerLinger(0),
	}, opts...)...)
}

func marking() []kgo.Opt {
	return []kgo.Opt{
		kgo.AutoCommitMarks(), kgo.AutoCommitInterval(time.Second),
		kgo.OnPartitionsRevoked(func(ctx context.Context, cl *kgo.Client, _ map[string][]int32) {
			if err := errors.Join(cl.Flush(ctx), cl.CommitMarkedOffsets(ctx)); err != nil {
				fmt.Println("revoke:", err)
			}
		}),
	}
}

// franzCopy produces a polled burst of a partition and marks its last record when
// the whole of it is acknowledged, and that of every burst before it.
func franzCopy(c codec) func(context.Context, Work) error {
	return func(ctx context.Context, w Work) error {
		cl, err := franzClient(w, marking()...)
		if err != nil {
			return err
		}
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		open := franzOpen{client: cl}
		for ctx.Err() == nil {
			fetches := cl.PollFetches(ctx)
			for _, e := range fetches.Errors() {
				if !errors.Is(e.Err, context.Canceled) {
					cancel(e.Err)
				}
			}
			fetches.EachPartition(func(p kgo.FetchTopicPartition) {
				if len(p.Records) == 0 {
					return
				}
				b := open.begin(p.Records[len(p.Records)-1], len(p.Records))
				done := func(_ *kgo.Record, err error) {
					if err != nil {
						cancel(err)
						return
					}
					open.acked(b)
				}
				outs := make([]kgo.Record, len(p.Records))
				for i, r := range p.Records {
					_, value, err := c.apply(r.Value, w.Wait)
					if err != nil {
						cancel(err)
						return
					}
					outs[i].Key, outs[i].Value = r.Key, value
					cl.Produce(context.Background(), &outs[i], done)
				}
			})
			cl.AllowRebalance()
		}
		return franzClose(ctx, cl)
	}
}

// franzClose ends in good order, and returns what has cancelled ctx when that was
// a failure.
func franzClose(ctx context.Context, cl *kgo.Client) error {
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	err := errors.Join(cl.Flush(ending), cl.CommitMarkedOffsets(ending))
	cl.CloseAllowingRebalance()
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		err = errors.Join(err, cause)
	}
	return err
}

// franzOpen keeps the bursts of each partition that are not acknowledged, in order.
type franzOpen struct {
	client *kgo.Client

	mu    sync.Mutex
	parts map[int32][]*franzBurst
}

type franzBurst struct {
	last *kgo.Record
	left atomic.Int32
}

func (o *franzOpen) begin(last *kgo.Record, n int) *franzBurst {
	b := &franzBurst{last: last}
	b.left.Store(int32(n))
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.parts == nil {
		o.parts = map[int32][]*franzBurst{}
	}
	o.parts[last.Partition] = append(o.parts[last.Partition], b)
	return b
}

// acked counts one record of a burst.
func (o *franzOpen) acked(b *franzBurst) {
	if b.left.Add(-1) > 0 {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	open := o.parts[b.last.Partition]
	var last *kgo.Record
	for len(open) > 0 && open[0].left.Load() == 0 {
		last, open = open[0].last, open[1:]
	}
	o.parts[b.last.Partition] = open
	if last != nil {
		o.client.MarkCommitRecords(last)
	}
}

// franzEach commits after each record and waits for that.
func franzEach(ctx context.Context, w Work) error {
	cl, err := franzClient(w, kgo.DisableAutoCommit())
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	for ctx.Err() == nil {
		for _, r := range cl.PollRecords(ctx, 1000).Records() {
			if ctx.Err() != nil {
				break
			}
			if err := std.take(r.Value); err != nil {
				cancel(err)
				break
			}
			w.Handled.Add(1)
			if err := cl.CommitRecords(context.WithoutCancel(ctx), r); err != nil {
				cancel(err)
				break
			}
		}
		cl.AllowRebalance()
	}
	return franzClose(ctx, cl)
}

// franzJoined has a goroutine per partition, each of which handles a record and waits
// for its commit. One commit is under way, and takes all that wait by then.
func franzJoined(ctx context.Context, w Work) error {
	cl, err := franzClient(w, kgo.DisableAutoCommit())
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	type request struct {
		record *kgo.Record
		done   chan struct{}
	}
	requests := make(chan request, 64)
	var committer, workers sync.WaitGroup
	committer.Go(func() {
		for first := range requests {
			join := []request{first}
			for more := true; more; {
				select {
				case r, ok := <-requests:
					if more = ok; ok {
						join = append(join, r)
					}
				default:
					more = false
				}
			}
			records := make([]*kgo.Record, len(join))
			for i, r := range join {
				records[i] = r.record
			}
			if err := cl.CommitRecords(context.WithoutCancel(ctx), records...); err != nil {
				cancel(err)
			}
			for _, r := range join {
				close(r.done)
			}
		}
	})
	lanes := map[int32]chan []*kgo.Record{}
	for ctx.Err() == nil {
		cl.PollRecords(ctx, 600).EachPartition(func(p kgo.FetchTopicPartition) {
			lane := lanes[p.Partition]
			if lane == nil {
				lane = make(chan []*kgo.Record, 16)
				lanes[p.Partition] = lane
				workers.Go(func() {
					for records := range lane {
						for _, r := range records {
							if ctx.Err() != nil {
								break
							}
							if err := std.take(r.Value); err != nil {
								cancel(err)
								break
							}
							w.Handled.Add(1)
							done := make(chan struct{})
							requests <- request{r, done}
							<-done
						}
					}
				})
			}
			select {
			case lane <- p.Records:
			case <-ctx.Done():
			}
		})
		cl.AllowRebalance()
	}
	for _, lane := range lanes {
		close(lane)
	}
	workers.Wait()
	close(requests)
	committer.Wait()
	return franzClose(ctx, cl)
}
