package memory_test

import (
	"testing"

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
