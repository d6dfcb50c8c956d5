package memory_test

import (
	"context"
	"testing"
	"time"

	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/primitives/memory"
	"github.com/flowkit-go/flow/primitives/primitivetest"
)

func TestTopicConformance(t *testing.T) {
	features := primitivetest.Features{
		Ordered: true, Binary: true, Keys: true, Headers: true, Time: true,
		Redelivery: true, Commits: true, Backlog: true, Groups: true,
	}
	for _, tt := range []struct {
		name  string
		topic memory.Topic[primitives.Record]
	}{
		{"OnePartition", memory.Topic[primitives.Record]{}},
		{"FourPartitions", memory.Topic[primitives.Record]{Partitions: 4}},
		{"SmallBursts", memory.Topic[primitives.Record]{Partitions: 4, Burst: 3}},
		{"Async", memory.Topic[primitives.Record]{Partitions: 2, Async: 3}},
		{"StopAtEnd", memory.Topic[primitives.Record]{StopAtEnd: true}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := features
			f.Partitions = tt.topic.Partitions > 1
			f.Bounded = tt.topic.StopAtEnd
			f.Groups = !f.Bounded && f.Partitions
			primitivetest.Run(t, primitivetest.Config{
				Features: f,
				New: func(testing.TB) primitivetest.Ends {
					topic := tt.topic
					topic.Broker, topic.Name = memory.NewBroker(), "t"
					return primitivetest.Ends{Source: topic, Sink: topic}
				},
			})
		})
	}
}

func TestQueueConformance(t *testing.T) {
	for _, tt := range []struct {
		name  string
		queue memory.Queue[primitives.Record]
	}{
		{"Plain", memory.Queue[primitives.Record]{}},
		{"SmallBursts", memory.Queue[primitives.Record]{Burst: 3, Async: 2}},
		{"StopAtEnd", memory.Queue[primitives.Record]{StopAtEnd: true}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			primitivetest.Run(t, primitivetest.Config{
				Features: primitivetest.Features{
					Ordered: true, Binary: true, Keys: true, Headers: true, Time: true, Redelivery: true, Commits: true,
					Leases: true, Attempts: true, Backlog: true, Groups: !tt.queue.StopAtEnd, Bounded: tt.queue.StopAtEnd,
				},
				New: func(testing.TB) primitivetest.Ends {
					q := tt.queue
					q.Broker, q.Name, q.Visibility = memory.NewBroker(), "q", 200*time.Millisecond
					return primitivetest.Ends{Source: q, Sink: q}
				},
			})
		})
	}
}

func TestCounterTakesWhatReplayGives(t *testing.T) {
	sink := &memory.Counter[primitives.Record]{}
	src := memory.Replay[primitives.Record]{Records: values(10), Count: 1234, Partitions: 2, Burst: 7}
	in := primitivetest.NewIntake(5000)
	r, err := src.OpenSource(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Run(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	w, err := sink.OpenSink(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range take(t, in, 2*1234) {
		if want := string(values(10)[d.Record.Offset%10].Value); string(d.Record.Value) != want {
			t.Fatalf("record %d is %q, want %q", d.Record.Offset, d.Record.Value, want)
		}
		w.Write(t.Context(), []primitives.Record{d.Record}, func(err error) {
			if err != nil {
				t.Error(err)
			}
		})
	}
	if err := in.Check(); err != nil {
		t.Error(err)
	}
	if n, size := sink.Records(), sink.Bytes(); n != 2468 || size != 2468 {
		t.Errorf("counted %d records and %d bytes, want 2468 and 2468", n, size)
	}
}

// The parts of the suite also work alone, and a system that is stopped and
// started, or cannot be reached, is played by the broker.
func TestSourceAndSinkConformance(t *testing.T) {
	features := primitivetest.Features{
		Ordered: true, Binary: true, Keys: true, Headers: true, Time: true, Redelivery: true, Commits: true, Backlog: true,
		Durable: true,
	}
	restart := func(testing.TB) {}
	t.Run("Source", func(t *testing.T) {
		primitivetest.RunSource(t, primitivetest.Config{
			Features:  features,
			MaxBuffer: 4 << 20,
			New: func(testing.TB) primitivetest.Ends {
				b := memory.NewBroker()
				feed := func(_ context.Context, records []primitives.Record) error {
					b.Append("t", 0, records...)
					return nil
				}
				return primitivetest.Ends{Source: memory.Topic[primitives.Record]{Broker: b, Name: "t"}, Feed: feed, Restart: restart}
			},
			Unreachable: func(testing.TB) primitivetest.Ends {
				return primitivetest.Ends{Source: memory.Topic[primitives.Record]{Broker: deaf(), Name: "t"}}
			},
		})
	})
	t.Run("Sink", func(t *testing.T) {
		primitivetest.RunSink(t, primitivetest.Config{
			Features: features,
			New: func(testing.TB) primitivetest.Ends {
				b := memory.NewBroker()
				readBack := func(context.Context) ([]primitives.Record, error) { return b.Records("t", 0), nil }
				return primitivetest.Ends{Sink: memory.Topic[primitives.Record]{Broker: b, Name: "t"}, ReadBack: readBack, Restart: restart}
			},
			Unreachable: func(testing.TB) primitivetest.Ends {
				return primitivetest.Ends{Sink: memory.Queue[primitives.Record]{Broker: deaf(), Name: "t"}}
			},
		})
	})
}

// deaf returns a broker that does not answer when it is opened.
func deaf() *memory.Broker {
	b := memory.NewBroker()
	b.Control(func(op memory.Op) error {
		<-op.Context.Done()
		return op.Context.Err()
	})
	return b
}
