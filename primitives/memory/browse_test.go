package memory_test

import (
	"strings"
	"testing"

	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/primitives/memory"
	"github.com/flowkit-go/flow/primitives/primitivetest"
)

func TestTopicBrowse(t *testing.T) {
	for name, partitions := range map[string]int{"OnePartition": 1, "FourPartitions": 4} {
		t.Run(name, func(t *testing.T) {
			primitivetest.RunBrowse(t, primitivetest.Config{
				Features: primitivetest.Features{Keys: true, Headers: true, Partitions: partitions > 1, Redelivery: true, Commits: true},
				New: func(testing.TB) primitivetest.Ends {
					topic := memory.Topic[primitives.Record]{Broker: memory.NewBroker(), Name: "t", Partitions: partitions}
					return primitivetest.Ends{Source: topic, Sink: topic}
				},
			})
		})
	}
}

func TestQueueBrowse(t *testing.T) {
	primitivetest.RunBrowse(t, primitivetest.Config{
		Features: primitivetest.Features{Keys: true, Headers: true, Redelivery: true, Commits: true, Leases: true},
		New: func(testing.TB) primitivetest.Ends {
			queue := memory.Queue[primitives.Record]{Broker: memory.NewBroker(), Name: "q"}
			return primitivetest.Ends{Source: queue, Sink: queue}
		},
	})
}

func TestBrowseOfNothing(t *testing.T) {
	broker := memory.NewBroker()
	for want, b := range map[string]primitives.Browser{
		"topic t has no Broker": memory.Topic[string]{Name: "t"},
		"queue q has no Broker": memory.Queue[string]{Name: "q"},
		"there is no topic t":   memory.Topic[string]{Name: "t", Broker: broker},
		"there is no queue q":   memory.Queue[string]{Name: "q", Broker: broker},
		"Name of a Topic":       memory.Topic[string]{Broker: broker},
	} {
		if _, err := b.Browse(t.Context(), nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
	p, err := memory.Topic[string]{Name: "t", Broker: broker}.OpenProgress(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Reset(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "no topic t") {
		t.Errorf("reset of a topic that is not there: %v", err)
	}
	broker.Append("t", 0, primitives.Record{})
	for _, c := range []primitives.Commit{{Partition: primitives.Partition{Topic: "t", ID: 1}}, {Partition: primitives.Partition{Topic: "u"}}, {Partition: primitives.Partition{Topic: "t"}, Next: -1}} {
		if err := p.Reset(t.Context(), []primitives.Commit{c}); err == nil {
			t.Errorf("reset to %v", c)
		}
	}
}
