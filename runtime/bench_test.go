package runtime

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/flowkit-go/flow/autoscale"
	"github.com/flowkit-go/flow/primitives"
)

// replay is a bounded source that pushes the same burst until n records are out.
type replay struct {
	n     int
	lanes int
	burst []primitives.Record
}

func (r *replay) Run(ctx context.Context, in primitives.Intake) error {
	lanes := make([]primitives.Lane, r.lanes)
	for i := range lanes {
		lanes[i] = in.Assign(primitives.Partition{Topic: "replay", ID: int32(i)}, 0)
	}
	offset := int64(0)
	for sent := 0; sent < r.n; {
		for _, l := range lanes {
			k := min(len(r.burst), r.n-sent)
			for i := range r.burst[:k] {
				r.burst[i].Offset = offset + int64(i)
			}
			if _, err := l.Push(ctx, r.burst[:k]); err != nil {
				return err
			}
			sent += k
		}
		offset += int64(len(r.burst))
	}
	return nil
}
func (r *replay) Commit(context.Context, []primitives.Commit) error { return nil }
func (r *replay) Close(context.Context) error                       { return nil }

type null struct{ records, bytes int64 }

func (w *null) Write(_ context.Context, batch []primitives.Record, done func(error)) {
	for i := range batch {
		w.bytes += int64(len(batch[i].Value))
	}
	w.records += int64(len(batch))
	done(nil)
}
func (w *null) Close(context.Context) error { return nil }

func benchConsumer(b *testing.B, lanes int, order Order, tasks int) {
	value := make([]byte, 200)
	src := &replay{n: b.N, lanes: lanes, burst: make([]primitives.Record, 512)}
	for i := range src.burst {
		src.burst[i].Value = value
		src.burst[i].Key = []byte{byte(i), byte(i >> 8)}
	}
	sink := &null{}
	limits := autoscale.Defaults()
	spec := &Consumer{
		Name:   "bench",
		Source: Source{Name: "replay", Bounded: true, Open: func(context.Context, *primitives.Env) (primitives.Reader, error) { return src, nil }},
		Sink:   Sink{Name: "null", Open: func(context.Context, *primitives.Env) (primitives.Writer, error) { return sink, nil }},
		Handle: func(ctx context.Context, in []primitives.Record, out *primitives.Outputs) error {
			out.AddValue(in[0].Value)
			return nil
		},
		Order:      order,
		Commit:     CommitPolicy{Every: time.Second},
		Buffer:     Buffer{Records: 4096, Bytes: 64 << 20},
		StallAfter: time.Minute,
		Processor:  Processor{Replicas: limits, ConcurrentTasks: tasks},
	}
	c := newConsumer("bench", spec, slog.New(slog.DiscardHandler), 10*time.Second)
	if err := c.open(context.Background(), nil); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.ResetTimer()
	if err := c.start(context.Background()); err != nil {
		b.Fatal(err)
	}
	<-c.complete
	b.StopTimer()
	if err := c.drain(context.Background(), c.plan.start(time.Now())); err != nil {
		b.Fatal(err)
	}
	if sink.records != int64(b.N) {
		b.Fatalf("%d of %d records", sink.records, b.N)
	}
}

func BenchmarkRaw(b *testing.B) {
	b.Run("partition/1", func(b *testing.B) { benchConsumer(b, 1, ByPartition, 1) })
	b.Run("partition/6", func(b *testing.B) { benchConsumer(b, 6, ByPartition, 1) })
	b.Run("key/1", func(b *testing.B) { benchConsumer(b, 1, ByKey, 1) })
	b.Run("none/1", func(b *testing.B) { benchConsumer(b, 1, Unordered, 1) })
}
