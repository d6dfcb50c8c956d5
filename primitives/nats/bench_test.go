package nats

import (
	"context"
	"sync"
	"testing"

	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/flowkit-go/flow/primitives"
)

// Both sides of each benchmark use one embedded server of their own, in bursts
// of 256 records of 200 bytes. The rival is the client's own API, as its
// documentation uses it for throughput.
const (
	burst     = 256
	valueSize = 200
)

func benchBurst() []primitives.Record {
	out := make([]primitives.Record, burst)
	for i := range out {
		out[i].Value = make([]byte, valueSize)
	}
	return out
}

func BenchmarkWrite(b *testing.B) {
	b.Run("flow", func(b *testing.B) {
		ctx := context.Background()
		w := openTestWriter(b, ctx, place(b, "p"), Stream[[]byte]{Name: "q", Retention: Limits})
		batch := benchBurst()
		inFlight := make(chan struct{}, 8)
		perRecord(b)
		for range (b.N + burst - 1) / burst {
			inFlight <- struct{}{}
			w.Write(ctx, batch, func(err error) {
				if err != nil {
					b.Error(err)
				}
				<-inFlight
			})
		}
		for range cap(inFlight) {
			inFlight <- struct{}{}
		}
	})
	b.Run("nats.go", func(b *testing.B) {
		js := benchRival(b)
		batch := benchBurst()
		type sent []jetstream.PubAckFuture
		bursts := make(chan sent, 7)
		var confirmed sync.WaitGroup
		confirmed.Go(func() {
			for futures := range bursts {
				for _, f := range futures {
					select {
					case <-f.Ok():
					case err := <-f.Err():
						b.Error(err)
					}
				}
			}
		})
		perRecord(b)
		for range (b.N + burst - 1) / burst {
			futures := make(sent, 0, burst)
			for i := range batch {
				f, err := js.PublishAsync("q", batch[i].Value)
				if err != nil {
					b.Fatal(err)
				}
				futures = append(futures, f)
			}
			bursts <- futures
		}
		close(bursts)
		confirmed.Wait()
	})
}

// benchRival is the embedded server of the flow, used without it.
func benchRival(b *testing.B) jetstream.JetStream {
	ctx := context.Background()
	w := openTestWriter(b, ctx, place(b, "p"), Stream[[]byte]{Name: "q", Retention: Limits})
	nc, err := natsgo.Connect("", natsgo.InProcessServer(w.link.server))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(nc.Close)
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(4096))
	if err != nil {
		b.Fatal(err)
	}
	return js
}

func perRecord(b *testing.B) {
	b.SetBytes(valueSize)
	b.ReportAllocs()
	b.ResetTimer()
}

// benchLane is a lane that takes all and hands it to the benchmark.
type benchLane struct {
	primitives.Intake
	primitives.Lane
	leases chan []any
}

const benchLaneSize = 4096

func (l *benchLane) Assign(primitives.Partition, int64) primitives.Lane { return l }
func (l *benchLane) Free() int                                          { return benchLaneSize }
func (l *benchLane) Push(ctx context.Context, records []primitives.Record) (int, error) {
	leases := make([]any, len(records))
	for i := range records {
		leases[i] = records[i].Lease
	}
	select {
	case l.leases <- leases:
		return len(records), nil
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// fill writes n records into the stream "q" of the place.
func fill(b *testing.B, env *primitives.Env, s Stream[[]byte], n int) {
	ctx := context.Background()
	w := openTestWriter(b, ctx, env, s)
	batch := benchBurst()
	var done sync.WaitGroup
	for range (n + burst - 1) / burst {
		done.Add(1)
		w.Write(ctx, batch, func(err error) {
			if err != nil {
				b.Error(err)
			}
			done.Done()
		})
	}
	done.Wait()
}

func BenchmarkReadCommit(b *testing.B) {
	for _, each := range []bool{false, true} {
		name := "flow"
		if each {
			name = "flow, as on a cluster"
		}
		b.Run(name, func(b *testing.B) {
			ctx, env := context.Background(), place(b, "p")
			s := Stream[[]byte]{Name: "q", Retention: WorkQueue}
			fill(b, env, s, b.N)
			r := openTestReader(b, ctx, env, s)
			if each {
				r.link.local = false
			}
			lane := &benchLane{leases: make(chan []any, 16)}
			running, stop := context.WithCancel(ctx)
			ended := make(chan error, 1)
			perRecord(b)
			go func() { ended <- r.Run(running, lane) }()
			for got := 0; got < b.N; {
				leases := <-lane.leases
				for range len(lane.leases) { // a commit takes what is done by then
					leases = append(leases, <-lane.leases...)
				}
				if err := r.Commit(ctx, []primitives.Commit{{Partition: r.partition, Leases: leases}}); err != nil {
					b.Fatal(err)
				}
				got += len(leases)
			}
			b.StopTimer()
			stop()
			if err := <-ended; err != nil {
				b.Error(err)
			}
		})
	}
	for _, confirmed := range []bool{false, true} {
		name := "nats.go, unconfirmed acks"
		if confirmed {
			name = "nats.go, DoubleAck"
		}
		b.Run(name, func(b *testing.B) {
			ctx, env := context.Background(), place(b, "p")
			s := Stream[[]byte]{Name: "q", Retention: WorkQueue}
			fill(b, env, s, b.N)
			r := openTestReader(b, ctx, env, s)
			consumer, err := r.link.js.Consumer(ctx, "q", "p")
			if err != nil {
				b.Fatal(err)
			}
			left := make(chan struct{})
			got := 0
			perRecord(b)
			consuming, err := consumer.Consume(func(m jetstream.Msg) {
				var err error
				if confirmed {
					err = m.DoubleAck(ctx)
				} else {
					err = m.Ack()
				}
				if err != nil {
					b.Error(err)
				}
				if got++; got == b.N {
					close(left)
				}
			}, jetstream.PullMaxMessages(benchLaneSize))
			if err != nil {
				b.Fatal(err)
			}
			<-left
			if err := r.link.nc.Flush(); err != nil {
				b.Error(err)
			}
			b.StopTimer()
			consuming.Stop()
			<-consuming.Closed()
		})
	}
}
