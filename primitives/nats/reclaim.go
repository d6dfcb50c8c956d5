package nats

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// maxReclaim bounds the positions that reclaim goes through.
const maxReclaim = 1 << 20

// reclaim gives back what a process that was killed had borrowed from the
// embedded queue. Its leases would run for up to the ack wait, though nobody can
// hold them: the folder is ours alone. After an orderly end there is nothing to
// do, and records that wait for their delay are left alone.
//
// The server says how many records are lent, not which. So each position
// between the first that is not acknowledged and the last that was delivered is
// given back; the server ignores those that are not lent.
func (l *link) reclaim(ctx context.Context, info *jetstream.ConsumerInfo) error {
	if !l.local || !l.server.afterCrash(info.Stream+" "+info.Name) || info.NumAckPending == 0 {
		return nil
	}
	first, last := info.AckFloor.Stream+1, info.Delivered.Stream
	if last-first >= maxReclaim {
		return nil
	}
	for seq := first; seq <= last; seq++ {
		// The ack subject that parseDelivery describes. The server looks at the
		// positions in the stream and among the deliveries, not at the rest.
		ack := fmt.Sprintf("$JS.ACK.%s.%s.1.%d.%d.%d.0", info.Stream, info.Name, seq, info.Delivered.Consumer, time.Now().UnixNano())
		if err := l.nc.Publish(ack, nakNow); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, ackTimeout)
	defer cancel()
	return l.nc.FlushWithContext(ctx)
}

// afterCrash reports whether the process before this one was killed, the first
// time that it is asked for a consumer.
func (e *embedded) afterCrash(consumer string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	first := !e.claimed[consumer]
	e.claimed[consumer] = true
	return first && e.crashed && e.alone
}
