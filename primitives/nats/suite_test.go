package nats

import (
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/flowkit-go/flow/primitives/primitivetest"
)

var features = primitivetest.Features{
	Ordered: true, Binary: true, Keys: true, Headers: true, Time: true, TimePrecision: time.Nanosecond,
	Redelivery: true, Commits: true, Leases: true, Attempts: true, Backlog: true, Groups: true, Durable: true,
	MaxValue: 1<<20 - 1024,
}

func TestSuiteEmbedded(t *testing.T) {
	config := primitivetest.Config{
		New: func(t testing.TB) primitivetest.Ends {
			s := Stream[[]byte]{Name: "suite", Durable: "suite", AckWait: 2 * time.Second}
			return primitivetest.Ends{
				Source: s, Sink: s,
				Restart: func(testing.TB) {}, // no end is open: the server has stopped
			}
		},
		Features:  features,
		MaxBuffer: 24 << 20, // the server is in this process too
		Unreachable: func(t testing.TB) primitivetest.Ends {
			file := filepath.Join(t.TempDir(), "file")
			if err := os.WriteFile(file, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			s := Stream[[]byte]{Name: "suite", Durable: "suite", Dir: filepath.Join(file, "nats")}
			return primitivetest.Ends{Source: s, Sink: s}
		},
	}
	config.Features.MaxValue = 1 << 20 // TestMaxPayload goes to the limit
	primitivetest.Run(t, config)
}

func TestSuiteRemote(t *testing.T) {
	srv := startRemote(t)
	var streams atomic.Int32
	primitivetest.Run(t, primitivetest.Config{
		New: func(t testing.TB) primitivetest.Ends {
			s := Stream[[]byte]{Name: fmt.Sprintf("suite-%d", streams.Add(1)), Durable: "suite", URL: srv.url(), AckWait: 2 * time.Second}
			return primitivetest.Ends{
				Source: s, Sink: s,
				Restart: func(t testing.TB) {
					srv.kill()
					srv.start()
				},
			}
		},
		Features: features,
		Unreachable: func(t testing.TB) primitivetest.Ends {
			s := Stream[[]byte]{Name: "suite", Durable: "suite", URL: "nats://127.0.0.1:1"}
			return primitivetest.Ends{Source: s, Sink: s}
		},
	})
}
