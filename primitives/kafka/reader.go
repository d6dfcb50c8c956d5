package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/primitives/kafka/driver"
)

// reader is one member of a consumer group, with a lane per partition that it
// holds. The driver's goroutines call it; it has none of its own but while Reclaim
// begins a partition anew, which Run waits for.
type reader struct {
	cfg      *consuming
	with     driver.Consuming
	consumer driver.Consumer
	brokers  []string
	log      *slog.Logger
	intake   primitives.Intake // set by Run
	tasks    sync.WaitGroup    // partitions that are begun anew
	tiers    []*tier           // for records that come again later, by delay

	// begins is held while a lane begins and is put in place, and taken before mu. It
	// keeps lanes from beginning for what is being given up, and who has been told of a
	// lane from finding it missing. Assign is not called with mu held: the runtime may pause the partition from within it.
	begins sync.Mutex

	mu       sync.Mutex
	running  context.Context // of Run
	end      func()          // of running
	failure  error           // of a task, with which Run ends
	held     map[primitives.Partition]*assignment
	assigned bool // at least once
	closed   bool
}

var (
	_ primitives.Reader        = (*reader)(nil)
	_ primitives.Backlogger    = (*reader)(nil)
	_ primitives.GroupProgress = (*reader)(nil)
	_ primitives.Pauser        = (*reader)(nil)
	_ primitives.Partitioned   = (*reader)(nil)
	_ driver.Group             = (*reader)(nil)
)

func openReader(ctx context.Context, cfg *consuming, env *primitives.Env) (primitives.Reader, error) {
	with, cluster, err := cfg.settle(env)
	if err != nil {
		return nil, err
	}
	consumer, err := cfg.cluster.driver().OpenConsumer(ctx, cluster, with)
	if err != nil {
		return nil, openError(err)
	}
	if err := checkTopics(ctx, consumer, cluster, with.Topics); err != nil {
		return nil, errors.Join(err, consumer.Close(context.WithoutCancel(ctx)))
	}
	r := &reader{cfg: cfg, with: with, consumer: consumer, brokers: cluster.Brokers, log: env.Logger, running: context.Background(), held: map[primitives.Partition]*assignment{}}
	if err := r.openTiers(ctx, cluster); err != nil {
		return nil, errors.Join(err, r.Close(context.WithoutCancel(ctx)))
	}
	return r, nil
}

// openError says what to do when no broker answers.
func openError(err error) error {
	if errors.Is(err, driver.ErrUnreachable) {
		return fmt.Errorf("kafka: %w: start a broker there, or set %s or Cluster.Brokers (and SASL and TLS as the brokers want it)", err, brokersVar)
	}
	return fmt.Errorf("kafka: %w", err)
}

// checkTopics errs when a topic does not exist: a reader of it would wait for ever.
func checkTopics(ctx context.Context, admin driver.Admin, cluster driver.Cluster, topics []string) error {
	_, err := admin.Partitions(ctx, topics...)
	if errors.Is(err, driver.ErrUnknownTopic) {
		return fmt.Errorf("kafka: topic %w at %s: create it, or correct the name", err, strings.Join(cluster.Brokers, ", "))
	}
	if err != nil {
		return fmt.Errorf("kafka: %w", err)
	}
	return nil
}

// Run takes part in the group until ctx ends.
func (r *reader) Run(ctx context.Context, intake primitives.Intake) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	r.mu.Lock()
	closed := r.closed
	r.intake, r.running, r.end = intake, ctx, cancel
	r.mu.Unlock()
	defer func() {
		r.mu.Lock() // so that no task begins any longer
		cancel()
		failure := r.failure
		r.mu.Unlock()
		r.tasks.Wait()
		err = errors.Join(err, failure)
	}()
	if closed {
		return primitives.ErrClosed
	}
	if err := r.consumer.Run(ctx, r); err != nil {
		return fmt.Errorf("kafka: %w", err)
	}
	return nil
}

// Retry implements driver.Group.
func (r *reader) Retry(ctx context.Context, err error) error {
	return r.intake.Retry(ctx, fmt.Errorf("kafka: %w", err))
}

// Assigned starts a lane for each partition. Those without a committed offset may take a
// while, as when one has no leader: the group does not wait for them.
func (r *reader) Assigned(ctx context.Context, added []primitives.Partition) error {
	who := r.consumer.Member()
	starts, err := r.committed(ctx, added)
	for err != nil {
		var fatal *startError
		if errors.As(err, &fatal) || ctx.Err() != nil {
			return err
		}
		if err := r.Retry(ctx, err); errors.Is(err, primitives.ErrDraining) {
			return nil // nothing new is read, but the member stays for what is still to be committed
		} else if err != nil {
			return err
		}
		starts, err = r.committed(ctx, added)
	}
	var fresh []*assignment
	for i, p := range added {
		a := &assignment{r: r, p: p, delay: r.isDelay(p), committed: -1}
		r.mu.Lock()
		r.held[p] = a
		r.assigned = true
		r.mu.Unlock()
		if starts[i] < 0 {
			fresh = append(fresh, a)
			continue
		}
		r.begin(a, starts[i])
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if running := r.running; len(fresh) > 0 && running.Err() == nil {
		r.tasks.Go(func() { r.beginFirst(running, who, fresh) })
	}
	return nil
}

// Revoked gives lanes back in good order. The others go on.
func (r *reader) Revoked(ctx context.Context, gone []primitives.Partition) {
	lanes := r.leaving(gone)
	r.consumer.Stop(gone...)
	if err := r.intake.Revoke(ctx, lanes...); err != nil {
		r.log.Warn("last commit of revoked partitions failed", "group", r.with.Group, "partitions", len(gone), "error", err)
	}
	r.forget(gone)
}

// Lost drops lanes: they are someone else's.
func (r *reader) Lost(gone []primitives.Partition, cause error) {
	r.log.Warn("membership lost", "group", r.with.Group, "partitions", len(gone), "error", cause)
	lanes := r.leaving(gone)
	r.forget(gone) // before the handlers end: nothing of them is committed
	r.intake.Lose(lanes...)
	r.consumer.Stop(gone...)
}

// leaving notes that partitions are being given up, so that they get no other lane,
// and returns their lanes.
func (r *reader) leaving(ps []primitives.Partition) []primitives.Lane {
	r.begins.Lock()
	defer r.begins.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []primitives.Lane
	for _, p := range ps {
		a := r.held[p]
		if a == nil {
			continue
		}
		a.leaving = true
		if a.lane != nil {
			out = append(out, a.lane)
		}
	}
	return out
}

func (r *reader) forget(ps []primitives.Partition) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range ps {
		delete(r.held, p)
	}
}

// Commit stores offsets of partitions that are held, all in one request.
func (r *reader) Commit(ctx context.Context, commits []primitives.Commit) error {
	if r.isClosed() {
		return primitives.ErrClosed
	}
	errs := make([]error, len(commits))
	todo := make([]int, len(commits)) // indices of commits
	for i := range todo {
		todo[i] = i
	}
	for attempt := 1; len(todo) > 0; attempt++ {
		who := r.consumer.Member()
		todo = r.commitAs(ctx, who, commits, todo, errs)
		if len(todo) > 0 && !r.mayCommitAgain(ctx, who, attempt, errs[todo[0]]) {
			break
		}
	}
	for _, err := range errs {
		if err != nil {
			return &primitives.CommitError{Errs: errs}
		}
	}
	return nil
}

// A commit that is refused because of a rebalance is tried this often, with pauses that
// begin with this one and double: 375 ms in all.
const (
	commitGenerations = 5
	generationPause   = 25 * time.Millisecond
)

// mayCommitAgain reports whether a commit that the group has refused because of the member
// should be tried again at once. A rebalance in which partitions stay may have ended while
// the request was on its way: then it is only the generation that is old. Where the
// member has still to learn of the new one it waits a little.
func (r *reader) mayCommitAgain(ctx context.Context, who driver.Member, attempt int, err error) bool {
	if attempt == commitGenerations {
		return false
	}
	if r.consumer.Member() != who {
		return true
	}
	if !errors.Is(err, driver.ErrRebalancing) {
		return false
	}
	select {
	case <-time.After(generationPause << (attempt - 1)):
		return true
	case <-ctx.Done():
		return false
	}
}

// commitAs commits those of the commits in todo whose lanes are held now, as the member
// that the reader was before it looked: one that has been thrown out meanwhile, and is a
// new member by now, must not be taken for the old one. It sets errs and returns
// the indices of those that the group has refused because of the member.
func (r *reader) commitAs(ctx context.Context, who driver.Member, commits []primitives.Commit, todo []int, errs []error) (refused []int) {
	offsets := make([]driver.Offset, 0, len(todo))
	at := make([]int, 0, len(todo)) // index of each offset's commit
	r.mu.Lock()
	for _, i := range todo {
		c := commits[i]
		if !r.held[c.Partition].may(c) {
			errs[i] = fmt.Errorf("kafka: commit %s@%d: %w", c.Partition, c.Next, primitives.ErrNotAssigned)
			continue
		}
		offsets, at = append(offsets, driver.Offset{Partition: c.Partition, Next: c.Next}), append(at, i)
	}
	r.mu.Unlock()
	results := r.consumer.Commit(ctx, who, offsets)
	r.mu.Lock()
	defer r.mu.Unlock()
	for j, err := range results {
		i := at[j]
		c := commits[i]
		if err != nil {
			errs[i] = fmt.Errorf("kafka: commit %s@%d for group %s: %w", c.Partition, c.Next, r.with.Group, err)
			if errors.Is(err, primitives.ErrNotAssigned) || errors.Is(err, driver.ErrRebalancing) {
				refused = append(refused, i)
			}
			continue
		}
		errs[i] = nil
		if a := r.held[c.Partition]; a.may(c) {
			a.committed = max(a.committed, c.Next)
		}
	}
	return refused
}

// holds reports whether a commit is one of a lane that the reader has now.
func (r *reader) holds(c primitives.Commit) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.held[c.Partition].may(c)
}

// progressed notes what was committed in a transaction.
func (r *reader) progressed(c primitives.Commit) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if a := r.held[c.Partition]; a.may(c) {
		a.committed = max(a.committed, c.Next)
	}
}

// Backlog counts, for the partitions that are held, the offsets between what is
// committed and the end of what can be read. Offsets without a record, such as
// those of markers and of what was compacted away, are in it.
func (r *reader) Backlog(ctx context.Context) ([]primitives.Backlog, error) {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return nil, primitives.ErrClosed
	}
	var ps []primitives.Partition
	var out []primitives.Backlog
	unknown := 0
	for p, a := range r.held {
		if a.committed < 0 {
			unknown++
		}
		ps = append(ps, p)
		out = append(out, primitives.Backlog{Partition: p, Records: a.committed})
	}
	assigned := r.assigned
	r.mu.Unlock()
	if !assigned {
		return nil, fmt.Errorf("kafka: backlog of %s: the group has not assigned partitions yet", strings.Join(r.cfg.topics, ", "))
	}
	if unknown > 0 {
		return nil, fmt.Errorf("kafka: backlog of %s: it is not known yet where %d partitions begin", strings.Join(r.cfg.topics, ", "), unknown)
	}
	end := driver.Stable
	if r.with.ReadUncommitted {
		end = driver.Latest
	}
	ends, err := r.consumer.Offsets(ctx, ps, end)
	if err != nil {
		return nil, fmt.Errorf("kafka: backlog of %s: %w", strings.Join(r.cfg.topics, ", "), err)
	}
	for i := range out {
		out[i].Records = max(ends[i]-out[i].Records, 0)
	}
	return out, nil
}

// GroupCommitted returns what the group has committed for the topics, and for those of
// delays, whoever holds the partitions. What is in an open transaction is not in it.
func (r *reader) GroupCommitted(ctx context.Context) ([]primitives.Commit, error) {
	ps, err := r.Partitions(ctx)
	if err != nil {
		return nil, err
	}
	offsets, err := r.consumer.Committed(ctx, r.with.Group, ps, false)
	if err != nil {
		return nil, fmt.Errorf("kafka: %w", err)
	}
	return commitsAt(ps, offsets), nil
}

// Partitions returns all partitions of the topics, also those for delays.
func (r *reader) Partitions(ctx context.Context) ([]primitives.Partition, error) {
	if r.isClosed() {
		return nil, primitives.ErrClosed
	}
	ps, err := r.consumer.Partitions(ctx, r.with.Topics...)
	if err != nil {
		return nil, fmt.Errorf("kafka: %w", err)
	}
	return ps, nil
}

// Pause stops the fetching of partitions that are held.
func (r *reader) Pause(ps []primitives.Partition) {
	r.setPaused(ps, true)
	r.consumer.Pause(ps)
}

// Resume takes back Pause.
func (r *reader) Resume(ps []primitives.Partition) {
	r.setPaused(ps, false)
	r.consumer.Resume(ps)
}

func (r *reader) setPaused(ps []primitives.Partition, paused bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range ps {
		if a := r.held[p]; a != nil {
			a.paused = paused
		}
	}
}

// Member returns who the reader is in its group, for transactions.
func (r *reader) Member() driver.Member { return r.consumer.Member() }

// Close leaves the group and closes the connections.
func (r *reader) Close(ctx context.Context) error {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	if err := errors.Join(r.consumer.Close(ctx), r.closeTiers(ctx)); err != nil {
		return fmt.Errorf("kafka: close: %w", err)
	}
	return nil
}

func (r *reader) isClosed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.closed
}
