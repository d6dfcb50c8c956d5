package flow_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/flowkit-go/flow"
	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/primitives/memory"
)

// These benchmarks run whole flows between ends that cost next to nothing, and
// beside them the same work written by hand. docs/performance.md has a table.

// benchOrder is about 200 bytes of JSON.
type benchOrder struct {
	ID       string    `json:"id"`
	Customer string    `json:"customer"`
	Status   string    `json:"status"`
	Cents    int64     `json:"cents"`
	Quantity int       `json:"quantity"`
	Weight   float64   `json:"weight"`
	Paid     bool      `json:"paid"`
	Region   string    `json:"region"`
	Time     time.Time `json:"time"`
	Note     string    `json:"note"`
}

func double(_ context.Context, o benchOrder) (benchOrder, error) {
	o.Cents *= 2
	return o, nil
}

func same(_ context.Context, v []byte) ([]byte, error) { return v, nil }

// orders are records with the JSON of different orders.
func orders(b *testing.B) []primitives.Record {
	recs := make([]primitives.Record, 512)
	for i := range recs {
		value, err := json.Marshal(benchOrder{
			ID: fmt.Sprintf("o-%09d", i), Customer: fmt.Sprintf("c-%04d", i%100), Status: "shipped", Cents: int64(i) * 37,
			Quantity: i%5 + 1, Weight: 12.75, Paid: i%2 == 0, Region: "eu-west-1",
			Time: time.Date(2024, 5, 6, 7, 8, i%60, 0, time.UTC), Note: "leave at the door",
		})
		if err != nil {
			b.Fatal(err)
		}
		recs[i] = primitives.Record{Key: fmt.Appendf(nil, "k-%d", i), Value: value}
	}
	return recs
}

// raw are records of 200 bytes, each with another key.
func raw() []primitives.Record {
	recs := make([]primitives.Record, 512)
	for i := range recs {
		recs[i] = primitives.Record{Key: fmt.Appendf(nil, "k-%d", i), Value: make([]byte, 200)}
	}
	return recs
}

// benchFlow runs a flow over b.N records: from its start until all of them are
// handled, written, tracked and committed, and it has stopped.
func benchFlow[T any](b *testing.B, recs []primitives.Record, partitions int,
	fn func(context.Context, T) (T, error), opts ...flow.ConsumerOption) {
	each := (b.N + partitions - 1) / partitions
	sink := &memory.Counter[T]{}
	app := flow.New("bench", flow.AdminAddr("off"), flow.Logger(slog.New(slog.DiscardHandler)))
	flow.Consumer(app, "bench", memory.Replay[T]{Records: recs, Count: int64(each), Partitions: partitions, Burst: 512}, sink, fn, opts...)
	b.SetBytes(int64(len(recs[0].Value)))
	b.ReportAllocs()
	b.ResetTimer()
	if err := app.Run(context.Background()); err != nil {
		b.Fatal(err)
	}
	b.StopTimer()
	if want := int64(each * partitions); sink.Records() != want {
		b.Fatalf("%d records were written, want %d", sink.Records(), want)
	}
}

// tally is the other end of what is written by hand.
type tally struct{ records, bytes atomic.Int64 }

func (t *tally) write(burst [][]byte) {
	n := 0
	for _, v := range burst {
		n += len(v)
	}
	t.records.Add(int64(len(burst)))
	t.bytes.Add(int64(n))
}

func (t *tally) check(b *testing.B) {
	b.StopTimer()
	if t.records.Load() != int64(b.N) {
		b.Fatalf("%d records were written, want %d", t.records.Load(), b.N)
	}
}

// bursts calls f with b.N records in bursts.
func bursts(b *testing.B, recs []primitives.Record, f func([]primitives.Record)) {
	for sent := 0; sent < b.N; {
		n := min(len(recs), b.N-sent)
		f(recs[:n])
		sent += n
	}
}

// benchBursts is a loop written by hand: one goroutine reads and hands bursts
// over a channel, another one decodes, handles, encodes and writes. Nothing is
// tracked or committed, and nothing can fail, be retried or stop.
func benchBursts[T any](b *testing.B, recs []primitives.Record, fn func(context.Context, T) (T, error)) {
	codec := codecOf[T](b)
	b.SetBytes(int64(len(recs[0].Value)))
	b.ReportAllocs()
	b.ResetTimer()
	hand := make(chan []primitives.Record, 4)
	go func() {
		bursts(b, recs, func(burst []primitives.Record) { hand <- burst })
		close(hand)
	}()
	var out tally
	var buf []byte
	var values [][]byte
	for burst := range hand {
		buf, values = buf[:0], values[:0]
		for i := range burst {
			mark := len(buf)
			var err error
			if buf, err = work(codec, fn, burst[i].Value, buf); err != nil {
				b.Error(err)
				return
			}
			values = append(values, buf[mark:])
		}
		out.write(values)
	}
	out.check(b)
}

// benchNaive is what one writes first: a goroutine for each record, which sends
// its output over a channel of its own, so that the outputs keep their order.
func benchNaive[T any](b *testing.B, recs []primitives.Record, fn func(context.Context, T) (T, error)) {
	codec := codecOf[T](b)
	b.SetBytes(int64(len(recs[0].Value)))
	b.ReportAllocs()
	b.ResetTimer()
	hand := make(chan chan []byte, 512)
	go func() {
		bursts(b, recs, func(burst []primitives.Record) {
			for i := range burst {
				result := make(chan []byte, 1)
				go func() {
					out, err := work(codec, fn, burst[i].Value, nil)
					if err != nil {
						b.Error(err)
					}
					result <- out
				}()
				hand <- result
			}
		})
		close(hand)
	}()
	var out tally
	for result := range hand {
		out.write([][]byte{<-result})
	}
	out.check(b)
}

func codecOf[T any](b *testing.B) primitives.Codec[T] {
	codec, err := primitives.CodecFor[T]()
	if err != nil {
		b.Fatal(err)
	}
	return codec
}

func work[T any](codec primitives.Codec[T], fn func(context.Context, T) (T, error), value, dst []byte) ([]byte, error) {
	v, err := codec.Decode(value)
	if err != nil {
		return nil, err
	}
	if v, err = fn(context.Background(), v); err != nil {
		return nil, err
	}
	return codec.Append(dst, v)
}

// BenchmarkJSON is memory source -> JSON decode -> handler -> JSON encode -> memory sink.
func BenchmarkJSON(b *testing.B) {
	recs := orders(b)
	b.Run("flow", func(b *testing.B) { benchFlow(b, recs, 1, double) })
	b.Run("flow/tasks-2", func(b *testing.B) { benchFlow(b, recs, 2, double, flow.ConcurrentTasks(2)) })
	b.Run("rival/bursts", func(b *testing.B) { benchBursts(b, recs, double) })
	b.Run("rival/naive", func(b *testing.B) { benchNaive(b, recs, double) })
}

// BenchmarkRaw is the same with bytes that nobody decodes: the price of a record
// in Flow itself, with tracking and commit.
func BenchmarkRaw(b *testing.B) {
	recs := raw()
	b.Run("flow/partition", func(b *testing.B) { benchFlow(b, recs, 1, same) })
	b.Run("flow/partitions-6", func(b *testing.B) { benchFlow(b, recs, 6, same) })
	b.Run("flow/key", func(b *testing.B) { benchFlow(b, recs, 1, same, flow.Ordered(flow.ByKey)) })
	b.Run("flow/key-tasks-2", func(b *testing.B) { benchFlow(b, recs, 1, same, flow.Ordered(flow.ByKey), flow.ConcurrentTasks(2)) })
	b.Run("flow/none", func(b *testing.B) { benchFlow(b, recs, 1, same, flow.Ordered(flow.Unordered)) })
	b.Run("flow/none-tasks-2", func(b *testing.B) { benchFlow(b, recs, 1, same, flow.Ordered(flow.Unordered), flow.ConcurrentTasks(2)) })
	b.Run("rival/bursts", func(b *testing.B) { benchBursts(b, recs, same) })
	b.Run("rival/naive", func(b *testing.B) { benchNaive(b, recs, same) })
}
