package programs

import (
	"context"
	stdjson "encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/goccy/go-json"

	"github.com/flowkit-go/flow"
)

// Work is what a program is told.
type Work struct {
	Brokers        []string
	In, Out, Group string        // topics, and the consumer group
	Wait           time.Duration // how long a handler waits in each record
	Tasks          int           // handlers at the same time, where the program can
	Ready          func(addr string)
	Handled        *atomic.Int64 // records handled; programs of Each count
}

// A Program runs until ctx ends, then finishes and commits what it has begun.
type Program struct {
	Name string
	Run  func(ctx context.Context, w Work) error

	// Share is the part of the input that the program gets in a job that measures
	// a rate: the slow ones would take minutes for all of it.
	Share float64
}

// ByName finds a program among those of a job.
func ByName(job, name string) (Program, error) {
	for _, p := range Jobs[job] {
		if p.Name == name {
			return p, nil
		}
	}
	return Program{}, fmt.Errorf("job %q has no program %q; it has %s", job, name, strings.Join(Names(job), ", "))
}

// Names are those of the programs of a job.
func Names(job string) []string {
	var names []string
	for _, p := range Jobs[job] {
		names = append(names, p.Name)
	}
	return slices.Clip(names)
}

// Names of the jobs.
const (
	Copy    = "copy"    // topic to topic, as fast as it goes
	Waiting = "waiting" // topic to topic, with handlers that wait
	Each    = "each"    // each record is committed before the next of its partition
	Collect = "collect" // HTTP to topic, acknowledged before the answer
	Hold    = "hold"    // Copy for those whose memory and steadiness is looked at
)

// Jobs lists the programs by job. The first of each is the one that others are
// compared with.
var Jobs = map[string][]Program{
	Copy: {
		{"sarama", saramaCopy(std), 1},
		{"sarama-goccy", saramaCopy(goccy), 1},
		{"franz", franzCopy(std), 1},
		{"franz-goccy", franzCopy(goccy), 1},
		{"flow", flowCopy(), 1},
		{"flow-each-behind", flowCopy(flow.CommitEvery(0, 1)), 1},
		{"flow-exactly-once", flowCopy(flow.ExactlyOnce()), 1},
		{"goka", gokaCopy, 0.5},
		{"watermill", watermillCopy, 0.02},
	},
	Waiting: {
		{"franz-lanes", franzLanes, 1},
		{"franz-keys", franzKeys, 1},
		{"flow", flowKeys, 1},
		{"sarama", saramaCopy(std), 0.01},
	},
	Each: {
		{"sarama", saramaEach, 1},
		{"franz", franzEach, 1},
		{"franz-joined", franzJoined, 1},
		{"flow", flowEach, 1},
	},
	Hold: {
		{"sarama", saramaCopy(std), 1},
		{"flow", flowCopy(), 1},
	},
	Collect: {
		{"sarama", saramaCollect, 1},
		{"flow", flowCollect, 1},
	},
}

// A codec is a JSON library. The programs by hand use the one of Go unless their
// name says otherwise.
type codec struct {
	decode func([]byte, any) error
	encode func(any) ([]byte, error)
}

var (
	std   = codec{stdjson.Unmarshal, stdjson.Marshal}
	goccy = codec{
		decode: func(b []byte, v any) error { return json.Unmarshal(b, v) },
		encode: func(v any) ([]byte, error) { return json.Marshal(v) },
	}
)

// apply decodes, handles and encodes one record.
func (c codec) apply(value []byte, wait time.Duration) (Order, []byte, error) {
	var o Order
	if err := c.decode(value, &o); err != nil {
		return o, nil, fmt.Errorf("decode: %w", err)
	}
	if wait > 0 {
		time.Sleep(wait)
	}
	o = Handle(o)
	b, err := c.encode(&o)
	if err != nil {
		return o, nil, fmt.Errorf("encode: %w", err)
	}
	return o, b, nil
}

// take decodes one record, for programs without output.
func (c codec) take(value []byte) error {
	var o Order
	if err := c.decode(value, &o); err != nil {
		return fmt.Errorf("decode: %w", err)
	}
	return nil
}
