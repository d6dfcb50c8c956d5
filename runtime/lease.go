package runtime

import "time"

// keepLeases extends the leases of records that are held and not resolved, every
// third of the lease time, so that one failed call does not lose a lease.
func (c *consumer) keepLeases() {
	every := max(c.leaser.LeaseTime()/3, 10*time.Millisecond)
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-c.writeCtx.Done():
			return
		case now := <-ticker.C:
			var leases []any
			for _, l := range c.allLanes() {
				leases = append(leases, l.aged(now.Add(-every/2))...)
			}
			if len(leases) == 0 {
				continue
			}
			if err := guard(func() error { return c.leaser.Extend(c.writeCtx, leases) }); err != nil && c.writeCtx.Err() == nil {
				c.stats.sourceErrors.Add(1)
				c.log.Warn("leases could not be extended, records may be delivered again", "records", len(leases), "error", err)
			}
		}
	}
}

// aged returns the leases of unresolved records that were pushed before t.
func (l *lane) aged(t time.Time) (leases []any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.state == laneReleased {
		return nil
	}
	for seq := l.t.head; seq < l.t.tail; seq++ {
		at := seq & l.t.mask
		if s := &l.t.slots[at]; s.state != slotDone && s.pushed <= t.UnixNano() && l.t.recs[at].Lease != nil {
			leases = append(leases, l.t.recs[at].Lease)
		}
	}
	return leases
}
