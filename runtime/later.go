package runtime

import (
	"fmt"
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

// later gives a record to the source, which delivers it again after d at least. It
// waits until the record is durable there, trying again for as long as the flow runs,
// and reports whether it is.
func (c *consumer) later(r ref, rec primitives.Record, attempt int, d time.Duration) bool {
	rec.Attempt, rec.Lease = int32(attempt)+1, nil
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
