package memory

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"time"

	"github.com/flowkit-go/flow/primitives"
)

var (
	_ primitives.Reader      = (*reader)(nil)
	_ primitives.Backlogger  = (*reader)(nil)
	_ primitives.Partitioned = (*reader)(nil)
	_ primitives.Pauser      = (*reader)(nil)
	_ primitives.Reclaimer   = (*reader)(nil)
	_ primitives.Seeker      = (*reader)(nil)
)

type readerConfig struct {
	topic         string
	partitions    int
	groupName     string
	burst         int
	bounded       bool
	delayed       bool // records are pushed when they are due
	revokeTimeout time.Duration
}

// A reader is a member of a group. It joins when it is made and leaves when it
// is closed.
type reader struct {
	readerConfig
	broker  *Broker
	release func() error
	logger  *slog.Logger

	// Guarded by broker.mu.
	name   string
	group  *group
	paused map[int32]bool
	closed bool
}

// A holding is a lane and the goroutine that feeds it.
type holding struct {
	id     int32
	part   *partition
	lane   primitives.Lane
	end    int64 // a bounded reader stops here
	cancel context.CancelFunc
	pumped chan struct{} // closed when the goroutine has ended

	// Guarded by broker.mu.
	read     bool // everything below end was pushed
	revoking bool
	revoked  bool
}

func newReader(b *Broker, release func() error, env *primitives.Env, c readerConfig) *reader {
	r := &reader{readerConfig: c, broker: b, release: release, paused: map[int32]bool{}, logger: slog.New(slog.DiscardHandler)}
	if env != nil && env.Logger != nil {
		r.logger = env.Logger
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	r.group = b.topic(c.topic, c.partitions).group(c.groupName)
	r.group.join(r)
	r.name = fmt.Sprintf("reader-%d", r.group.joined)
	if env != nil && env.Processor != "" {
		r.name = fmt.Sprintf("%s-%d", env.Processor, r.group.joined)
	}
	b.changed.broadcast()
	return r
}

// run is one call of Run: what it holds and the goroutines that it waits for.
type run struct {
	*reader
	intake primitives.Intake
	held   map[int32]*holding
	failed chan error // of a pump; the first counts
	wg     sync.WaitGroup
}

// Run follows the group's decisions: it takes partitions that it should have,
// gives back those that it should not, and drops those that were taken.
func (r *reader) Run(ctx context.Context, intake primitives.Intake) error {
	ctx, cancel := context.WithCancel(ctx)
	n := &run{reader: r, intake: intake, held: map[int32]*holding{}, failed: make(chan error, 1)}
	defer n.wg.Wait()
	defer cancel()
	for {
		wake, done, err := n.follow(ctx)
		if done || err != nil {
			return err
		}
		select {
		case <-wake:
		case err := <-n.failed:
			return err
		case <-ctx.Done():
			return nil
		}
	}
}

// follow makes one step towards what the group has decided. The channel is
// closed by the next decision.
func (n *run) follow(ctx context.Context) (wake <-chan struct{}, done bool, err error) {
	var gained, lost, revoked []*holding
	n.broker.mu.Lock()
	if n.closed {
		n.broker.mu.Unlock()
		return nil, true, primitives.ErrClosed
	}
	done = n.bounded
	for i, s := range n.group.shares {
		id := int32(i)
		h := n.held[id]
		if h != nil && h.revoked {
			delete(n.held, id)
			h = nil
		}
		if h != nil && s.owner != n.reader {
			lost = append(lost, h)
			delete(n.held, id)
			h = nil
		}
		switch {
		case h == nil && s.target == n.reader && s.owner == nil:
			s.owner = n.reader
			p := n.group.topic.parts[i]
			h = &holding{id: id, part: p, end: math.MaxInt64, pumped: make(chan struct{})}
			if n.bounded {
				h.end = p.next
			}
			gained = append(gained, h)
			n.held[id] = h
		case h != nil && s.target != n.reader && !h.revoking:
			h.revoking = true
			revoked = append(revoked, h)
		}
		if h != nil && !h.read || h == nil && s.target == n.reader {
			done = false
		}
	}
	wake = n.group.changed.wait()
	if len(gained)+len(lost) > 0 {
		n.broker.changed.broadcast()
	}
	n.broker.mu.Unlock()

	for _, h := range lost {
		h.cancel()
		<-h.pumped
		n.intake.Lose(h.lane)
	}
	for _, h := range gained {
		n.take(ctx, h)
	}
	if len(revoked) > 0 {
		n.wg.Go(func() { n.giveBack(ctx, revoked) })
	}
	return wake, done, nil
}

// take starts a lane at what the group has committed.
func (n *run) take(ctx context.Context, h *holding) {
	n.broker.mu.Lock()
	share := n.group.shares[h.id]
	if share.owner == n.reader { // else it was closed meanwhile, or the partition lost
		share.epoch = -1 // commits of an earlier lane come too late from now on
	}
	start := max(share.committed, h.part.first())
	c := h.part.seek(start)
	n.broker.mu.Unlock()

	h.lane = n.intake.Assign(primitives.Partition{Topic: n.topic, ID: h.id}, start)
	n.broker.mu.Lock()
	if share.owner == n.reader {
		share.epoch = h.lane.Epoch()
	}
	n.broker.mu.Unlock()
	ctx, h.cancel = context.WithCancel(ctx)
	n.wg.Go(func() {
		defer close(h.pumped)
		err := n.pump(ctx, h, c)
		switch {
		case errors.Is(err, primitives.ErrDraining), errors.Is(err, primitives.ErrReleased), ctx.Err() != nil:
			// Fetching has ended; the partition stays ours until it is revoked or Run is cancelled.
		case err != nil:
			select {
			case n.failed <- err:
			default:
			}
		}
	})
}

// giveBack lets lanes finish and hands their partitions to whoever should have them.
func (n *run) giveBack(ctx context.Context, held []*holding) {
	lanes := make([]primitives.Lane, len(held))
	for i, h := range held {
		h.cancel()
		<-h.pumped
		lanes[i] = h.lane
	}
	limited, cancel := context.WithTimeout(ctx, n.revokeTimeout)
	defer cancel()
	if err := n.intake.Revoke(limited, lanes...); err != nil {
		n.logger.Warn("partitions given back without a last commit", "source", "memory:"+n.topic, "error", err)
	}
	if ctx.Err() != nil {
		return // Run is over: what we have stays ours for a last commit before Close
	}
	n.broker.mu.Lock()
	defer n.broker.mu.Unlock()
	for _, h := range held {
		h.revoked = true
		if s := n.group.shares[h.id]; s.owner == n.reader && n.held[h.id] == h {
			s.owner = nil
		}
	}
	n.group.changed.broadcast()
	n.broker.changed.broadcast()
}

// pump pushes the records of one partition until it is told to stop.
func (n *run) pump(ctx context.Context, h *holding, c cursor) error {
	b := n.broker
	for {
		b.mu.Lock()
		paused := n.paused[h.id]
		var recs []primitives.Record
		if !paused {
			recs = h.part.read(&c, n.burst, h.end)
		}
		end := min(h.part.next, h.end)
		if c.pos >= h.end && len(recs) == 0 && !h.read {
			h.read = true
			n.group.changed.broadcast()
		}
		var wake <-chan struct{}
		if len(recs) == 0 {
			wake = h.part.appended.wait()
		}
		b.mu.Unlock()

		switch {
		case len(recs) > 0:
			if err := n.push(ctx, h, recs); err != nil {
				return err
			}
		case !paused && c.pos < end:
			h.lane.Advance(end)
			c.pos = end
		default:
			select {
			case <-wake:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
}

// push hands a burst to the lane, once the control functions agree.
func (n *run) push(ctx context.Context, h *holding, recs []primitives.Record) error {
	for {
		err := n.broker.control(ctx, Op{Kind: OpRead, Name: n.topic, Group: n.groupName, Partition: h.id, Records: recs})
		if err == nil {
			break
		}
		err = fmt.Errorf("memory: read %s/%d@%d: %w", n.topic, h.id, recs[0].Offset, err)
		if primitives.IsPermanent(err) {
			return err
		}
		if err := n.intake.Retry(ctx, err); err != nil {
			return err
		}
	}
	for len(recs) > 0 {
		burst := recs
		if n.delayed {
			rec, err := awaitDue(ctx, recs)
			if err != nil {
				return err
			}
			burst = []primitives.Record{rec}
		}
		k, err := h.lane.Push(ctx, burst)
		if err != nil {
			return err
		}
		recs = recs[k:]
	}
	return nil
}

// Partitions returns all partitions of the topic.
func (r *reader) Partitions(context.Context) ([]primitives.Partition, error) {
	r.broker.mu.Lock()
	defer r.broker.mu.Unlock()
	if r.closed {
		return nil, primitives.ErrClosed
	}
	out := make([]primitives.Partition, len(r.group.topic.parts))
	for i := range out {
		out[i] = primitives.Partition{Topic: r.topic, ID: int32(i)}
	}
	return out, nil
}

// Backlog counts the records of the partitions that this reader has or is about
// to get.
func (r *reader) Backlog(ctx context.Context) ([]primitives.Backlog, error) {
	if r.isClosed() {
		return nil, primitives.ErrClosed
	}
	if err := r.broker.control(ctx, Op{Kind: OpBacklog, Name: r.topic, Group: r.groupName}); err != nil {
		return nil, fmt.Errorf("memory: backlog of %s: %w", r.topic, err)
	}
	r.broker.mu.Lock()
	defer r.broker.mu.Unlock()
	if r.closed {
		return nil, primitives.ErrClosed
	}
	var out []primitives.Backlog
	for i, s := range r.group.shares {
		if s.owner == r || s.owner == nil && s.target == r {
			out = append(out, primitives.Backlog{
				Partition: primitives.Partition{Topic: r.topic, ID: int32(i)},
				Records:   r.group.topic.parts[i].since(s.committed),
			})
		}
	}
	return out, nil
}

// Commit stores the group's positions of partitions that this reader has.
func (r *reader) Commit(ctx context.Context, commits []primitives.Commit) error {
	if r.isClosed() {
		return primitives.ErrClosed
	}
	errs := make([]error, len(commits))
	failed := false
	for i, c := range commits {
		p := c.Partition
		errs[i] = r.broker.control(ctx, Op{Kind: OpCommit, Name: p.Topic, Group: r.groupName, Partition: p.ID, Next: c.Next})
	}
	r.broker.mu.Lock()
	defer r.broker.mu.Unlock()
	if r.closed {
		return primitives.ErrClosed
	}
	for i, c := range commits {
		p := c.Partition
		if errs[i] == nil {
			if p.Topic != r.topic || p.ID < 0 || int(p.ID) >= len(r.group.shares) || r.group.shares[p.ID].owner != r ||
				c.Epoch != 0 && c.Epoch != r.group.shares[p.ID].epoch {
				errs[i] = primitives.ErrNotAssigned
			} else {
				r.group.shares[p.ID].committed = c.Next
			}
		}
		if errs[i] != nil {
			errs[i] = fmt.Errorf("memory: commit %s@%d: %w", p, c.Next, errs[i])
			failed = true
		}
	}
	r.broker.changed.broadcast()
	if failed {
		return &primitives.CommitError{Errs: errs}
	}
	return nil
}

// Reclaim drops the lane of a partition and takes it again at what is committed.
func (r *reader) Reclaim(p primitives.Partition, epoch int64) {
	r.broker.mu.Lock()
	defer r.broker.mu.Unlock()
	if p.Topic != r.topic || p.ID < 0 || int(p.ID) >= len(r.group.shares) {
		return
	}
	if s := r.group.shares[p.ID]; s.owner == r && s.epoch == epoch {
		s.owner = nil // run sees that it was lost, and takes it again
		r.group.changed.broadcast()
	}
}

// Seek goes on with a partition at another position.
func (r *reader) Seek(_ context.Context, p primitives.Partition, next int64) error {
	r.broker.mu.Lock()
	defer r.broker.mu.Unlock()
	if p.Topic != r.topic || p.ID < 0 || int(p.ID) >= len(r.group.shares) || r.group.shares[p.ID].owner != r {
		return fmt.Errorf("memory: seek %s: %w", p, primitives.ErrNotAssigned)
	}
	s := r.group.shares[p.ID]
	s.committed, s.epoch, s.owner = next, -1, nil // run sees that it was lost, and takes it again
	r.group.changed.broadcast()
	r.broker.changed.broadcast()
	return nil
}

// Pause stops pushing records of partitions; a burst under way goes on.
func (r *reader) Pause(partitions []primitives.Partition) { r.setPaused(partitions, true) }

// Resume goes on with partitions where Pause stopped.
func (r *reader) Resume(partitions []primitives.Partition) { r.setPaused(partitions, false) }

func (r *reader) setPaused(partitions []primitives.Partition, paused bool) {
	r.broker.mu.Lock()
	defer r.broker.mu.Unlock()
	parts := r.group.topic.parts
	for _, p := range partitions {
		if p.Topic == r.topic && p.ID >= 0 && int(p.ID) < len(parts) {
			r.paused[p.ID] = paused
			parts[p.ID].appended.broadcast()
		}
	}
}

func (r *reader) isClosed() bool {
	r.broker.mu.Lock()
	defer r.broker.mu.Unlock()
	return r.closed
}

// Close leaves the group.
func (r *reader) Close(context.Context) error {
	r.broker.mu.Lock()
	if r.closed {
		r.broker.mu.Unlock()
		return nil
	}
	r.closed = true
	r.group.leave(r)
	r.broker.changed.broadcast()
	r.broker.mu.Unlock()
	return r.release()
}
