package kafka

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/flowkit-go/flow/primitives"
	"github.com/flowkit-go/flow/primitives/primitivetest"
)

// A commit of three partitions, one of which is not assigned, stores two and reports the
// third. All go in one request.
func TestDelivery_038_commit_of_what_is_not_assigned(t *testing.T) {
	c := two(t, 5)
	ctx := testContext(t)
	m := join(t, quick(at(c), "g"), 100)
	ds := m.take(ctx, 10)
	requests := make(chan *kmsg.OffsetCommitRequest, 10)
	c.ControlKey(int16(kmsg.OffsetCommit), func(r kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		requests <- r.(*kmsg.OffsetCommitRequest)
		return nil, nil, false
	})
	commits := append(commitsOf(ds), primitives.Commit{Partition: primitives.Partition{Topic: "in", ID: 2}, Next: 9})
	var some *primitives.CommitError
	if err := m.Commit(ctx, commits); !errors.As(err, &some) {
		t.Fatalf("Commit: %v, want a CommitError", err)
	}
	for i, err := range some.Errs {
		if want := i == 2; want != errors.Is(err, primitives.ErrNotAssigned) || want != (err != nil) {
			t.Errorf("commit of %s: %v", commits[i].Partition, err)
		}
	}
	if n := len(requests); n != 1 {
		t.Errorf("%d requests, want one", n)
	}
	if r := <-requests; len(r.Topics) != 1 || len(r.Topics[0].Partitions) != 2 {
		t.Errorf("the request is %+v", r)
	}
	for id := range int32(2) {
		if got := committed(t, c.ListenAddrs(), "g", primitives.Partition{Topic: "in", ID: id}); got != 5 {
			t.Errorf("in/%d: committed %d, want 5", id, got)
		}
	}
}

// What is resolved when a partition is revoked is committed before it is released,
// whatever the interval of commits.
func TestDelivery_081_commit_before_release(t *testing.T) {
	for _, b := range []Balance{CooperativeSticky, Range} {
		t.Run(string(b), func(t *testing.T) {
			c := two(t, 5)
			ctx := testContext(t)
			topic := quick(at(c), "g")
			topic.Balance = []Balance{b}
			a := newMember(t, topic, primitivetest.NewIntake(100))
			a.in.OnRevoke = func(ctx context.Context, lanes []*primitivetest.Lane) error {
				var commits []primitives.Commit
				for _, l := range lanes {
					commits = append(commits, primitives.Commit{Partition: l.Partition, Epoch: l.Epoch(), Next: 3})
				}
				err := a.Commit(ctx, commits)
				if err != nil {
					t.Errorf("the last commit: %v", err)
				}
				return err
			}
			a.start()
			a.take(ctx, 10)
			second := join(t, topic, 100)
			second.owns(ctx, 1)
			if got := second.in.Lanes()[0].Start; got != 3 {
				t.Errorf("the next owner starts at %d, want 3", got)
			}
		})
	}
}

// What a broker says to a commit decides what becomes of it: those of a partition that is
// gone are not tried again, others are.
func TestDelivery_093_refused_commits(t *testing.T) {
	c := two(t, 5)
	ctx := testContext(t)
	m := join(t, quick(at(c), "g"), 100)
	ds := m.take(ctx, 10)
	for _, test := range []struct {
		code *kerr.Error
		gone bool
	}{
		{kerr.IllegalGeneration, false}, // of a member that the group knows: it is about to learn of the new one
		{kerr.UnknownMemberID, true},
		{kerr.FencedInstanceID, true},
		{kerr.RebalanceInProgress, false},
		{kerr.GroupAuthorizationFailed, false},
		{kerr.OffsetMetadataTooLarge, false},
	} {
		var accepting atomic.Bool
		c.ControlKey(int16(kmsg.OffsetCommit), func(r kmsg.Request) (kmsg.Response, error, bool) {
			if accepting.Load() {
				return nil, nil, false
			}
			c.KeepControl()
			return refusal(r, test.code), nil, true
		})
		var some *primitives.CommitError
		err := m.commit(ctx, ds)
		accepting.Store(true)
		if !errors.As(err, &some) || len(some.Errs) != 2 {
			t.Errorf("%s: Commit returns %v, want an error per partition", test.code.Message, err)
			continue
		}
		for _, err := range some.Errs {
			if got := errors.Is(err, primitives.ErrNotAssigned); err == nil || got != test.gone {
				t.Errorf("%s: %v, want ErrNotAssigned: %v", test.code.Message, err, test.gone)
			}
		}
	}
	if n := len(m.in.Lanes()); n != 2 {
		t.Errorf("the member has %d lanes after refused commits", n)
	}
	if err := m.commit(ctx, ds); err != nil {
		t.Errorf("the commit after them: %v", err)
	}
}

// refusal answers a commit with an error for each partition.
func refusal(r kmsg.Request, code *kerr.Error) kmsg.Response {
	response := r.ResponseKind().(*kmsg.OffsetCommitResponse)
	for _, topic := range r.(*kmsg.OffsetCommitRequest).Topics {
		rt := kmsg.NewOffsetCommitResponseTopic()
		rt.Topic = topic.Topic
		for _, p := range topic.Partitions {
			rp := kmsg.NewOffsetCommitResponseTopicPartition()
			rp.Partition, rp.ErrorCode = p.Partition, code.Code
			rt.Partitions = append(rt.Partitions, rp)
		}
		response.Topics = append(response.Topics, rt)
	}
	return response
}

// A rebalance in which the partitions stay holds a commit up and does not lose it, also
// where the commit is refused before the member has learnt of the new generation.
func TestDelivery_093_commit_between_generations(t *testing.T) {
	for _, code := range []*kerr.Error{kerr.IllegalGeneration, kerr.RebalanceInProgress} {
		t.Run(code.Message, func(t *testing.T) {
			c := two(t, 5)
			ctx := testContext(t)
			m := join(t, quick(at(c), "g"), 100)
			ds := m.take(ctx, 10)
			var refused atomic.Int32
			c.ControlKey(int16(kmsg.OffsetCommit), func(r kmsg.Request) (kmsg.Response, error, bool) {
				if refused.Add(1) > 2 {
					return nil, nil, false
				}
				c.KeepControl()
				return refusal(r, code), nil, true
			})
			if err := m.commit(ctx, ds); err != nil {
				t.Errorf("Commit: %v", err)
			}
			for _, d := range ds {
				if got := committed(t, c.ListenAddrs(), "g", d.Lane.Partition); got != 5 {
					t.Errorf("%s: %d is committed, want 5", d.Lane.Partition, got)
				}
			}
		})
	}
}

// A coordinator that has moved is looked for anew, without an error.
func TestCommitFollowsTheCoordinator(t *testing.T) {
	c, err := kfake.NewCluster(kfake.NumBrokers(3), kfake.SeedTopics(2, "in"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	write(t, Topic[[]byte]{Name: "in", Cluster: at(c)}, numbered(0, 20)...)
	ctx := testContext(t)
	m := join(t, quick(at(c), "g"), 100)
	ds := m.take(ctx, 20)
	if err := m.commit(ctx, ds[:1]); err != nil {
		t.Fatal(err)
	}
	before := c.CoordinatorFor("g")
	for c.CoordinatorFor("g") == before {
		c.RehashCoordinators()
	}
	for {
		err := m.commit(ctx, ds)
		if err == nil {
			break
		}
		if errors.Is(err, primitives.ErrNotAssigned) {
			ds = m.take(ctx, 1) // the new coordinator may have to be joined
		}
		if ctx.Err() != nil {
			t.Fatalf("commits fail: %v", err)
		}
	}
}

// A commit whose broker hangs ends with its context.
func TestCommitHonoursItsContext(t *testing.T) {
	c := two(t, 5)
	ctx := testContext(t)
	m := join(t, quick(at(c), "g"), 100)
	ds := m.take(ctx, 10)
	release := make(chan struct{})
	c.ControlKey(int16(kmsg.OffsetCommit), func(kmsg.Request) (kmsg.Response, error, bool) {
		c.SleepControl(func() { <-release })
		return nil, nil, false
	})
	short, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
	defer cancel()
	start := time.Now()
	if err := m.commit(short, ds); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Commit: %v", err)
	}
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("Commit took %v", took)
	}
	close(release)
	if err := m.commit(ctx, ds); err != nil {
		t.Errorf("the next commit: %v", err)
	}
}

// The backlog of a transactional source ends at the first transaction that is open.
func testStableBacklog(t *testing.T, brokers []string, name string) {
	ctx := testContext(t)
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.TransactionalID(name), kgo.DefaultProduceTopic(name))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	produce := func(n int) {
		t.Helper()
		for range n {
			if err := client.ProduceSync(ctx, &kgo.Record{Value: []byte("v")}).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
	}
	begin := func() {
		t.Helper()
		if err := client.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
	}
	end := func(commit kgo.TransactionEndTry) {
		t.Helper()
		if err := client.EndTransaction(ctx, commit); err != nil {
			t.Fatal(err)
		}
	}
	begin()
	produce(3)
	end(kgo.TryCommit) // 0 1 2, marker 3
	begin()
	produce(2)
	end(kgo.TryAbort) // 4 5, marker 6
	begin()
	produce(4) // 7 8 9 10, open

	topic := quick(Cluster{Brokers: brokers}, name)
	topic.Name = name
	m := join(t, topic, 100)
	ds := m.take(ctx, 3)
	lane := ds[0].Lane
	if err := m.in.Wait(ctx, func() bool { return lane.Advanced() == 7 }); err != nil {
		t.Fatalf("the lane knows of nothing below %d, want 7: %v", lane.Advanced(), err)
	}
	b, err := m.Backlog(ctx)
	if err != nil || len(b) != 1 || b[0].Records != 7 {
		t.Errorf("backlog %v, %v; want 7: up to the open transaction", b, err)
	}
	// The commit reaches the end of what there is, over markers and what was aborted.
	if err := m.Commit(ctx, []primitives.Commit{{Partition: lane.Partition, Epoch: lane.Epoch(), Next: lane.Advanced()}}); err != nil {
		t.Fatal(err)
	}
	if b, err := m.Backlog(ctx); err != nil || b[0].Records != 0 {
		t.Errorf("backlog %v, %v; want 0", b, err)
	}
	all := topic
	all.Group, all.Isolation = name+"-all", ReadUncommitted
	u := join(t, all, 100)
	if got := len(u.take(ctx, 9)); got != 9 {
		t.Errorf("%d records without isolation, want 9", got)
	}
	if b, err := u.Backlog(ctx); err != nil || b[0].Records != 11 {
		t.Errorf("backlog without isolation %v, %v; want 11", b, err)
	}
	end(kgo.TryCommit)
	if ds := m.take(ctx, 4); ds[0].Record.Offset != 7 {
		t.Errorf("goes on at %d, want 7", ds[0].Record.Offset)
	}
}

func TestDelivery_134_backlog_to_the_last_stable_offset(t *testing.T) {
	testStableBacklog(t, fake(t).ListenAddrs(), "out")
}

func TestDelivery_134_backlog_to_the_last_stable_offset_real(t *testing.T) {
	brokers := realBrokers(t)
	testStableBacklog(t, brokers, create(t, brokers, 1, nil))
}
