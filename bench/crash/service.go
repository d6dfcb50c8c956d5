package main

import (
	"bufio"
	"context"
	"os"
	"strings"
	"time"

	"github.com/flowkit-go/flow"
	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/primitives/nats"
	"github.com/flowkit-go/flow/primitives/sqlite"
)

// A Record is what the client sends, and a row of the table.
type Record struct {
	Seq     int64  `json:"seq"`
	Payload string `json:"payload"`
}

// A Delivery is one handling of a record that reached the table. Deliveries are
// appended, so that those of records that came more than once can be counted.
type Delivery struct {
	Seq     int64
	Attempt int // as the queue counts
}

var (
	queue      = nats.Stream[Record]{Name: "records"}
	records    = sqlite.Table[Record]{Name: "records", Key: "seq"}
	deliveries = sqlite.Table[Delivery]{Name: "deliveries"}
)

// stored is what the consumer's handler returns: both rows of a delivery.
type stored struct {
	record  Record
	attempt int
}

// roleVar makes this program the service. Its value names what the service does:
// roleCollect, roleStore, or both with a comma.
const roleVar = "FLOW_CRASH_SERVICE"

const (
	roleCollect = "collect"
	roleStore   = "store"
	roleBoth    = roleCollect + "," + roleStore
)

// service returns the flow under test.
func service(roles string) *flow.Flow {
	app := flow.New("crash")
	if strings.Contains(roles, roleCollect) {
		flow.Collector(app, "POST /records", flow.Each(queue), collect, flow.MaxBody(16<<20))
	}
	if strings.Contains(roles, roleStore) {
		flow.Consumer(app, "store", flow.Messages(queue), flow.Tee[stored](
			part[stored, Record]{records, func(s stored) Record { return s.record }},
			part[stored, Delivery]{deliveries, func(s stored) Delivery { return Delivery{s.record.Seq, s.attempt} }},
		), store, flow.StallAfter(stallAfter))
	}
	return app
}

// stallAfter is short because the backlog is asked for four times as often.
const stallAfter = 4 * time.Second

func collect(_ context.Context, batch []Record) ([]Record, error) { return batch, nil }

func store(_ context.Context, m flow.Msg[Record]) (stored, error) {
	return stored{m.Value, m.Attempt}, nil
}

// part makes a sink of one part of a T.
type part[T, U any] struct {
	primitives.Sink[U]
	of func(T) U
}

func (p part[T, U]) Encoder() (primitives.Encoder[T], error) {
	encode, err := p.Sink.Encoder()
	if err != nil {
		return nil, err
	}
	return func(v T, out *primitives.Outputs) error { return encode(p.of(v), out) }, nil
}

// serve runs the service and does not return. It ends as well when the process
// that has started it is gone, which ends its standard input.
func serve(roles string) {
	go func() {
		_, _ = bufio.NewReader(os.Stdin).ReadByte()
		os.Exit(flow.ExitFailed)
	}()
	flow.Main(service(roles))
}
