package flow_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flowkit-go/flow"
	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/primitives/memory"
	"github.com/flowkit-go/flow/runtime"
)

// mixed fills the topic "in" with numbers; those in bad cannot be decoded.
func (r *rig) mixed(n int, bad ...int) {
	for i := range n {
		value := words([]int{i})[0]
		for _, b := range bad {
			if b == i {
				value = "{bad"
			}
		}
		r.broker.Append("in", 0, primitives.Record{Value: []byte(value)})
	}
}

// panicky is a codec whose decoder panics on what is not a number.
type panicky struct{}

func (panicky) Decode(data []byte) (v int, _ error) {
	if err := json.Unmarshal(data, &v); err != nil {
		panic(err)
	}
	return v, nil
}

func (panicky) Append(dst []byte, v int) ([]byte, error) { return fmt.Appendf(dst, "%d", v), nil }

func invalidRecords(t *testing.T, codec primitives.Codec[int]) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.mixed(4, 1, 3)
		var got seen[int]
		src := r.in(1)
		src.Codec = codec
		f := r.start(flow.NewConsumer("p", src, flow.Discard, flow.Do(func(_ context.Context, v int) error {
			got.add(v)
			return nil
		}), flow.SkipInvalid()))
		time.Sleep(1500 * time.Millisecond)
		p := f.processor()
		equal(t, "handled", got.all(), []int{0, 2})
		equal(t, "invalid", p.Errors.Invalid, 2)
		equal(t, "ok and failed", []int64{p.Messages.OK, p.Messages.Failed}, []int64{2, 2})
		equal(t, "committed", r.committed(0), 4)
		r.mixed(1)
		synctest.Wait()
		equal(t, "handled afterwards", got.len(), 3)
		f.stopped()
	})
}

func TestDelivery_013_invalid_records(t *testing.T) { invalidRecords(t, nil) }

func TestDelivery_014_decoder_panics(t *testing.T) { invalidRecords(t, panicky{}) }

func TestDelivery_016_handler_timeout(t *testing.T) {
	for _, obedient := range []bool{true, false} {
		handler := func(got *seen[int]) func(context.Context, int) (flow.None, error) {
			return flow.Do(func(ctx context.Context, v int) error {
				if v != 0 {
					got.add(v)
					return nil
				}
				if !obedient {
					time.Sleep(11 * time.Second)
					if context.Cause(ctx) != flow.ErrHandlerTimeout {
						t.Errorf("the context's cause is %v", context.Cause(ctx))
					}
					return nil
				}
				select {
				case <-time.After(11 * time.Second):
					t.Error("the context was not cancelled")
				case <-ctx.Done():
				}
				return ctx.Err()
			})
		}
		inBubble(t, func(t *testing.T, r *rig) { // stop
			r.fill(0, 0, 2)
			var got seen[int]
			f := r.start(flow.NewConsumer("p", r.in(1), flow.Discard, handler(&got), flow.Timeout(time.Second)))
			err := f.wait()
			if !errors.Is(err, flow.ErrHandlerTimeout) {
				t.Errorf("Run returned %v, want ErrHandlerTimeout", err)
			}
			stoppedAt(t, err, 0, 0)
			equal(t, "committed", r.committed(0), -1)
		})
		inBubble(t, func(t *testing.T, r *rig) { // retry, then dead letter
			r.fill(0, 0, 2)
			var got seen[int]
			f := r.start(flow.NewConsumer("p", r.in(1), flow.Discard, handler(&got), flow.Timeout(time.Second),
				flow.Retry(2, flow.Constant(time.Second)), flow.DeadLetter(r.dead())))
			time.Sleep(time.Minute)
			p := f.processor()
			equal(t, "handled afterwards", got.all(), []int{1})
			equal(t, "retried, dead", []int64{p.Messages.Retried, p.Messages.Dead}, []int64{1, 1})
			equal(t, "committed", r.committed(0), 2)
			f.stopped()
		})
	}
}

func TestDelivery_017_handler_returns_runtime_errors(t *testing.T) {
	for _, own := range []error{
		primitives.ErrDraining, primitives.ErrReleased, primitives.ErrLost, primitives.ErrClosed, primitives.ErrNotAssigned,
		flow.ErrHandlerTimeout, flow.ErrDrainTimeout, context.Canceled, context.DeadlineExceeded, runtime.ErrStarted,
	} {
		inBubble(t, func(t *testing.T, r *rig) { // while it runs
			r.fill(0, 0, 2)
			f := r.start(flow.NewConsumer("p", r.in(1), flow.Discard, flow.Do(func(context.Context, int) error { return own })))
			err := f.wait()
			if !errors.Is(err, own) {
				t.Errorf("%v: Run returned %v", own, err)
			}
			stoppedAt(t, err, 0, 0)
			equal(t, "committed", r.committed(0), -1)
		})
		inBubble(t, func(t *testing.T, r *rig) { // while it drains
			r.fill(0, 0, 2)
			f := r.start(flow.NewConsumer("p", r.in(1), flow.Discard, flow.Do(func(context.Context, int) error {
				time.Sleep(time.Second)
				return own
			}), flow.DeadLetter(r.dead())))
			time.Sleep(500 * time.Millisecond)
			f.stopped()
			equal(t, "dead letters", len(r.broker.Records("dead", 0)), 1)
			equal(t, "committed", r.committed(0), 1)
		})
	}
}

// Backpressure is a full window: while its first record waits for its next
// attempt nothing is fetched; then the record turns out to be bad for good.
func TestDelivery_072_held_record_becomes_invalid(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.fill(0, 0, 10)
		var got seen[int]
		f := r.start(flow.NewConsumer("p", flow.Messages(r.in(1)), flow.Discard, flow.Do(func(_ context.Context, m flow.Msg[int]) error {
			if m.Value > 0 {
				got.add(m.Value)
				return nil
			}
			if m.Attempt < 3 {
				return errors.New("not yet")
			}
			return flow.Permanent(errors.New("bad after all"))
		}), flow.Buffer(2, 1<<20), flow.Retry(10, flow.Constant(10*time.Second)), flow.DeadLetter(r.dead())))
		time.Sleep(15 * time.Second)
		equal(t, "fetched while the first is held", f.lane(0).Read, 2)
		equal(t, "handled while the first is held", got.len(), 0)
		time.Sleep(15 * time.Second)
		equal(t, "dead letters", texts(r.broker.Records("dead", 0)), []string{"0"})
		equal(t, "handled afterwards", got.all(), numbers(1, 10))
		f.stopped()
	})
}

func TestDelivery_105_no_dead_letters(t *testing.T) {
	discard := func(context.Context, int) (flow.None, error) { return flow.None{}, nil }
	inBubble(t, func(t *testing.T, r *rig) {
		r.mixed(4, 2)
		f := r.start(flow.NewConsumer("p", r.in(1), flow.Discard, discard))
		err := f.wait()
		var invalid *primitives.DecodeError
		if !errors.As(err, &invalid) {
			t.Errorf("Run returned %v, want a DecodeError", err)
		}
		stoppedAt(t, err, 0, 2)
		equal(t, "committed", r.committed(0), 2)
	})
	inBubble(t, func(t *testing.T, r *rig) { // SkipFailed is the choice for all that fails, SkipInvalid for these
		for i, skip := range []flow.ConsumerOption{flow.SkipInvalid(), flow.SkipFailed()} {
			r.mixed(4, 2)
			f := r.start(flow.NewConsumer("p", r.in(1), flow.Discard, discard, skip))
			synctest.Wait()
			f.stopped()
			equal(t, "committed", r.committed(0), int64(4*(i+1)))
		}
	})
	inBubble(t, func(t *testing.T, r *rig) { // SkipInvalid does not skip what the handler refuses
		r.mixed(4)
		f := r.start(flow.NewConsumer("p", r.in(1), flow.Discard, flow.Do(func(context.Context, int) error {
			return flow.Permanent(errors.New("refused"))
		}), flow.SkipInvalid()))
		stoppedAt(t, f.wait(), 0, 0)
		equal(t, "committed", r.committed(0), -1)
	})
}

func TestDelivery_106_invalid_during_drain(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.fill(0, 0, 3)
		f := r.start(flow.NewConsumer("p", r.in(1), r.out(), func(_ context.Context, v int) (int, error) {
			time.Sleep(time.Second)
			if v != 1 {
				return v, nil
			}
			return 0, flow.Permanent(errors.New("invalid"))
		}, flow.Ordered(flow.Unordered), flow.ConcurrentTasks(3), flow.DeadLetter(r.dead())))
		time.Sleep(500 * time.Millisecond)
		began := time.Now()
		f.stopped()
		equal(t, "the drain took", time.Since(began), 500*time.Millisecond)
		equal(t, "dead letters", texts(r.broker.Records("dead", 0)), []string{"1"})
		equal(t, "committed", r.committed(0), 3)
		equal(t, "written", len(r.written()), 2)
	})
}

// Each task waits for its dead letter: one task has one delivery pending at most.
func TestDelivery_107_dead_letters_block(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.mixed(11, numbers(0, 10)...)
		var waiting, most atomic.Int32
		r.broker.Control(func(op memory.Op) error {
			if op.Kind == memory.OpWrite && op.Name == "dead" {
				n := int32(len(op.Records))
				most.Store(max(most.Load(), waiting.Add(n)))
				time.Sleep(time.Second)
				waiting.Add(-n)
			}
			return nil
		})
		dead := r.dead()
		dead.Async = 100
		f := r.start(flow.NewConsumer("p", r.in(1), flow.Discard, func(context.Context, int) (flow.None, error) { return flow.None{}, nil },
			flow.DeadLetter(dead), flow.CommitEvery(0, 1)))
		time.Sleep(3500 * time.Millisecond)
		equal(t, "committed, with the fourth on its way", r.committed(0), 3)
		time.Sleep(7500 * time.Millisecond)
		equal(t, "pending deliveries at most", most.Load(), 1)
		equal(t, "dead letters", len(r.broker.Records("dead", 0)), 10)
		equal(t, "committed", r.committed(0), 11)
		f.stopped()
	})
}

func TestDelivery_109_attempts_then_dead_letter(t *testing.T) {
	type try struct {
		value, attempt int
		at             time.Duration
	}
	for _, tt := range []struct {
		name   string
		option flow.ConsumerOption
		want   []try
	}{
		{"block", flow.Retry(3, flow.Constant(time.Second)), []try{
			{0, 1, 0}, {1, 1, 0}, {1, 2, time.Second}, {1, 3, 2 * time.Second}, {2, 1, 2 * time.Second}, {3, 1, 2 * time.Second}}},
		{"park", flow.RetryParked(3, flow.Constant(time.Second)), []try{
			{0, 1, 0}, {1, 1, 0}, {2, 1, 0}, {3, 1, 0}, {1, 2, time.Second}, {1, 3, 2 * time.Second}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, r *rig) {
				for i := range 4 {
					r.broker.Append("in", 0, primitives.Record{Key: []byte("k"), Value: []byte(words([]int{i})[0]),
						Headers: []primitives.Header{{Name: "trace", Value: []byte("7")}}})
				}
				var tries seen[try]
				began := time.Now()
				f := r.start(flow.NewConsumer("p", flow.Messages(r.in(1)), flow.Discard, flow.Do(func(_ context.Context, m flow.Msg[int]) error {
					tries.add(try{m.Value, m.Attempt, time.Since(began)})
					if m.Value == 1 {
						return errors.New("broken")
					}
					return nil
				}), tt.option, flow.DeadLetter(r.dead()), flow.CommitEvery(0, 1)))
				time.Sleep(1500 * time.Millisecond)
				equal(t, "committed while the record is retried", r.committed(0), 1)
				time.Sleep(time.Minute)
				if got := tries.all(); fmt.Sprint(got) != fmt.Sprint(tt.want) {
					t.Errorf("attempts %v, want %v", got, tt.want)
				}
				equal(t, "committed", r.committed(0), 4)
				letters := r.broker.Records("dead", 0)
				if len(letters) != 1 {
					t.Fatalf("%d dead letters, want 1", len(letters))
				}
				headers := map[string]string{}
				for _, h := range letters[0].Headers {
					headers[h.Name] = string(h.Value)
				}
				delete(headers, runtime.HeaderDeadTime)
				equal(t, "key and value", string(letters[0].Key)+"="+string(letters[0].Value), "k=1")
				equal(t, "headers", headers, map[string]string{
					"trace": "7", runtime.HeaderDeadFlow: "test", runtime.HeaderDeadProcessor: "p", runtime.HeaderDeadSource: "memory:in",
					runtime.HeaderDeadTopic: "in", runtime.HeaderDeadPartition: "0", runtime.HeaderDeadOffset: "1",
					runtime.HeaderDeadAttempt: "3", runtime.HeaderDeadError: "broken",
				})
				f.stopped()
			})
		})
	}
}

func TestDelivery_145_retries(t *testing.T) {
	cause := errors.New("unavailable")
	for _, tt := range []struct {
		name  string
		fail  int // of the calls
		err   error
		calls int
		took  time.Duration
	}{
		{"flaky", 1, cause, 2, time.Second},
		{"bad", 99, cause, 3, 2 * time.Second},
		{"not worth a retry", 99, flow.Permanent(cause), 1, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, r *rig) {
				r.fill(0, 0, 1)
				calls, last := 0, time.Duration(0)
				f := r.start(flow.NewConsumer("p", r.in(1), flow.Discard, flow.Do(func(context.Context, int) error {
					calls++
					last = time.Since(r.began)
					if calls <= tt.fail {
						return tt.err
					}
					return nil
				}), flow.Retry(3, flow.Constant(time.Second))))
				var err error
				if tt.fail >= 99 {
					err = f.wait()
					if !errors.Is(err, cause) {
						t.Errorf("Run returned %v, want the handler's error", err)
					}
					stoppedAt(t, err, 0, 0)
				} else {
					time.Sleep(time.Minute)
					f.stopped()
					equal(t, "committed", r.committed(0), 1)
				}
				equal(t, "calls", calls, tt.calls)
				equal(t, "time until the last", last, tt.took)
			})
		})
	}
}

// A record that waits for its next attempt elsewhere holds up nothing, and comes again
// after a restart too.
func TestDelivery_109_retry_later(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.fill(0, 0, 6)
		in := r.in(1)
		in.RetryDelays = []time.Duration{time.Minute, time.Second, 10 * time.Second}
		type try struct {
			Value, Attempt int
			At             time.Duration
		}
		var tries seen[try]
		consumer := func() *flow.Processor {
			return flow.NewConsumer("p", flow.Messages(in), r.out(), func(_ context.Context, m flow.Msg[int]) (int, error) {
				if m.Value%2 == 1 {
					tries.add(try{m.Value, m.Attempt, time.Since(r.began)})
					if m.Value == 5 || m.Attempt < 3 {
						return 0, errors.New("not yet")
					}
				}
				return m.Value, nil
			}, flow.RetryLater(4, flow.Exponential(900*time.Millisecond, time.Hour)), flow.DeadLetter(r.dead()))
		}
		f := r.start(consumer())
		time.Sleep(1500 * time.Millisecond)
		equal(t, "committed while three records wait", r.committed(0), 6)
		equal(t, "written meanwhile", r.written(), words([]int{0, 2, 4}))
		f.stopped()

		f = r.start(consumer())
		time.Sleep(5 * time.Minute)
		// the delays have jitter, and so records that failed have no order among them
		equal(t, "written", slices.Sorted(slices.Values(r.written())), words(numbers(0, 5)))
		dead := r.broker.Records("dead", 0)
		equal(t, "dead", texts(dead), []string{"5"})
		for name, want := range map[string]string{
			"flow-dead-topic": "in", "flow-dead-partition": "0", "flow-dead-offset": "5", "flow-dead-attempt": "4",
		} {
			got, _ := dead[0].Header(name)
			equal(t, name, string(got), want)
		}
		for _, h := range dead[0].Headers {
			if strings.HasPrefix(h.Name, "flow-retry") || strings.HasPrefix(h.Name, "flow-memory") {
				t.Errorf("the letter has the header %s", h.Name)
			}
		}
		last := map[int]try{}
		for _, a := range tries.all() {
			before := last[a.Value]
			if a.Attempt != before.Attempt+1 {
				t.Errorf("attempt %d of %d follows attempt %d", a.Attempt, a.Value, before.Attempt)
			}
			if a.Attempt > 1 && a.At-before.At < time.Second {
				t.Errorf("attempt %d of %d comes %v after the one before it, want a second at least", a.Attempt, a.Value, a.At-before.At)
			}
			last[a.Value] = a
		}
		f.stopped()
	})
}

func TestDelivery_109_retry_later_needs_delays(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		f := r.start(flow.NewConsumer("p", r.in(1), r.out(), unchanged, flow.RetryLater(3, flow.Constant(time.Second))))
		err := f.wait()
		if err == nil || !strings.Contains(err.Error(), "RetryLater") || !strings.Contains(err.Error(), "memory:in") {
			t.Errorf("Run returned %v, want that the source has no delays", err)
		}
	})
}
