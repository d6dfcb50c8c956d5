package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/flowkit-go/flow"
)

// modes lists the kinds of members. Those by hand show that the harness itself is
// right, and what is to be expected.
var modes = []mode{
	{name: "at-least-once", run: flowMember()},
	{name: "by-key", run: flowMember(flow.Ordered(flow.ByKey), flow.ConcurrentTasks(8))},
	{name: "each", run: flowMember(flow.CommitEach()), window: 1},
	{name: "exactly-once", run: flowMember(flow.ExactlyOnce()), exactlyOnce: true},
	{name: "franz", run: franzMember},
	{name: "franz-exactly-once", run: franzTransactions, exactlyOnce: true},
}

// membership is what a member process is told.
type membership struct {
	name, brokers, in, out, group string
}

func (m membership) run(ctx context.Context, name string) error {
	mode, err := modeOf(name)
	if err != nil {
		return err
	}
	return mode.run(ctx, m)
}

func (m membership) seeds() []string { return strings.Split(m.brokers, ",") }

// handle makes the output of an input.
func (m membership) handle(value []byte, partition int32, offset int64) ([]byte, error) {
	e := emission{Partition: partition, Offset: offset, Member: m.name}
	if err := json.Unmarshal(value, &e.event); err != nil {
		return nil, fmt.Errorf("input %d@%d: %w", partition, offset, err)
	}
	return json.Marshal(e)
}
