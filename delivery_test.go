package flow_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flowkit-go/flow"
	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/primitives/memory"
	"github.com/flowkit-go/flow/runtime"
)

// The tests TestDelivery_NNN_* are numbered delivery cases: docs/delivery.md
// lists them. They run a whole flow on the memory primitive in fake time.

// rig is a broker, and the flows that a test runs on it.
type rig struct {
	t       *testing.T
	broker  *memory.Broker
	logs    *logs
	began   time.Time
	options []flow.Option
}

// inBubble runs a test with fake time.
func inBubble(t *testing.T, test func(t *testing.T, r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { test(t, newRig(t)) })
}

func newRig(t *testing.T) *rig {
	return &rig{t: t, broker: memory.NewBroker(), logs: &logs{}, began: time.Now()}
}

// in is the topic that most tests read, as group "g".
func (r *rig) in(partitions int) memory.Topic[int] {
	return memory.Topic[int]{Broker: r.broker, Name: "in", Group: "g", Partitions: partitions}
}

// out is the topic that most tests write.
func (r *rig) out() memory.Topic[int] { return memory.Topic[int]{Broker: r.broker, Name: "out"} }

// dead is the topic for dead letters.
func (r *rig) dead() memory.Topic[flow.Raw] {
	return memory.Topic[flow.Raw]{Broker: r.broker, Name: "dead"}
}

// fill appends the numbers from up to, not including, to.
func (r *rig) fill(partition int32, from, to int) {
	recs := make([]primitives.Record, 0, to-from)
	for i := from; i < to; i++ {
		recs = append(recs, primitives.Record{Value: []byte(strconv.Itoa(i))})
	}
	r.broker.Append("in", partition, recs...)
}

// at appends records whose values are their offsets, which may leave holes.
func (r *rig) at(partition int32, offsets ...int) {
	for _, o := range offsets {
		r.broker.Append("in", partition, primitives.Record{Offset: int64(o), Value: []byte(strconv.Itoa(o))})
	}
}

// committed is what group "g" has committed, -1 when nothing.
func (r *rig) committed(partition int32) int64 { return r.broker.Committed("g", "in", partition) }

// written are the values in the topic "out".
func (r *rig) written() []string { return texts(r.broker.Records("out", 0)) }

func texts(recs []primitives.Record) []string {
	var all []string
	for _, rec := range recs {
		all = append(all, string(rec.Value))
	}
	return all
}

// commit is one commit of one partition that the broker was asked for.
type commit struct {
	Partition int32
	Next      int64
	At        time.Duration
}

// commits notes what the broker is asked to commit from now on.
func (r *rig) commits() *seen[commit] {
	s := &seen[commit]{}
	r.broker.Control(func(op memory.Op) error {
		if op.Kind == memory.OpCommit {
			s.add(commit{op.Partition, op.Next, time.Since(r.began)})
		}
		return nil
	})
	return s
}

// running is a flow that runs.
type running struct {
	t      *testing.T
	app    *flow.Flow
	cancel context.CancelFunc
	hard   context.CancelFunc
	ready  chan struct{} // closed when it has started
	ended  chan error
}

// start runs a flow with these processors.
func (r *rig) start(processors ...*flow.Processor) *running {
	run := &running{t: r.t, ready: make(chan struct{}), ended: make(chan error, 1)}
	options := append([]flow.Option{flow.AdminAddr("off"), flow.Logger(slog.New(r.logs)),
		flow.OnReady(func(flow.Addresses) { close(run.ready) })}, r.options...)
	run.app = flow.New("test", options...)
	run.app.Add(processors...)
	ctx, cancel := context.WithCancel(context.Background())
	hardCtx, hard := context.WithCancel(context.Background())
	run.cancel, run.hard = cancel, hard
	go func() { run.ended <- run.app.RunHard(ctx, hardCtx) }()
	return run
}

// processor is the state of the flow's first processor.
func (f *running) processor() runtime.ProcessorSnapshot {
	<-f.ready
	return f.app.Snapshot().Processors[0]
}

// lane is the state of one of its partitions.
func (f *running) lane(partition int32) runtime.LaneSnapshot {
	f.t.Helper()
	for _, l := range f.processor().Lanes {
		if l.Partition == partition {
			return l
		}
	}
	f.t.Fatalf("partition %d is not assigned", partition)
	return runtime.LaneSnapshot{}
}

// wait waits for the end of the flow and returns its error.
func (f *running) wait() error {
	err := <-f.ended
	f.cancel()
	f.hard()
	return err
}

// stop ends the flow like a signal and returns its error.
func (f *running) stop() error {
	f.cancel()
	return f.wait()
}

// stopped ends the flow like a signal; it must drain without an error.
func (f *running) stopped() {
	f.t.Helper()
	if err := f.stop(); err != nil {
		f.t.Errorf("the flow ended with an error: %v", err)
	}
}

// seen is what handlers and others have noted, in order.
type seen[T any] struct {
	mu   sync.Mutex
	list []T
}

func (s *seen[T]) add(v T) {
	s.mu.Lock()
	s.list = append(s.list, v)
	s.mu.Unlock()
}

func (s *seen[T]) all() []T {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]T(nil), s.list...)
}

func (s *seen[T]) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.list)
}

// gates let handlers wait for the test: each number has its own.
type gates struct {
	mu   sync.Mutex
	open map[int]chan struct{}
}

func (g *gates) gate(n int) chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.open == nil {
		g.open = map[int]chan struct{}{}
	}
	if g.open[n] == nil {
		g.open[n] = make(chan struct{})
	}
	return g.open[n]
}

// pass waits until n was opened or ctx ends.
func (g *gates) pass(ctx context.Context, n int) error {
	select {
	case <-g.gate(n):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (g *gates) let(numbers ...int) {
	for _, n := range numbers {
		close(g.gate(n))
	}
}

// line is one log line.
type line struct {
	Level slog.Level
	Text  string
	Attrs map[string]any
}

// logs keeps what the flow logs.
type logs struct{ lines seen[line] }

func (l *logs) Enabled(context.Context, slog.Level) bool { return true }
func (l *logs) WithGroup(string) slog.Handler            { return l }
func (l *logs) WithAttrs(attrs []slog.Attr) slog.Handler { return &logsWith{l, attrs} }

func (l *logs) Handle(_ context.Context, r slog.Record) error {
	entry := line{r.Level, r.Message, map[string]any{}}
	r.Attrs(func(a slog.Attr) bool { entry.Attrs[a.Key] = a.Value.Any(); return true })
	l.lines.add(entry)
	return nil
}

// find returns the lines with this message.
func (l *logs) find(text string) (found []line) {
	for _, entry := range l.lines.all() {
		if entry.Text == text {
			found = append(found, entry)
		}
	}
	return found
}

type logsWith struct {
	*logs
	attrs []slog.Attr
}

func (l *logsWith) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &logsWith{l.logs, append(append([]slog.Attr(nil), l.attrs...), attrs...)}
}

func (l *logsWith) Handle(ctx context.Context, r slog.Record) error {
	r = r.Clone()
	r.AddAttrs(l.attrs...)
	return l.logs.Handle(ctx, r)
}

// equal reports a difference.
func equal[T any](t *testing.T, what string, got, want T) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// numbers returns from, from+1, up to and not including to.
func numbers(from, to int) []int {
	var all []int
	for i := from; i < to; i++ {
		all = append(all, i)
	}
	return all
}

func words(ns []int) []string {
	var all []string
	for _, n := range ns {
		all = append(all, strconv.Itoa(n))
	}
	return all
}

// stoppedAt checks that err says that the flow stopped at this record.
func stoppedAt(t *testing.T, err error, partition int32, offset int64) {
	t.Helper()
	var at *runtime.RecordError
	if !errors.As(err, &at) {
		t.Errorf("the flow ended with %v, want a stop at %d@%d", err, partition, offset)
		return
	}
	equal(t, "stopped at", fmt.Sprintf("%d@%d", at.Partition.ID, at.Offset), fmt.Sprintf("%d@%d", partition, offset))
}
