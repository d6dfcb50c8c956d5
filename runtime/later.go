package runtime

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/flowkit-go/flow/primitives"
)

// delays checks that the source can keep records for their next attempt where
// they should leave their partition meanwhile.
func (c *consumer) delays() error {
	if !c.spec.Retry.Away {
		return nil
	}
	d, ok := c.reader.(primitives.Delayer)
	if !ok || len(d.Delays()) == 0 {
		return fmt.Errorf("%s: consumer %q: RetryLater needs a source that was given delays, and %s was not: give it some, or use Retry or RetryParked",
			c.spec.At, c.spec.Name, c.spec.Source.Name)
	}
	c.delayer = d
	return nil
}

// Names of the headers with which a record comes again that has left its partition: where
// it was read first.
const (
	HeaderRetryTopic     = "flow-retry-topic"
	HeaderRetryPartition = "flow-retry-partition"
	HeaderRetryOffset    = "flow-retry-offset"
)

// origin returns where a record was read first, and the record without the headers that
// say so.
func origin(rec primitives.Record, read primitives.Partition) (primitives.Record, string, string, string) {
	topic, away := rec.Header(HeaderRetryTopic)
	if !away {
		return rec, read.Topic, strconv.Itoa(int(read.ID)), strconv.FormatInt(rec.Offset, 10)
	}
	partition, _ := rec.Header(HeaderRetryPartition)
	offset, _ := rec.Header(HeaderRetryOffset)
	rec.Headers = slices.DeleteFunc(slices.Clone(rec.Headers), func(h primitives.Header) bool {
		return h.Name == HeaderRetryTopic || h.Name == HeaderRetryPartition || h.Name == HeaderRetryOffset
	})
	return rec, string(topic), string(partition), string(offset)
}

// later gives a record to the source, which delivers it again after d at least. It
// waits until the record is durable there, trying again for as long as the flow runs,
// and reports whether it is.
func (c *consumer) later(r ref, rec primitives.Record, attempt int, d time.Duration) bool {
	rec.Attempt, rec.Lease = int32(attempt)+1, nil
	if _, again := rec.Header(HeaderRetryTopic); !again {
		rec.Headers = append(slices.Clip(rec.Headers),
			primitives.Header{Name: HeaderRetryTopic, Value: []byte(r.lane.part.Topic)},
			primitives.Header{Name: HeaderRetryPartition, Value: strconv.AppendInt(nil, int64(r.lane.part.ID), 10)},
			primitives.Header{Name: HeaderRetryOffset, Value: strconv.AppendInt(nil, rec.Offset, 10)})
	}
	backoff := Backoff{First: 100 * time.Millisecond, Max: 10 * time.Second}
	for try := 1; ; try++ {
		err := guard(func() error { return c.delayer.Delay(c.sinkCtx, rec, d) })
		if err == nil {
			r.lane.resolveNow(r)
			return true
		}
		if r.lane.ctx.Err() != nil {
			return false
		}
		c.log.Error("a record cannot be kept for its next attempt, trying again", "partition", r.lane.part.String(), "offset", rec.Offset, "error", err)
		select {
		case <-time.After(backoff.Delay(try)):
		case <-r.lane.ctx.Done():
			return false
		}
	}
}
