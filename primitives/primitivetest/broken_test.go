package primitivetest

import (
	"context"
	"time"

	"github.com/flowkit-go/flow/primitives"
)

// A broken primitive is a good one whose readers and writers pass through
// functions that replace some of their methods.
type broken struct {
	Source
	Sink
	reader func(*brokenReader)
	writer func(*brokenWriter)
}

func (b broken) String() string { return "broken" }

func (b broken) OpenSource(ctx context.Context, env *primitives.Env) (primitives.Reader, error) {
	inner, err := b.Source.OpenSource(ctx, env)
	if err != nil {
		return nil, err
	}
	r := &brokenReader{Reader: inner}
	r.run, r.commit, r.close = inner.Run, inner.Commit, inner.Close
	r.backlog = inner.(primitives.Backlogger).Backlog
	if l, ok := inner.(primitives.Leaser); ok {
		r.extend, r.release = l.Extend, l.Release
	}
	if b.reader != nil {
		b.reader(r)
	}
	if r.extend != nil {
		return leasing{r}, nil
	}
	return partitioned{r}, nil
}

func (b broken) OpenSink(ctx context.Context, env *primitives.Env) (primitives.Writer, error) {
	inner, err := b.Sink.OpenSink(ctx, env)
	if err != nil {
		return nil, err
	}
	w := &brokenWriter{write: inner.Write, close: inner.Close}
	if b.writer != nil {
		b.writer(w)
	}
	return w, nil
}

type brokenWriter struct {
	write func(context.Context, []primitives.Record, func(error))
	close func(context.Context) error
}

func (w *brokenWriter) Write(ctx context.Context, batch []primitives.Record, done func(error)) {
	w.write(ctx, batch, done)
}
func (w *brokenWriter) Close(ctx context.Context) error { return w.close(ctx) }

type brokenReader struct {
	primitives.Reader // the good one
	run               func(context.Context, primitives.Intake) error
	commit            func(context.Context, []primitives.Commit) error
	close             func(context.Context) error
	backlog           func(context.Context) ([]primitives.Backlog, error)
	extend            func(context.Context, []any) error
	release           func(context.Context, []any, time.Duration) error
}

func (r *brokenReader) Run(ctx context.Context, in primitives.Intake) error { return r.run(ctx, in) }
func (r *brokenReader) Commit(ctx context.Context, c []primitives.Commit) error {
	return r.commit(ctx, c)
}
func (r *brokenReader) Close(ctx context.Context) error { return r.close(ctx) }
func (r *brokenReader) Backlog(ctx context.Context) ([]primitives.Backlog, error) {
	return r.backlog(ctx)
}

// pushing makes each Push of the reader go through f, which may call push.
func (r *brokenReader) pushing(f func(ctx context.Context, burst []primitives.Record, push func(context.Context, []primitives.Record) (int, error)) (int, error)) {
	good := r.run
	r.run = func(ctx context.Context, in primitives.Intake) error { return good(ctx, &brokenIntake{in, f}) }
}

type brokenIntake struct {
	primitives.Intake
	push func(ctx context.Context, burst []primitives.Record, push func(context.Context, []primitives.Record) (int, error)) (int, error)
}

func (in *brokenIntake) Assign(p primitives.Partition, start int64) primitives.Lane {
	return &brokenLane{in.Intake.Assign(p, start), in}
}

func (in *brokenIntake) Revoke(ctx context.Context, lanes ...primitives.Lane) error {
	good := make([]primitives.Lane, len(lanes))
	for i, l := range lanes {
		good[i] = l.(*brokenLane).Lane
	}
	return in.Intake.Revoke(ctx, good...)
}

type brokenLane struct {
	primitives.Lane
	in *brokenIntake
}

func (l *brokenLane) Push(ctx context.Context, burst []primitives.Record) (int, error) {
	return l.in.push(ctx, burst, l.Lane.Push)
}

// partitioned and leasing are brokenReaders with the optional interfaces of a
// memory.Topic and a memory.Queue.
type partitioned struct{ *brokenReader }

func (r partitioned) Partitions(ctx context.Context) ([]primitives.Partition, error) {
	return r.Reader.(primitives.Partitioned).Partitions(ctx)
}
func (r partitioned) Pause(p []primitives.Partition)  { r.Reader.(primitives.Pauser).Pause(p) }
func (r partitioned) Resume(p []primitives.Partition) { r.Reader.(primitives.Pauser).Resume(p) }

type leasing struct{ *brokenReader }

func (r leasing) LeaseTime() time.Duration { return r.Reader.(primitives.Leaser).LeaseTime() }
func (r leasing) Extend(ctx context.Context, l []any) error {
	return r.extend(ctx, l)
}
func (r leasing) Release(ctx context.Context, l []any, d time.Duration) error {
	return r.release(ctx, l, d)
}
