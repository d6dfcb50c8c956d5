package memory_test

import (
	"context"
	"testing"

	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/primitives/memory"
)

// sinkhole is an intake that takes everything at once: what is left is the
// reader's own cost.
type sinkhole struct {
	taken, want int
	done        chan struct{}
}

func (s *sinkhole) Assign(primitives.Partition, int64) primitives.Lane { return s }
func (s *sinkhole) Revoke(context.Context, ...primitives.Lane) error   { return nil }
func (s *sinkhole) Lose(...primitives.Lane)                            {}
func (s *sinkhole) Retry(_ context.Context, err error) error           { return err }
func (s *sinkhole) Advance(int64)                                      {}
func (s *sinkhole) Epoch() int64                                       { return 1 }
func (s *sinkhole) Free() int                                          { return 1 << 20 }
func (s *sinkhole) WaitFree(context.Context) (int, error)              { return 1 << 20, nil }
func (s *sinkhole) Push(_ context.Context, r []primitives.Record) (int, error) {
	if s.taken += len(r); s.taken >= s.want && s.done != nil {
		close(s.done)
		s.done = nil
	}
	return len(r), nil
}

func run(b *testing.B, src primitives.Source[[]byte], n int) {
	r, err := src.OpenSource(b.Context(), nil)
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	hole := &sinkhole{want: n, done: make(chan struct{})}
	done, result := hole.done, make(chan error, 1)
	go func() { result <- r.Run(ctx, hole) }()
	<-done
	cancel()
	if err := <-result; err != nil {
		b.Fatal(err)
	}
	if err := r.Close(context.Background()); err != nil {
		b.Fatal(err)
	}
}

func BenchmarkReplay(b *testing.B) {
	b.ReportAllocs()
	run(b, memory.Replay[[]byte]{Records: values(100), Count: int64(b.N)}, b.N)
}

func BenchmarkTopicRead(b *testing.B) {
	b.ReportAllocs()
	broker := memory.NewBroker()
	const stored = 1 << 16
	broker.Append("t", 0, values(stored)...)
	b.ResetTimer()
	topic := memory.Topic[[]byte]{Broker: broker, Name: "t"}
	for left := b.N; left > 0; left -= stored { // nothing is committed: each reader starts at 0
		run(b, topic, min(left, stored))
	}
}

func BenchmarkTopicWrite(b *testing.B) {
	for _, size := range []int{1, 256} {
		b.Run(map[int]string{1: "batch=1", 256: "batch=256"}[size], func(b *testing.B) {
			b.ReportAllocs()
			topic := memory.Topic[[]byte]{Broker: memory.NewBroker(), Name: "t", Retain: 10_000}
			w, err := topic.OpenSink(b.Context(), nil)
			if err != nil {
				b.Fatal(err)
			}
			batch := make([]primitives.Record, size)
			for i := range batch {
				batch[i].Value = make([]byte, 100)
			}
			done := func(err error) {
				if err != nil {
					b.Error(err)
				}
			}
			b.ResetTimer()
			for n := 0; n < b.N; n += size {
				w.Write(b.Context(), batch, done)
			}
		})
	}
}
