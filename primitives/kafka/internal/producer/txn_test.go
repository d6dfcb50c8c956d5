package producer

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/flowkit-go/flow/primitives"
)

// onBoth runs a test on the cluster in this process, and on a real one if there is one.
func onBoth(t *testing.T, partitions int, f func(t *testing.T, addrs []string, topic string)) {
	t.Run("kfake", func(t *testing.T) {
		c := fake(t, kfake.NumBrokers(3))
		f(t, c.ListenAddrs(), createTopic(t, c.ListenAddrs(), partitions))
	})
	t.Run("kafka", func(t *testing.T) {
		addrs := real(t)
		f(t, addrs, createTopic(t, addrs, partitions))
	})
}

var committed = kgo.FetchIsolationLevel(kgo.ReadCommitted())

// readCommitted returns what readers of committed records see when no transaction
// is open any longer: the coordinator has still to say so to the partitions when
// it has answered a commit.
func readCommitted(t testing.TB, addrs []string, topic string) map[int32][]*kgo.Record {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(addrs...))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	adm := kadm.NewClient(cl)
	waitFor(t, "end of the transactions in "+topic, func() bool {
		ends, err := adm.ListEndOffsets(testContext(t), topic)
		stable, serr := adm.ListCommittedOffsets(testContext(t), topic)
		if errors.Join(err, serr, ends.Error(), stable.Error()) != nil {
			return false
		}
		same := true
		ends.Each(func(o kadm.ListedOffset) {
			s, _ := stable.Lookup(o.Topic, o.Partition)
			same = same && s.Offset == o.Offset
		})
		return same
	})
	return readAll(t, addrs, topic, committed)
}

func claim(t testing.TB, p *Producer, id string) *Transactional {
	t.Helper()
	x, err := p.Claim(testContext(t), id)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(x.Release)
	return x
}

func begin(t testing.TB, x *Transactional) *Txn {
	t.Helper()
	tx, err := x.Begin(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	return tx
}

func putIn(t testing.TB, tx *Txn, p *Producer, records ...primitives.Record) error {
	t.Helper()
	done := make(chan error, 2)
	tx.Write(testContext(t), p, records, func(err error) { done <- err })
	return <-done
}

// as is a member that stays who it is.
func as(m Member) func() (Member, error) { return func() (Member, error) { return m, nil } }

func numbered(key string, from, to int) []primitives.Record {
	var out []primitives.Record
	for n := from; n < to; n++ {
		out = append(out, record(key, n))
	}
	return out
}

func TestTransactionCommitAndAbort(t *testing.T) {
	onBoth(t, 4, func(t *testing.T, addrs []string, topic string) {
		ctx := testContext(t)
		other := createTopic(t, addrs, 2)
		cl := client(t, addrs)
		p := open(t, cl, Config{Topic: topic})
		q := open(t, cl, Config{Topic: other})
		x := claim(t, p, "commit-"+topic)
		for round := range 5 {
			tx := begin(t, x)
			if round%2 == 1 {
				if err := errors.Join(putIn(t, tx, p, record("never", round)), tx.Abort(ctx)); err != nil {
					t.Fatal(err)
				}
				continue
			}
			n := round / 2
			if err := errors.Join(putIn(t, tx, p, numbered("a", 10*n, 10*n+10)...), putIn(t, tx, q, record("b", n), record("c", n))); err != nil {
				t.Fatal(err)
			}
			if n == 0 {
				if got := all(readAll(t, addrs, topic, committed)); len(got) > 0 {
					t.Fatalf("%d records are seen before the commit", len(got))
				}
			}
			if err := tx.Commit(ctx, nil, nil); err != nil {
				t.Fatal(err)
			}
		}
		checkNumbered(t, readCommitted(t, addrs, topic), map[string]int{"a": 30, "never": 0})
		checkNumbered(t, readCommitted(t, addrs, other), map[string]int{"b": 3, "c": 3})
	})
}

func TestTransactionWithOffsets(t *testing.T) {
	onBoth(t, 2, func(t *testing.T, addrs []string, topic string) {
		ctx := testContext(t)
		p := open(t, client(t, addrs), Config{Topic: topic})
		x := claim(t, p, "offsets-"+topic)
		group := "group-" + topic
		from := primitives.Partition{Topic: topic, ID: 1}
		m := Member{Group: group, Generation: -1}
		offset := func() int64 {
			t.Helper()
			cl, err := kgo.NewClient(kgo.SeedBrokers(addrs...))
			if err != nil {
				t.Fatal(err)
			}
			defer cl.Close()
			os, err := kadm.NewClient(cl).FetchOffsets(ctx, group)
			if err != nil {
				t.Fatal(err)
			}
			if o, ok := os.Lookup(topic, 1); ok {
				return o.At
			}
			return -1
		}

		tx := begin(t, x)
		if err := errors.Join(putIn(t, tx, p, record("a", 0)), tx.Commit(ctx, as(m), []Offset{{from, 7}})); err != nil {
			t.Fatal(err)
		}
		waitFor(t, "committed offset 7", func() bool { return offset() == 7 })

		tx = begin(t, x) // progress without outputs
		if err := tx.Commit(ctx, as(m), []Offset{{from, 9}}); err != nil {
			t.Fatal(err)
		}
		waitFor(t, "committed offset 9", func() bool { return offset() == 9 })

		tx = begin(t, x) // a member that the group does not know
		if err := putIn(t, tx, p, record("a", 99)); err != nil {
			t.Fatal(err)
		}
		err := tx.Commit(ctx, as(Member{Group: group, ID: "stranger", Generation: 5}), []Offset{{from, 11}})
		if !errors.Is(err, primitives.ErrLost) {
			t.Errorf("commit of a stranger: %v, want ErrLost", err)
		}
		if got := offset(); got != 9 {
			t.Errorf("committed offset is %d, want 9", got)
		}
		checkNumbered(t, readCommitted(t, addrs, topic), map[string]int{"a": 1})
	})
}

func TestTransactionFencing(t *testing.T) {
	onBoth(t, 2, func(t *testing.T, addrs []string, topic string) {
		ctx := testContext(t)
		p1 := open(t, client(t, addrs), Config{Topic: topic})
		p2 := open(t, client(t, addrs), Config{Topic: topic})
		id := "fence-" + topic

		x1 := claim(t, p1, id)
		tx1 := begin(t, x1)
		if err := putIn(t, tx1, p1, record("old", 0)); err != nil {
			t.Fatal(err)
		}
		x2 := claim(t, p2, id)
		tx2 := begin(t, x2)
		if err := putIn(t, tx2, p2, record("new", 0)); err != nil {
			t.Fatal(err)
		}
		// kfake answers with an invalid state where Kafka speaks of the epoch.
		if err := putIn(t, tx1, p1, record("old", 1)); err == nil {
			t.Error("the fenced one has written")
		}
		if err := tx1.Commit(ctx, nil, nil); !errors.Is(err, primitives.ErrLost) {
			t.Errorf("commit of the fenced one: %v, want ErrLost", err)
		}
		if _, err := x1.Begin(ctx); !errors.Is(err, primitives.ErrLost) {
			t.Errorf("begin of the fenced one: %v, want ErrLost", err)
		}
		if err := tx2.Commit(ctx, nil, nil); err != nil {
			t.Fatal(err)
		}
		checkNumbered(t, readCommitted(t, addrs, topic), map[string]int{"new": 1, "old": 0})

		// Once more, fenced only when it commits, and by a claim of the same producer.
		tx2 = begin(t, x2)
		if err := putIn(t, tx2, p2, record("new", 7)); err != nil {
			t.Fatal(err)
		}
		x3 := claim(t, p1, id)
		if err := tx2.Commit(ctx, nil, nil); !errors.Is(err, primitives.ErrLost) {
			t.Errorf("commit of the fenced one: %v, want ErrLost", err)
		}
		x4 := claim(t, p1, id)
		if _, err := x3.Begin(ctx); !errors.Is(err, primitives.ErrLost) {
			t.Errorf("begin after another claim: %v, want ErrLost", err)
		}
		tx4 := begin(t, x4)
		if err := errors.Join(putIn(t, tx4, p1, record("new", 1)), tx4.Commit(ctx, nil, nil)); err != nil {
			t.Fatal(err)
		}
		checkNumbered(t, readCommitted(t, addrs, topic), map[string]int{"new": 2})
	})
}

// A transaction that the broker has ended because of its timeout is lost, and
// the id can be claimed again.
func TestTransactionTimeout(t *testing.T) {
	onBoth(t, 1, func(t *testing.T, addrs []string, topic string) {
		ctx := testContext(t)
		p := open(t, client(t, addrs), Config{Topic: topic, TransactionTimeout: 500 * time.Millisecond})
		x := claim(t, p, "slow-"+topic)
		tx := begin(t, x)
		if err := putIn(t, tx, p, record("late", 0)); err != nil {
			t.Fatal(err)
		}
		waitFor(t, "the broker's abort", func() bool {
			cl, err := kgo.NewClient(kgo.SeedBrokers(addrs...))
			if err != nil {
				t.Fatal(err)
			}
			defer cl.Close()
			d, err := kadm.NewClient(cl).DescribeTransactions(ctx, "slow-"+topic)
			return err == nil && !strings.Contains(fmt.Sprint(d), "Ongoing") && !strings.Contains(fmt.Sprint(d), "Prepare")
		})
		if err := tx.Commit(ctx, nil, nil); !errors.Is(err, primitives.ErrLost) {
			t.Fatalf("commit: %v, want ErrLost", err)
		}
		x = claim(t, p, "slow-"+topic)
		tx = begin(t, x)
		if err := errors.Join(putIn(t, tx, p, record("a", 0)), tx.Commit(ctx, nil, nil)); err != nil {
			t.Fatal(err)
		}
		checkNumbered(t, readCommitted(t, addrs, topic), map[string]int{"a": 1, "late": 0})
	})
}

// Many ids on one producer, each with its own partition of a source.
func TestTransactionsSideBySide(t *testing.T) {
	onBoth(t, 6, func(t *testing.T, addrs []string, topic string) {
		ctx := testContext(t)
		p := open(t, client(t, addrs), Config{Topic: topic})
		want := map[string]int{}
		var wg sync.WaitGroup
		for i := range 12 {
			x := claim(t, p, fmt.Sprintf("side-%s-%d", topic, i))
			key := fmt.Sprintf("k%d", i)
			want[key] = 60
			wg.Go(func() {
				for n := 0; n < 60; n += 10 {
					tx := begin(t, x)
					var g group
					g.write(ctx, txnWriter{tx, p}, numbered(key, n, n+5))
					g.write(ctx, txnWriter{tx, p}, numbered(key, n+5, n+10))
					if err := errors.Join(g.wait(), tx.Commit(ctx, nil, nil)); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
		checkNumbered(t, readCommitted(t, addrs, topic), want)
	})
}

// txnWriter lets group write in a transaction.
type txnWriter struct {
	tx *Txn
	p  *Producer
}

func (w txnWriter) Write(ctx context.Context, b []primitives.Record, done func(error)) {
	w.tx.Write(ctx, w.p, b, done)
}
func (w txnWriter) Close(context.Context) error { return nil }

// Whatever a coordinator or a leader answers that may pass, the transaction is
// committed once.
func TestTransactionRetries(t *testing.T) {
	for _, tc := range []struct {
		key kmsg.Key
		err *kerr.Error
	}{
		{kmsg.InitProducerID, kerr.ConcurrentTransactions},
		{kmsg.InitProducerID, kerr.CoordinatorLoadInProgress},
		{kmsg.AddPartitionsToTxn, kerr.ConcurrentTransactions},
		{kmsg.AddPartitionsToTxn, kerr.NotCoordinator},
		{kmsg.Produce, kerr.NotLeaderForPartition},
		{kmsg.Produce, kerr.RequestTimedOut},
		{kmsg.AddOffsetsToTxn, kerr.CoordinatorNotAvailable},
		{kmsg.TxnOffsetCommit, kerr.CoordinatorLoadInProgress},
		{kmsg.TxnOffsetCommit, kerr.NotCoordinator},
		{kmsg.EndTxn, kerr.ConcurrentTransactions},
		{kmsg.EndTxn, kerr.NotCoordinator},
	} {
		t.Run(tc.key.Name()+" "+tc.err.Message, func(t *testing.T) {
			c := fake(t, kfake.NumBrokers(2), kfake.SeedTopics(2, "orders"))
			p := open(t, client(t, c.ListenAddrs()), Config{Topic: "orders"})
			fault := c.Fault(kfake.Fault{Keys: []kmsg.Key{tc.key}, Err: tc.err, Count: 3, TopLevel: tc.key == kmsg.EndTxn || tc.key == kmsg.InitProducerID || tc.key == kmsg.AddOffsetsToTxn})
			commitOne(t, c, p)
			if fault.Hits() != 3 {
				t.Errorf("the fault was hit %d times, want 3", fault.Hits())
			}
		})
	}
}

// commitOne commits a transaction and checks what is seen.
func commitOne(t *testing.T, c *kfake.Cluster, p *Producer) {
	t.Helper()
	ctx := testContext(t)
	x := claim(t, p, "one")
	tx := begin(t, x)
	if err := putIn(t, tx, p, numbered("a", 0, 20)...); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(ctx, as(Member{Group: "g", Generation: -1}), []Offset{{primitives.Partition{Topic: "orders"}, 3}}); err != nil {
		t.Fatal(err)
	}
	checkNumbered(t, readCommitted(t, c.ListenAddrs(), "orders"), map[string]int{"a": 20})
}

// A connection that breaks after the request was carried out, or before.
func TestTransactionBrokenConnections(t *testing.T) {
	for _, key := range []kmsg.Key{kmsg.InitProducerID, kmsg.AddPartitionsToTxn, kmsg.Produce, kmsg.AddOffsetsToTxn, kmsg.TxnOffsetCommit, kmsg.EndTxn} {
		t.Run(key.Name(), func(t *testing.T) {
			c := fake(t, kfake.NumBrokers(2), kfake.SeedTopics(2, "orders"))
			p := open(t, client(t, c.ListenAddrs()), Config{Topic: "orders"})
			left := 2
			c.ControlKey(int16(key), func(kmsg.Request) (kmsg.Response, error, bool) {
				c.KeepControl()
				if left == 0 {
					return nil, nil, false
				}
				left--
				return nil, errors.New("broken"), true
			})
			commitOne(t, c, p)
			if left != 0 {
				t.Errorf("%d connections were not broken", left)
			}
		})
	}
}

// A batch that can't be confirmed makes the transaction void, and what is written
// in the next one is not mixed up with it.
func TestTransactionWithFailedWrite(t *testing.T) {
	ctx := testContext(t)
	c := fake(t, kfake.SeedTopics(1, "orders"))
	p := open(t, client(t, c.ListenAddrs()), Config{Topic: "orders", Timeout: time.Second})
	x := claim(t, p, "failing")
	fault := c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.RequestTimedOut, Count: -1})
	tx := begin(t, x)
	if err := putIn(t, tx, p, record("void", 0)); err == nil {
		t.Fatal("a write that is never confirmed has succeeded")
	}
	fault.Remove()
	if err := tx.Commit(ctx, nil, nil); err == nil {
		t.Fatal("a transaction with a failed write was committed")
	}
	tx = begin(t, x)
	if err := errors.Join(putIn(t, tx, p, record("a", 0)), tx.Commit(ctx, nil, nil)); err != nil {
		t.Fatal(err)
	}
	checkNumbered(t, readCommitted(t, c.ListenAddrs(), "orders"), map[string]int{"a": 1, "void": 0})
}

// No answer to the last request: the transaction is in doubt, and the next one
// finds out what became of it.
func TestTransactionInDoubt(t *testing.T) {
	ctx := testContext(t)
	c := fake(t, kfake.SeedTopics(1, "orders"))
	p := open(t, client(t, c.ListenAddrs()), Config{Topic: "orders"})
	x := claim(t, p, "doubt")
	tx := begin(t, x)
	if err := putIn(t, tx, p, record("void", 0)); err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithCancel(ctx)
	defer cancel()
	c.ControlKey(int16(kmsg.EndTxn), func(kmsg.Request) (kmsg.Response, error, bool) {
		cancel()
		return nil, nil, true // no answer
	})
	if err := tx.Commit(short, nil, nil); !errors.Is(err, primitives.ErrInDoubt) {
		t.Fatalf("commit: %v, want ErrInDoubt", err)
	}
	tx = begin(t, x)
	if err := errors.Join(putIn(t, tx, p, record("a", 0)), tx.Commit(ctx, nil, nil)); err != nil {
		t.Fatal(err)
	}
	checkNumbered(t, readCommitted(t, c.ListenAddrs(), "orders"), map[string]int{"a": 1, "void": 0})
}

// An abort while batches wait and are under way ends each of them once.
func TestTransactionAbortUnderWay(t *testing.T) {
	ctx := testContext(t)
	c := fake(t, kfake.SeedTopics(3, "orders"))
	p := open(t, client(t, c.ListenAddrs()), Config{Topic: "orders"})
	x := claim(t, p, "abort")
	for round := range 20 {
		tx := begin(t, x)
		var g group
		for i := range 30 {
			g.write(ctx, txnWriter{tx, p}, []primitives.Record{record(fmt.Sprint(i), round)})
		}
		if err := tx.Abort(ctx); err != nil {
			t.Fatal(err)
		}
		_ = g.wait()
	}
	tx := begin(t, x)
	if err := errors.Join(putIn(t, tx, p, numbered("a", 0, 5)...), tx.Commit(ctx, nil, nil)); err != nil {
		t.Fatal(err)
	}
	got := readCommitted(t, c.ListenAddrs(), "orders")
	checkNumbered(t, got, map[string]int{"a": 5})
	if diff := cmp.Diff(5, len(all(got))); diff != "" {
		t.Error(diff)
	}
	if err := tx.Abort(ctx); err == nil {
		t.Error("a transaction that has ended was aborted")
	}
}
