package producer

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/flowkit-go/flow/primitives"
)

// rival is a way to write batches: each calls done once per batch.
type rival struct {
	name string
	open func(b *testing.B, addrs []string, topic string) (write func([]primitives.Record, func(error)), closing func())
}

func rivals() []rival { return []rival{{"flow", openFlow}, {"sarama-async", openAsync}} }

func openFlow(b *testing.B, addrs []string, topic string) (func([]primitives.Record, func(error)), func()) {
	cl := client(b, addrs)
	p, err := Open(b.Context(), cl, Config{Topic: topic})
	if err != nil {
		b.Fatal(err)
	}
	return func(batch []primitives.Record, done func(error)) { p.Write(context.Background(), batch, done) },
		func() { _ = p.Close(context.Background()) }
}

// openAsync is sarama's own producer with the same guarantee: idempotent, all
// replicas, and one callback per batch counted from its messages.
func openAsync(b *testing.B, addrs []string, topic string) (func([]primitives.Record, func(error)), func()) {
	cl := client(b, addrs, func(c *sarama.Config) {
		c.Producer.Idempotent = true
		c.Producer.RequiredAcks = sarama.WaitForAll
		c.Producer.Return.Successes = true
		c.Net.MaxOpenRequests = 1
	})
	p, err := sarama.NewAsyncProducerFromClient(cl)
	if err != nil {
		b.Fatal(err)
	}
	type pending struct {
		left int
		done func(error)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for m := range p.Successes() {
			if c := m.Metadata.(*pending); c.left > 1 {
				c.left--
			} else {
				c.done(nil)
			}
		}
	})
	wg.Go(func() {
		for e := range p.Errors() {
			b.Error(e)
		}
	})
	return func(batch []primitives.Record, done func(error)) {
			c := &pending{len(batch), done}
			for i := range batch {
				p.Input() <- &sarama.ProducerMessage{Topic: topic, Key: sarama.ByteEncoder(batch[i].Key), Value: sarama.ByteEncoder(batch[i].Value), Metadata: c}
			}
		}, func() {
			_ = p.Close()
			wg.Wait()
		}
}

// benchCluster is the real cluster, or one in this process.
func benchCluster(b *testing.B, partitions int) (addrs []string, topic string) {
	topic = fmt.Sprintf("bench-%s", rand.Text()[:8])
	if v := os.Getenv(brokersVar); v != "" {
		addrs = strings.Split(v, ",")
	} else {
		addrs = fake(b, kfake.NumBrokers(1)).ListenAddrs()
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(addrs...))
	if err != nil {
		b.Fatal(err)
	}
	defer cl.Close()
	if _, err := kadm.NewClient(cl).CreateTopic(b.Context(), int32(partitions), -1, map[string]*string{"retention.bytes": kadm.StringPtr("100000000")}, topic); err != nil {
		b.Fatal(err)
	}
	return addrs, topic
}

func benchRecords(n int) []primitives.Record {
	out := make([]primitives.Record, n)
	for i := range out {
		out[i] = primitives.Record{Key: fmt.Appendf(nil, "customer-%d", i%997), Value: []byte(strings.Repeat("x", 180))}
	}
	return out
}

func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkThroughput: bursts of that many records, up to 32 of them under way.
func BenchmarkThroughput(b *testing.B) {
	for _, size := range []int{1000, 4096} {
		for _, r := range rivals() {
			b.Run(fmt.Sprintf("burst=%d/%s", size, r.name), func(b *testing.B) {
				addrs, topic := benchCluster(b, 6)
				write, closing := r.open(b, addrs, topic)
				batch := benchRecords(size)
				room := make(chan struct{}, 32)
				run := func(n int) {
					for range n {
						room <- struct{}{}
						write(batch, func(err error) {
							if err != nil {
								b.Error(err)
							}
							<-room
						})
					}
					for range cap(room) {
						room <- struct{}{}
					}
					for range cap(room) {
						<-room
					}
				}
				run(10)
				b.ReportAllocs()
				b.ResetTimer()
				was := cpu()
				run(max(b.N/size, 1))
				b.StopTimer()
				n := float64(max(b.N/size, 1) * size)
				b.ReportMetric(n/b.Elapsed().Seconds(), "records/s")
				b.ReportMetric(float64((cpu()-was).Microseconds())/n, "cpu-us/record")
				closing()
			})
		}
	}
}

// BenchmarkLatency: 2,000 records a second, one in each batch, from write to callback.
func BenchmarkLatency(b *testing.B) {
	for _, r := range rivals() {
		b.Run(r.name, func(b *testing.B) {
			addrs, topic := benchCluster(b, 6)
			write, closing := r.open(b, addrs, topic)
			records := benchRecords(1000)
			took := make([]time.Duration, b.N)
			var wg sync.WaitGroup
			wg.Add(b.N)
			tick := time.NewTicker(time.Second / 2000)
			was := cpu()
			for i := range b.N {
				<-tick.C
				start := time.Now()
				k := i % len(records)
				write(records[k:k+1], func(err error) {
					if err != nil {
						b.Error(err)
					}
					took[i] = time.Since(start)
					wg.Done()
				})
			}
			wg.Wait()
			used := cpu() - was
			tick.Stop()
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-us")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-us")
			b.ReportMetric(float64(used.Microseconds())/float64(b.N), "cpu-us/record")
			closing()
		})
	}
}

// BenchmarkCallers: callers that write one record each and wait for its end, as
// requests that are answered once their record is durable.
func BenchmarkCallers(b *testing.B) {
	for _, callers := range []int{16, 256} {
		for _, r := range rivals() {
			b.Run(fmt.Sprintf("callers=%d/%s", callers, r.name), func(b *testing.B) {
				addrs, topic := benchCluster(b, 6)
				write, closing := r.open(b, addrs, topic)
				records := benchRecords(1000)
				took := make([]time.Duration, b.N)
				run := func(n int) {
					var next atomic.Int64
					var wg sync.WaitGroup
					for range callers {
						wg.Go(func() {
							done := make(chan error, 1)
							for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
								start := time.Now()
								k := i % len(records)
								write(records[k:k+1], func(err error) { done <- err })
								if err := <-done; err != nil {
									b.Error(err)
								}
								took[i] = time.Since(start)
							}
						})
					}
					wg.Wait()
				}
				run(min(b.N, 1000))
				b.ResetTimer()
				was := cpu()
				run(b.N)
				b.StopTimer()
				used := cpu() - was
				slices.Sort(took)
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
				b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-us")
				b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-us")
				b.ReportMetric(float64(used.Microseconds())/float64(b.N), "cpu-us/record")
				closing()
			})
		}
	}
}
