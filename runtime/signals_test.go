package runtime

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flowkit-go/flow/autoscale"
	"github.com/flowkit-go/flow/autoscale/cpu"
	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/primitives/memory"
)

// watched is a running consumer of a topic, whose signals a test looks at.
type watched struct {
	*consumer
	t      *testing.T
	broker *memory.Broker
	sent   int
}

// watchConsumer starts a consumer of a topic with 4 partitions, in a bubble. change may be nil.
func watchConsumer(t *testing.T, handle Handler, change func(*Consumer)) *watched {
	t.Helper()
	w := &watched{t: t, broker: memory.NewBroker()}
	topic := memory.Topic[[]byte]{Broker: w.broker, Name: "in", Group: "g", Partitions: 4}
	limits := autoscale.Defaults()
	limits.Max = 100
	const commits = 1070 * time.Millisecond // not at the moments when the watcher, or a test, asks for the backlog
	spec := &Consumer{
		Name: "bill", Source: Source{Name: "in", Open: topic.OpenSource}, Handle: handle, Order: Unordered,
		Commit: CommitPolicy{Every: commits}, Buffer: Buffer{Records: 1000, Bytes: 1 << 20}, StallAfter: time.Hour,
		Processor: Processor{Replicas: limits, ConcurrentTasks: 1, NumCPUs: 0.5},
	}
	if change != nil {
		change(spec)
	}
	w.consumer = newConsumer("shop", spec, slog.New(slog.DiscardHandler), 10*time.Second)
	if err := w.open(t.Context(), &primitives.Env{Flow: "shop", Processor: "bill", Logger: w.log, Shared: &primitives.Shared{}}); err != nil {
		t.Fatal(err)
	}
	if err := w.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.drain(context.Background(), w.plan.start(time.Now())); err != nil {
			t.Error(err)
		}
	})
	return w
}

// fill appends n records, in turn to so many partitions.
func (w *watched) fill(n, partitions int) {
	for range n {
		w.broker.Append("in", int32(w.sent%partitions), primitives.Record{Value: []byte(strconv.Itoa(w.sent))})
		w.sent++
	}
}

// look takes the signals after d.
func (w *watched) look(d time.Duration) autoscale.Signals {
	w.t.Helper()
	time.Sleep(d)
	s, err := w.signals(time.Now())
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

// takes is a handler that takes d for each record.
func takes(d time.Duration) Handler {
	return func(context.Context, []primitives.Record, *primitives.Outputs) error {
		time.Sleep(d)
		return nil
	}
}

// about complains when a number is more than a share away from what it should be.
func about(t *testing.T, what string, got, want, share float64) {
	t.Helper()
	if !(math.Abs(got-want) <= share*math.Abs(want)) {
		t.Errorf("%s: %v, want about %v", what, got, want)
	}
}

func exact(t *testing.T, what string, got, want float64) { t.Helper(); about(t, what, got, want, 0) }

// Rates are of the time since the last look, whatever the number of replicas was: a
// new one adds what it does, and an idle one nothing.
func TestSignalsFollowResizesAndIdling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watchConsumer(t, takes(100*time.Millisecond), nil)
		time.Sleep(50 * time.Millisecond) // looks and commits fall between the ends of calls
		w.fill(1000, 4)
		s := w.look(10 * time.Second)
		if !math.IsInf(s.Pulls, 1) {
			t.Errorf("first: pulls %v, though the task had to wait for the first record", s.Pulls)
		}
		if s.Elapsed != 0 || !math.IsNaN(s.PrevBacklog) {
			t.Errorf("first: elapsed %v, backlog before %v", s.Elapsed, s.PrevBacklog)
		}
		about(t, "first: throughput", s.Throughput, 10, 0.02)
		about(t, "first: backlog", s.Backlog, 900, 0.012) // within a commit, if one is made as the source is asked
		about(t, "first: busy", s.Busy, 1, 0.02)
		about(t, "first: queueing", s.Queueing.Seconds(), 5, 0.1) // all came at once
		before := s.Backlog
		if p := w.snapshot(time.Now()); p.Busy == nil || p.QueueSecs == nil {
			t.Error("the state does not tell how busy it is")
		} else {
			about(t, "state: busy", *p.Busy, 1, 0.03)
			about(t, "state: queueing", *p.QueueSecs, 7.5, 0.1) // from the fifth to the tenth second
		}

		if err := w.pool.Resize(4); err != nil {
			t.Fatal(err)
		}
		s = w.look(time.Second)
		about(t, "a second with 4 replicas: throughput", s.Throughput, 40, 0.1)
		s2 := w.look(9 * time.Second)
		if s2.Elapsed != 9*time.Second || s2.PrevBacklog != s.Backlog || s.PrevBacklog != before || s2.Replicas != 4 {
			t.Errorf("elapsed %v, backlogs before %v and %v, %d replicas", s2.Elapsed, s.PrevBacklog, s2.PrevBacklog, s2.Replicas)
		}
		about(t, "4 replicas: throughput", s2.Throughput, 40, 0.02)
		about(t, "4 replicas: pulls", s2.Pulls, 40, 0.02)
		about(t, "4 replicas: busy", s2.Busy, 1, 0.02)
		about(t, "4 replicas: backlog", s2.Backlog, 500, 0.09) // within a commit too

		time.Sleep(5 * time.Second) // and 5 with one replica: 5 * 40 + 5 * 10 in 10 s
		if err := w.pool.Resize(1); err != nil {
			t.Fatal(err)
		}
		s = w.look(5 * time.Second)
		about(t, "resized in between: throughput", s.Throughput, 25, 0.03)
		about(t, "resized in between: busy", s.Busy, 1, 0.03)

		w.look(time.Minute) // the rest
		s = w.look(time.Minute)
		exact(t, "idle: throughput", s.Throughput, 0)
		exact(t, "idle: backlog", s.Backlog, 0)
		exact(t, "idle: busy", s.Busy, 0)
		exact(t, "idle: queueing", s.Queueing.Seconds(), 0)
		if !math.IsInf(s.Pulls, 1) {
			t.Errorf("idle: pulls %v", s.Pulls)
		}
		p := w.snapshot(time.Now())
		if p.Busy == nil || p.QueueSecs == nil || *p.Busy != 0 || *p.QueueSecs != 0 {
			t.Errorf("idle: the state tells of %v busy, %v s of queueing", p.Busy, p.QueueSecs)
		}
	})
}

// What fails and what is tried again is no throughput, however often; what the handler
// skips is.
func TestSignalsCountSuccess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		handle := func(_ context.Context, in []primitives.Record, _ *primitives.Outputs) error {
			time.Sleep(10 * time.Millisecond)
			switch n, _ := strconv.Atoi(string(in[0].Value)); {
			case n%10 == 0:
				return errors.New("poison")
			case n%10 == 1:
				return primitives.ErrSkip
			}
			return nil
		}
		w := watchConsumer(t, handle, func(c *Consumer) {
			c.SkipFailed, c.Retry = true, Retry{Attempts: 5, Backoff: Backoff{First: 10 * time.Millisecond, Max: 10 * time.Millisecond}}
		})
		w.look(time.Second)
		w.fill(200, 4)
		s := w.look(10 * time.Second)
		exact(t, "throughput", s.Throughput, 180.0/10)
		exact(t, "backlog", s.Backlog, 0)
		about(t, "busy", s.Busy, (180+20*5)*0.01/10, 0.05) // failed attempts are work as well
	})
}

// A record that takes longer than the time between looks keeps its task busy all the
// time, and nobody comes for those behind it.
func TestSignalsOfALongCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watchConsumer(t, takes(time.Hour), func(c *Consumer) { c.ConcurrentTasks = 2; c.Replicas.Max = 4; c.Timeout = 90 * time.Minute })
		w.fill(10, 4)
		w.look(time.Minute)
		for range 3 {
			s := w.look(time.Minute)
			exact(t, "throughput", s.Throughput, 0)
			exact(t, "backlog", s.Backlog, 10) // with those in the handler
			about(t, "busy", s.Busy, 1, 0.001)
			exact(t, "pulls", s.Pulls, 0)
			if s.Queueing < time.Minute {
				t.Errorf("queueing %v, though records have waited since the start", s.Queueing)
			}
		}
		s := w.look(58 * time.Minute)
		about(t, "busy when they came back", s.Busy, 1, 0.001)
		about(t, "throughput when they came back", s.Throughput, 2.0/(58*60), 0.001)
		exact(t, "backlog when they came back", s.Backlog, 8)
		w.stopped.Store(true) // what is left would take hours
		time.Sleep(2 * time.Hour)
	})
}

func TestSignalsBacklogNotKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watchConsumer(t, takes(time.Second), nil)
		time.Sleep(300 * time.Millisecond)
		w.fill(100, 4)
		w.look(10500 * time.Millisecond)
		mended := w.broker.Control(func(op memory.Op) error {
			if op.Kind == memory.OpBacklog {
				return errors.New("no answer")
			}
			return nil
		})
		time.Sleep(10 * time.Second)
		s, err := w.signals(time.Now())
		if err == nil || !math.IsNaN(s.Backlog) {
			t.Errorf("backlog %v, error %v", s.Backlog, err)
		}
		about(t, "throughput all the same", s.Throughput, 1, 0.1)
		mended()
		s = w.look(10 * time.Second)
		exact(t, "backlog when it is known again", s.Backlog, 70)
		if !math.IsNaN(s.PrevBacklog) {
			t.Errorf("backlog before: %v", s.PrevBacklog)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		w := watchConsumer(t, takes(time.Second), nil)
		w.fill(100, 4)
		open := w.spec.Source.Open
		v := watchConsumer(t, takes(time.Second), func(c *Consumer) {
			c.Source.Open = func(ctx context.Context, env *primitives.Env) (primitives.Reader, error) {
				r, err := open(ctx, env)
				return struct{ primitives.Reader }{r}, err // no Backlogger
			}
		})
		s := v.look(10 * time.Second)
		if !math.IsNaN(s.Backlog) || tells(v.reader) {
			t.Errorf("backlog %v of a source that does not tell", s.Backlog)
		}
	})
}

func tells(r primitives.Reader) bool { _, ok := r.(primitives.Backlogger); return ok }

// A source is asked at the moment of the decision, but not twice in a second.
func TestSignalsAskNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watchConsumer(t, takes(time.Hour), func(c *Consumer) { c.StallAfter = 10 * time.Hour })
		w.look(time.Second + 500*time.Millisecond) // the watcher looks every 5 s
		w.fill(3, 4)
		exact(t, "just asked", w.look(500*time.Millisecond).Backlog, 3)
		w.fill(3, 4)
		exact(t, "a second later", w.look(time.Second).Backlog, 6)
		w.stopped.Store(true)
		time.Sleep(2 * time.Hour)
	})
}

// In flight and done but not committed: each record counts once, until it is handled.
func TestSignalsBacklogCountsOnce(t *testing.T) {
	for name, change := range map[string]func(*Consumer){
		"each second":    func(c *Consumer) {},
		"each hour":      func(c *Consumer) { c.Commit.Every = time.Hour },
		"as it is read":  func(c *Consumer) { c.Commit.Mode = OnRead },
		"each record":    func(c *Consumer) { c.Commit.Mode, c.Order = EachRecord, ByPartition },
		"by partition":   func(c *Consumer) { c.Commit.Every, c.Order = time.Hour, ByPartition },
		"a small buffer": func(c *Consumer) { c.Commit.Every, c.Buffer.Records = time.Hour, 8 },
		"batches":        func(c *Consumer) { c.Commit.Every, c.Batch = time.Hour, Batch{Size: 1, Wait: time.Second} },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := watchConsumer(t, takes(time.Second), change)
				time.Sleep(300 * time.Millisecond) // no call ends when the watcher looks
				w.fill(40, 4)
				time.Sleep(500 * time.Millisecond)
				for done := range 40 {
					s := w.look(0)
					if got := w.stats.ok.Load(); got != int64(done) {
						t.Fatalf("%d are done, want %d", got, done)
					}
					exact(t, "backlog with "+strconv.Itoa(done)+" done", s.Backlog, float64(40-done))
					time.Sleep(time.Second)
				}
				exact(t, "backlog at the end", w.look(time.Second).Backlog, 0)
			})
		})
	}
	t.Run("queue", func(t *testing.T) {
		for _, mode := range []CommitMode{AtLeastOnce, OnRead} {
			synctest.Test(t, func(t *testing.T) {
				broker := memory.NewBroker()
				queue := memory.Queue[[]byte]{Broker: broker, Name: "in"}
				w := watchConsumer(t, takes(time.Second), func(c *Consumer) {
					c.Source.Open, c.Commit.Mode, c.Commit.Every, c.Buffer.Records = queue.OpenSource, mode, 7*time.Second, 20
				})
				sink, err := queue.OpenSink(t.Context(), &primitives.Env{Logger: w.log, Shared: &primitives.Shared{}})
				if err != nil {
					t.Fatal(err)
				}
				time.Sleep(300 * time.Millisecond)
				if err := w.writeAndWait(sink, make([]primitives.Record, 40)); err != nil {
					t.Fatal(err)
				}
				time.Sleep(500 * time.Millisecond)
				for done := range 40 {
					exact(t, mode.String()+": backlog with "+strconv.Itoa(done)+" done", w.look(0).Backlog, float64(40-done))
					time.Sleep(time.Second)
				}
				if err := sink.Close(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
	})
}

// Where a partition's records are handled in sequence, no more replicas find work than
// there are partitions with records.
func TestSignalsParallel(t *testing.T) {
	for _, tt := range []struct {
		name    string
		change  func(*Consumer)
		lanes   int
		records int
		want    int
	}{
		{"by partition", func(c *Consumer) { c.Order = ByPartition }, 3, 300, 3},
		{"by partition, 2 tasks", func(c *Consumer) { c.Order, c.ConcurrentTasks = ByPartition, 2 }, 3, 300, 2},
		{"by partition, nothing to do", func(c *Consumer) { c.Order = ByPartition }, 3, 0, 1},
		{"each record", func(c *Consumer) { c.Order, c.Commit.Mode = ByKey, EachRecord }, 4, 300, 4},
		{"by key", func(c *Consumer) { c.Order = ByKey }, 4, 300, 0},
		{"unordered", nil, 4, 300, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := watchConsumer(t, takes(time.Second), tt.change)
				if tt.records > 0 {
					w.fill(tt.records, tt.lanes)
				}
				if s := w.look(1500 * time.Millisecond); s.Parallel != tt.want {
					t.Errorf("parallel %d, want %d", s.Parallel, tt.want)
				}
			})
		})
	}
}

// No number of replicas works off what is paused.
func TestSignalsWithoutPausedPartitions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watchConsumer(t, takes(time.Second), func(c *Consumer) { c.Order = ByPartition })
		synctest.Wait()
		if err := w.pausePartitions(true, []primitives.Partition{{Topic: "in", ID: 1}, {Topic: "in", ID: 2}}); err != nil {
			t.Fatal(err)
		}
		w.fill(400, 4)
		s := w.look(10500 * time.Millisecond)
		exact(t, "backlog", s.Backlog, 190)
		exact(t, "parallel", float64(s.Parallel), 2)
	})
}

// used is a meter whose reading a test has made up.
type used struct{ cpu.Usage }

func (u used) Cores(string, time.Time) cpu.Usage { return u.Usage }

func TestSignalsCPU(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watchConsumer(t, takes(time.Second), nil)
		if s := w.look(time.Second); !math.IsNaN(s.CPU) {
			t.Errorf("without a meter: %v", s.CPU)
		}
		w.usage = used{cpu.Usage{Cores: 0.6, Source: cpu.Sampled}}
		exact(t, "one replica counted with half a CPU", w.look(10*time.Second).CPU, 120)
		if err := w.pool.Resize(3); err != nil {
			t.Fatal(err)
		}
		exact(t, "three of them", w.look(10*time.Second).CPU, 40)
		w.usage = used{cpu.Usage{Cores: math.NaN(), Source: cpu.Unknown}}
		if s := w.look(10 * time.Second); !math.IsNaN(s.CPU) {
			t.Errorf("a meter that does not know: %v", s.CPU)
		}
	})
}

func TestSignalsQueueing(t *testing.T) {
	for name, change := range map[string]func(*Consumer){
		"records": nil,
		"batches": func(c *Consumer) { c.Batch = Batch{Size: 5, Wait: time.Hour} },
		"streams": func(c *Consumer) { c.Streams = true },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := watchConsumer(t, takes(10*time.Millisecond), change)
				w.fill(5, 1)
				w.look(time.Minute)
				for range 100 { // one at a time: nobody waits
					w.fill(1, 1)
					time.Sleep(20 * time.Millisecond)
				}
				s := w.look(0)
				if name == "batches" {
					about(t, "fifth at a time", s.Queueing.Seconds(), 0.04, 0.3) // 80 ms to 0
				} else if s.Queueing > time.Millisecond {
					t.Errorf("one at a time: %v", s.Queueing)
				}
				w.fill(100, 1)
				s = w.look(10 * time.Second)
				want := 0.5 // half of 100 times 10 ms
				if name == "batches" {
					want = 0.1
				}
				about(t, "all at once", s.Queueing.Seconds(), want, 0.1)
			})
		})
	}
}
