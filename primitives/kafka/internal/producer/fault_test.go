package producer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/flowkit-go/flow/primitives"
)

// Every answer that may pass: nothing is lost, reordered or there twice.
func TestRetriableAnswers(t *testing.T) {
	for _, err := range []*kerr.Error{
		kerr.NotLeaderForPartition, kerr.LeaderNotAvailable, kerr.UnknownTopicOrPartition, kerr.ReplicaNotAvailable,
		kerr.BrokerNotAvailable, kerr.NetworkException, kerr.KafkaStorageError, kerr.NotEnoughReplicas,
		kerr.NotEnoughReplicasAfterAppend, kerr.RequestTimedOut, kerr.CorruptMessage, kerr.ThrottlingQuotaExceeded,
		kerr.FencedLeaderEpoch, kerr.UnknownLeaderEpoch, kerr.UnknownServerError,
	} {
		t.Run(err.Message, func(t *testing.T) {
			c := fake(t, kfake.NumBrokers(2), kfake.SeedTopics(3, "orders"))
			p := open(t, client(t, c.ListenAddrs()), Config{Topic: "orders"})
			f := c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: "orders", Err: err, Count: 4})
			want := writeMany(t, p, 3, 30, 10)
			checkNumbered(t, readAll(t, c.ListenAddrs(), "orders"), want)
			if f.Hits() != 4 {
				t.Errorf("the fault was hit %d times, want 4", f.Hits())
			}
		})
	}
}

// Answers that trying again can't change end the batch at once, and what comes
// after it goes on.
func TestFinalAnswers(t *testing.T) {
	for _, tc := range []struct {
		err       *kerr.Error
		permanent bool
	}{
		{kerr.TopicAuthorizationFailed, false},
		{kerr.PolicyViolation, false},
		{kerr.UnsupportedForMessageFormat, false},
		{kerr.InvalidRecord, true},
		{kerr.InvalidTimestamp, true},
		{kerr.MessageTooLarge, true},
	} {
		t.Run(tc.err.Message, func(t *testing.T) {
			c := fake(t, kfake.SeedTopics(1, "orders"))
			p := open(t, client(t, c.ListenAddrs()), Config{Topic: "orders"})
			if err := put(t, p, record("a", 0)); err != nil {
				t.Fatal(err)
			}
			c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: "orders", Err: tc.err})
			err := put(t, p, record("a", 99))
			if err == nil || !strings.Contains(err.Error(), "orders/0") {
				t.Fatalf("error is %v, want one that names orders/0", err)
			}
			var be *primitives.BatchError
			if got := errors.As(err, &be) && primitives.IsPermanent(be.Failed[0].Err); got != tc.permanent {
				t.Errorf("permanent is %t, want %t: %v", got, tc.permanent, err)
			}
			if err := put(t, p, numbered("a", 1, 10)...); err != nil {
				t.Fatal(err)
			}
			checkNumbered(t, readAll(t, c.ListenAddrs(), "orders"), map[string]int{"a": 10})
		})
	}
}

// The broker has lost the sequence: with nothing in doubt the producer goes on
// under the next epoch, and its caller notices nothing.
func TestLostSequence(t *testing.T) {
	for _, err := range []*kerr.Error{kerr.OutOfOrderSequenceNumber, kerr.UnknownProducerID, kerr.InvalidProducerEpoch} {
		t.Run(err.Message, func(t *testing.T) {
			c := fake(t, kfake.NumBrokers(2), kfake.SeedTopics(3, "orders"))
			p := open(t, client(t, c.ListenAddrs()), Config{Topic: "orders"})
			c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: "orders", Err: err, Count: 5})
			want := writeMany(t, p, 3, 40, 10)
			checkNumbered(t, readAll(t, c.ListenAddrs(), "orders"), want)
			if n := epochs(p); n == 0 {
				t.Error("the epoch was never raised")
			}
		})
	}
}

// epochs is how often the producer has raised an epoch.
func epochs(p *Producer) int {
	p.e.mu.Lock()
	defer p.e.mu.Unlock()
	return int(p.s.id.epoch)
}

// A batch that may be stored when the sequence is lost is reported, not sent
// under another epoch.
func TestLostSequenceInDoubt(t *testing.T) {
	c := fake(t, kfake.SeedTopics(1, "orders"))
	p := open(t, client(t, c.ListenAddrs()), Config{Topic: "orders"})
	if err := put(t, p, record("a", 0)); err != nil {
		t.Fatal(err)
	}
	c.Fault(
		kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: "orders", Err: kerr.RequestTimedOut}, // it is stored
		kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: "orders", Err: kerr.OutOfOrderSequenceNumber},
	)
	err := put(t, p, record("a", 1))
	if err == nil || primitives.IsPermanent(err) || !strings.Contains(err.Error(), "may be stored") {
		t.Fatalf("error is %v, want one that says that it may be stored", err)
	}
	if err := put(t, p, record("a", 2)); err != nil {
		t.Fatal(err)
	}
	checkNumbered(t, readAll(t, c.ListenAddrs(), "orders"), map[string]int{"a": 3})
}

// Each record of a batch fails for its own partition's reason: that one partition
// has refused its record does not hide that another's may be stored.
func TestFailedForDifferentReasons(t *testing.T) {
	c := fake(t, kfake.SeedTopics(2, "orders"))
	p := open(t, client(t, c.ListenAddrs()), Config{Topic: "orders"})
	fault := func(part int32, err *kerr.Error) kfake.Fault {
		return kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: "orders", Partitions: []int32{part}, Err: err}
	}
	c.Fault(
		fault(0, kerr.RequestTimedOut), // it is stored
		fault(0, kerr.PolicyViolation),
		fault(1, kerr.PolicyViolation),
	)
	refused, doubtful := record("", 1), record("", 0)
	refused.Partition = &primitives.Partition{ID: 1}
	doubtful.Partition = &primitives.Partition{ID: 0}
	err := put(t, p, refused, doubtful)
	var be *primitives.BatchError
	if !errors.As(err, &be) || len(be.Failed) != 2 {
		t.Fatalf("error is %v, want one that names both records", err)
	}
	for i, want := range []struct {
		part  string
		doubt bool
	}{{"orders/1", false}, {"orders/0", true}} {
		f := be.Failed[i]
		if f.Index != i || primitives.IsPermanent(f.Err) || !strings.Contains(f.Err.Error(), want.part) || strings.Contains(f.Err.Error(), "may be stored") != want.doubt {
			t.Errorf("record %d failed with %v, want an error of %s, in doubt: %t", f.Index, f.Err, want.part, want.doubt)
		}
	}
	if got := all(readAll(t, c.ListenAddrs(), "orders")); len(got) != 1 || string(got[0].Value) != ":0" {
		t.Errorf("%d records are stored, want the one in doubt", len(got))
	}
}

// When the epochs of a producer id are used up, the partition gets another id.
func TestEpochsUsedUp(t *testing.T) {
	c := fake(t, kfake.SeedTopics(1, "orders"))
	p := open(t, client(t, c.ListenAddrs()), Config{Topic: "orders"})
	if err := put(t, p, record("a", 0)); err != nil {
		t.Fatal(err)
	}
	p.e.mu.Lock()
	q := p.s.queues[p.t][0]
	q.id.epoch, q.s.id.epoch, q.next, q.proven = 32767, 32767, 0, false
	was := q.id
	p.e.mu.Unlock()
	if err := put(t, p, record("a", 1)); err != nil {
		t.Fatal(err)
	}
	c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: "orders", Err: kerr.OutOfOrderSequenceNumber})
	if err := put(t, p, record("a", 2)); err != nil {
		t.Fatal(err)
	}
	p.e.mu.Lock()
	defer p.e.mu.Unlock()
	if q.id.id == was.id {
		t.Errorf("the identity is still %v", q.id)
	}
	checkNumbered(t, readAll(t, c.ListenAddrs(), "orders"), map[string]int{"a": 3})
}

// A topic that takes less than MaxMessageBytes: batches are split, and only a
// record that is too large by itself is refused.
func TestBatchLargerThanTheTopicTakes(t *testing.T) {
	c := fake(t)
	addrs := c.ListenAddrs()
	cl, err := kgo.NewClient(kgo.SeedBrokers(addrs...))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if _, err := kadm.NewClient(cl).CreateTopic(testContext(t), 1, 1, map[string]*string{"max.message.bytes": kadm.StringPtr("2000")}, "small"); err != nil {
		t.Fatal(err)
	}
	p := open(t, client(t, addrs), Config{Topic: "small"})
	batch := numbered("a", 0, 500)
	batch[250].Value = []byte(strings.Repeat("x", 5000))
	batch[250].Key = []byte("b")
	for i := range batch[251:] {
		batch[251+i] = record("a", 250+i)
		batch[251+i].Headers = []primitives.Header{{Name: "n", Value: fmt.Append(nil, i)}}
	}
	var be *primitives.BatchError
	if err := put(t, p, batch...); !errors.As(err, &be) {
		t.Fatalf("error is %v, want a BatchError", err)
	}
	if len(be.Failed) != 1 || be.Failed[0].Index != 250 || !primitives.IsPermanent(be.Failed[0].Err) {
		t.Fatalf("failed are %v, want record 250 for good", be.Failed)
	}
	if err := put(t, p, numbered("a", 499, 520)...); err != nil {
		t.Fatal(err)
	}
	got := readAll(t, addrs, "small")
	checkNumbered(t, got, map[string]int{"a": 520})
	for i, r := range got[0][250:499] {
		if want := []kgo.RecordHeader{{Key: "n", Value: fmt.Append(nil, i)}}; !cmp.Equal(r.Headers, want) {
			t.Fatalf("headers of %s are %v, want %v", r.Value, r.Headers, want)
		}
	}
}

func TestRecordsThatCannotBeWritten(t *testing.T) {
	c := fake(t, kfake.SeedTopics(2, "orders"))
	p := open(t, client(t, c.ListenAddrs()), Config{Topic: "orders", MaxMessageBytes: 10_000})
	batch := numbered("a", 0, 3)
	batch = append(batch,
		primitives.Record{Value: make([]byte, 10_000)},
		primitives.Record{Value: []byte("x"), Partition: &primitives.Partition{ID: 2}},
		primitives.Record{Value: []byte("x"), Time: time.Unix(-1, 0)},
		primitives.Record{Value: []byte("x"), Headers: []primitives.Header{{Name: strings.Repeat("h", 10_000)}}},
		record("a", 3))
	var be *primitives.BatchError
	if err := put(t, p, batch...); !errors.As(err, &be) {
		t.Fatalf("error is %v, want a BatchError", err)
	}
	var got []int
	for _, f := range be.Failed {
		got = append(got, f.Index)
		if !primitives.IsPermanent(f.Err) {
			t.Errorf("%v is not permanent", f)
		}
	}
	if diff := cmp.Diff([]int{3, 4, 5, 6}, got); diff != "" {
		t.Error(diff)
	}
	checkNumbered(t, readAll(t, c.ListenAddrs(), "orders"), map[string]int{"a": 4})
	if err := put(t, p); err != nil {
		t.Errorf("an empty batch: %v", err)
	}
	if err := put(t, p, primitives.Record{Value: make([]byte, 10_000)}); !errors.As(err, &be) {
		t.Errorf("a batch of one record that is too large: %v, want a BatchError", err)
	}
}

// The broker names the records that it finds invalid: the others are written.
func TestInvalidRecordsAreNamed(t *testing.T) {
	c := fake(t, kfake.SeedTopics(1, "orders"))
	p := open(t, client(t, c.ListenAddrs()), Config{Topic: "orders"})
	c.ControlKey(int16(kmsg.Produce), func(req kmsg.Request) (kmsg.Response, error, bool) {
		res := req.ResponseKind().(*kmsg.ProduceResponse)
		part := kmsg.NewProduceResponseTopicPartition()
		part.ErrorCode = kerr.InvalidRecord.Code
		for _, i := range []int32{1, 3} {
			r := kmsg.NewProduceResponseTopicPartitionErrorRecord()
			r.RelativeOffset = i
			r.ErrorMessage = kadm.StringPtr("one message per record")
			part.ErrorRecords = append(part.ErrorRecords, r)
		}
		topic := kmsg.NewProduceResponseTopic()
		topic.Topic, topic.Partitions = "orders", append(topic.Partitions, part)
		res.Topics = append(res.Topics, topic)
		return res, nil, true
	})
	batch := []primitives.Record{record("a", 0), record("b", 77), record("a", 1), record("b", 78), record("a", 2)}
	var be *primitives.BatchError
	if err := put(t, p, batch...); !errors.As(err, &be) {
		t.Fatalf("error is %v, want a BatchError", err)
	}
	if len(be.Failed) != 2 || be.Failed[0].Index != 1 || be.Failed[1].Index != 3 || !primitives.IsPermanent(be.Failed[1].Err) || !strings.Contains(be.Error(), "one message per record") {
		t.Errorf("failed are %v", be.Failed)
	}
	checkNumbered(t, readAll(t, c.ListenAddrs(), "orders"), map[string]int{"a": 3, "b": 0})
}

// A delivery that gets nowhere fails after Timeout with what it was last told.
func TestTimeout(t *testing.T) {
	for name, control := range map[string]func(c *kfake.Cluster){
		"answers": func(c *kfake.Cluster) {
			c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: "orders", Err: kerr.NotEnoughReplicas, Count: -1})
		},
		"silence": func(c *kfake.Cluster) {
			c.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
				c.KeepControl()
				return nil, nil, true
			})
		},
		"no leader": func(c *kfake.Cluster) {
			c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: "orders", Err: kerr.NotLeaderForPartition, Count: -1})
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := fake(t, kfake.SeedTopics(1, "orders"))
			p := open(t, client(t, c.ListenAddrs()), Config{Topic: "orders", Timeout: 200 * time.Millisecond})
			control(c)
			start := time.Now()
			err := put(t, p, record("a", 0), record("a", 1))
			if took := time.Since(start); took < 150*time.Millisecond || took > 5*time.Second {
				t.Errorf("it took %s, want about 200ms", took)
			}
			if err == nil || primitives.IsPermanent(err) || !strings.Contains(err.Error(), "not confirmed within 200ms") {
				t.Errorf("error is %v", err)
			}
			if name == "answers" && !errors.Is(err, sarama.ErrNotEnoughReplicas) {
				t.Errorf("error is %v, want the last answer in it", err)
			}
		})
	}
}

func TestLeaderMoves(t *testing.T) {
	c := fake(t, kfake.NumBrokers(3), kfake.SeedTopics(3, "orders"))
	p := open(t, client(t, c.ListenAddrs()), Config{Topic: "orders"})
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for n := int32(0); ; n++ {
			if err := c.MoveTopicPartition("orders", n%3, (n+n/3)%3); err != nil {
				t.Error(err)
			}
			select {
			case <-time.After(15 * time.Millisecond):
			case <-stop:
				return
			}
		}
	})
	want := writeMany(t, p, 4, 400, 10)
	close(stop)
	wg.Wait()
	checkNumbered(t, readAll(t, c.ListenAddrs(), "orders"), want)
}

// proxyNet is a network whose connections can be broken.
type proxyNet struct {
	mu    sync.Mutex
	conns []net.Conn
	down  atomic.Bool
}

func (n *proxyNet) Dial(network, addr string) (net.Conn, error) {
	if n.down.Load() {
		return nil, errors.New("the network is down")
	}
	c, err := net.Dial(network, addr)
	if err == nil {
		n.mu.Lock()
		n.conns = append(n.conns, c)
		n.mu.Unlock()
	}
	return c, err
}

func (n *proxyNet) cut() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, c := range n.conns {
		c.Close()
	}
	n.conns = nil
}

func (n *proxyNet) client(t testing.TB, addrs []string) sarama.Client {
	return client(t, addrs, func(c *sarama.Config) {
		c.Net.Proxy.Enable = true
		c.Net.Proxy.Dialer = n
	})
}

func TestConnectionsBreak(t *testing.T) {
	c := fake(t, kfake.NumBrokers(3), kfake.SeedTopics(5, "orders"))
	var n proxyNet
	p := open(t, n.client(t, c.ListenAddrs()), Config{Topic: "orders"})
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 0; ; i++ {
			n.cut()
			n.down.Store(i%3 == 0)
			select {
			case <-time.After(20 * time.Millisecond):
			case <-stop:
				n.down.Store(false)
				return
			}
		}
	})
	want := writeMany(t, p, 4, 300, 10)
	close(stop)
	wg.Wait()
	checkNumbered(t, readAll(t, c.ListenAddrs(), "orders"), want)
}

// New partitions are noticed, and keys go to them.
func TestPartitionsAreAdded(t *testing.T) {
	c := fake(t, kfake.SeedTopics(1, "orders"))
	p := open(t, client(t, c.ListenAddrs()), Config{Topic: "orders"})
	if err := put(t, p, record("a", 0)); err != nil {
		t.Fatal(err)
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if _, err := kadm.NewClient(cl).UpdatePartitions(testContext(t), 4, "orders"); err != nil {
		t.Fatal(err)
	}
	c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: "orders", Err: kerr.NotLeaderForPartition})
	if err := put(t, p, record("a", 1)); err != nil {
		t.Fatal(err)
	}
	if p.Partitions() != 4 {
		t.Fatalf("%d partitions are known, want 4", p.Partitions())
	}
	for i := range 40 {
		if err := put(t, p, record(fmt.Sprint("k", i), 0), primitives.Record{Value: []byte(":0")}); err != nil {
			t.Fatal(err)
		}
	}
	got := readAll(t, c.ListenAddrs(), "orders")
	for part := range int32(4) {
		var keyless int
		for _, r := range got[part] {
			if r.Key == nil {
				keyless++
			} else if want := Murmur2(r.Key, 4); string(r.Key) != "a" && part != want {
				t.Errorf("key %s is in partition %d, want %d", r.Key, part, want)
			}
		}
		if keyless < 5 || keyless > 15 {
			t.Errorf("partition %d has %d records without a key, want about 10", part, keyless)
		}
	}
}

func TestBackpressure(t *testing.T) {
	c := fake(t, kfake.SeedTopics(1, "orders"))
	p := open(t, client(t, c.ListenAddrs()), Config{Topic: "orders", MaxBuffered: 1000})
	release := make(chan struct{})
	c.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		c.SleepControl(func() { <-release })
		return nil, nil, false
	})
	var g group
	big := primitives.Record{Key: []byte("big"), Value: []byte("big:0")}
	big.Headers = []primitives.Header{{Name: "size", Value: make([]byte, 2000)}}
	g.write(testContext(t), p, []primitives.Record{big}) // more than the buffer: taken as the only one

	ctx, cancel := context.WithCancel(t.Context())
	blocked := make(chan error, 1)
	go p.Write(ctx, numbered("x", 0, 1), func(err error) { blocked <- err })
	waitFor(t, "a writer that waits", func() bool {
		p.e.mu.Lock()
		defer p.e.mu.Unlock()
		return len(p.e.waiters) == 1
	})
	cancel()
	if err := <-blocked; !errors.Is(err, context.Canceled) {
		t.Errorf("a write that was cancelled: %v", err)
	}
	written := make(chan error, 1)
	go p.Write(testContext(t), numbered("a", 0, 3), func(err error) { written <- err })
	waitFor(t, "a writer that waits", func() bool {
		p.e.mu.Lock()
		defer p.e.mu.Unlock()
		return len(p.e.waiters) == 1
	})
	close(release)
	if err := errors.Join(<-written, g.wait()); err != nil {
		t.Fatal(err)
	}
	checkNumbered(t, readAll(t, c.ListenAddrs(), "orders"), map[string]int{"a": 3, "x": 0, "big": 1})
}

func TestCloseWaits(t *testing.T) {
	c := fake(t, kfake.NumBrokers(2), kfake.SeedTopics(4, "orders"))
	p := open(t, client(t, c.ListenAddrs()), Config{Topic: "orders"})
	c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: "orders", Err: kerr.NotLeaderForPartition, Count: 3})
	var g group
	for i := range 100 {
		g.write(testContext(t), p, numbered("a", 5*i, 5*i+5))
	}
	if err := p.Close(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if err := g.wait(); err != nil {
		t.Fatal(err)
	}
	if err := put(t, p, record("a", 0)); !errors.Is(err, primitives.ErrClosed) {
		t.Errorf("write after close: %v, want ErrClosed", err)
	}
	if err := p.Close(testContext(t)); err != nil {
		t.Errorf("close again: %v", err)
	}
	checkNumbered(t, readAll(t, c.ListenAddrs(), "orders"), map[string]int{"a": 500})
}

// A Close whose context ends gives up what is not confirmed, also when the broker
// answers nothing, and lets those go that wait for room.
func TestCloseGivesUp(t *testing.T) {
	c := fake(t, kfake.SeedTopics(2, "orders"))
	p := open(t, client(t, c.ListenAddrs()), Config{Topic: "orders", MaxBuffered: 3000})
	c.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		return nil, nil, true
	})
	errs := make(chan error, 200)
	for i := range 200 {
		go p.Write(testContext(t), numbered("a", i, i+1), func(err error) { errs <- err })
	}
	waitFor(t, "writers that wait", func() bool {
		p.e.mu.Lock()
		defer p.e.mu.Unlock()
		return len(p.e.waiters) > 50
	})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := p.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("close: %v, want that the deadline has passed", err)
	}
	var closed, deadline int
	for range 200 {
		switch err := <-errs; {
		case errors.Is(err, primitives.ErrClosed):
			closed++
		case errors.Is(err, context.DeadlineExceeded):
			deadline++
		default:
			t.Errorf("write: %v", err)
		}
	}
	if closed == 0 || deadline == 0 {
		t.Errorf("%d writes were refused and %d given up, want some of both", closed, deadline)
	}
	if err := p.Close(testContext(t)); err != nil {
		t.Errorf("close again: %v", err)
	}
}

func TestOpenErrors(t *testing.T) {
	c := fake(t, kfake.SeedTopics(1, "orders"))
	cl := client(t, c.ListenAddrs())
	for name, tc := range map[string]struct {
		cfg  Config
		want string
	}{
		"no topic":      {Config{}, "Topic is empty"},
		"unknown topic": {Config{Topic: "nowhere"}, "nowhere"},
		"sizes":         {Config{Topic: "orders", MaxMessageBytes: -1, MaxBuffered: -1}, "MaxBuffered"},
		"timeout":       {Config{Topic: "orders", Timeout: -1}, "Timeout"},
		"compression":   {Config{Topic: "orders", Compression: 9}, "Compression"},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := Open(testContext(t), cl, tc.cfg)
			if err == nil {
				p.Close(testContext(t))
				t.Fatal("no error")
			}
			if !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error is %q, want %q in it", err, tc.want)
			}
		})
	}
}

func TestCompression(t *testing.T) {
	c := fake(t, kfake.SeedTopics(2, "orders"))
	want := map[string]int{}
	for _, codec := range []sarama.CompressionCodec{sarama.CompressionNone, sarama.CompressionGZIP, sarama.CompressionSnappy, sarama.CompressionLZ4, sarama.CompressionZSTD} {
		p := open(t, client(t, c.ListenAddrs()), Config{Topic: "orders", Compression: codec})
		key := codec.String()
		c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: "orders", Err: kerr.NotLeaderForPartition})
		if err := put(t, p, numbered(key, 0, 100)...); err != nil {
			t.Fatal(err)
		}
		want[key] = 100
	}
	checkNumbered(t, readAll(t, c.ListenAddrs(), "orders"), want)
}
