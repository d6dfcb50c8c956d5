package kafka

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"go.uber.org/goleak"

	"github.com/flowkit-go/flow/primitives/primitivetest"
)

var features = primitivetest.Features{
	Ordered: true, Binary: true, Keys: true, Headers: true, Time: true, Partitions: true, MaxValue: 900_000,
	Redelivery: true, Commits: true, Backlog: true, Groups: true, Durable: true,
}

func unreachable(testing.TB) primitivetest.Ends {
	topic := Topic[[]byte]{Name: "suite", Group: "suite", Cluster: Cluster{Brokers: []string{"127.0.0.1:1"}}}
	return primitivetest.Ends{Source: topic, Sink: topic}
}

func TestSuiteFake(t *testing.T) {
	dir := t.TempDir()
	start := func(t testing.TB, ports ...int) *kfake.Cluster {
		c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.Ports(ports...), kfake.DataDir(dir))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	c := start(t)
	defer func() { c.Close() }()
	kfakes := []goleak.Option{
		meters,
		goleak.IgnoreTopFunction("github.com/twmb/franz-go/pkg/kfake.(*Cluster).run"), // that was started again
		goleak.IgnoreAnyFunction("github.com/twmb/franz-go/pkg/kfake.(*broker).listen"),
	}
	var topics atomic.Int32
	primitivetest.Run(t, primitivetest.Config{
		New: func(t testing.TB) primitivetest.Ends {
			name := fmt.Sprintf("suite-%d", topics.Add(1))
			if err := c.CreateTopic(name, 4, nil); err != nil {
				t.Fatal(err)
			}
			topic := Topic[[]byte]{Name: name, Group: name, Cluster: at(c), Start: Earliest}
			return primitivetest.Ends{
				Source: topic, Sink: topic,
				Restart: func(t testing.TB) {
					var port int
					if _, err := fmt.Sscanf(c.ListenAddrs()[0], "127.0.0.1:%d", &port); err != nil {
						t.Fatal(err)
					}
					c.Close()
					c = start(t, port)
				},
			}
		},
		Features:    features,
		MaxBuffer:   24 << 20, // the broker's own buffers are in this process
		Timeout:     40 * time.Second,
		Leaks:       kfakes,
		Unreachable: unreachable,
	})
}

func TestSuiteReal(t *testing.T) {
	brokers := realBrokers(t)
	f := features
	f.Durable = false // who has started the brokers may restart them
	primitivetest.Run(t, primitivetest.Config{
		New: func(t testing.TB) primitivetest.Ends {
			name := create(t, brokers, 4, nil)
			topic := Topic[[]byte]{Name: name, Group: name, Cluster: Cluster{Brokers: brokers}, Start: Earliest}
			return primitivetest.Ends{Source: topic, Sink: topic}
		},
		Features:    f,
		Timeout:     30 * time.Second,
		Leaks:       []goleak.Option{meters},
		MaxBuffer:   16 << 20,
		Unreachable: unreachable,
	})
}
