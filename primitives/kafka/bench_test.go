package kafka

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/flowkit-go/flow/primitives"
)

// counting takes everything at once, and tells when there were enough.
type counting struct {
	left atomic.Int64
	done chan struct{}
}

func (c *counting) Assign(primitives.Partition, int64) primitives.Lane { return countingLane{c} }
func (c *counting) Revoke(context.Context, ...primitives.Lane) error   { return nil }
func (c *counting) Lose(...primitives.Lane)                            {}
func (c *counting) Retry(ctx context.Context, err error) error         { return err }

type countingLane struct{ c *counting }

func (l countingLane) Push(_ context.Context, burst []primitives.Record) (int, error) {
	if left := l.c.left.Add(-int64(len(burst))); left <= 0 && left+int64(len(burst)) > 0 {
		close(l.c.done)
	}
	return len(burst), nil
}
func (l countingLane) Advance(int64)                         {}
func (l countingLane) Epoch() int64                          { return 1 }
func (l countingLane) Free() int                             { return 1 << 20 }
func (l countingLane) WaitFree(context.Context) (int, error) { return 1 << 20, nil }

// BenchmarkRead reads records of 200 bytes from six partitions. One iteration is one
// record. Without real brokers there is one in this process, whose own work is in the
// figures of memory.
func BenchmarkRead(b *testing.B) {
	for _, headers := range []int{0, 3} {
		b.Run(fmt.Sprintf("headers-%d", headers), func(b *testing.B) { benchmarkRead(b, headers) })
	}
}

func benchmarkRead(b *testing.B, headers int) {
	var brokers []string
	topic := "in"
	if os.Getenv(realVar) != "" {
		brokers = realBrokers(b)
		topic = create(b, brokers, 6, nil)
	} else {
		c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(6, topic))
		if err != nil {
			b.Fatal(err)
		}
		defer c.Close()
		brokers = c.ListenAddrs()
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.DefaultProduceTopic(topic), kgo.RecordPartitioner(kgo.RoundRobinPartitioner()),
		kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.MaxBufferedRecords(100_000))
	if err != nil {
		b.Fatal(err)
	}
	ctx := context.Background()
	value := make([]byte, 200)
	var hs []kgo.RecordHeader
	for i := range headers {
		hs = append(hs, kgo.RecordHeader{Key: fmt.Sprint("header-", i), Value: []byte("value")})
	}
	n := max(b.N, 1)
	for range n {
		client.Produce(ctx, &kgo.Record{Value: value, Headers: hs}, nil)
	}
	if err := client.Flush(ctx); err != nil {
		b.Fatal(err)
	}
	client.Close()
	r, err := Topic[[]byte]{Name: topic, Group: topic, Cluster: Cluster{Brokers: brokers}, Start: Earliest}.OpenSource(ctx, place(b, "p"))
	if err != nil {
		b.Fatal(err)
	}
	intake := &counting{done: make(chan struct{})}
	intake.left.Store(int64(n))
	running, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	runtime.GC()
	b.ReportAllocs()
	b.ResetTimer()
	go func() { ended <- r.Run(running, intake) }()
	<-intake.done
	b.StopTimer()
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "records/s")
	stop()
	if err := <-ended; err != nil {
		b.Error(err)
	}
	if err := r.Close(ctx); err != nil {
		b.Error(err)
	}
}
