package flow_test

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/flowkit-go/flow"
	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/primitives/kafka"
)

// kafkaChildVar says what the binary is to do as a process of a test.
const kafkaChildVar = "FLOW_TEST_KAFKA_CHILD"

// A kafkaChild is the flow that a process runs: a copy of "in" to "out". It prints the
// number of each record when its handler starts (+), when it ends (-), and when it is
// told that the partition was lost (!); and its warnings (#).
type kafkaChild struct {
	Brokers []string
	Prefix  string        // of the rig
	Mode    string        // "", lossy, once
	Tasks   int           // more than one: in no order
	Every   time.Duration // between commits
	Records int           // between commits
	Buffer  int
	Takes   time.Duration // the handler, at most
	Hold    int           // records from here on never end, when it is not 0

	Transaction, Session time.Duration // their timeouts; 0: those of the rig
	Late                 int           // this record ends only when it was cancelled, with a result (its negative), when it is not 0
}

func runKafkaChild(config string) error {
	var c kafkaChild
	if err := json.Unmarshal([]byte(config), &c); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	options := []flow.ConsumerOption{flow.CommitEvery(c.Every, c.Records), flow.ConcurrentTasks(c.Tasks)}
	if c.Tasks > 1 {
		options = append(options, flow.Ordered(flow.Unordered))
	}
	switch c.Mode {
	case "lossy":
		options = append(options, flow.LossyCommitOnRead(c.Every))
	case "once":
		options = append(options, flow.ExactlyOnce())
	}
	if c.Buffer > 0 {
		options = append(options, flow.Buffer(c.Buffer, 1<<20))
	}
	app := flow.New("test", flow.AdminAddr("off"), flow.Logger(slog.New(aloud{})))
	k := kafkaRig{cluster: kafka.Cluster{Brokers: c.Brokers}, prefix: c.Prefix}
	in, out := k.in(), k.out()
	in.SessionTimeout, out.TransactionTimeout = cmp.Or(c.Session, in.SessionTimeout), c.Transaction
	flow.Consumer(app, "p", in, out, func(ctx context.Context, v int) (int, error) {
		fmt.Fprintf(os.Stdout, "+%d\n", v) // one write each, so that a kill loses no line
		if c.Takes > 0 {
			<-time.After(rand.N(c.Takes))
		}
		if c.Hold > 0 && v >= c.Hold {
			<-ctx.Done()
			return v, ctx.Err()
		}
		if c.Late > 0 && v == c.Late {
			<-ctx.Done()
			if errors.Is(context.Cause(ctx), primitives.ErrLost) {
				fmt.Fprintf(os.Stdout, "!%d\n", v)
			}
			return -v, nil
		}
		fmt.Fprintf(os.Stdout, "-%d\n", v)
		return v, nil
	}, options...)
	return app.Run(ctx)
}

// aloud prints warnings and errors.
type aloud struct{}

func (aloud) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelWarn }

func (aloud) Handle(_ context.Context, r slog.Record) error {
	_, err := fmt.Fprintf(os.Stdout, "#%q\n", r.Message)
	return err
}
func (aloud) WithAttrs([]slog.Attr) slog.Handler { return aloud{} }
func (aloud) WithGroup(string) slog.Handler      { return aloud{} }

// child is one such process.
type child struct {
	k                    *kafkaRig
	cmd                  *exec.Cmd
	started, ended, lost seen[int]
	warned               seen[string]
	over                 chan error
}

// spawn starts a process; it is killed at the end of the test.
func (k *kafkaRig) spawn(c kafkaChild) *child {
	k.t.Helper()
	c.Brokers, c.Prefix, c.Tasks = k.cluster.Brokers, k.prefix, max(c.Tasks, 1)
	config, err := json.Marshal(c)
	if err != nil {
		k.t.Fatal(err)
	}
	p := &child{k: k, cmd: exec.Command(os.Args[0]), over: make(chan error, 1)}
	p.cmd.Env = append(os.Environ(), kafkaChildVar+"="+string(config))
	p.cmd.Stderr = os.Stderr
	out, err := p.cmd.StdoutPipe()
	if err == nil {
		err = p.cmd.Start()
	}
	if err != nil {
		k.t.Fatal(err)
	}
	go func() {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			text := lines.Text()
			if text[0] == '#' {
				p.warned.add(text[1:])
			} else if n, err := strconv.Atoi(text[1:]); err != nil {
				k.t.Errorf("the process has said %q", text)
			} else if text[0] == '+' {
				p.started.add(n)
			} else if text[0] == '!' {
				p.lost.add(n)
			} else {
				p.ended.add(n)
			}
		}
		p.over <- p.cmd.Wait()
	}()
	k.t.Cleanup(func() {
		if p.over != nil {
			p.kill()
		}
	})
	return p
}

// kill ends the process with SIGKILL. All that it has said is known then.
func (p *child) kill() {
	p.k.t.Helper()
	p.signal("KILL")
	<-p.over
	p.over = nil
}

// stop ends it with SIGTERM; it must end well.
func (p *child) stop() {
	p.k.t.Helper()
	p.signal("TERM")
	if err := <-p.over; err != nil {
		p.k.t.Errorf("the process ended with %v", err)
	}
	p.over = nil
}

// signal sends a signal by its name: not all systems have a number for each.
func (p *child) signal(name string) {
	p.k.t.Helper()
	if out, err := exec.Command("kill", "-"+name, strconv.Itoa(p.cmd.Process.Pid)).CombinedOutput(); err != nil {
		p.k.t.Errorf("kill -%s: %v: %s", name, err, out)
	}
}

func (p *child) handled(n int) {
	p.k.t.Helper()
	p.k.until(fmt.Sprintf("%d records are handled", n), func() bool { return p.ended.len() >= n })
}

// A process is killed: the next one begins with what is committed, and no offset is
// left out.
func TestDelivery_003_kafka_kill_9(t *testing.T) {
	for _, tc := range []struct {
		name   string
		policy kafkaChild
		least  int64
	}{
		{"before the first commit", kafkaChild{Every: time.Hour}, -1},
		{"between two commits", kafkaChild{Records: 20}, 20},
	} {
		t.Run(tc.name, func(t *testing.T) {
			onKafka(t, func(t *testing.T, k *kafkaRig) {
				const n, until = 80, 50
				k.create(1, "in", "out")
				k.fill(0, 0, n)
				tc.policy.Hold = until
				first := k.spawn(tc.policy)
				first.handled(until)
				k.until("what is due is committed", func() bool { return k.committed(0) >= tc.least })
				first.kill()
				c := k.committed(0)
				if c > until || tc.least < 0 && c >= 0 {
					t.Errorf("%d are committed, %d were handled", c, until)
				}
				second := k.spawn(kafkaChild{Every: time.Second})
				second.handled(n - int(max(c, 0)))
				second.stop()
				equal(t, "handled after the kill", second.ended.all(), numbers(int(max(c, 0)), n))
				if again := until - int(max(c, 0)); again > until {
					t.Errorf("%d are handled again, want %d at most", again, until)
				}
			})
		})
	}
}

// Commit on read loses what was read and not handled, at most the buffer and what is in
// a handler.
func TestDelivery_021_kafka_kill_9(t *testing.T) {
	onKafka(t, func(t *testing.T, k *kafkaRig) {
		const n, buffer, tasks, hold = 300, 64, 2, 100
		k.create(1, "in", "out")
		k.fill(0, 0, n)
		first := k.spawn(kafkaChild{Mode: "lossy", Every: 50 * time.Millisecond, Buffer: buffer, Tasks: tasks, Takes: 2 * time.Millisecond, Hold: hold})
		first.handled(hold)
		k.until("what was read is committed", func() bool { return k.committed(0) > hold+tasks })
		first.kill()
		c := k.committed(0)
		second := k.spawn(kafkaChild{Mode: "lossy", Every: 50 * time.Millisecond, Tasks: tasks})
		second.handled(n - int(c))
		second.stop()
		lost := n - len(unique(append(first.ended.all(), second.ended.all()...)))
		if lost == 0 || lost > buffer+tasks {
			t.Errorf("%d records are lost with %d committed and %d handled, want some and at most the buffer of %d and %d in a handler",
				lost, c, first.ended.len(), buffer, tasks)
		}
	})
}

// A process that handles many at a time is killed before its first commit.
func TestDelivery_023_kafka_kill_9(t *testing.T) {
	onKafka(t, func(t *testing.T, k *kafkaRig) {
		const n, kill = 200, 60
		k.create(2, "in")
		k.create(1, "out")
		k.fill(0, 0, n/2)
		k.fill(1, 0, n/2)
		first := k.spawn(kafkaChild{Every: time.Hour, Tasks: 16, Takes: 20 * time.Millisecond})
		first.handled(kill)
		first.kill()
		equal(t, "committed", []int64{k.committed(0), k.committed(1)}, []int64{-1, -1})
		second := k.spawn(kafkaChild{Every: time.Second, Tasks: 16})
		second.handled(n)
		second.stop()
		equal(t, "handled by the second", len(unique(second.ended.all())), n)
		again := first.ended.len() + second.ended.len() - n
		if again > first.ended.len() {
			t.Errorf("%d are handled again, more than the %d of the first process", again, first.ended.len())
		}
	})
}

// Fifty records are in a handler when the process is killed: none is lost, and what is
// committed is never above the first that was not handled.
func TestDelivery_125_kafka_kill_9(t *testing.T) {
	onKafka(t, func(t *testing.T, k *kafkaRig) {
		const partitions, n, tasks = 2, 400, 50
		k.create(partitions, "in")
		k.create(1, "out")
		handled := map[int]bool{}
		for p := range int32(partitions) {
			k.fill(p, 0, n)
		}
		for range 2 {
			p := k.spawn(kafkaChild{Every: 10 * time.Millisecond, Tasks: tasks, Takes: 30 * time.Millisecond})
			p.handled(150)
			p.kill()
			for _, v := range p.ended.all() {
				handled[v] = true
			}
			if flight := p.started.len() - p.ended.len(); flight < tasks/2 {
				t.Errorf("only %d records were in a handler when the process was killed", flight)
			}
			for i := range int32(partitions) {
				for o := range max(int(k.committed(i)), 0) {
					if v := int(i)*1000 + o; !handled[v] {
						t.Errorf("partition %d is committed up to %d, %d was not handled", i, k.committed(i), v)
					}
				}
			}
		}
		if k.committed(0)+k.committed(1) <= 0 {
			t.Error("nothing was committed")
		}
		last := k.spawn(kafkaChild{Every: time.Second, Tasks: tasks})
		k.settled(n, n)
		last.stop()
		for _, v := range last.ended.all() {
			handled[v] = true
		}
		equal(t, "handled in all", len(handled), partitions*n)
		equal(t, "written in all", len(unique(k.values("out"))), partitions*n)
	})
}

// A process is frozen within a transaction, so long that the broker ends that and the
// group gives its partitions to another one. When it goes on it writes nothing of what it had, and works on.
func TestDelivery_128_kafka_frozen(t *testing.T) {
	onKafka(t, func(t *testing.T, k *kafkaRig) {
		k.create(2, "in")
		k.create(1, "out")
		k.fill(0, 0, 5)
		k.fill(1, 0, 5)
		a := k.spawn(kafkaChild{Mode: "once", Every: 2 * time.Second, Transaction: 3 * time.Second})
		k.until("ten are written", func() bool { return k.stored("out") >= 10 })
		k.settled(5, 5)
		k.fill(0, 5, 10)
		k.until("five more are written", func() bool { return k.stored("out") >= 15 })
		a.signal("STOP")
		k.until("the broker has ended its transaction", func() bool { return len(k.ongoing()) == 0 })
		b := k.launch(2, k.once(unchanged, flow.CommitEvery(100*time.Millisecond, 0))) // when the session of a is over
		k.fill(1, 5, 10)
		k.settled(10, 10)
		k.seen(numbers(0, 10), numbers(1000, 1010))
		stored := k.stored("out")
		a.signal("CONT")
		k.until("it is a member again", func() bool { return len(b.processor().Lanes) == 1 })
		equal(t, "written after it went on", k.stored("out")-stored, 0)
		k.seen(numbers(0, 10), numbers(1000, 1010))
		k.fill(0, 10, 15)
		k.fill(1, 10, 15)
		k.settled(15, 15)
		a.stop()
		b.stopped()
		k.seen(numbers(0, 15), numbers(1000, 1015))
		if n := a.ended.len(); n <= 15 {
			t.Errorf("the process that was frozen has handled %d records, want more after it went on", n)
		}
	})
}

// The same where the frozen process stays in its group: somebody else has taken the id of
// one partition over. That one is fenced and begun anew; nothing of its transaction is
// seen, and the other partition goes on without a gap or a repetition.
func TestDelivery_128_kafka_frozen_one_partition(t *testing.T) {
	onKafka(t, func(t *testing.T, k *kafkaRig) {
		k.create(2, "in")
		k.create(1, "out")
		a := k.spawn(kafkaChild{Mode: "once", Every: 2 * time.Second, Transaction: 3 * time.Second, Session: time.Minute})
		k.fill(1, 0, 5)
		k.settled(-1, 5)
		k.fill(0, 0, 5)
		k.until("five more are written", func() bool { return k.stored("out") == 10 })
		a.signal("STOP") // long before the next commit
		equal(t, "committed", k.committed(0), -1)
		k.until("the broker has ended its transaction", func() bool { return len(k.ongoing()) == 0 })
		b, err := kgo.NewClient(kgo.SeedBrokers(k.cluster.Brokers...), kgo.TransactionalID(k.id(0)))
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		if _, _, err := b.ProducerID(k.context()); err != nil {
			t.Fatal(err)
		}
		k.seen(numbers(1000, 1005))
		k.fill(1, 5, 10)
		a.signal("CONT")
		k.settled(5, 10) // the fenced partition too, as the group has it so
		a.stop()
		k.seen(numbers(0, 5), numbers(1000, 1010))
		times := map[int]int{}
		for _, v := range a.started.all() {
			times[v/1000]++
		}
		equal(t, "handled, by partition", times, map[int]int{0: 10, 1: 10})
	})
}

// A process is frozen while it handles a record, so long that its session is over and
// another one has the partition. When it goes on it has lost the partition, in contrast to
// giving it back: the handler is told, its result is dropped, nothing is committed.
func TestDelivery_095_kafka_frozen(t *testing.T) {
	onKafka(t, func(t *testing.T, k *kafkaRig) {
		k.create(2, "in")
		k.create(1, "out")
		k.fill(0, 0, 3)
		k.fill(1, 0, 3)
		a := k.spawn(kafkaChild{Every: 20 * time.Millisecond, Late: 3})
		k.settled(3, 3)
		k.fill(0, 3, 6)
		k.until("the record is in the handler", func() bool { return slices.Contains(a.started.all(), 3) })
		a.signal("STOP")
		b := k.launch(2, k.copy(unchanged)) // when the session of a is over
		k.settled(6, 3)
		a.signal("CONT") // there is nothing that it could read before it knows
		k.until("the handler knows that the partition is lost", func() bool { return a.lost.len() > 0 })
		k.until("it is a member again", func() bool { return len(b.processor().Lanes) == 1 })
		equal(t, "committed", []int64{k.committed(0), k.committed(1)}, []int64{6, 3})
		k.fill(0, 6, 12)
		k.fill(1, 3, 9)
		k.settled(12, 9)
		a.stop()
		b.stopped()
		equal(t, "lost in the handler", a.lost.all(), []int{3})
		if a.ended.len() < 12 {
			t.Errorf("the process has handled %d records, want six more after it went on", a.ended.len()-6)
		}
		for _, said := range a.warned.all() {
			if strings.Contains(said, "commit") {
				t.Errorf("the process that had lost its partitions has tried to commit: %s", said)
			}
		}
		equal(t, "it knows why", slices.Contains(a.warned.all(), `"membership lost"`), true)
		k.seen(numbers(0, 12), numbers(1000, 1009))
	})
}
