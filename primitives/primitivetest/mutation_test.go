package primitivetest

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/primitives/memory"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type (
	pushFunc = func(context.Context, []primitives.Record) (int, error)
	doneFunc = func(error)
)

// A mutation breaks one promise. The checks named must see it.
type mutation struct {
	name   string
	sees   string // names of checks
	queue  bool   // of a memory.Queue in place of a memory.Topic
	bound  bool   // with StopAtEnd
	writer func(*brokenWriter)
	reader func(*brokenReader)
}

// released is closed at the end of a test: what a mutation leaves behind ends with it.
func mutations(released <-chan struct{}) []mutation {
	return []mutation{
		{name: "loses a record", sees: "RoundTrip Order ConcurrentWriters WriterClose", writer: func(w *brokenWriter) {
			good := w.write
			var n atomic.Int64
			w.write = func(ctx context.Context, batch []primitives.Record, done func(error)) {
				if n.Add(int64(len(batch))) > 20 && len(batch) > 1 {
					batch = batch[1:]
				}
				good(ctx, batch, done)
			}
		}},
		{name: "stores a record twice", sees: "RoundTrip Order ConcurrentWriters", writer: func(w *brokenWriter) {
			good := w.write
			w.write = func(ctx context.Context, batch []primitives.Record, done func(error)) {
				if len(batch) > 1 {
					batch = append(slices.Clone(batch), batch[0])
				}
				good(ctx, batch, done)
			}
		}},
		{name: "reorders a batch", sees: "Order ConcurrentWriters Backpressure", writer: func(w *brokenWriter) {
			good := w.write
			w.write = func(ctx context.Context, batch []primitives.Record, done func(error)) {
				batch = slices.Clone(batch)
				slices.Reverse(batch)
				good(ctx, batch, done)
			}
		}},
		{name: "calls done twice", sees: "DoneOnce RoundTrip", writer: func(w *brokenWriter) {
			good := w.write
			w.write = func(ctx context.Context, batch []primitives.Record, done func(error)) {
				good(ctx, batch, func(err error) { done(err); done(err) })
			}
		}},
		{name: "forgets done of an empty batch", sees: "DoneOnce", writer: func(w *brokenWriter) {
			good := w.write
			w.write = func(ctx context.Context, batch []primitives.Record, done func(error)) {
				if len(batch) > 0 {
					good(ctx, batch, done)
				}
			}
		}},
		{name: "reads the bytes after done", sees: "RoundTrip Sizes", writer: func(w *brokenWriter) {
			good := w.write
			w.write = func(ctx context.Context, batch []primitives.Record, done func(error)) {
				same := slices.Clone(batch)
				done(nil)
				good(ctx, same, func(error) {})
			}
		}},
		{name: "succeeds after close", sees: "WriteAfterClose", writer: func(w *brokenWriter) {
			good := w.write
			w.write = func(ctx context.Context, batch []primitives.Record, done func(error)) {
				good(ctx, batch, func(err error) {
					if errors.Is(err, primitives.ErrClosed) {
						err = nil
					}
					done(err)
				})
			}
		}},
		{name: "does not wait in close", sees: "WriterClose", writer: func(w *brokenWriter) {
			good := w.write
			w.write = func(ctx context.Context, batch []primitives.Record, done func(error)) {
				good(ctx, batch, func(err error) { go func() { <-released; done(err) }() })
			}
		}},
		{name: "close errs the second time", sees: "WriterClose ReaderClose", writer: func(w *brokenWriter) {
			w.close = onceOnly(w.close)
		}, reader: func(r *brokenReader) { r.close = onceOnly(r.close) }},
		{name: "ignores the writer's context", sees: "WriteCancelled", writer: func(w *brokenWriter) {
			good := w.write
			w.write = func(ctx context.Context, batch []primitives.Record, done func(error)) {
				good(ctx, batch, func(err error) {
					if err == nil || errors.Is(err, primitives.ErrClosed) {
						done(err)
					} // a refused batch is never heard of again
				})
			}
		}},
		{name: "cuts large values", sees: "Sizes", writer: eachRecord(func(r *primitives.Record) {
			r.Value = r.Value[:min(len(r.Value), 1<<16)]
		})},
		{name: "takes zero bytes for the end", sees: "Sizes RoundTrip", writer: eachRecord(func(r *primitives.Record) {
			r.Value, _, _ = bytes.Cut(r.Value, []byte{0})
		})},
		{name: "drops headers", sees: "RoundTrip", writer: eachRecord(func(r *primitives.Record) { r.Headers = nil })},
		{name: "drops keys", sees: "RoundTrip PartitionOfKey", writer: eachRecord(func(r *primitives.Record) { r.Key = nil })},
		{name: "drops times", sees: "RoundTrip", writer: eachRecord(func(r *primitives.Record) { r.Time = time.Time{} })},

		{name: "ignores commits", sees: "Commit Backlog", reader: func(r *brokenReader) {
			r.commit = func(context.Context, []primitives.Commit) error { return nil }
		}},
		{name: "commits one too many", sees: "Commit CommitInSteps", reader: commits(1)},
		{name: "commits one too few", sees: "Commit CommitInSteps", reader: commits(-1)},
		{name: "hides that a partition is not held", sees: "CommitNotAssigned", reader: func(r *brokenReader) {
			good := r.commit
			r.commit = func(ctx context.Context, c []primitives.Commit) error {
				if err := good(ctx, c); errors.Is(err, primitives.ErrClosed) {
					return err
				}
				return nil
			}
		}},
		{name: "commits what it has read by itself", sees: "Redelivery", reader: func(r *brokenReader) {
			var n atomic.Int64
			r.pushing(func(ctx context.Context, burst []primitives.Record, push pushFunc) (int, error) {
				k, err := push(ctx, burst)
				n.Add(int64(k))
				for p := range int32(2) {
					next := burst[len(burst)-1].Offset + 1
					_ = r.commit(ctx, []primitives.Commit{{Partition: primitives.Partition{Topic: "t", ID: p}, Next: next}})
				}
				return k, err
			})
		}},
		{name: "skips what a full lane did not take", sees: "Backpressure", reader: func(r *brokenReader) {
			r.pushing(func(ctx context.Context, burst []primitives.Record, push pushFunc) (int, error) {
				_, err := push(ctx, burst[:min(len(burst), 7)])
				return len(burst), err
			})
		}},
		{name: "reuses the bytes that it pushed", sees: "CancelWhileFull", reader: func(r *brokenReader) {
			r.pushing(func(ctx context.Context, burst []primitives.Record, push pushFunc) (int, error) {
				own := clone(burst)
				n, err := push(ctx, slices.Clone(own))
				scribble(own[:n])
				return n, err
			})
		}},
		{name: "goes on after ErrDraining", sees: "Drain", reader: func(r *brokenReader) {
			r.pushing(func(ctx context.Context, burst []primitives.Record, push pushFunc) (int, error) {
				n, err := push(ctx, burst)
				for errors.Is(err, primitives.ErrDraining) {
					_, err = push(ctx, burst[n:])
					select {
					case <-time.After(time.Millisecond):
					case <-ctx.Done():
						return n, ctx.Err()
					}
				}
				return n, err
			})
		}},
		{name: "returns the context's error from Run", sees: "Cancel CancelWhileFull", reader: func(r *brokenReader) {
			good := r.run
			r.run = func(ctx context.Context, in primitives.Intake) error {
				return errors.Join(good(ctx, in), ctx.Err())
			}
		}},
		{name: "does not end when cancelled", sees: "Cancel CancelWhileFull", reader: func(r *brokenReader) {
			good := r.run
			r.run = func(ctx context.Context, in primitives.Intake) error {
				err := good(ctx, in)
				<-released
				return err
			}
		}},
		{name: "ends long after it was cancelled", sees: "Cancel", reader: func(r *brokenReader) {
			good := r.run
			r.run = func(ctx context.Context, in primitives.Intake) error {
				err := good(ctx, in)
				select {
				case <-time.After(10 * time.Second):
				case <-released:
				}
				return err
			}
		}},
		{name: "leaves a goroutine behind", sees: "Cancel ReaderClose", reader: func(r *brokenReader) {
			good := r.run
			r.run = func(ctx context.Context, in primitives.Intake) error {
				go func() { <-released }()
				return good(ctx, in)
			}
		}},
		{name: "commits after close", sees: "ReaderAfterClose", reader: func(r *brokenReader) {
			r.commit = func(context.Context, []primitives.Commit) error { return nil }
		}},
		{name: "counts one too few", sees: "Backlog", reader: func(r *brokenReader) {
			good := r.backlog
			r.backlog = func(ctx context.Context) ([]primitives.Backlog, error) {
				b, err := good(ctx)
				if len(b) > 0 && b[0].Records > 0 {
					b[0].Records--
				}
				return b, err
			}
		}},
		{name: "reports an unknown backlog as none", sees: "ReaderAfterClose", reader: func(r *brokenReader) {
			good := r.backlog
			r.backlog = func(ctx context.Context) ([]primitives.Backlog, error) {
				b, _ := good(ctx)
				return b, nil
			}
		}},
		{name: "does not end at the end", sees: "Bounded", bound: true, reader: func(r *brokenReader) {
			good := r.run
			r.run = func(ctx context.Context, in primitives.Intake) error {
				err := good(ctx, in)
				<-ctx.Done()
				return err
			}
		}},

		{name: "ignores leases in commits", sees: "LeaseExpiry Commit", queue: true, reader: func(r *brokenReader) {
			r.commit = func(context.Context, []primitives.Commit) error { return nil }
		}},
		{name: "does not extend", sees: "LeaseExtend", queue: true, reader: func(r *brokenReader) {
			r.extend = func(context.Context, []any) error { return nil }
		}},
		{name: "does not release", sees: "LeaseRelease", queue: true, reader: func(r *brokenReader) {
			r.release = func(context.Context, []any, time.Duration) error { return nil }
		}},
		{name: "releases without delay", sees: "LeaseRelease", queue: true, reader: func(r *brokenReader) {
			good := r.release
			r.release = func(ctx context.Context, l []any, _ time.Duration) error { return good(ctx, l, 0) }
		}},
		{name: "does not count attempts", sees: "LeaseRelease LeaseExpiry", queue: true, reader: func(r *brokenReader) {
			r.pushing(func(ctx context.Context, burst []primitives.Record, push pushFunc) (int, error) {
				for i := range burst {
					burst[i].Attempt = 1
				}
				return push(ctx, burst)
			})
		}},
	}
}

func onceOnly(end func(context.Context) error) func(context.Context) error {
	var n atomic.Int64
	return func(ctx context.Context) error {
		err := end(ctx)
		if n.Add(1) > 1 {
			return errors.New("closed already")
		}
		return err
	}
}

func eachRecord(change func(*primitives.Record)) func(*brokenWriter) {
	return func(w *brokenWriter) {
		good := w.write
		w.write = func(ctx context.Context, batch []primitives.Record, done doneFunc) {
			batch = slices.Clone(batch)
			for i := range batch {
				change(&batch[i])
			}
			good(ctx, batch, done)
		}
	}
}

func commits(extra int64) func(*brokenReader) {
	return func(r *brokenReader) {
		good := r.commit
		r.commit = func(ctx context.Context, c []primitives.Commit) error {
			c = slices.Clone(c)
			for i := range c {
				c[i].Next += extra
			}
			return good(ctx, c)
		}
	}
}

// configOf returns a suite for a primitive with that fault.
func configOf(m mutation) Config {
	f := Features{
		Ordered: true, Binary: true, Keys: true, Headers: true, Time: true, Redelivery: true, Commits: true, Backlog: true,
		Partitions: !m.queue && !m.bound, Bounded: m.bound, Leases: m.queue, Attempts: m.queue, Groups: !m.bound,
	}
	return Config{Features: f, Records: 300, New: func(testing.TB) Ends {
		b := memory.NewBroker()
		ends := broken{reader: m.reader, writer: m.writer}
		if m.queue {
			q := memory.Queue[primitives.Record]{Broker: b, Name: "t", Visibility: time.Second}
			ends.Source, ends.Sink = q, q
		} else {
			partitions := 2
			if m.bound {
				partitions = 1
			}
			topic := memory.Topic[primitives.Record]{Broker: b, Name: "t", Partitions: partitions, StopAtEnd: m.bound}
			ends.Source, ends.Sink = topic, topic
		}
		return Ends{Source: ends, Sink: ends}
	}}
}

func allChecks() []check { return concat(deliveryChecks(), writerChecks(), readerChecks()) }

// A suite that cannot fail shows nothing: each broken primitive must be seen by
// the checks that are named for it.
func TestSuiteSeesBrokenPrimitives(t *testing.T) {
	for _, m := range mutations(nil) {
		for _, name := range strings.Fields(m.sees) {
			t.Run(strings.ReplaceAll(m.name, " ", "_")+"/"+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					released := make(chan struct{})
					defer close(released)
					all := mutations(released)
					m := all[slices.IndexFunc(all, func(o mutation) bool { return o.name == m.name })]
					checks := allChecks()
					i := slices.IndexFunc(checks, func(k check) bool { return k.name == name })
					failed, said := try(t, configOf(m), checks[i])
					if !failed {
						t.Errorf("%s passes for a primitive that %s", name, m.name)
					}
					t.Log(said)
				})
			})
		}
	}
}

// The same primitives without a fault pass every check: what the checks see
// above is the fault.
func TestSuitePassesWholePrimitives(t *testing.T) {
	for _, m := range []mutation{{name: "topic"}, {name: "queue", queue: true}, {name: "bounded", bound: true}} {
		c := configOf(m)
		for _, k := range allChecks() {
			if k.when != nil && !k.when(&c.Features) {
				continue
			}
			t.Run(m.name+"/"+k.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					if failed, said := try(t, c, k); failed {
						t.Errorf("fails for a good primitive:\n%s", said)
					}
				})
			})
		}
	}
}
